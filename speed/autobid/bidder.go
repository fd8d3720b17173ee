package autobid

import (
	"time"

	"github.com/bttnet/btt/amount"
)

// MinInterval is the least time between two bids to one peer (R8.7).
const MinInterval = time.Minute

// thresholdDivisor: a change counts beyond bid/thresholdDivisor, 10 % (R8.5).
const thresholdDivisor = 10

// Bidder decides when a bid is told to one peer. It remembers the last bid
// SENT to that peer, not the last one computed (A8). The zero value has sent
// nothing. Not safe for concurrent use; the peer connection's owner has it.
type Bidder struct {
	sent   amount.Price
	at     time.Time
	told   bool
	forced bool
	// calm says that the last message came two minutes after the one before it, or
	// was the first: the peer tolerates another one at once.
	calm bool
}

// Sent returns the last bid sent, 0 if none.
func (b *Bidder) Sent() amount.Price { return b.sent }

// Force makes the next Step send its price whatever the size of the change:
// the user changed the sum (R8.8). The minute still holds: the bid goes out at
// its end (A8). A withdrawal is no bid: until it is heard the peer may sell at the
// former one. It goes out at once, unless there were two messages in the last two
// minutes; the next bid waits for two minutes then, so that a peer that tolerates two
// messages at once and one a minute does so however unevenly they arrive.
func (b *Bidder) Force() { b.forced = true }

// Step takes the bid wanted now and returns true if it is to be sent now; the
// Bidder then counts it as sent. A first bid of 0 is never sent; a later 0
// withdraws the bid. Call it again when Next is due.
func (b *Bidder) Step(now time.Time, want amount.Price) bool {
	want = min(max(want, 0), amount.MaxPrice)
	if !b.wants(want) {
		b.forced = false // a change taken back needs no message
		return false
	}
	switch due := b.at.Add(MinInterval); {
	case !b.told || !now.Before(due):
		b.calm = !b.told || !now.Before(due.Add(MinInterval))
		b.at = now
	case b.early(want):
		b.calm, b.at = false, now.Add(MinInterval)
	default:
		return false
	}
	b.sent, b.told, b.forced = want, true, false
	return true
}

// early says whether a bid of want may be sent before the minute is over.
func (b *Bidder) early(want amount.Price) bool { return want == 0 && b.forced && b.calm }

// wants reports whether want differs enough from the last bid sent.
func (b *Bidder) wants(want amount.Price) bool {
	if !b.told {
		return want > 0
	}
	diff := want - b.sent
	if diff < 0 {
		diff = -diff
	}
	// An integer exceeds sent/10 exactly if it exceeds the floor of it.
	return diff > b.sent/thresholdDivisor || b.forced && diff != 0
}

// Next returns when a bid of want may be sent: the zero time if there is
// nothing to send, else a time that may lie in the past.
func (b *Bidder) Next(want amount.Price) time.Time {
	want = min(max(want, 0), amount.MaxPrice)
	if !b.wants(want) {
		return time.Time{}
	}
	if b.early(want) {
		return b.at
	}
	return b.at.Add(MinInterval)
}
