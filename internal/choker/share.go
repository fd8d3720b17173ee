package choker

const (
	// firstWeight is the weight of the free peer that goes first.
	firstWeight = 8
	// debtRounds bounds what the account of Share carries over, in rounds of what
	// the seed sent last: what nobody could take is not owed for ever.
	debtRounds = 4
	// withholdRounds is the debt, in the same unit, from which on weights do not
	// seem to help and fewer slots are sold.
	withholdRounds = 3
	// creditRounds bounds, in the same unit, by how much peers without a bid may be
	// ahead of their part before that is forgotten.
	creditRounds = 2
	// overtaken is how many quarters of its even share a peer keeps that a buyer
	// may overtake.
	overtaken = 3
	// repaid is the weight of bidders while peers without a bid are ahead of their
	// part because the first of them is served.
	repaid = 5
	// helpDivisor: from a debt of this part of a round on, the first of the peers
	// without a bid is served beside the slots until the debt is paid.
	helpDivisor = 4
	// margin is how much more than their part, of the upload in parts per million,
	// peers without a bid get by the weight of the first alone when that suffices.
	margin = ppm / 8
)

// Share keeps account of what a seed sends, so that peers that do not bid keep a
// part of it while others buy slots (R1.10, A21).
//
// By default the part of each such peer depends on the buyers of the moment. Had
// all shared evenly, some peers would be complete before a buyer. These keep
// their even share: one by heads. Whoever would be complete after the buyer loses
// nothing in the end when the buyer goes first, for it has the whole upload
// sooner; it keeps three quarters of its even share meanwhile.
//
// Whom a sold slot keeps waiting would have come by turn, and turns let some be
// complete early. So one of those who do not bid goes first: one of those that lack
// least. While it is served it has the highest weight, and what they are owed it
// gets beside the slots, so that they are complete one after the other and not all
// at the end.
//
// It is passive and owned by its caller; the zero value is ready. Only torrents
// that this node seeds count: where it leeches, Config.PaidMaxLeeching leaves
// room for barter.
type Share struct {
	// Lot is a random word that says who goes first of peers that are about equal.
	Lot uint64

	even     map[uint64]even
	before   map[uint64]even // of the round before; memory that is used in turn
	part     int64           // of the round, in parts per million
	owed     int64           // bytes that peers without a bid got too little; below 0, too much
	sent     int64           // bytes of the last round
	withheld int
	helping  bool
	helped   uint64 // who is served beside the slots, if serves
	serves   bool
	leader   uint64 // who goes first, if leads
	leads    bool
	led      claimant // whose claim the leader's is
	claims   claims
	bids     []BidWeight // memory of byBid
}

// Keep says what Share keeps for peers that do not bid. The zero value leaves it
// to Share.
type Keep struct {
	// Fixed says that Part holds.
	Fixed bool
	// Part is the part of the upload for all peers together that do not bid, in
	// parts per million; 0 leaves everything to the slots.
	Part uint32
}

// even is what a peer would lack had all shared evenly, what it lacked last, and
// how much may be sent to it until it shows that it lacked more than it said.
type even struct{ left, last, room int64 }

// Weights are how much of an upload that is too slow for all a peer gets: two
// peers share as their weights are. 1 to MaxWeight.
type Weights struct {
	Free, Bidder uint8
	// First is the weight of the peer FirstID, which does not bid and goes before
	// the others; 0 means that there is none.
	First   uint8
	FirstID uint64
	// Bids are the weights of peers that hold a sold slot; Bidder is their mean, and
	// the weight of bidders that are not among them. nil where bids are equal. It is
	// memory of Share, until it weighs again.
	Bids []BidWeight
}

// Of is the weight of a peer.
func (w Weights) Of(id uint64, buys bool) uint8 {
	switch {
	case w.First > 0 && id == w.FirstID:
		return w.First
	case buys:
		for i := range w.Bids {
			if w.Bids[i].ID == id {
				return w.Bids[i].Weight
			}
		}
		return w.Bidder
	default:
		return w.Free
	}
}

