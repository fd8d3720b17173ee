package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// talker is a peer that says valid messages of every kind in random order, some of
// them in the right one, so that it comes far.
type talker struct {
	rig     *talkRig
	rng     *rand.Rand
	name    string
	key     *ledger.PrivateKey
	torrent *talkTorrent
	nc      net.Conn
	ended   chan struct{} // the reader ended
	bound   speed.Connection
	bids    int
	named   bool

	mu        sync.Mutex // what the reader saw
	terms     []channel.Terms
	prices    []amount.Price
	ids       []channel.ID
	challenge *speed.Reserve
	theirBid  amount.Price
	asked     []wire.Message // requests of the node
	hashes    []wire.HashRange
	metadata  []int
	payer     *channel.Payer
	payee     *channel.Payee
	lane      uint32
	attached  bool
	got       int64
	gone      bool
}

// talkTorrent is a torrent that talkers know all of.
type talkTorrent struct {
	*metainfo.Torrent
	hash [20]byte
	data []byte // as the pieces lie one after the other
}

type talkRig struct {
	x        *trader
	net      ledger.Network
	torrents []*talkTorrent
	status   ledger.Status
}

// loadTorrent reads a torrent's content as its pieces lie; what pads files is zero.
func loadTorrent(t *testing.T, dir string, m *metainfo.Torrent) *talkTorrent {
	t.Helper()
	x := &talkTorrent{Torrent: m, hash: m.InfoHash}
	if m.Info.HasV2() && !m.Info.HasV1() {
		x.hash = m.InfoHashV2.Truncated()
	}
	for i := range m.Info.Files {
		f := &m.Info.Files[i]
		b := make([]byte, f.Length)
		if !f.Pad {
			var err error
			if b, err = os.ReadFile(filepath.Join(append([]string{dir, "stuff"}, f.Path...)...)); err != nil {
				t.Fatal(err)
			}
		}
		x.data = append(x.data, b...)
	}
	return x
}

// block returns the true content of a block, cut where the torrent ends.
func (x *talkTorrent) block(piece, begin, length uint32) []byte {
	at := int64(piece)*x.Info.PieceLength + int64(begin)
	if at >= int64(len(x.data)) {
		return nil
	}
	return x.data[at:min(at+int64(length), int64(len(x.data)))]
}

func (k *talker) price(most int64) amount.Price {
	return amount.Price(k.rng.Int64N(int64(perGiB(most)) + 1))
}

// index is mostly a piece of the torrent.
func (k *talker) index() uint32 {
	switch k.rng.IntN(400) {
	case 0:
		return k.rng.Uint32()
	case 1:
		return uint32(k.torrent.Info.NumPieces())
	}
	return uint32(k.rng.IntN(k.torrent.Info.NumPieces()))
}

func (k *talker) connect() bool {
	nc, err := net.Dial("tcp", k.rig.x.Addr().String())
	if err != nil {
		return false
	}
	h := wire.Handshake{Reserved: wire.OurReserved(), InfoHash: k.torrent.hash}
	binary.BigEndian.PutUint64(h.PeerID[:], k.rng.Uint64())
	binary.BigEndian.PutUint64(h.PeerID[8:], k.rng.Uint64())
	var b [wire.HandshakeLen]byte
	_ = nc.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err = nc.Write(h.Append(nil)); err == nil {
		_, err = io.ReadFull(nc, b[:])
	}
	if err != nil {
		nc.Close()
		return false
	}
	_ = nc.SetDeadline(time.Time{})
	id := speed.NetworkID(k.rig.net)
	k.nc, k.bids, k.named = nc, 0, false
	k.bound = speed.Connection{Network: k.rig.net, InfoHash: k.torrent.hash, Ours: speed.End{PeerID: h.PeerID},
		Theirs: speed.End{PeerID: [20]byte(b[wire.HandshakeLen-20:])}}
	binary.BigEndian.PutUint64(k.bound.Ours.Nonce[:], k.rng.Uint64())
	met := make(chan struct{})
	k.mu.Lock()
	k.gone, k.challenge, k.asked, k.theirBid, k.attached, k.prices = false, nil, nil, 0, false, nil
	k.mu.Unlock()
	k.ended = make(chan struct{})
	go k.read(nc, met, k.ended) // ends with the connection
	e := wire.ExtendedHandshake{Metadata: wire.SubMetadata, PEX: wire.SubPEX, DontHave: wire.SubDontHave, Speed: wire.SubSpeed,
		SpeedVersion: speed.Version, SpeedNetwork: id[:], SpeedNonce: k.bound.Ours.Nonce[:], Client: "talker",
		MetadataSize: len(k.torrent.Info.Raw), Port: uint16(1 + k.rng.IntN(60000))}
	k.send(ext(wire.SubHandshake, e.Append(nil)))
	select {
	case <-met:
	case <-time.After(3 * time.Second):
	}
	return true
}

