package swarm

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// stranger is a hand-driven peer of a swarm: it keeps what it is told.
type stranger struct {
	w       *world
	net     net.Conn
	key     *ledger.PrivateKey
	account ledger.Address
	session *speed.Session // nil = the node does not take part
	left    chan struct{}  // closed when the connection has ended

	mu       sync.Mutex
	reserves []speed.Reserve
	proofs   []speed.Proof
	bids     []speed.Bid
	hello    []byte // the extension handshake
	speeds   int    // messages of the extension
	pieces   int
	ended    error
}

// visit connects a stranger without any pieces that is interested.
func (w *world) visit(s *Swarm) *stranger { return w.visitAs(s, wire.HaveNone, true) }

// visitAs connects a stranger that has all pieces or none; we may have called
// it.
func (w *world) visitAs(s *Swarm, have wire.ID, outgoing bool) *stranger {
	w.t.Helper()
	st, _ := w.ledger.Status(context.Background())
	id := speed.NetworkID(st.Network)
	return w.visitWith(s, wire.ExtendedHandshake{Speed: wire.SubSpeed, SpeedVersion: speed.Version, SpeedNetwork: id[:], SpeedNonce: make([]byte, speed.NonceLen), Port: 6881}, have, outgoing)
}

// visitWith connects a stranger with an extension handshake of its own; if that
// has a nonce, it proves its account.
func (w *world) visitWith(s *Swarm, ext wire.ExtendedHandshake, have wire.ID, outgoing bool) *stranger {
	w.t.Helper()
	x, y := net.Pipe()
	w.nodes++
	h := wire.Handshake{Reserved: wire.OurReserved(), InfoHash: w.torrent.InfoHash}
	h.Reserved.SetV2() // counts where it calls
	copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012d", w.nodes))
	p := &stranger{w: w, net: y, left: make(chan struct{}), key: ledgertest.Key(fmt.Sprintf("stranger %d", w.nodes))}
	p.account = p.key.Address()
	if len(ext.SpeedNonce) > 0 {
		ext.SpeedNonce[0] = byte(w.nodes)
	}
	go p.read()
	in := &Incoming{Net: x, Handshake: h, InfoHash: h.InfoHash, Addr: w.address(w.nodes), Outgoing: outgoing}
	if !outgoing {
		in.Addr = netip.AddrPortFrom(in.Addr.Addr(), 50_000)
	}
	s.Accept(in)
	synctest.Wait()
	out := wire.AppendExtended(nil, wire.SubHandshake, ext.Append(nil))
	out = append(out, p.identify(s, &ext, h.PeerID)...)
	out = wire.AppendEmpty(out, have)
	p.write(wire.AppendEmpty(out, wire.Interested))
	go p.stay()
	return p
}

// identify is the stranger's proof of its account, if both sides take part; it
// begins the stranger's session.
func (p *stranger) identify(s *Swarm, ext *wire.ExtendedHandshake, peerID [20]byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	theirs, err := wire.ParseExtendedHandshake(p.hello)
	if err != nil || len(theirs.SpeedNonce) == 0 || len(ext.SpeedNonce) == 0 {
		return nil
	}
	c := speed.Connection{Network: s.cfg.Market.Net, InfoHash: p.w.torrent.InfoHash,
		Ours:   speed.End{Nonce: [speed.NonceLen]byte(ext.SpeedNonce), PeerID: peerID},
		Theirs: speed.End{Nonce: [speed.NonceLen]byte(theirs.SpeedNonce), PeerID: s.cfg.PeerID}}
	p.session = speed.NewSession(speed.Config{Account: p.account, Connection: c})
	f, err := c.Identify(p.key)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return wire.AppendExtended(nil, wire.SubSpeed, f)
}

// stay sends the keep-alives that a peer owes; it ends with the connection.
func (p *stranger) stay() {
	for {
		select {
		case <-p.left:
			return
		case <-time.After(keepAlive):
			_, _ = p.net.Write(wire.AppendKeepAlive(nil))
		}
	}
}

func (p *stranger) write(b []byte) {
	_, _ = p.net.Write(b) // a closed connection shows in ended
	synctest.Wait()
}

func (p *stranger) send(m speed.Message) {
	f, err := speed.Append(nil, m)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.write(wire.AppendExtended(nil, wire.SubSpeed, f))
}

// read ends with the connection.
func (p *stranger) read() {
	defer close(p.left)
	for {
		var head [4]byte
		if _, err := io.ReadFull(p.net, head[:]); err != nil {
			p.mu.Lock()
			p.ended = err
			p.mu.Unlock()
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(p.net, body); err == nil && len(body) > 0 {
			p.take(body)
		}
	}
}

func (p *stranger) take(body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case wire.ID(body[0]) == wire.Piece:
		p.pieces++
	case wire.ID(body[0]) == wire.Extended && body[1] == wire.SubHandshake:
		p.hello = body[2:]
	case wire.ID(body[0]) == wire.Extended && body[1] == wire.SubSpeed:
		p.speeds++
		if p.session == nil {
			return
		}
		m, err := p.session.Step(body[2:], time.Now())
		if err != nil {
			p.ended = err
		}
		switch m := m.(type) {
		case speed.Reserve:
			p.reserves = append(p.reserves, m)
		case speed.Proof:
			p.proofs = append(p.proofs, m)
		case speed.Bid:
			p.bids = append(p.bids, m)
		}
	}
}

// asked returns the last reserve price that the peer was told.
func (p *stranger) asked() speed.Reserve {
	p.w.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.reserves) == 0 {
		p.w.t.Fatal("no reserve price was told")
	}
	return p.reserves[len(p.reserves)-1]
}

func (p *stranger) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended != nil
}
