package autobid

import (
	"time"

	"github.com/bttnet/btt/amount"
)

const (
	// SampleEvery is the time between two looks at a seller's price: about a round of
	// its slots.
	SampleEvery = 15 * time.Second
	// nearDivisor: a price within a tenth of the bid is near it.
	nearDivisor = 10
	// nearFirst is how many looks in a row a price is near the bid until the bid is
	// lowered, nearNext how many more until it is lowered again.
	nearFirst, nearNext = 8, 4
	// MaxSteps is how often a bid is lowered by an eighth, to 45 % of it.
	MaxSteps = 6
	// refusedAfter is how long a seller sells nothing at a lowered bid until that
	// counts as lost to others, heldFor how long the bid is not lowered then; it
	// doubles each time, maxRefused times at most.
	refusedAfter = 3 * SampleEvery
	heldFor      = 10 * time.Minute
	maxRefused   = 5
)

// Bargain is what a requester knows of one seller's prices beside its bids for one
// torrent. A seller can invent a losing bid just below the bid that it was told, and the
// auction becomes one in which winners pay what they bid. No auction of this form can
// exclude that; but a losing bid of another does not follow one's own. So where somebody
// else sells for less, the bid to a seller whose price is always near it is lowered by
// an eighth: an invented one comes down with it, and is lowered on. A real one wins the
// slot, and the full bid is told again, for some time at least. A price that the seller's
// reserve price explains is no sign of anything: that was announced before the bid.
//
// The zero value knows nothing. It is not safe for concurrent use.
type Bargain struct {
	near    uint8     // looks in a row
	steps   uint8     // by which the bid is lowered
	refused uint8     // how often that lost the slot
	sold    time.Time // when the seller last had a slot of ours
	held    time.Time // until when the bid is not lowered
}

// Near says whether a price is so near a bid that it may follow it.
func Near(price, bid amount.Price) bool { return bid > 0 && price >= bid-bid/nearDivisor }

// Sample takes what a seller charges beside the bid that it knows for some time and the
// reserve price that it announced, 0 for none; cheaper says that somebody else sells to
// us at the same time for an eighth less or better. Call it each SampleEvery while the
// seller's slot is paid.
func (b *Bargain) Sample(now time.Time, price, bid, reserve amount.Price, cheaper bool) {
	switch {
	case price <= reserve || !Near(price, bid):
		b.near = 0
		b.steps -= min(b.steps, 1)
		return
	case !cheaper || now.Before(b.held) || b.steps >= MaxSteps:
		return
	}
	need := uint8(nearFirst)
	if b.steps > 0 {
		need = nearNext
	}
	if b.near++; b.near >= need {
		b.near = 0
		b.steps++
	}
}

// Tick notes whether the seller sells to us at the moment.
func (b *Bargain) Tick(now time.Time, sells bool) {
	switch {
	case sells:
		b.sold = now
	case b.steps > 0 && now.Sub(b.sold) >= refusedAfter:
		b.held = now.Add(heldFor << b.refused)
		b.refused = min(b.refused+1, maxRefused)
		b.near, b.steps = 0, 0
	}
}

// Bid is what to bid to the seller where bid is what the formula says: no more than
// that, and not lowered below the seller's reserve price.
func (b *Bargain) Bid(bid, reserve amount.Price) amount.Price {
	low := bid
	for range b.steps {
		low -= low / 8
	}
	return max(low, min(bid, reserve))
}
