package choker

// MaxWeight is the highest weight of a peer in the upload.
const MaxWeight = 8

const (
	// debtRounds bounds what the account of Share carries over, in rounds of what
	// the seed sent last: what nobody could take is not owed for ever.
	debtRounds = 4
	// withholdRounds is the debt, in the same unit, from which on weights do not
	// seem to help and fewer slots are sold.
	withholdRounds = 3
	// overtaken is how many quarters of its even share a peer keeps that a buyer
	// may overtake.
	overtaken = 3
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
// It is passive and owned by its caller; the zero value is ready. Only torrents
// that this node seeds count: where it leeches, Config.PaidMaxLeeching leaves
// room for barter.
type Share struct {
	even     map[uint64]even
	before   map[uint64]even // of the round before; memory that is used in turn
	part     int64           // of the round, in parts per million
	owed     int64           // bytes that peers without a bid got too little; below 0, too much
	sent     int64           // bytes of the last round
	withheld int
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

// even is what a peer would lack had all shared evenly, and what it lacked last.
type even struct{ left, last int64 }

// Weights are how much of an upload that is too slow for all a peer gets: two
// peers share as their weights are. 1 to MaxWeight.
type Weights struct{ Free, Bidder uint8 }

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
		s.part, s.owed, s.withheld = 0, 0, 0
		return
	}
	s.divide(cands, heads)
	s.part = s.keeps(keep, cands, heads)
	s.owed += s.sent/ppm*s.part + s.sent%ppm*s.part/ppm - sentFree
	s.owed = min(max(s.owed, 0), debtRounds*s.sent)
	switch {
	case s.owed == 0 || waiting == 0:
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
	for i := range cands {
		c := &cands[i]
		if !c.Seeding || !c.wants() {
			continue
		}
		e, known := s.before[c.ID]
		if !known {
			s.even[c.ID] = even{c.Left, c.Left}
			continue
		}
		elsewhere := max(e.last-c.Left-max(c.Sent, 0), 0)
		s.even[c.ID] = even{max(e.left-s.sent/heads-elsewhere, 0), c.Left}
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

// Owed is how many bytes peers without a bid got too few.
func (s *Share) Owed() int64 { return s.owed }

// Apply returns the configuration for the next decision: where weights do not
// give free peers their part, say because the line and not a limit bounds the
// upload, fewer slots are for sale.
func (s *Share) Apply(cfg Config) Config {
	cfg.Withheld = min(s.withheld, (max(cfg.Slots-cfg.Optimistic, 0)+1)/2)
	return cfg
}

// Weigh returns the weights that hold once the peers are served that served
// names. They never favour bidders.
func (s *Share) Weigh(cands []Candidate, served func(i int) bool) Weights {
	free, bidders := int64(0), int64(0)
	for i := range cands {
		switch c := &cands[i]; {
		case !c.Seeding || !c.wants() || c.Idle || !served(i):
		case c.buyer():
			bidders++
		default:
			free++
		}
	}
	if free == 0 || bidders == 0 || s.part == 0 && s.owed == 0 {
		return Weights{1, 1}
	}
	part := s.part
	if s.owed > 0 {
		part = min(part+s.owed/max(s.sent/ppm, 1), ppm-1)
	}
	if free*ppm/(free+bidders) >= part {
		return Weights{1, 1}
	}
	return closest(part*bidders, (ppm-part)*free)
}

// closest returns the weights whose relation is closest to free : bidder, the
// smallest of equals.
func closest(free, bidder int64) Weights {
	best, found := Weights{1, 1}, int64(-1)
	want := free / max((free+bidder)/ppm, 1)
	for f := int64(1); f <= MaxWeight; f++ {
		for b := int64(1); b <= f; b++ {
			d := f*ppm/(f+b) - want
			if d = max(d, -d); found < 0 || d < found {
				best, found = Weights{uint8(f), uint8(b)}, d
			}
		}
	}
	return best
}
