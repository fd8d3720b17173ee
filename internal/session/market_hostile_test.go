package session

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// raw is a peer of the tests' own making: it says on the wire whatever a test
// wants it to say.
type raw struct {
	t       *testing.T
	nc      net.Conn
	torrent *metainfo.Torrent
	account ledger.Address
	bound   speed.Connection
	peerID  [20]byte // ours
	theirs  [20]byte // the node's
	choked  bool
	got     int64 // payload bytes received
	prices  []amount.Price
	terms   []byte // of the newest bid response
}

// dialRaw connects to a node and does both handshakes, taking part in the
// market of the given network as the account of a key.
func dialRaw(t *testing.T, to netip.AddrPort, torrent *metainfo.Torrent, key *ledger.PrivateKey, net ledger.Network) *raw {
	t.Helper()
	c := dialMute(t, to, torrent, net)
	c.account = key.Address()
	f, err := c.bound.Identify(key)
	if err != nil {
		t.Fatal(err)
	}
	c.send(ext(wire.SubSpeed, f))
	return c
}

// dialMute is dialRaw up to the proof of an account.
func dialMute(t *testing.T, to netip.AddrPort, torrent *metainfo.Torrent, net ledger.Network) *raw {
	t.Helper()
	c := dialPlain(t, to, torrent, wire.OurReserved())
	id := speed.NetworkID(net)
	c.bound = speed.Connection{Network: net, InfoHash: torrent.InfoHash, Ours: speed.End{PeerID: c.peerID}, Theirs: speed.End{PeerID: c.theirs}}
	_, _ = rand.Read(c.bound.Ours.Nonce[:])
	h := wire.ExtendedHandshake{Speed: wire.SubSpeed, SpeedVersion: speed.Version, SpeedNetwork: id[:], SpeedNonce: c.bound.Ours.Nonce[:], Client: "raw"}
	c.send(ext(wire.SubHandshake, h.Append(nil)))
	c.until("extension handshake", func(m *wire.Message) bool {
		if m.ID != wire.Extended || m.Sub != wire.SubHandshake {
			return false
		}
		theirs, err := wire.ParseExtendedHandshake(m.Payload)
		if err != nil || len(theirs.SpeedNonce) != speed.NonceLen {
			t.Fatalf("extension handshake with a nonce of %d bytes, %v", len(theirs.SpeedNonce), err)
		}
		c.bound.Theirs.Nonce = [speed.NonceLen]byte(theirs.SpeedNonce)
		return true
	})
	return c
}

// dialPlain connects and does the first handshake only.
func dialPlain(t *testing.T, to netip.AddrPort, torrent *metainfo.Torrent, bits wire.Reserved) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := &raw{t: t, nc: nc, torrent: torrent, choked: true}
	h := wire.Handshake{Reserved: bits, InfoHash: torrent.InfoHash}
	_, _ = rand.Read(h.PeerID[:])
	c.peerID = h.PeerID
	c.send(h.Append(nil))
	var b [wire.HandshakeLen]byte
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		t.Fatalf("read handshake: %v", err)
	}
	c.theirs = [20]byte(b[wire.HandshakeLen-20:])
	return c
}

// send writes; an error shows when reading.
func (c *raw) send(b []byte) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	_, _ = c.nc.Write(b)
}

func (c *raw) speed(m speed.Message) {
	c.t.Helper()
	f, err := speed.Append(nil, m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(wire.AppendExtended(nil, wire.SubSpeed, f))
}

// bids offers a price and shows interest.
func (c *raw) bids(p amount.Price) {
	c.t.Helper()
	c.speed(speed.Bid{Price: p, Account: c.account})
	c.send(wire.AppendEmpty(nil, wire.Interested))
}

// next reads one message within d; the error is os.ErrDeadlineExceeded when
// none came.
func (c *raw) next(d time.Duration) (*wire.Message, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	var head [4]byte
	if n, err := io.ReadFull(c.nc, head[:]); err != nil {
		if n > 0 {
			c.t.Errorf("the stream ends inside a message: %v", err)
		}
		return nil, err
	}
	b := make([]byte, 4+binary.BigEndian.Uint32(head[:]))
	copy(b, head[:])
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c.nc, b[4:]); err != nil {
		return nil, err
	}
	m, n, err := wire.Next(b)
	if err != nil || n != len(b) {
		c.t.Fatalf("node sends %x: %v", b[:min(len(b), 40)], err)
	}
	c.note(&m)
	return &m, nil
}

func (c *raw) note(m *wire.Message) {
	switch m.ID {
	case wire.Choke:
		c.choked = true
	case wire.Unchoke:
		c.choked = false
	case wire.Piece:
		c.got += int64(len(m.Payload))
		if c.choked {
			c.t.Error("block while choked")
		}
	}
	if r, ok := speedOf(m).(speed.BidResponse); ok {
		c.prices, c.terms = append(c.prices, r.Price), r.Terms
	}
}

// until reads messages up to one that f accepts.
func (c *raw) until(what string, f func(*wire.Message) bool) *wire.Message {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		m, err := c.next(time.Until(end))
		if err != nil {
			c.t.Fatalf("no %s: %v", what, err)
		}
		if f(m) {
			return m
		}
	}
	c.t.Fatalf("no %s in time", what)
	return nil
}

func (c *raw) untilID(id wire.ID) *wire.Message {
	c.t.Helper()
	return c.until("message "+string('0'+rune(id)), func(m *wire.Message) bool { return m.ID == id })
}

