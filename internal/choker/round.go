package choker

import (
	"cmp"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed/auction"
)

// Bits of the tie word: slot holders win ties of the auction, those who pay
// first, for churn between equal bidders helps nobody.
const (
	payerBit  = 1 << 63
	holderBit = 1 << 62
)

// Scratch is memory that rounds reuse; decisions do not depend on what it held.
// The zero value is ready. It belongs to one goroutine at a time.
type Scratch struct {
	order   []int32
	bidders []auction.Bidder
	awards  []auction.Award
	auction auction.Scratch
	owners  map[uint64]int
	fill    []Decision // of all candidates
	work    round
}

// Round appends one decision per candidate to dst, in their order: the choke
// states of the next round. entropy is a fresh random word that settles ties.
func (s *Scratch) Round(dst []Decision, cfg Config, now time.Time, entropy uint64, cands []Candidate) []Decision {
	r := s.start(dst, cfg, now, entropy, cands)
	r.sell()
	r.help()
	r.barter(r.regular - r.taken)
	r.optimistic(r.reserved)
	for given := 0; given < r.lent(); { // a lent slot may go to one who is idle as well
		n := r.lent() - given
		given += n
		r.optimistic(n)
	}
	for i := range cands {
		r.finish(i)
	}
	return r.dst
}

// round is the work in progress of one call.
type round struct {
	cfg     Config
	now     time.Time
	entropy uint64
	cands   []Candidate
	dst     []Decision // caller's slice with our decisions at the end
	out     []Decision // the part of dst that is ours, parallel to cands
	order   []int32    // scratch's, as long as cands
	scratch *Scratch

	regular  int // slots that are not optimistic
	reserved int // optimistic slots
	taken    int // regular slots given so far
}

func (s *Scratch) start(dst []Decision, cfg Config, now time.Time, entropy uint64, cands []Candidate) *round {
	s.work = round{cfg: cfg, now: now, entropy: entropy, cands: cands, scratch: s}
	r := &s.work
	slots := cfg.Slots
	if slots < 0 {
		slots = len(cands)
	}
	r.reserved = min(max(cfg.Optimistic, 0), slots)
	if cfg.Slots < 0 {
		r.reserved = 0
	}
	r.regular = slots - r.reserved
	base := len(dst)
	for i := range cands {
		dst = append(dst, Decision{ID: cands[i].ID})
	}
	r.dst, r.out = dst, dst[base:]
	s.order = slices.Grow(s.order[:0], len(cands))
	r.order = s.order
	return r
}

// tie returns the candidate's random word of this round.
func (r *round) tie(c *Candidate) uint64 {
	return mix(r.entropy ^ c.ID)
}

// mix is splitmix64: one to one.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// sell runs the auction over the regular slots (R10.8).
func (r *round) sell() {
	free := r.cfg.Strategy != nil && r.cfg.Strategy.FreePeers()
	s := r.scratch
	bidders := slices.Grow(s.bidders[:0], len(r.cands))
	from := r.order[:0] // bidders' positions among the candidates
	spokesmen := r.spokesmen()
	for i := range r.cands {
		c := &r.cands[i]
		buys := c.buyer() && r.speaks(spokesmen, i)
		if !buys && !(free && c.wants() && !c.Seeding && !c.snubbed()) {
			continue
		}
		b := auction.Bidder{
			ID: c.ID, Reserve: c.Reserve, Own: c.Own, Capped: !c.Seeding,
			Received: c.Received, Sent: c.Sent, Tie: r.tie(c) &^ (payerBit | holderBit),
		}
		switch {
		case c.pays():
			b.Tie |= payerBit
		case c.Unchoked && !c.Optimistic:
			b.Tie |= holderBit
		}
		if buys {
			b.Bid = c.Bid
		}
		bidders = append(bidders, b)
		from = append(from, int32(i))
	}
	s.bidders = bidders
	s.awards = auction.Run(s.awards[:0], &s.auction, auction.Rules{
		Slots: r.forSale(), MaxCapped: r.cfg.PaidMaxLeeching, Strategy: r.cfg.Strategy,
	}, bidders)
	for _, a := range s.awards {
		i := from[a.Index]
		d, c := &r.out[i], &r.cands[i]
		d.Unchoke, d.Paid = true, a.Paid
		if a.Paid {
			d.Price = r.settle(c, a.Price)
		}
		r.taken++
	}
}

