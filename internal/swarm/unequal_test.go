package swarm

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/wire"
)

const (
	unequalPieces = 60
	unequalFast   = 256 << 10 // the rate of the fast ones, in bytes a second
)

// unequal are sellers of several rates.
type unequal struct {
	slow       []int64 // bytes a second
	drips      bool    // a block in half a minute
	fast, free bool
	sequential bool
	within     time.Duration
}

// TestSellersUnequal: a paid seller that is far slower than another, by bad will or by
// its user's limit, does not hold up the end of a download: it is done in about the
// time of the others alone. What the slow one brought is paid, once, and nobody is
// banned. Where all are slow, or there is only one, the download ends as well.
func TestSellersUnequal(t *testing.T) {
	const pieces, fast = unequalPieces, unequalFast
	alone := time.Duration(pieces*testPiece/fast) * time.Second
	for name, c := range map[string]unequal{
		"block in half a minute":              {drips: true, fast: true, within: alone + 8*time.Second},
		"block in half a minute, free seed":   {drips: true, free: true, within: alone + 8*time.Second},
		"block in half a minute, in order":    {drips: true, fast: true, sequential: true, within: alone + 8*time.Second},
		"user's limit":                        {slow: []int64{4 << 10}, fast: true, within: alone + 8*time.Second},
		"user's limit, free seed":             {slow: []int64{4 << 10}, free: true, within: alone + 8*time.Second},
		"several":                             {slow: []int64{2 << 10, 3 << 10, 4 << 10}, drips: true, fast: true, within: alone + 8*time.Second},
		"all slow":                            {slow: []int64{20 << 10, 24 << 10}, within: pieces * testPiece / (44 << 10) * time.Second * 5 / 4},
		"one alone":                           {slow: []int64{20 << 10}, within: pieces * testPiece / (20 << 10) * time.Second * 5 / 4},
		"none is fast, and one does not send": {slow: []int64{20 << 10}, drips: true, within: pieces * testPiece / (20 << 10) * time.Second * 5 / 4},
	} {
		for _, head := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second} {
			t.Run(fmt.Sprintf("%s, after %v", name, head), func(t *testing.T) {
				bubble(t, pieces*testPiece, func(t *testing.T, w *world) { c.run(t, w, head) })
			})
		}
	}
}

// run has the slow sellers sell first, and the others after a head start.
func (c unequal) run(t *testing.T, w *world, head time.Duration) {
	k := w.buyer()
	g := w.node(k, t.TempDir(), func(cfg *Config) { cfg.Sequential = c.sequential })
	var sellers []*Swarm
	if c.drips {
		crook := w.seed(w.market(), nil)
		w.joinSlow(crook, g, 1, 30*time.Second)
		sellers = append(sellers, crook)
	}
	for _, rate := range c.slow {
		s := w.limited(w.market(), rate)
		w.join(s, g)
		sellers = append(sellers, s)
	}
	after(time.Second)
	for _, s := range sellers {
		s.sells(t, btt)
	}
	after(head)
	slow := len(sellers)
	if c.fast {
		s := w.limited(w.market(), unequalFast)
		w.join(s, g)
		sellers = append(sellers, s)
	}
	if c.free {
		s := w.limited(nil, unequalFast)
		w.join(s, g)
		after(time.Second)
		s.Decide([]choker.Decision{{ID: s.Candidates(nil, false)[0].ID, Unchoke: true}}, choker.Weights{})
	}
	after(time.Second)
	took := fetch(t, g, sellers...)
	t.Logf("%v, at most %v", took, c.within)
	if st := g.Status(); st.State != Seeding || took > c.within {
		t.Errorf("%v after %v, at most %v; %d bytes are left", st.State, took, c.within, st.Left)
	}
	after(2 * time.Second)
	paid, earned := g.Status().Paid, amount.Amount(0)
	for i, s := range sellers {
		st := s.Status()
		t.Logf("seller %d earned %v for %d bytes", i, st.Earned, st.Totals.Uploaded)
		if earned += st.Earned; i < slow && st.Earned == 0 && st.Totals.Uploaded > testPiece {
			t.Error("a slow seller was paid nothing for what it brought")
		}
		most, _ := btt.Owed(st.Totals.Uploaded + wire.BlockSize) // one is being written
		if st.Earned > most {
			t.Errorf("seller %d earned %v for what is worth %v", i, st.Earned, most)
		}
		if c.drips && i == 0 {
			continue // its own words are stuck behind its blocks: no channel opens in time
		}
		if eligible, banned := s.cfg.Market.Standing(k.Account, netip.Addr{}, time.Now()); !eligible || banned {
			t.Errorf("seller %d holds something against the buyer", i)
		}
		if _, banned := k.Standing(s.cfg.Market.Account, netip.Addr{}, time.Now()); banned {
			t.Errorf("seller %d is banned", i)
		}
	}
	if whole, _ := btt.Owed(unequalPieces * testPiece); paid != earned || paid > whole {
		t.Errorf("paid %v, earned %v, the whole costs %v", paid, earned, whole)
	}
	for _, s := range sellers {
		s.Close()
	}
	after(time.Minute)
}

// TestDoubtedTaker: a peer whose data are in doubt takes no rest of a piece that a paid
// seller has begun and goes on with, however slowly, as long as it brings anything: a bad
// block would cost the seller its pay. A peer that is in no doubt takes it.
func TestDoubtedTaker(t *testing.T) {
	const pieces = 1
	for _, parole := range []bool{true, false} {
		t.Run(fmt.Sprint(parole), func(t *testing.T) {
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				var free int64
				g := w.node(w.buyer(), t.TempDir(), nil)
				s := w.seed(w.market(), nil)
				w.joinSlow(s, g, 1, 2900*time.Millisecond)
				after(time.Second)
				s.sells(t, btt)
				after(2 * time.Second)
				f := w.limited(nil, unequalFast)
				w.join(f, g)
				after(time.Second)
				_ = g.do(func() {
					for _, m := range g.peers {
						if !m.trade.Trading() {
							m.parole, m.rateBusy = parole, unequalFast
						}
					}
				})
				f.Decide([]choker.Decision{{ID: f.Candidates(nil, false)[0].ID, Unchoke: true}}, choker.Weights{})
				took := fetch(t, g, s)
				_ = g.do(func() {
					for _, m := range g.peers {
						if !m.trade.Trading() {
							free = m.conn.Received.Load()
						}
					}
				})
				t.Logf("%v, %d bytes were free", took, free)
				if g.Status().State != Seeding {
					t.Errorf("%d bytes are left", g.Status().Left)
				}
				if paid := free == 0; paid != parole {
					t.Errorf("%d bytes of the begun piece are another's", free)
				}
				s.Close()
				after(time.Minute)
			})
		})
	}
}
