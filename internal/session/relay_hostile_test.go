package session

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// encrypted has a trader speak to nobody in the clear. For its provider an honest payer is
// not late on a busy machine.
func encrypted(c *traderConfig) {
	c.session.Encryption = mse.Required
	c.payments.PaymentTimeout = 10 * time.Second
}

// TestPaidEncrypted: the two sides of an encrypted connection bind their proofs to
// one secret, and trade.
func TestPaidEncrypted(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, encrypted)
	cfg := traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)}
	encrypted(&cfg)
	leech := newTrader(t, l, cfg)
	g, _ := leech.gets(h.torrent, h.Addr())
	await(t, g)
	if want := owed(t, perGiB(200), h.torrent.Info.TotalLength); g.Status().Paid != want {
		t.Errorf("paid %v, want %v", g.Status().Paid, want)
	}
	settleAll(leech, h.trader)
}

// TestManInTheMiddle: who sits between two encrypted peers and passes on all that
// they say, proofs and peer ids too, is found out by both: the secrets of its two
// halves differ. Nothing is bid, sold or paid through it.
func TestManInTheMiddle(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, encrypted)
	cfg := traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)}
	encrypted(&cfg)
	leech := newTrader(t, l, cfg)
	middle, ended := relay(t, h)
	g, _ := leech.gets(h.torrent, middle)
	until(t, "the end of a relayed connection", func() bool {
		g.AddPeers(middle)
		return ended.Load() > 0
	})
	if g.Status().Paid != 0 || g.Status().State != swarm.Downloading || len(leech.book.Summary())+len(h.book.Summary()) != 0 {
		t.Errorf("trade through somebody in the middle: %+v", g.Status())
	}
	g.AddPeers(h.Addr())
	await(t, g)
	settleAll(leech, h.trader)
}

// relay listens, and passes connections on to a seed by another encrypted
// handshake; ended counts those that are over.
func relay(t *testing.T, h *hostileSeed) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ended := new(atomic.Int64)
	pass := func(a net.Conn) {
		defer a.Close()
		got, err := mse.Accept(a, func(q [20]byte) ([20]byte, bool) { return h.torrent.InfoHash, q == mse.Request(h.torrent.InfoHash) }, mse.Required)
		if err != nil {
			return
		}
		hello := make([]byte, wire.HandshakeLen)
		if _, err := io.ReadFull(got.Conn, hello); err != nil {
			return
		}
		nc, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			return
		}
		defer nc.Close()
		b, _, err := mse.Initiate(nc, h.torrent.InfoHash, mse.Required, hello)
		if err != nil {
			return
		}
		go func() { // ends with either connection
			_, _ = io.Copy(b, got.Conn)
			nc.Close()
		}()
		_, _ = io.Copy(got.Conn, b)
		ended.Add(1)
	}
	go func() { // ends with the listener
		for {
			a, err := ln.Accept()
			if err != nil {
				return
			}
			go pass(a)
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String()), ended
}