func (k *talker) read(nc net.Conn, met, ended chan struct{}) {
	defer func() { k.mu.Lock(); k.gone = true; k.mu.Unlock(); close(ended) }()
	buf, w := make([]byte, 1<<20), 0
	for {
		n, err := nc.Read(buf[w:])
		if err != nil {
			return
		}
		r := 0
		for w += n; ; {
			m, n, err := wire.Next(buf[r:w])
			if err != nil || n == 0 {
				break
			}
			k.mu.Lock()
			if met != nil && m.ID == wire.Extended && m.Sub == wire.SubHandshake {
				if h, err := wire.ParseExtendedHandshake(m.Payload); err == nil && len(h.SpeedNonce) == speed.NonceLen {
					k.bound.Theirs.Nonce = [speed.NonceLen]byte(h.SpeedNonce)
				}
				close(met)
				met = nil
			}
			k.note(&m)
			k.mu.Unlock()
			r += n
		}
		w = copy(buf, buf[r:w])
	}
}

// note keeps what later messages may refer to. The caller holds mu.
func (k *talker) note(m *wire.Message) {
	const most = 64
	switch m.ID {
	case wire.Piece:
		k.got += int64(len(m.Payload))
	case wire.Request:
		if len(k.asked) < most {
			k.asked = append(k.asked, wire.Message{ID: m.ID, Index: m.Index, Begin: m.Begin, Length: m.Length})
		}
	case wire.HashRequest:
		if r, _, _, err := wire.ParseHashRange(m.ID, m.Payload); err == nil && len(k.hashes) < most {
			k.hashes = append(k.hashes, r)
		}
	case wire.Extended:
		if q, err := wire.ParseMetadataMessage(m.Payload); m.Sub == wire.SubMetadata && err == nil && q.Kind == wire.MetadataRequest && len(k.metadata) < most {
			k.metadata = append(k.metadata, q.Piece)
		}
	}
	switch s := speedOf(m).(type) {
	case speed.Bid:
		k.theirBid = s.Price
	case speed.BidResponse:
		k.prices = append(k.prices, s.Price)
		if terms, err := channel.DecodeTerms(s.Terms); err == nil && len(k.terms) < most {
			k.terms = append(k.terms, terms)
		}
	case speed.Reserve:
		k.challenge = &s
	case speed.Channel:
		if c, err := channel.Decode(s.Payload); err == nil {
			k.hear(c)
		}
	}
}

// hear steps the machines that the talker drives.
func (k *talker) hear(c channel.Message) {
	if len(k.ids) < 16 {
		k.ids = append(k.ids, c.Channel())
	}
	if k.payer != nil && c.Channel() == k.payer.ID() {
		_ = k.payer.Step(c)
	}
	if open, ok := c.(*channel.Open); ok {
		k.payee, _ = channel.NewPayee(channel.PayeeConfig{Terms: k.offer(), Signer: k.key2(), MinOutput: k.rig.status.Params.MinOutput,
			Now: k.rig.status.LedgerTime}, open)
	} else if k.payee != nil && c.Channel() == k.payee.ID() {
		_ = k.payee.Step(c)
	}
}

func (k *talker) key2() *ledger.PrivateKey { return ledgertest.Key(k.name + " K2") }

// offer is what the talker asks of channels to it.
func (k *talker) offer() channel.Terms {
	return channel.Terms{Account: k.key.PublicKey(), K2: k.key2().PublicKey(), Network: k.rig.net, MinLock: 3600,
		MaxLock: 7 * 86400, MinDeposit: 10_000, MaxDeposit: amount.BTT, Quantum: uint32(k.torrent.Info.PieceLength)}
}

func (k *talker) send(b []byte) {
	_ = k.nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
	_, _ = k.nc.Write(b)
}

func (k *talker) speed(m speed.Message) {
	if f, err := speed.Append(nil, m); err == nil {
		k.send(ext(wire.SubSpeed, f))
	}
}

func (k *talker) channel(m channel.Message) { k.speed(speed.Channel{Payload: channel.Encode(m)}) }

// identify says who it is, mostly once.
func (k *talker) identify() {
	k.mu.Lock()
	f, err := k.bound.Identify(k.key)
	k.mu.Unlock()
	if err == nil {
		k.send(ext(wire.SubSpeed, f))
		k.named = true
	}
}

