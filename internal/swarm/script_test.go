package swarm

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// bubbleV2 is bubble with a torrent of version 2 (or a hybrid) over one file.
func bubbleV2(t *testing.T, size int, piece int64, version metainfo.Version, f func(t *testing.T, w *world)) {
	bubble(t, size, func(t *testing.T, w *world) {
		var err error
		w.torrent, err = create.Torrent(t.Context(), filepath.Join(w.dir, "film"), create.Options{PieceLength: piece, Version: version})
		if err != nil {
			t.Fatal(err)
		}
		f(t, w)
	})
}

// script is a peer that has everything and does what a test tells it.
type script struct {
	w     *world
	net   net.Conn
	block func(r wire.Message, data []byte) // may spoil what is sent
	hash  func(r wire.HashRange) []byte     // the answer to a hash request; nil = none
	none  bool                              // it has nothing
	heard func(m wire.Message)              // sees each message

	mu       sync.Mutex
	answers  []wire.Message // to our hash requests
	requests int
	asked    []wire.HashRange
	held     []wire.Message // requests that wait for release
	free     bool
	ended    bool
}

// play connects a script to a swarm.
func (w *world) play(s *Swarm, p *script) *script {
	w.t.Helper()
	x, y := net.Pipe()
	w.nodes++
	h := wire.Handshake{Reserved: wire.OurReserved(), InfoHash: w.torrent.InfoHashV2.Truncated()}
	h.Reserved.SetV2()
	copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012d", w.nodes))
	p.w, p.net = w, y
	go p.run()
	s.Accept(&Incoming{Net: x, Handshake: h, Addr: w.address(w.nodes), Outgoing: true})
	if p.none {
		p.write(wire.AppendEmpty(wire.AppendEmpty(nil, wire.HaveNone), wire.Interested))
		return p
	}
	p.write(wire.AppendEmpty(wire.AppendEmpty(nil, wire.HaveAll), wire.Unchoke))
	return p
}

func (p *script) write(b []byte) {
	_, _ = p.net.Write(b)
	synctest.Wait()
}

// release answers what was asked so far and, if free, whatever is asked from now on.
func (p *script) release(free bool) {
	p.mu.Lock()
	held := p.held
	p.free, p.held = free, nil
	p.mu.Unlock()
	for _, r := range held {
		_, _ = p.net.Write(p.piece(r))
	}
	synctest.Wait()
}

func (p *script) piece(r wire.Message) []byte {
	at := int64(r.Index)*p.w.torrent.Info.PieceLength + int64(r.Begin)
	data := bytes.Clone(p.w.data[at : at+int64(r.Length)])
	if p.block != nil {
		p.block(r, data)
	}
	return append(wire.AppendPieceHeader(nil, r.Index, r.Begin, r.Length), data...)
}

// run ends with the connection.
func (p *script) run() {
	buf := make([]byte, 0, 1<<20)
	chunk := make([]byte, 64<<10)
	for {
		n, err := p.net.Read(chunk)
		if err != nil {
			p.mu.Lock()
			p.ended = true
			p.mu.Unlock()
			return
		}
		buf = append(buf, chunk[:n]...)
		for {
			m, n, err := wire.Next(buf)
			if n == 0 || err != nil {
				break
			}
			m.Payload = bytes.Clone(m.Payload)
			buf = buf[:copy(buf, buf[n:])]
			if out := p.take(m); out != nil {
				go p.net.Write(out) // ends with the write or the connection
			}
		}
	}
}

// take books a message and returns what to answer.
func (p *script) take(m wire.Message) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard != nil {
		p.heard(m)
	}
	switch m.ID {
	case wire.Request:
		p.requests++
		if !p.free {
			p.held = append(p.held, m)
			return nil
		}
		return p.piece(m)
	case wire.HashRequest:
		r, _, _, _ := wire.ParseHashRange(m.ID, m.Payload)
		p.asked = append(p.asked, r)
		if p.hash != nil {
			return p.hash(r)
		}
	case wire.Hashes, wire.HashReject:
		p.answers = append(p.answers, m)
	}
	return nil
}

// seen is how many blocks, or hashes, the script was asked for.
func (p *script) seen(hashes bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if hashes {
		return len(p.asked)
	}
	return p.requests
}

func (p *script) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func banned(s *Swarm, a netip.AddrPort) bool { return s.bans.hasAddr(a.Addr(), s.now) }

// leaves is the right answer to a request for the hashes of a piece's blocks.
func (w *world) leaves(r wire.HashRange) []byte {
	from := int(r.Index) * wire.BlockSize
	all := metainfo.AppendLeaves(nil, w.data[from:min(len(w.data), from+int(r.Length)*wire.BlockSize)])
	all = append(all, make([]byte, int(r.Length)*wire.HashLen-len(all))...)
	return wire.AppendHashes(nil, &r, all, nil)
}