// Book takes the round that ends: what was sent in it (Candidate.Sent) and what
// each peer lacks. Call it once a round, before Round.
func (s *Share) Book(keep Keep, cands []Candidate) {
	s.sent = 0
	free, heads, waiting, sentFree := int64(0), int64(0), 0, int64(0)
	for i := range cands {
		c := &cands[i]
		if !c.Seeding {
			continue
		}
		s.sent += max(c.Sent, 0)
		if !c.buyer() {
			sentFree += max(c.Sent, 0)
		}
		if c.wants() {
			heads++
			if !c.buyer() {
				free++
				if !c.Unchoked {
					waiting++
				}
			}
		}
	}
	if free == 0 || free == heads { // nobody to protect, or from nobody
		clear(s.even)
		*s = Share{Lot: s.Lot, even: s.even, before: s.before, sent: s.sent, claims: s.claims, bids: s.bids}
		return
	}
	s.divide(cands, heads)
	s.part = s.keeps(keep, cands, heads)
	s.owed += s.sent/ppm*s.part + s.sent%ppm*s.part/ppm - sentFree
	credit := creditRounds * s.sent
	if s.part == 0 {
		credit = 0
	}
	s.owed = min(max(s.owed, -credit), debtRounds*s.sent)
	s.helping = s.owed > 0 && (s.helping || s.owed > s.sent/helpDivisor)
	switch {
	case s.owed <= 0 || waiting == 0:
		s.withheld = 0
	case s.owed > withholdRounds*s.sent:
		s.withheld++
	}
}

// divide plays the round as if all had shared evenly what was sent.
func (s *Share) divide(cands []Candidate, heads int64) {
	if s.even == nil {
		s.even, s.before = make(map[uint64]even, heads), make(map[uint64]even, heads)
	}
	s.even, s.before = s.before, s.even
	clear(s.even)
	gone := s.leads // and what it got since
	for i := range cands {
		c := &cands[i]
		gone = gone && c.ID != s.leader
		if !c.Seeding {
			continue
		}
		if !c.wants() {
			if k, ok := claimantOf(c); ok {
				s.claims.charge(k, c.Sent)
			}
			continue
		}
		e, known := s.before[c.ID]
		if !known {
			s.even[c.ID] = even{c.Left, c.Left, s.claims.recall(c)}
			continue
		}
		elsewhere := max(e.last-c.Left-max(c.Sent, 0), 0)
		s.even[c.ID] = even{max(e.left-s.sent/heads-elsewhere, 0), c.Left, e.room - max(c.Sent, 0)}
	}
	if gone {
		s.claims.charge(s.led, s.sent)
		s.leads = false // once
	}
	s.claims.round++
	for i := range cands {
		if c := &cands[i]; c.Seeding && c.wants() && !c.buyer() {
			s.claims.note(c, s.even[c.ID].room)
		}
	}
}

// keeps returns the part of the upload that free peers keep, in parts per million.
func (s *Share) keeps(keep Keep, cands []Candidate, heads int64) int64 {
	if keep.Fixed {
		return int64(min(keep.Part, ppm))
	}
	buyers, quarters := int64(0), int64(0)
	for i := range cands {
		b := &cands[i]
		if !b.Seeding || !b.pays() || !b.buyer() {
			continue
		}
		buyers++
		limit := s.even[b.ID].left - s.sent/heads // a round's difference is none
		for j := range cands {
			c := &cands[j]
			if !c.Seeding || !c.wants() || c.buyer() {
				continue
			}
			quarters += overtaken
			if s.even[c.ID].left < limit {
				quarters += 4 - overtaken
			}
		}
	}
	if buyers == 0 {
		return 0
	}
	return quarters * ppm / (4 * buyers * heads)
}

// Owed is how many bytes peers without a bid got too few; below 0, too many.
func (s *Share) Owed() int64 { return s.owed }