// spokesmen returns, for each Owner, the position of the one candidate that
// bids for it: the best bid, among equals the one that pays. nil without
// owners.
func (r *round) spokesmen() map[uint64]int {
	var best map[uint64]int
	clear(r.scratch.owners)
	for i := range r.cands {
		c := &r.cands[i]
		if c.Owner == 0 || !c.buyer() {
			continue
		}
		if best == nil {
			if r.scratch.owners == nil {
				r.scratch.owners = make(map[uint64]int)
			}
			best = r.scratch.owners
		}
		if j, ok := best[c.Owner]; !ok || r.before(i, j) {
			best[c.Owner] = i
		}
	}
	return best
}

// before orders the candidates of one owner. What decides the auction comes
// before who pays now, so that the choice does not change once it lost a slot.
func (r *round) before(i, j int) bool {
	a, b := &r.cands[i], &r.cands[j]
	c := cmp.Or(
		cmp.Compare(b.Bid, a.Bid), compareBool(!a.Seeding, !b.Seeding), cmp.Compare(b.Received, a.Received),
		compareBool(!a.pays(), !b.pays()), r.compareTie(a, b),
	)
	return c < 0
}

// speaks reports whether the candidate may bid for its owner.
func (r *round) speaks(spokesmen map[uint64]int, i int) bool {
	c := &r.cands[i]
	return c.Owner == 0 || spokesmen[c.Owner] == i
}

// settle keeps a running price that moved little (A19).
func (r *round) settle(c *Candidate, price amount.Price) amount.Price {
	if !c.pays() || c.Price > c.Bid || c.Price < c.Reserve {
		return price
	}
	diff := price - c.Price
	if diff < 0 {
		diff = -diff
	}
	if diff <= share(c.Price, r.cfg.PriceStep) {
		return c.Price
	}
	return price
}

// forSale is the number of regular slots that may be sold.
func (r *round) forSale() int { return max(r.regular-max(r.cfg.Withheld, 0), 0) }

// lent counts the slots whose holders ask for nothing.
func (r *round) lent() int {
	n := 0
	for i := range r.cands {
		if c := &r.cands[i]; r.out[i].Unchoke && c.Unchoked && c.Idle {
			n++
		}
	}
	return n
}

// barter gives up to n slots to free peers (R10.3, R10.4).
func (r *round) barter(n int) {
	r.give(n, r.compareBarter, func(d *Decision) { r.taken++ })
}

// optimistic gives up to n slots to those who wait (R10.5, R10.11).
func (r *round) optimistic(n int) {
	r.give(n, r.compareOptimistic, func(d *Decision) { d.Optimistic = true })
}

// give unchokes the first n free candidates in the given order.
func (r *round) give(n int, compare func(a, b int32) int, mark func(*Decision)) {
	if n <= 0 {
		return
	}
	order := r.order[:0]
	for i := range r.cands {
		c := &r.cands[i]
		if c.wants() && !r.out[i].Unchoke && !c.mustPay(&r.cfg) {
			order = append(order, int32(i))
		}
	}
	if len(order) > n {
		slices.SortFunc(order, compare)
		order = order[:n]
	}
	for _, i := range order {
		r.out[i].Unchoke = true
		mark(&r.out[i])
	}
}

// finish marks a running slot whose terms change.
func (r *round) finish(i int) {
	c, d := &r.cands[i], &r.out[i]
	if !d.Unchoke || !c.Unchoked {
		return
	}
	d.Reprice = c.Paid != d.Paid || d.Paid && c.Price != d.Price
}

