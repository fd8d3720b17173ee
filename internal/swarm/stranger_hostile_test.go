package swarm

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/market"
)

// TestStrangerAtTheEnd: a peer that brought nothing yet and finds no work takes a piece
// from a seller that needs some seconds for it. If it then brings nothing, or far less,
// the seller has its work again after some seconds: it does not stand still until the
// stranger's answer is overdue, or for a minute.
func TestStrangerAtTheEnd(t *testing.T) {
	const pieces = 6
	for name, c := range map[string]struct {
		rate  int64         // of the seller, bytes a second
		every time.Duration // a block comes, 0 = none does
		paid  bool
	}{
		"free, nothing":           {rate: 16 << 10},
		"paid, nothing":           {rate: 16 << 10, paid: true},
		"free, little":            {rate: 16 << 10, every: 5 * time.Second},
		"paid, little":            {rate: 16 << 10, every: 5 * time.Second, paid: true},
		"beside a slow one":       {rate: 4 << 10},
		"beside a slow one, paid": {rate: 4 << 10, paid: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				g := w.node(w.buyer(), t.TempDir(), nil)
				s := w.limited(w.market(), c.rate)
				w.join(s, g)
				after(time.Second)
				s.sells(t, btt)
				after(5 * time.Second)
				var k *market.Node
				if c.paid {
					k = w.market()
				}
				stranger := w.seed(k, nil)
				w.joinSlow(stranger, g, 0, c.every)
				after(time.Second)
				sellers := []*Swarm{s}
				if c.paid {
					sellers = append(sellers, stranger)
				} else {
					stranger.Decide([]choker.Decision{{ID: stranger.Candidates(nil, false)[0].ID, Unchoke: true}}, choker.Weights{})
				}
				took := fetch(t, g, sellers...)
				most := time.Duration(pieces*testPiece/c.rate+15) * time.Second
				t.Logf("%v, at most %v", took, most)
				if st := g.Status(); st.State != Seeding || took > most {
					t.Errorf("%v after %v, at most %v; %d bytes are left", st.State, took, most, st.Left)
				}
				if whole, _ := btt.Owed(pieces * testPiece); g.Status().Paid > whole {
					t.Errorf("paid %v for what costs %v", g.Status().Paid, whole)
				}
				stranger.Close()
				after(time.Minute)
			})
		})
	}
}
