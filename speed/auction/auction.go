// Package auction is the market rule for paid unchoke slots: a multi-unit
// uniform-price auction over the bids a provider knows at one choking round.
//
// It is called by internal/choker (one call per round) and by the simulator.
// It is pure: no goroutine, no clock, no random source (the caller passes one
// random word per bidder), no allocation once the caller's slices have grown.
// A Scratch belongs to one goroutine at a time.
//
// Requirements: R10.8-R10.10, R10.16, R10.19-R10.22, R7.18; readings A16, A18,
// A20.
package auction

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/bttnet/btt/amount"
)

// Bidder is one peer as the auction sees it.
type Bidder struct {
	// ID names the peer; unique within one call.
	ID uint64
	// Bid is the price the peer offered, in µBTT per GiB. Zero or less means
	// that the peer does not bid.
	Bid amount.Price
	// Reserve is the reserve price announced to this peer for its torrent, in
	// µBTT per GiB; 0 if none was announced (A16).
	Reserve amount.Price
	// Received and Sent are payload bytes exchanged with the peer in the
	// window the caller ranks by, normally the last round.
	Received, Sent int64
	// Own is what this node bids for the same torrent, in µBTT per GiB: the
	// worth of one received byte in the Weighted strategy.
	Own amount.Price
	// Tie is a random word of the caller; the greater one wins a tie. A caller
	// that wants slot holders to win ties sets their top bit.
	Tie uint64
	// Capped marks a peer of a torrent in which only Rules.MaxCapped slots may
	// be sold (this node still leeches there, A18).
	Capped bool
}

// Eligible reports whether the peer takes part as a buyer: it bids, and at
// least the reserve price announced to it (R7.18, A16).
func (b *Bidder) Eligible() bool { return b.Bid > 0 && b.Bid >= b.Reserve }

// Rules of one auction.
type Rules struct {
	// Slots is the number of slots on offer; less than 1 sells nothing.
	Slots int
	// MaxCapped bounds the slots sold to Capped bidders. Use Slots for no
	// bound.
	MaxCapped int
	// Strategy orders the bidders; nil means Paper.
	Strategy Strategy
}

// Award is one slot given.
type Award struct {
	// Index is the position in the bidders slice, ID the winner's name.
	Index int
	ID    uint64
	// Paid is false only for a peer without a bid that won its slot by barter
	// (strategies with FreePeers).
	Paid bool
	// Price is what the winner pays, in µBTT per GiB: at least its Reserve,
	// at most its Bid, 0 if not Paid.
	Price amount.Price
}

// Strategy orders bidders. Implementations are stateless values and may be
// shared between goroutines (R10.10: the integration differs by client).
type Strategy interface {
	// Effective returns the rank value of a bidder in µBTT per GiB; greater
	// wins. It must not depend on anything but *b. Money charged never
	// depends on it directly.
	Effective(b *Bidder) int64
	// FreePeers reports whether peers without an eligible bid compete in the
	// same ranking, as if they bid 0 (A18).
	FreePeers() bool
}

// Paper is the order as the white paper writes it: bid, then data received
// (R10.9). Peers without a bid do not take part.
type Paper struct{}

// Effective returns the bid.
func (Paper) Effective(b *Bidder) int64 { return int64(b.Bid) }

// FreePeers returns false.
func (Paper) FreePeers() bool { return false }

// Weighted adds to each bid what the peer's barter is worth to this node:
// effective = bid + own bid × received / sent. Good barter partners keep their
// rank whatever others pay (R1.10, R10.6, R10.7); only the money is charged.
type Weighted struct{}

// BarterFloor is the least number of sent bytes Weighted divides by, one
// request block, so that a single early byte is not worth an infinite bid.
const BarterFloor = 16 << 10

// Effective returns bid + own × received / max(sent, BarterFloor), saturating
// at the greatest int64. Negative inputs count as 0.
func (Weighted) Effective(b *Bidder) int64 {
	base := max(int64(b.Bid), 0)
	if !b.Eligible() {
		base = 0
	}
	hi, lo := bits.Mul64(uint64(max(int64(b.Own), 0)), uint64(max(b.Received, 0)))
	den := uint64(max(b.Sent, BarterFloor))
	if hi >= den {
		return math.MaxInt64
	}
	worth, _ := bits.Div64(hi, lo, den)
	if worth > uint64(math.MaxInt64-base) {
		return math.MaxInt64
	}
	return base + int64(worth)
}

