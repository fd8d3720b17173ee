package swarm

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// TestIdleSlot: a peer that holds a slot and asks for nothing is idle after two
// seconds, the choker is told to look once, and what the peer lacks is known.
func TestIdleSlot(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		var looks atomic.Int32
		s := w.seed(nil, func(c *Config) { c.FreeSlot = func() { looks.Add(1) } })
		w.visit(s)
		c := s.Candidates(nil, true)
		if len(c) != 1 || c[0].Idle || c[0].Left != 10*testPiece {
			t.Fatalf("candidates %+v", c)
		}
		s.Decide([]choker.Decision{{ID: c[0].ID, Unchoke: true}}, choker.Weights{Free: 1, Bidder: 1})
		looks.Store(0)
		after(lendAfter / 2)
		if c = s.Candidates(nil, false); c[0].Idle || looks.Load() > 0 {
			t.Errorf("idle at once: %+v", c)
		}
		after(2 * lendAfter)
		if c = s.Candidates(nil, false); !c[0].Unchoked || !c[0].Idle || looks.Load() != 1 {
			t.Errorf("%+v, the choker was told %d times", c, looks.Load())
		}
	})
}

// TestTakenSlot: a buyer that asks for nothing loses its slot and does not have it
// back a moment later, free of charge or at a price: neither by the word of a choker
// that looked before, nor as the only one who waits. After a choke round it may have
// a free slot again, and at once if it says anew that it wants something.
func TestTakenSlot(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := w.market()
		k.IdleTime = 3 * time.Second
		s := w.seed(k, nil)
		p := w.visit(s)
		p.send(speed.Bid{Price: 5 * btt, Account: p.account})
		look := func() choker.Candidate { return s.Candidates(nil, false)[0] }
		fill := func() {
			var scratch choker.Scratch
			cfg := choker.Default(1)
			s.Decide(scratch.Fill(nil, cfg, time.Now(), s.Candidates(nil, false)), choker.Weights{})
		}
		for _, paid := range []bool{true, false} {
			s.Decide([]choker.Decision{{ID: look().ID, Unchoke: true, Paid: true, Price: btt}}, choker.Weights{})
			p.send(speed.Accept{Price: btt})
			old := look()
			if !old.Paid || !old.Unchoked {
				t.Fatalf("no slot is sold: %+v", old)
			}
			for range 10 {
				if time.Sleep(time.Second); !s.Status().Peers[0].Unchoked {
					break
				}
			}
			// Nobody looked since: the status is none of the choker's.
			s.Decide([]choker.Decision{{ID: old.ID, Unchoke: true, Paid: paid, Price: old.Price}}, choker.Weights{})
			if c := look(); c.Unchoked {
				t.Fatalf("a choker that looked before gives the slot back, paid %v: %+v", paid, c)
			}
			if fill(); look().Unchoked {
				t.Errorf("the slot that was taken back is lent to its last holder")
			}
			if paid { // it says that it wants something
				p.write(wire.AppendEmpty(wire.AppendEmpty(nil, wire.NotInterested), wire.Interested))
			} else {
				after(choker.Period + 2*time.Second)
			}
			if fill(); !look().Unchoked {
				t.Errorf("no free slot after the rest")
			}
			after(time.Minute) // it may buy again
		}
	})
}

// TestWithdrawnBid: the price of a slot is the highest losing bid of those who want
// one at that moment. Who loses interest, withdraws its bid or leaves counts no more
// in the next auction, wins nothing, and its bid is not shown any more.
func TestWithdrawnBid(t *testing.T) {
	for name, c := range map[string]struct {
		withdraw func(p *stranger)
		kept     bool // its connection
	}{
		"not interested": {func(p *stranger) { p.write(wire.AppendEmpty(nil, wire.NotInterested)) }, true},
		"bid of nothing": {func(p *stranger) { p.send(speed.Bid{Account: p.account}) }, true},
		"left":           {func(p *stranger) { p.net.Close() }, false},
	} {
		for _, holder := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, holder %v", name, holder), func(t *testing.T) {
				bubble(t, 10*testPiece, func(t *testing.T, w *world) {
					var scratch choker.Scratch
					cfg := choker.Default(1)
					cfg.Optimistic = 0
					s := w.seed(w.market(), nil)
					rich, mid, poor := w.visit(s), w.visit(s), w.visit(s)
					for p, bid := range map[*stranger]int{rich: 9, mid: 7, poor: 2} {
						p.send(speed.Bid{Price: amount.Price(bid) * btt, Account: p.account})
					}
					round := func() (prices []amount.Price) {
						d := scratch.Round(nil, cfg, time.Now(), 1, s.Candidates(nil, true))
						s.Decide(d, choker.Weights{})
						for _, d := range d {
							if d.Paid {
								prices = append(prices, d.Price)
							}
						}
						return prices
					}
					if got := round(); !slices.Equal(got, []amount.Price{7 * btt}) {
						t.Fatalf("sold at %v", got)
					}
					leaver := mid
					if holder {
						leaver = rich
					}
					c.withdraw(leaver)
					after(time.Millisecond)
					if got := round(); !slices.Equal(got, []amount.Price{2 * btt}) {
						t.Errorf("sold at %v after the bid is gone", got)
					}
					for _, p := range s.Status().Peers {
						if p.Account == leaver.account.String() && (!c.kept || p.TheirBid != 0 || p.Backed != 0 || p.SoldAt != 0) {
							t.Errorf("%+v", p)
						}
					}
				})
			})
		}
	}
}