// Apply returns the configuration for the next decision. While peers without a bid
// are owed more than a quarter of a round, the first of them is served beside the slots. Where
// weights do not give them their part, say because the line and not a limit bounds
// the upload, fewer slots are for sale.
func (s *Share) Apply(cfg Config, cands []Candidate) Config {
	cfg.Withheld = min(s.withheld, (max(cfg.Slots-cfg.Optimistic, 0)+1)/2)
	before, served := s.helped, s.serves
	s.serves = false
	if !s.helping || cfg.Slots == 0 || s.part == 0 {
		return cfg
	}
	if i := s.first(cands); i >= 0 {
		c := &cands[i]
		if !c.Unchoked || served && c.ID == before { // else it has a slot by its turn
			s.helped, s.serves = c.ID, true
		}
	}
	cfg.Help, cfg.Helped = s.serves, s.helped
	return cfg
}

// Weigh returns the weights that hold once peers have the slots that served tells,
// sold or not. They favour bidders only over free peers of whom another goes first,
// and only while all of these together have their part; bidders share by bid.
func (s *Share) Weigh(cands []Candidate, served func(i int) (slot, sold bool)) Weights {
	return s.byBid(s.weigh(cands, func(i int) bool { slot, _ := served(i); return slot }), cands, served)
}

// weigh returns the weights of free peers and of bidders.
func (s *Share) weigh(cands []Candidate, served func(i int) bool) Weights {
	free, bidders := int64(0), int64(0)
	lone, rivals := 0, 0 // who want to be served: without a bid, and with one
	for i := range cands {
		if c := &cands[i]; c.Seeding && c.wants() && c.buyer() {
			rivals++
		} else if c.Seeding && c.wants() {
			lone++
		}
		switch c := &cands[i]; {
		case !c.Seeding || !c.wants() || c.Idle || !served(i):
		case c.buyer():
			bidders++
		default:
			free++
		}
	}
	w := Weights{Free: 1, Bidder: 1}
	if free == 0 || bidders == 0 || s.part == 0 && s.owed <= 0 {
		return w
	}
	first := -1
	if s.part > 0 {
		first = s.first(cands)
	}
	goes := first >= 0 && served(first)
	part := s.part
	if goes || first < 0 || s.owed < 0 { // else what is owed waits for the first
		part = min(part+s.owed/max(s.sent/ppm, 1), ppm-1)
	}
	switch heads := free * ppm / (free + bidders); {
	case goes && lone == 1 && heads > part: // nobody else to go before
		return alone(rivals)
	case goes && heads > part && free > 1:
		w.Bidder = repaid
	case goes && (free-1+firstWeight)*ppm/(free-1+firstWeight+bidders) >= s.part+margin: // the first alone takes what is owed
	case heads < part:
		w = closest(part*bidders, (ppm-part)*free)
	}
	if goes {
		w.First, w.FirstID = firstWeight, cands[first].ID
	}
	return w
}

// alone returns the weights while the only peer without a bid is served and is not
// behind its part. It comes before nobody, so the highest weight would give it more
// than an even share, at the expense of who pays: a lone bidder would be as late as
// without its bid.
func alone(bidders int) Weights {
	if bidders == 1 {
		return Weights{Free: 2, Bidder: 3}
	}
	return Weights{Free: 3, Bidder: 2}
}

// closest returns the weights whose relation is closest to free : bidder, the
// smallest of equals.
func closest(free, bidder int64) Weights {
	best, found := Weights{Free: 1, Bidder: 1}, int64(-1)
	want := free / max((free+bidder)/ppm, 1)
	for f := int64(1); f <= firstWeight; f++ {
		for b := int64(1); b <= f; b++ {
			d := f*ppm/(f+b) - want
			if d = max(d, -d); found < 0 || d < found {
				best, found = Weights{Free: uint8(f), Bidder: uint8(b)}, d
			}
		}
	}
	return best
}