// FreePeers returns true.
func (Weighted) FreePeers() bool { return true }

// rank is a bidder reduced to what sorting needs.
type rank struct {
	score, received int64
	tie, id         uint64
	bid             amount.Price // 0 for a free peer
	index           int32
	capped          bool
}

// compare orders the better rank first; it is total for unique ids.
func compare(a, b rank) int {
	if a.score != b.score {
		return cmp.Compare(b.score, a.score)
	}
	if a.received != b.received {
		return cmp.Compare(b.received, a.received)
	}
	if a.tie != b.tie {
		return cmp.Compare(b.tie, a.tie)
	}
	return cmp.Compare(a.id, b.id)
}

// Scratch is reusable memory of Run. The zero value is ready.
type Scratch struct{ ranks []rank }

// Run holds one auction and appends the winners to dst, best first.
//
// Each paying winner pays max(highest losing eligible bid, its own Reserve),
// but never more than its Bid; without a losing bid it pays its Reserve
// (R10.20, R10.21, A20). A losing bid counts for a winner only if its owner
// could have taken that winner's slot: while the cap is full, losing Capped
// bidders set the price of Capped winners alone. The result does not depend on
// the order of bidders.
func Run(dst []Award, scratch *Scratch, rules Rules, bidders []Bidder) []Award {
	strategy := rules.Strategy
	if strategy == nil {
		strategy = Paper{}
	}
	if rules.Slots < 1 {
		return dst
	}
	ranks := collect(scratch.ranks[:0], strategy, bidders)
	scratch.ranks = ranks
	k := min(rules.Slots, len(ranks))
	selectTop(ranks, k)
	if limit := max(rules.MaxCapped, 0); soldCapped(ranks[:k]) > limit {
		k = admit(ranks, k, limit)
	}
	slices.SortFunc(ranks[:k], compare)
	return award(dst, rules, bidders, ranks[:k], ranks[k:])
}

// collect reduces the bidders that take part to ranks.
func collect(ranks []rank, strategy Strategy, bidders []Bidder) []rank {
	free := strategy.FreePeers()
	for i := range bidders {
		b := &bidders[i]
		bid := b.Bid
		if !b.Eligible() {
			if !free {
				continue
			}
			bid = 0
		}
		score := strategy.Effective(b)
		if bid == 0 && score <= 0 {
			continue
		}
		ranks = append(ranks, rank{
			score: score, received: b.Received, tie: b.Tie, id: b.ID,
			bid: bid, index: int32(i), capped: b.Capped,
		})
	}
	return ranks
}

// soldCapped counts the capped slots that would be sold.
func soldCapped(winners []rank) int {
	n := 0
	for i := range winners {
		if winners[i].capped && winners[i].bid > 0 {
			n++
		}
	}
	return n
}

// admit moves the winners to the front, in any order, and returns their number,
// for the case that the best k hold more than maxCapped capped buyers: then
// these are the best maxCapped of them and the best k - maxCapped others.
func admit(ranks []rank, k, maxCapped int) int {
	c := 0 // capped buyers come first
	for i := range ranks {
		if ranks[i].capped && ranks[i].bid > 0 {
			ranks[i], ranks[c] = ranks[c], ranks[i]
			c++
		}
	}
	others := min(k-maxCapped, len(ranks)-c)
	selectTop(ranks[:c], maxCapped)
	selectTop(ranks[c:], others)
	for i := range others { // c > maxCapped: close the gap of losers between them
		ranks[maxCapped+i], ranks[c+i] = ranks[c+i], ranks[maxCapped+i]
	}
	return maxCapped + others
}

// award prices the winners.
func award(dst []Award, rules Rules, bidders []Bidder, winners, losers []rank) []Award {
	var all, open amount.Price // highest losing bid: of everybody, of the uncapped
	for i := range losers {
		all = max(all, losers[i].bid)
		if !losers[i].capped {
			open = max(open, losers[i].bid)
		}
	}
	if soldCapped(winners) < rules.MaxCapped {
		open = all
	}
	for i := range winners {
		w := &winners[i]
		a := Award{Index: int(w.index), ID: w.id, Paid: w.bid > 0}
		if a.Paid {
			losing := open
			if w.capped {
				losing = all
			}
			a.Price = min(max(losing, bidders[w.index].Reserve), w.bid)
			a.Price = max(a.Price, 0)
		}
		dst = append(dst, a)
	}
	return dst
}