// flush sends what a machine wants said and asks the ledger what it wants asked,
// mostly.
func (k *talker) flush(rd channel.Ready, submitted func(channel.TaskKind, error, bool), lookedUp func(ledger.OutpointState, *ledger.Tx, error)) {
	for _, m := range rd.Messages {
		if k.rng.IntN(20) > 0 {
			k.channel(m)
		}
	}
	for _, t := range rd.Tasks {
		if t.Kind == channel.TaskLookup {
			st, err := k.rig.x.ledger.Outpoint(context.Background(), t.Outpoint)
			lookedUp(st, nil, err)
		} else if k.rng.IntN(10) > 0 {
			_, err := k.rig.x.ledger.Submit(context.Background(), t.Raw)
			submitted(t.Kind, err, err != nil)
		}
	}
}

// pays drives the payer's machine one step on.
func (k *talker) pays() {
	k.mu.Lock()
	defer k.mu.Unlock()
	price := amount.Price(0)
	if n := len(k.prices); n > 0 {
		price = k.prices[n-1]
	}
	switch {
	case len(k.terms) == 0:
		return
	case k.payer == nil || k.payer.Stage().Final():
		k.propose()
	case k.rng.IntN(30) == 0:
		k.payer.Close()
	case !k.attached && k.payer.Usable():
		var err error
		k.lane, err = k.payer.Attach(channel.Tag(k.torrent.hash), 0, channel.Tariff{{From: 0, Price: price}})
		k.attached = err == nil
	case k.attached && !k.payer.Awaits(k.lane):
		_ = k.payer.Pay(k.lane, k.payer.Fit(k.lane, k.got-k.rng.Int64N(2)*wire.BlockSize))
	}
	if p := k.payer; p != nil {
		k.flush(p.Ready(), p.Submitted, p.LookedUp)
	}
}

func (k *talker) propose() {
	k1 := ledgertest.Key(fmt.Sprintf("%s K1 %d", k.name, k.rng.Uint32()))
	coin, err := k.rig.x.ledger.Fund(k.key.Address(), 2*amount.BTT)
	if err != nil {
		return
	}
	terms, coins := k.terms[k.rng.IntN(len(k.terms))], []ledger.Coin{coin}
	t1, err := ledger.FundingTx(coins, amount.BTT, k1.PublicKey(), terms.K2, k.key.Address())
	if err != nil || ledger.SignInputs(t1, k.rig.net, coins, k.key) != nil {
		return
	}
	k.payer, _ = channel.NewPayer(channel.PayerConfig{Terms: terms, Account: k.key.PublicKey(), Signer: k1, T1: t1, Network: k.rig.net,
		MinOutput: k.rig.status.Params.MinOutput, Now: k.rig.status.LedgerTime, LockTime: k.rig.status.LedgerTime + uint64(terms.MinLock) + 120})
	k.attached = false
}

// earns drives the payee's machine, offers slots and answers requests.
func (k *talker) earns() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.payee; p != nil {
		if rd := p.Ready(); !rd.Empty() {
			k.flush(rd, p.Submitted, p.LookedUp)
			return
		}
	}
	switch k.rng.IntN(6) {
	case 0:
		if k.theirBid == 0 {
			return
		}
		price := amount.Price(k.rng.Int64N(int64(k.theirBid) + 1))
		if k.rng.IntN(8) == 0 {
			price = 0
		}
		terms := k.offer()
		k.speed(speed.BidResponse{Price: price, Terms: terms.Append(nil)})
		k.channel(&channel.Quote{From: k.rng.Int64N(2) * k.rng.Int64N(1<<20), Price: price})
		k.send(wire.AppendEmpty(nil, wire.Unchoke))
	case 1:
		k.send(wire.AppendEmpty(nil, []wire.ID{wire.Choke, wire.Unchoke}[k.rng.IntN(2)]))
	default:
		for n := k.rng.IntN(8); n >= 0 && len(k.asked) > 0; n-- {
			q := k.asked[0]
			k.asked = k.asked[1:]
			switch k.rng.IntN(40) {
			case 0:
				k.send(wire.AppendBlock(nil, wire.Reject, q.Index, q.Begin, q.Length))
			case 1:
				junk := make([]byte, q.Length)
				k.send(append(wire.AppendPieceHeader(nil, q.Index, q.Begin, q.Length), junk...))
			default:
				data := k.torrent.block(q.Index, q.Begin, q.Length)
				k.send(append(wire.AppendPieceHeader(nil, q.Index, q.Begin, uint32(len(data))), data...))
			}
		}
	}
}
