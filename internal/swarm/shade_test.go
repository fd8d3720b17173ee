package swarm

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// shopper is a market that bids by what slots cost, up to 10 BTT/GiB.
func shopper(w *world) *market.Node {
	k := rich(w)
	k.Market = true
	return k
}

// heard fails unless a stranger heard just these bids.
func (p *stranger) heard(t *testing.T, when string, want ...amount.Price) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	same := len(p.bids) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = p.bids[i].Price == want[i]
	}
	if !same {
		t.Errorf("%s: heard %v, want %v", when, p.bids, want)
	}
}

// TestMarketBids: bids follow the price of a slot (R8.9), go up where they lose, and
// as the peer's pieces are rarer (R8.10) or wanted by one who bids us (R8.11); all of it
// inside the paper's bid, which stands while no price was seen.
func TestMarketBids(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := shopper(w)
		s := w.node(k, w.t.TempDir(), nil)
		first := w.visitAs(s, wire.HaveAll, true)
		first.heard(t, "no price seen", 10*btt)
		if st := s.Status(); st.Bid != 10*btt {
			t.Errorf("no price seen: the least bid is %v", st.Bid)
		}
		k.SetSightings([]market.Sighting{{Price: 2 * btt, At: time.Now()}}, time.Now())
		after(11 * time.Second)
		if st := s.Status(); st.Bid != 25*btt/10 {
			t.Errorf("a price of 2 BTT/GiB seen: the least bid is %v", st.Bid)
		}
		w.visitAs(s, wire.HaveAll, true).heard(t, "one of two", 10*btt-75*btt/20)
		w.visitAs(s, wire.HaveAll, true)
		fourth := w.visitAs(s, wire.HaveAll, true)
		fourth.heard(t, "one of four", 4375*btt/1000)
		after(62 * time.Second)
		fourth.heard(t, "lost for a minute", 4375*btt/1000, 625*btt/100)
		after(2 * time.Minute)
		fourth.heard(t, "lost for three minutes", 4375*btt/1000, 625*btt/100, 10*btt)
		buyer := w.visit(s)
		buyer.send(speed.Bid{Price: 4 * btt, Account: buyer.account})
		synctest.Wait()
		w.visitAs(s, wire.HaveAll, true).heard(t, "one of five, and a buyer", 48*btt/10)
	})
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := shopper(w)
		s := w.node(k, w.t.TempDir(), nil)
		buyer := w.visit(s)
		buyer.send(speed.Bid{Price: 4 * btt, Account: buyer.account})
		after(11 * time.Second)
		if st := s.Status(); st.Bid != 5*btt {
			t.Errorf("a bid of 4 BTT/GiB seen: the least bid is %v", st.Bid)
		}
		k.Sell = false
		w.visitAs(s, wire.HaveAll, true).heard(t, "who does not sell, for what nobody else has", 10*btt)
	})
}
