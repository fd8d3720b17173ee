package session

import (
	"crypto/sha1"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// gate holds writes from their beginning until it is opened.
type gate struct {
	began chan struct{}
	open  chan struct{}
}

func (g gate) Begin([]uint32) uint64 {
	g.began <- struct{}{}
	<-g.open
	return 0
}

func (g gate) End(uint64, []disk.Touched, []uint32) {}

func (g gate) Units(uint32, int, []byte) {}

// hang lets each writer of a session's pool begin a write of another torrent that does
// not end before the function it returns is called.
func (x *trader) hang() (release func()) {
	x.t.Helper()
	g := gate{make(chan struct{}), make(chan struct{})}
	zero := make([]byte, disk.BlockSize)
	sum := sha1.Sum(zero)
	for range disk.DefaultWriters {
		store, err := disk.Open(disk.Config{Dir: x.t.TempDir(), Files: []disk.File{{Path: "z", Length: disk.BlockSize}},
			PieceLength: disk.BlockSize, Hashes: sum[:], Pool: x.pool, Journal: g})
		if err != nil {
			x.t.Fatal(err)
		}
		x.t.Cleanup(func() { store.Close() })
		if r, err := store.Block(0, 0, zero); r != disk.Verified {
			x.t.Fatal(r, err)
		}
		<-g.began
	}
	release = sync.OnceFunc(func() { close(g.open) })
	x.t.Cleanup(release)
	return release
}

// TestPaidAndNotWritten: a requester whose disk hangs has paid for no more than one
// piece that is not in its files, so that a kill loses no more (RFC 44). It tells its
// provider, which blames nobody, and pays for all when the disk goes on.
func TestPaidAndNotWritten(t *testing.T) {
	t.Parallel()
	l := ledgertest.New()
	price := perGiB(200)
	const size = 8 * piece
	dir, torrent := content(t, map[string]int{"a.bin": size}, piece)
	seed := newTrader(t, l, traderConfig{reserve: price, payments: payments.Config{PaymentTimeout: 5 * time.Second}})
	s := seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: 2 * price})
	release := leech.hang()
	g, to := leech.gets(torrent, seed.Addr())
	overdue := func(code channel.Code) (n int) {
		seed.mu.Lock()
		defer seed.mu.Unlock()
		for _, e := range seed.events {
			if e.Kind == payments.EventOverdue && e.Code == code {
				n++
			}
		}
		return n
	}
	until(t, "the payment to be late", func() bool { return overdue(channel.CodeLedger)+overdue(channel.CodeTimeout) > 0 })
	if _, paid, _ := leech.seen(payments.EventPaid); paid != piece {
		t.Errorf("%d bytes are paid and none is written", paid)
	}
	if have := g.Status().Have; have != 0 {
		t.Errorf("%d pieces are there while the disk hangs", have)
	}
	release()
	await(t, g)
	// What waited is paid; without its slot the rest may have come free of charge.
	until(t, "the payment", func() bool { return s.Status().Earned >= owed(t, price, 2*piece) })
	if err := leech.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	sameFiles(t, dir, to, map[string]int{"a.bin": size})
	if n := overdue(channel.CodeTimeout); n > 0 || seed.book.Strikes(leech.purse.Account()) > 0 {
		t.Errorf("the provider blames the requester %d times for its disk", n)
	}
	settleAll(leech, seed)
	reconcile(t, l, seed, leech)
}
