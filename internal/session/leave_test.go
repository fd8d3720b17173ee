package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// slowLedger takes a while to answer each transaction.
type slowLedger struct {
	*ledgertest.Memory
	delay time.Duration
}

func (s slowLedger) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	select {
	case <-time.After(s.delay):
		return s.Memory.Submit(ctx, raw)
	case <-ctx.Done():
		return ledger.Receipt{}, ctx.Err()
	}
}

// TestLastPiece: a requester that leaves at the moment its download is complete has
// paid all of it, though the channel that pays the last piece is still opening then:
// its first one, or a successor.
func TestLastPiece(t *testing.T) {
	for name, c := range map[string]struct {
		size    int
		deposit int64
	}{
		"first channel":  {size: piece - 1234},
		"few pieces":     {size: 3*piece + 17},
		"used up":        {size: 8 * piece, deposit: 7 * piece},
		"last byte":      {size: 8*piece + 1, deposit: 8 * piece},
		"many channels":  {size: 20 * piece, deposit: 5*piece + 100},
		"needs no other": {size: 20 * piece},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := ledgertest.New()
			price := perGiB(2000)
			dir, torrent := content(t, map[string]int{"a.bin": c.size}, piece)
			slow := payments.Config{Ledger: slowLedger{l, 200 * time.Millisecond}, DepositBytes: c.deposit}
			seed := newTrader(t, l, traderConfig{reserve: price, payments: slow})
			seed.seeds(dir, torrent)
			leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: 2 * price, payments: slow})
			g, _ := leech.gets(torrent, seed.Addr())
			await(t, g)
			leech.settle()
			if n, _, _ := leech.seen(payments.EventOpened); (name == "needs no other" || name == "few pieces") && n != 1 {
				t.Errorf("%d channels were opened", n)
			}
			seed.settle()
			n, _, _ := leech.seen(payments.EventOpened)
			// Each channel rounds its sum down.
			if got, want := seed.gained(), int64(owed(t, price, int64(c.size))); got > want || got < want-int64(n) {
				t.Errorf("the provider has %d of %d", got, want)
			}
			if got := leech.gained() + seed.gained(); got != 0 {
				t.Errorf("%d are locked or lost", -got)
			}
		})
	}
}

// TestLeaveMidway: a requester that leaves in the middle of a download has paid each
// piece that it verified, and no other.
func TestLeaveMidway(t *testing.T) {
	l := ledgertest.New()
	price := perGiB(2000)
	const size = 64 * piece
	dir, torrent := content(t, map[string]int{"a.bin": size}, piece)
	slow := payments.Config{Ledger: slowLedger{l, 100 * time.Millisecond}, DepositBytes: 10*piece + 100}
	seed := newTrader(t, l, traderConfig{reserve: price, payments: slow, session: Config{UploadRate: 2 << 20}})
	seed.seeds(dir, torrent)
	for _, after := range []int{1, 7, 10, 15} {
		leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: 2 * price, payments: slow})
		before := seed.gained()
		g, _ := leech.gets(torrent, seed.Addr())
		until(t, "pieces", func() bool { return g.Status().Have >= after })
		if err := leech.Settle(context.Background()); err != nil {
			t.Error(err)
		}
		verified := int64(g.Status().Have) * piece
		_, paid, _ := leech.seen(payments.EventPaid)
		if paid != verified {
			t.Errorf("%d bytes are paid of %d that were verified", paid, verified)
		}
		leech.settle()
		n, _, _ := leech.seen(payments.EventOpened)
		until(t, "the settlement", func() bool {
			got, want := seed.gained()-before, int64(owed(t, price, verified))
			return got <= want && got >= want-int64(n)
		})
	}
}

// TestLeaveWithoutLedger: while no channel can open a requester does not wait for
// ever, and says what it did not pay.
func TestLeaveWithoutLedger(t *testing.T) {
	l := ledgertest.New()
	price := perGiB(2000)
	dir, torrent := content(t, map[string]int{"a.bin": piece}, piece)
	away := payments.Config{Ledger: slowLedger{l, time.Hour}}
	seed := newTrader(t, l, traderConfig{reserve: price, payments: away})
	seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: 2 * price, payments: away})
	g, _ := leech.gets(torrent, seed.Addr())
	await(t, g)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	err := leech.Settle(ctx)
	if !errors.Is(err, market.ErrUnsettled) {
		t.Errorf("left with %v", err)
	}
	t.Log(err)
}

// TestLateChannel: two seeds do not part while the payment between them is due, though
// the channel for it opens late.
func TestLateChannel(t *testing.T) {
	t.Parallel()
	l := ledgertest.New()
	price := perGiB(2000)
	dir, torrent := content(t, map[string]int{"a.bin": piece - 1}, piece)
	// Two seeds part after five seconds. No payment fails, however slow the machine.
	late := payments.Config{Ledger: slowLedger{l, 9 * time.Second}, PaymentTimeout: patience}
	seed := newTrader(t, l, traderConfig{reserve: price, payments: late})
	s := seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: 2 * price})
	g, _ := leech.gets(torrent, seed.Addr())
	await(t, g)
	until(t, "the late payment", func() bool { return s.Status().Earned == owed(t, price, piece-1) })
	if n := len(s.Status().Peers); n != 1 {
		t.Errorf("%d peers", n)
	}
}
