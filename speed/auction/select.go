package auction

import (
	"math/bits"
	"slices"
)

// selectTop moves the k best ranks to the front, in any order, in linear
// expected time. Strangers choose the keys, so after too many bad pivots it
// sorts instead: never worse than n log n.
func selectTop(ranks []rank, k int) {
	lo, hi := 0, len(ranks)
	if k <= 0 || k >= hi {
		return
	}
	for budget := 4 * bits.Len(uint(hi)); hi-lo > 12; budget-- {
		if budget == 0 {
			break
		}
		p := partition(ranks[lo:hi]) + lo
		switch {
		case p == k || p == k-1:
			return
		case p < k:
			lo = p + 1
		default:
			hi = p
		}
	}
	slices.SortFunc(ranks[lo:hi], compare)
}

// partition places a median-of-three pivot at its final position, better ranks
// before it and worse ones after it, and returns that position. len ≥ 3.
func partition(r []rank) int {
	last := len(r) - 1
	mid := last / 2
	if compare(r[mid], r[0]) < 0 {
		r[mid], r[0] = r[0], r[mid]
	}
	if compare(r[last], r[0]) < 0 {
		r[last], r[0] = r[0], r[last]
	}
	if compare(r[mid], r[last]) < 0 {
		r[mid], r[last] = r[last], r[mid]
	}
	pivot := r[last] // the median of the three
	n := 0
	for i := range last {
		if compare(r[i], pivot) < 0 {
			r[i], r[n] = r[n], r[i]
			n++
		}
	}
	r[n], r[last] = r[last], r[n]
	return n
}