// silent reads for d and fails on a message that f accepts.
func (c *raw) silent(d time.Duration, what string, f func(*wire.Message) bool) {
	c.t.Helper()
	for end := time.Now().Add(d); ; {
		m, err := c.next(time.Until(end))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			c.t.Fatalf("connection ended: %v", err)
		}
		if f(m) {
			c.t.Fatalf("unexpected %s", what)
		}
	}
}

// soon is a quarter of what a connection on which nothing comes is kept: what ends before
// has another reason.
const soon = time.Minute

// ends reads until the node closes the connection.
func (c *raw) ends() {
	c.t.Helper()
	for end := time.Now().Add(soon); ; {
		_, err := c.next(time.Until(end))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("the node keeps the connection")
		}
		if err != nil {
			return
		}
	}
}

// asks requests the first n blocks of the torrent that come at or after block
// from.
func (c *raw) asks(from, n int) {
	var out []byte
	info := c.torrent.Info
	per := int(info.PieceLength / wire.BlockSize)
	for i := from; i < from+n; i++ {
		out = wire.AppendBlock(out, wire.Request, uint32(i/per), uint32(i%per)*wire.BlockSize, wire.BlockSize)
	}
	c.send(out)
}

// sold waits for a paid slot.
func (c *raw) sold(price amount.Price) {
	c.t.Helper()
	c.until("bid response", func(*wire.Message) bool { return len(c.prices) > 0 })
	if p := c.prices[len(c.prices)-1]; p != price {
		c.t.Fatalf("price %v, want %v", p, price)
	}
	c.untilID(wire.Unchoke)
	c.speed(speed.Accept{Price: price})
}

// hostileSeed is a seed that asks 200 BTT/GiB and waits half a second for payments,
// within which an honest peer opens its channel on a busy machine too.
// Its penalties run on a clock of their own.
type hostileSeed struct {
	*trader
	dir     string
	torrent *metainfo.Torrent
	net     ledger.Network
	later   atomic.Int64
}

func newHostileSeed(t *testing.T, l *ledgertest.Memory, change func(*traderConfig)) *hostileSeed {
	t.Helper()
	h := &hostileSeed{}
	start := time.Now()
	cfg := traderConfig{reserve: perGiB(200), payments: payments.Config{PaymentTimeout: 500 * time.Millisecond}}
	cfg.session.ChokeEvery = 20 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	h.trader = newTrader(t, l, cfg)
	h.market.Now = func() time.Time { return start.Add(time.Duration(h.later.Load())) }
	h.net = h.market.Net
	h.dir, h.torrent = content(t, map[string]int{"a.bin": 1 << 20}, piece)
	h.seeds(h.dir, h.torrent)
	return h
}

// customer is a raw peer that was sold a slot.
func (h *hostileSeed) customer(t *testing.T, key *ledger.PrivateKey) *raw {
	t.Helper()
	c := dialRaw(t, h.Addr(), h.torrent, key, h.net)
	c.bids(perGiB(500))
	c.sold(perGiB(200))
	return c
}

// serves checks that an honest peer is served all of it for money. Where a busy
// machine makes it late, it waits as long as the penalties' clock says.
func (h *hostileSeed) serves(t *testing.T) {
	t.Helper()
	leech := newTrader(t, h.ledger, traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)})
	g, to := leech.gets(h.torrent, h.Addr())
	for end := time.Now().Add(patience); g.Status().State != swarm.Seeding && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if eligible, _ := h.market.Standing(leech.purse.Address(), netip.Addr{}, time.Now()); !eligible {
			h.later.Add(int64(speed.PenaltyBase))
		}
	}
	await(t, g)
	sameFiles(t, h.dir, to, map[string]int{"a.bin": 0})
	leech.settle()
}

// quiet is several choke rounds.
const quiet = 120 * time.Millisecond

// TestBidAndNeverPay: who bids, takes a piece and never opens a channel gets
// one piece, is choked after the payment timeout and gets nothing at all for a
// time that doubles; after the third failure it is banned (R12.1-R12.3, A25).
func TestBidAndNeverPay(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil)
	thief := ledgertest.Key("thief")
	penalty := speed.PenaltyBase
	for strike := 1; strike <= speed.BanAfter; strike++ {
		c := h.customer(t, thief)
		c.asks(0, 32)
		if strike < speed.BanAfter {
			c.untilID(wire.Choke)
		} else {
			c.ends()
		}
		if c.got > piece {
			t.Errorf("strike %d: %d bytes served without payment", strike, c.got)
		}
		if strike == speed.BanAfter {
			break
		}
		nothing := func(m *wire.Message) bool { return m.ID == wire.Unchoke || m.ID == wire.Piece }
		c.silent(quiet, "data for a peer that does not pay", nothing)
		c.nc.Close()
		again := dialRaw(t, h.Addr(), h.torrent, thief, h.net)
		again.bids(perGiB(500))
		again.silent(quiet, "slot on a new connection", nothing)
		h.later.Add(int64(penalty - time.Second))
		again.silent(quiet, "slot before the penalty is over", nothing)
		again.nc.Close()
		h.later.Add(int64(time.Second))
		penalty *= 2
	}
	banned := dialRaw(t, h.Addr(), h.torrent, thief, h.net)
	banned.ends() // before it bids (R12.3)
	h.serves(t)
	h.later.Add(int64(penalty))
	h.customer(t, thief)
	h.settle()
	want := owed(t, perGiB(200), h.torrent.Info.TotalLength)
	if got := h.gained(); got != int64(want) {
		t.Errorf("the provider earned %d, the honest peer alone pays %d", got, want)
	}
}
