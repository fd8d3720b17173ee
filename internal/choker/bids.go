package choker

import (
	"cmp"
	"math"
	"slices"

	"github.com/bttnet/btt/amount"
)

const (
	// MaxWeight is the highest weight that Weigh gives.
	MaxWeight = 16
	// bidScale is by how much all weights grow at most where bids differ, so that
	// they can be told apart in whole blocks.
	bidScale = 3
	// octavesMost bounds how much more the highest bid of the sold slots weighs than
	// the lowest: two octaves are four times.
	octavesMost = 2
	// octaveStep bounds what one bid weighs more than the next lower one, so that a
	// bid beyond all measure does not make all others look equal.
	octaveStep = 1
)

// BidWeight is the weight of one peer that holds a sold slot.
type BidWeight struct {
	ID     uint64
	Weight uint8
	bid    amount.Price
	times  float64 // the lowest bid's weight
}

// byBid lets those who hold sold slots share by their bids what all of them
// together have: a bid that is twice as high weighs twice as much, the highest at
// most four times as much as the lowest. Nobody else gets less for it, and the
// price of the slots stays what the auction says.
func (s *Share) byBid(w Weights, cands []Candidate, served func(i int) (slot, sold bool)) Weights {
	list := s.bids[:0]
	for i := range cands {
		c := &cands[i]
		if !c.Seeding || !c.wants() || c.Idle || !c.buyer() {
			continue
		}
		if _, sold := served(i); sold {
			list = append(list, BidWeight{ID: c.ID, bid: c.Bid})
		}
	}
	s.bids = list
	slices.SortFunc(list, func(a, b BidWeight) int { return cmp.Or(cmp.Compare(a.bid, b.bid), cmp.Compare(a.ID, b.ID)) })
	if len(list) < 2 || list[0].bid == list[len(list)-1].bid {
		return w
	}
	octaves, sum := 0.0, 0.0
	for i := range list {
		if i > 0 {
			octaves += min(math.Log2(float64(list[i].bid)/float64(list[i-1].bid)), octaveStep)
		}
		list[i].times = octaves
	}
	narrow := min(1, octavesMost/octaves)
	for i := range list {
		list[i].times = math.Exp2(list[i].times * narrow)
		sum += list[i].times
	}
	scale := uint8(1)
	for scale < bidScale && scale*w.Bidder < bidScale && (scale+1)*max(w.Free, w.Bidder, w.First) <= MaxWeight {
		scale++
	}
	w.Free, w.Bidder, w.First = scale*w.Free, scale*w.Bidder, scale*w.First
	each := float64(w.Bidder) * float64(len(list)) / sum
	for i := range list {
		list[i].Weight = uint8(min(max(math.Round(each*list[i].times), 1), MaxWeight))
	}
	w.Bids = list
	return w
}
