package autobid

import "github.com/bttnet/btt/amount"

// Headroom of a bid above the price seen: a quarter, so that a price that moved
// a little since is still reached.
const headroomDivisor = 4

// maxLost bounds how often a lost bid doubles.
const maxLost = 40

// Market is what a bidder saw of the market for one peer's slot, besides its own
// wallet. The zero value is that it saw nothing.
type Market struct {
	// Slot is what a slot costs by the bids and transfers seen (R8.9), in µBTT per
	// GiB; 0 = not known.
	Slot amount.Price
	// Lost is how many minutes in a row a bid was told and brought no slot.
	Lost int
	// Sources is how many connected peers have the rarest of the pieces that we
	// want and this one has (R8.10), 1 or more; 0 = that counts for nothing.
	Sources int
	// Resale is the highest bid made to us by a peer that lacks that piece, to
	// whom it can be sold again (R8.11); 0 = there is none.
	Resale amount.Price
}

// Shade returns what to bid of full, the bid that the wallet allows ([Price]): the
// price of a slot and a quarter, twice as much for each time that it was lost;
// towards full as its pieces get rarer, all of it for what nobody else has; and
// what others would pay for the rarest of them, shared among those that could sell
// it. It is never more than full, so that the guards of Price hold. While the price
// is not known it is full.
func Shade(full amount.Price, m Market) amount.Price {
	if full <= 0 || m.Slot <= 0 {
		return max(full, 0)
	}
	bid := min(m.Slot, amount.MaxPrice)
	bid += bid / headroomDivisor
	for range min(m.Lost, maxLost) {
		if bid >= full {
			break
		}
		bid *= 2
	}
	if bid >= full {
		return full
	}
	if m.Sources > 0 {
		n := amount.Price(m.Sources)
		bid += (full-bid)/n + min(m.Resale, full)/n
	}
	return min(bid, full)
}
