package choker

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
)

// Fill uses slots that are free between two rounds: it appends to dst only the
// candidates to unchoke now, in their order, and never chokes or reprices anybody.
// Eligible bidders come first and pay the reserve price of their torrent, for
// a free slot has no losing bid (R10.21); then free peers by barter rank; free
// optimistic slots go to the longest wait.
func (s *Scratch) Fill(dst []Decision, cfg Config, now time.Time, cands []Candidate) []Decision {
	r := s.start(s.fill[:0], cfg, now, 0, cands)
	s.fill = r.dst
	freeOptimistic, sold, soldLeeching, optimistic := r.reserved, 0, 0, 0
	for i := range cands {
		c := &cands[i]
		if !c.Unchoked {
			continue
		}
		r.out[i].Unchoke = true // not to be given again
		if r.helps(c) && !c.Paid {
			continue
		}
		if c.Idle {
			freeOptimistic++ // is lent, free of charge
		}
		if c.Optimistic {
			optimistic++
			continue
		}
		r.taken++
		if c.Paid {
			sold++
			if !c.Seeding {
				soldLeeching++
			}
		}
	}
	// More optimistic holders than such slots have regular ones.
	r.taken += max(0, optimistic-freeOptimistic)
	freeOptimistic = max(0, freeOptimistic-optimistic)
	// Too many regular holders (fewer slots than before) use up all slots.
	freeOptimistic = min(freeOptimistic, max(0, r.regular+freeOptimistic-r.taken))
	r.help()
	r.sellFree(sold, cfg.PaidMaxLeeching-soldLeeching)
	r.barter(r.regular - r.taken)
	r.optimistic(freeOptimistic)
	for i := range cands {
		if r.out[i].Unchoke && !cands[i].Unchoked {
			dst = append(dst, r.out[i])
		}
	}
	return dst
}

// sellFree sells the free regular slots at the reserve price, at most
// leeching of them in torrents we still leech; sold are sold already.
func (r *round) sellFree(sold, leeching int) {
	order := r.order[:0]
	spokesmen := r.spokesmen()
	for i := range r.cands {
		if c := &r.cands[i]; c.Owner != 0 && c.pays() && spokesmen != nil {
			spokesmen[c.Owner] = -1 // has its slot
		}
	}
	for i := range r.cands {
		if r.cands[i].buyer() && !r.out[i].Unchoke && r.speaks(spokesmen, i) {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, r.compareBids)
	for _, i := range order {
		c, d := &r.cands[i], &r.out[i]
		if r.taken >= r.regular || sold >= r.forSale() {
			return
		}
		if !c.Seeding {
			if leeching <= 0 {
				continue
			}
			leeching--
		}
		d.Unchoke, d.Paid, d.Price = true, true, max(c.Reserve, 0)
		r.taken++
		sold++
	}
}

// compareBids is the paper's order: bid, data received, random word.
func (r *round) compareBids(i, j int32) int {
	a, b := &r.cands[i], &r.cands[j]
	if c := cmp.Compare(b.Bid, a.Bid); c != 0 {
		return c
	}
	if c := cmp.Compare(b.Received, a.Received); c != 0 {
		return c
	}
	return r.compareTie(a, b)
}

// share returns price × parts / ppm, rounded down and saturated.
func share(price amount.Price, parts uint32) amount.Price {
	hi, lo := bits.Mul64(uint64(price), uint64(parts))
	if hi >= ppm {
		return amount.MaxPrice
	}
	q, _ := bits.Div64(hi, lo, ppm)
	return amount.Price(min(q, uint64(amount.MaxPrice)))
}