// compareBarter orders free peers for regular slots: who gave most while we
// leech, then the seed policy, snubbed peers last, then the random word.
func (r *round) compareBarter(i, j int32) int {
	a, b := &r.cands[i], &r.cands[j]
	if c := compareBool(a.snubbed(), b.snubbed()); c != 0 {
		return c
	}
	if c := cmp.Compare(gave(b), gave(a)); c != 0 {
		return c
	}
	if r.cfg.Seed == FastestUpload {
		if c := cmp.Compare(b.Sent, a.Sent); c != 0 {
			return c
		}
	}
	if c := r.compareTurns(a, b); c != 0 {
		return c
	}
	return r.compareTie(a, b)
}

// gave is what barter counts: bytes received while we leech.
func gave(c *Candidate) int64 {
	if c.Seeding {
		return 0
	}
	return max(c.Received, 0)
}

// Classes of compareTurns, best first.
const (
	turnRunning = iota // holds a regular slot, its time is not over
	turnWaiting
	turnOver // held one long enough
)

// turn returns the round-robin class of a free peer.
func (r *round) turn(c *Candidate) int {
	switch {
	case !c.Unchoked || c.Optimistic:
		return turnWaiting
	case r.now.Sub(c.UnchokedAt) < r.cfg.hold(SeedPeriod):
		return turnRunning
	default:
		return turnOver
	}
}

// compareTurns is the round robin: holders within their time, then the longest
// wait, then holders past their time.
func (r *round) compareTurns(a, b *Candidate) int {
	ta, tb := r.turn(a), r.turn(b)
	if ta != tb {
		return cmp.Compare(ta, tb)
	}
	if ta == turnWaiting {
		return since(a).Compare(since(b))
	}
	return b.UnchokedAt.Compare(a.UnchokedAt) // served longest gives way first
}

// since is the start of a peer's wait; a peer in an optimistic slot began to
// wait for a regular one when it got that.
func since(c *Candidate) time.Time {
	if c.Unchoked {
		return c.UnchokedAt
	}
	return c.WaitingSince
}

// Classes of compareOptimistic, best first.
const (
	optimisticRunning = iota // holds an optimistic slot, its time is not over
	optimisticNever          // never unchoked: tied for the longest wait
	optimisticAgain
	optimisticOver // held one for its time
)

// optimisticClass returns the class of a peer for the optimistic slots.
func (r *round) optimisticClass(c *Candidate) int {
	switch {
	case c.Unchoked && c.Optimistic && r.now.Sub(c.UnchokedAt) < r.cfg.hold(OptimisticPeriod):
		return optimisticRunning
	case c.Unchoked:
		return optimisticOver
	case c.UnchokedAt.IsZero():
		return optimisticNever
	default:
		return optimisticAgain
	}
}

// compareOptimistic orders by the time a peer was choked, longest first. Peers
// never unchoked are tied, and only there a bid decides (R10.12, R10.13).
func (r *round) compareOptimistic(i, j int32) int {
	a, b := &r.cands[i], &r.cands[j]
	ka, kb := r.optimisticClass(a), r.optimisticClass(b)
	if ka != kb {
		return cmp.Compare(ka, kb)
	}
	switch ka {
	case optimisticNever:
		if c := cmp.Compare(tieBid(b), tieBid(a)); c != 0 {
			return c
		}
		fallthrough
	case optimisticAgain:
		if c := a.WaitingSince.Compare(b.WaitingSince); c != 0 {
			return c
		}
	default:
		if c := b.UnchokedAt.Compare(a.UnchokedAt); c != 0 {
			return c
		}
	}
	return r.compareTie(a, b)
}

// tieBid is the bid as a tie break: that of an eligible bidder, else 0.
func tieBid(c *Candidate) amount.Price {
	if !c.buyer() {
		return 0
	}
	return c.Bid
}

// compareTie orders by the random word, then by id: total.
func (r *round) compareTie(a, b *Candidate) int {
	if c := cmp.Compare(r.tie(b), r.tie(a)); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}

// compareBool orders false first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
