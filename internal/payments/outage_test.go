package payments

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestOutageWhileAChannelOpens: the ledger is gone before the channel is open, for
// both sides or one. Nobody is blamed, and the payment comes when the ledger does.
func TestOutageWhileAChannelOpens(t *testing.T) {
	for _, who := range []string{"both", "buyer", "seller"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := ledgertest.New()
				gates := map[string]*gate{"buyer": {Client: m}, "seller": {Client: m}}
				quick := func(name string) func(*Config) {
					return func(c *Config) { c.Ledger, c.PaymentTimeout = gates[name], 300*time.Millisecond }
				}
				buyer := newNode(t, m, "buyer", 100*amount.BTT, quick("buyer"))
				seller := newNode(t, m, "seller", 0, quick("seller"))
				buyer.purse.client, seller.purse.client = gates["buyer"], gates["seller"]
				for name, g := range gates {
					g.shut.Store(who == "both" || who == name)
				}
				w := newWire(t, buyer.book, seller.book, 1, 0)
				trade(t, buyer, seller, w, price, 64<<20)
				w.serve(t, 1<<20, 1<<18)
				e := seller.awaitKind(EventOverdue)
				if e.Code != channel.CodeLedger || seller.book.Strikes(buyer.purse.Account()) != 0 {
					t.Errorf("overdue with %v", e.Code)
				}
				for _, g := range gates {
					g.shut.Store(false)
				}
				w.paid(t)
				w.serve(t, 4<<20, 1<<18)
				w.paid(t)
				if n := seller.book.Strikes(buyer.purse.Account()); n != 0 {
					t.Errorf("%d failures", n)
				}
			})
		})
	}
}

// gate is a ledger behind a line that can be cut.
type gate struct {
	ledger.Client
	shut atomic.Bool
}

var errCut = errors.New("no line to the ledger")

func (g *gate) Status(ctx context.Context) (ledger.Status, error) {
	if g.shut.Load() {
		return ledger.Status{}, errCut
	}
	return g.Client.Status(ctx)
}

func (g *gate) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	if g.shut.Load() {
		return ledger.Receipt{}, errCut
	}
	return g.Client.Submit(ctx, raw)
}

func (g *gate) Outpoint(ctx context.Context, o ledger.OutPoint) (ledger.OutpointState, error) {
	if g.shut.Load() {
		return ledger.OutpointState{}, errCut
	}
	return g.Client.Outpoint(ctx, o)
}

func (g *gate) Unspent(ctx context.Context, a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	if g.shut.Load() {
		return nil, errCut
	}
	return g.Client.Unspent(ctx, a, after, limit)
}

func TestOutageDoesNotStopPayments(t *testing.T) {
	m, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 2<<20, 1<<20)
	m.SetOutage(errors.New("the ledger is down"))
	w.serve(t, 8<<20, 1<<20)
	seller.await("payment", earned(owed(price, 10<<20)))
	m.SetOutage(nil)
	closeBook(t, seller)
	if got := seller.purse.balance(t); got != owed(price, 10<<20) {
		t.Errorf("seller holds %v", got)
	}
}
