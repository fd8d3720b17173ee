package choker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
)

// TestBidsWeigh: of those who hold sold slots the higher bid has more of the upload,
// at most four times what the lowest has; equal bids are equal, all together have
// what they had, and who holds a slot that is not sold is not weighed by its bid.
func TestBidsWeigh(t *testing.T) {
	for _, k := range []struct {
		bids []amount.Price
		free int
		want []uint8 // of the bids, then of a free peer
	}{
		{[]amount.Price{40}, 1, []uint8{1, 1}},
		{[]amount.Price{40, 40}, 1, []uint8{1, 1, 1}},
		{[]amount.Price{400, 200}, 1, []uint8{4, 2, 3}},
		{[]amount.Price{400, 200, 100, 40}, 1, []uint8{5, 3, 2, 1, 3}},
		{[]amount.Price{100, 400, 100}, 0, []uint8{2, 5, 2}},
		{[]amount.Price{1e15, 400, 200, 100, 40}, 1, []uint8{5, 4, 3, 2, 1, 3}}, // a bid beyond all measure
		{[]amount.Price{101, 100}, 1, []uint8{3, 3, 3}},                         // one unit more buys nothing
	} {
		var s Share
		var cands []Candidate
		for i, bid := range k.bids {
			cands = append(cands, Candidate{ID: uint64(i), Interested: true, Seeding: true, Speed: true, Bid: bid})
		}
		for i := range k.free {
			cands = append(cands, Candidate{ID: uint64(len(k.bids) + i), Interested: true, Seeding: true})
		}
		w := s.Weigh(cands, func(i int) (bool, bool) { return true, i < len(k.bids) })
		var got []uint8
		for i := range cands {
			got = append(got, w.Of(uint64(i), i < len(k.bids)))
		}
		if !slices.Equal(got, k.want) {
			t.Errorf("bids %d: weights %d, want %d", k.bids, got, k.want)
		}
		w = s.Weigh(cands, func(i int) (bool, bool) { return true, i == 0 })
		for i := 1; i < len(cands); i++ {
			if x := w.Of(uint64(i), i < len(k.bids)); x != w.Of(0, true) {
				t.Errorf("bids %d: weight %d in a slot that is not sold, %d in the only one that is", k.bids, x, w.Of(0, true))
			}
		}
	}
}

// TestBidsWeighBounded: whatever is bid, each weight is from 1 to MaxWeight, orders
// as the bids do, and the mean stays near that of the bidders.
func TestBidsWeighBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		s := Share{part: rng.Int64N(ppm), sent: 1e6, owed: rng.Int64N(4e6) - 2e6}
		var cands []Candidate
		for i := range 2 + rng.IntN(40) {
			cands = append(cands, Candidate{ID: uint64(i), Interested: true, Seeding: true, Speed: true, Bid: amount.Price(rng.Int64N(1<<rng.IntN(60) + 1)), Left: 1e9})
		}
		w := s.Weigh(cands, func(i int) (bool, bool) { return true, cands[i].buyer() })
		for i := range w.Bids {
			if b := w.Bids[i]; b.Weight < 1 || b.Weight > MaxWeight || i > 0 && b.Weight < w.Bids[i-1].Weight {
				t.Fatalf("weights %+v", w)
			}
		}
		if low := w.Of(cands[0].ID, false); low < 1 || w.First > MaxWeight || w.Free > MaxWeight {
			t.Fatalf("weights %+v", w)
		}
	}
}

// TestRicherFirstWithSlotForEach: where each bidder has a slot, all pay the same and
// the higher bid is complete first all the same; free peers lose nothing by that.
func TestRicherFirstWithSlotForEach(t *testing.T) {
	for seed := range uint64(10) {
		f := crowdOf(rand.New(rand.NewPCG(seed, 1)), Default(8), 4, 6, 15, 5*time.Second)
		for i := range 4 {
			f.bids[i] = []amount.Price{400, 200, 100, 40}[i]
		}
		f.share = &Share{}
		done := f.run(rand.New(rand.NewPCG(seed, 2)))
		if !slices.IsSorted(done[:4]) || 10*done[0] > 9*done[3] {
			t.Errorf("swarm %d: bidders from the highest on are complete at %.0f s", seed, done[:4])
		}
	}
}
