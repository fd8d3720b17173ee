package swarm

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/market"
)

// TestSellsOn: a seller that goes on at its price when the bid was taken back, or fell below
// that, is asked for nothing more: at once where nothing is bid, else when it had the time
// to tell a new price. With the bid back it sells again.
func TestSellsOn(t *testing.T) {
	const pieces, rate = 400, 16 << 10
	for name, c := range map[string]struct {
		set  func(was market.Spending) market.Spending
		wait time.Duration
	}{
		"no bid":         {func(market.Spending) market.Spending { return market.Spending{} }, 2 * time.Second},
		"spent budget":   {func(s market.Spending) market.Spending { s.TorrentBudget = 1; return s }, 2 * time.Second},
		"a lower bid":    {func(s market.Spending) market.Spending { s.Bid.Cap = btt; return s }, 2*time.Minute + 5*time.Second},
		"the same price": {nil, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				k := w.buyer()
				g := w.node(k, t.TempDir(), nil)
				seller := w.limited(w.market(), rate)
				w.join(seller, g)
				defer func() { seller.Close(); after(time.Minute) }()
				after(2 * time.Second)
				price := func(bid amount.Price) amount.Price { return bid - bid/5 }
				seller.resells(price) // once
				after(10 * time.Second)
				paid := func(d time.Duration) amount.Amount {
					t.Helper()
					was := g.Status().Paid
					after(d)
					if g.Status().State != Downloading {
						t.Fatal("the download is over too soon to tell")
					}
					return g.Status().Paid - was
				}
				if paid(10*time.Second) == 0 {
					t.Fatal("nothing is paid")
				}
				if c.set == nil {
					return
				}
				first := k.Spending()
				k.SetSpending(c.set(first))
				g.Rebid()
				after(c.wait)
				if sum := paid(20 * time.Second); sum != 0 {
					t.Errorf("paid %v when nothing is bid as dear", sum)
				}
				k.SetSpending(first)
				g.Rebid()
				after(2*time.Minute + 5*time.Second)
				seller.resells(price) // the slot was not used
				after(time.Second)
				if g.Status().State == Downloading && paid(10*time.Second) == 0 {
					t.Error("nothing is paid with the bid back")
				}
			})
		})
	}
}
