package swarm

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/receipts"
)

// resells has a seller give its only peer a slot each round at the price that follows from
// the bid that it was told; below 0 it gives none.
func (s *Swarm) resells(price func(bid amount.Price) amount.Price) {
	c := s.Candidates(nil, true)
	if len(c) != 1 || !c[0].Speed || !c[0].Interested {
		return
	}
	d := choker.Decision{ID: c[0].ID}
	if p := price(c[0].Bid); p >= 0 && c[0].Bid > 0 {
		d.Unchoke, d.Paid, d.Price = true, true, p
	}
	s.Decide([]choker.Decision{d}, choker.Weights{})
	synctest.Wait()
}

// TestInventedLosers: a seller that invents a losing bid just below the one that it was
// told is bid less and less while another sells for less, and gets about half of what it
// could have; where the losing bid is another's, the seller gets the full bid again and
// goes on selling. Beside nobody, or a seller as dear, its price is its own affair: it is
// never above the bid. The receipt tells how near the bid each price was.
func TestInventedLosers(t *testing.T) {
	const pieces, rate = 400, 16 << 10
	follows := func(bid amount.Price) amount.Price { return bid - bid/50 }
	taken := func(bid amount.Price) amount.Price { // another bids 4.8 BTT/GiB
		if bid < 48*btt/10 {
			return -1
		}
		return 48 * btt / 10
	}
	for name, c := range map[string]struct {
		price, other func(bid amount.Price) amount.Price
		low, high    amount.Price // of the last prices
		part         int64        // least, of all rounds, ppm
	}{
		"invented":                 {price: follows, other: func(amount.Price) amount.Price { return btt }, low: 2 * btt, high: 25 * btt / 10, part: 970_000},
		"real":                     {price: taken, other: func(amount.Price) amount.Price { return btt }, low: 48 * btt / 10, high: 48 * btt / 10, part: 950_000},
		"beside one as dear":       {price: follows, other: follows, low: 49 * btt / 10, high: 49 * btt / 10, part: 970_000},
		"beside nobody that sells": {price: follows, other: func(amount.Price) amount.Price { return -1 }, low: 49 * btt / 10, high: 49 * btt / 10, part: 970_000},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				k := w.buyer()
				var err error
				if k.Receipts, err = receipts.Open(t.TempDir(), time.Now); err != nil {
					t.Fatal(err)
				}
				g := w.node(k, t.TempDir(), nil)
				forger, other := w.limited(w.market(), rate), w.limited(w.market(), rate)
				w.join(forger, g)
				w.join(other, g)
				after(2 * time.Second)
				var last amount.Price
				for began := time.Now(); g.Status().State == Downloading && time.Since(began) < 12*time.Minute; after(choker.Period) {
					forger.resells(c.price)
					other.resells(c.other)
					for _, p := range forger.Status().Peers {
						last = max(p.SoldAt, btt/100)
					}
				}
				if g.Status().State != Downloading {
					t.Error("the download is over too soon to tell")
				}
				if last < c.low || last > c.high {
					t.Errorf("the last price is %v, want %v to %v", last, c.low, c.high)
				}
				after(10 * time.Second)
				for _, r := range k.Receipts.List() {
					for _, l := range r.Lines {
						if part, ok := l.Share(); l.Account == forger.cfg.Market.Account && (part < c.part || !ok || l.Rounds < 10) {
							t.Errorf("the receipt says %d ppm of the bid over %d rounds", part, l.Rounds)
						}
					}
				}
				for _, s := range []*Swarm{forger, other} {
					if p := s.Status().Peers; len(p) != 1 {
						t.Errorf("%d peers at a seller", len(p))
					}
					s.Close()
				}
				after(time.Minute)
			})
		})
	}
}
