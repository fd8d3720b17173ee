package choker

import "cmp"

// lotDivisor: of free peers that lack about the same, and would had all shared evenly,
// up to this part of it more than another, a lot says who goes first.
const lotDivisor = 8

// first returns who of those that do not bid would be complete first had all shared
// evenly, -1 if there is nobody. Of those that are about equal it is the one that a
// lot names: a client that begins a second sooner than another would else go before
// it always. It stays the same while nobody is ahead of it by more than that, or than a
// round of upload.
func (s *Share) first(cands []Candidate) int {
	ahead, now := -1, -1
	for i := range cands {
		c := &cands[i]
		if !s.mayLead(c) {
			continue
		}
		if s.leads && c.ID == s.leader {
			now = i
		}
		if ahead < 0 || s.earlier(c, &cands[ahead]) {
			ahead = i
		}
	}
	if s.leads = ahead >= 0; !s.leads {
		return -1
	}
	least, lacks := s.even[cands[ahead].ID].left, cands[ahead].Left
	if now >= 0 && s.even[s.leader].left <= least+max(least/lotDivisor, s.sent) {
		return now
	}
	best := ahead
	for i := range cands {
		c := &cands[i]
		if s.mayLead(c) && s.even[c.ID].left <= least+least/lotDivisor && c.Left <= lacks+lacks/lotDivisor && s.drawn(c.ID) < s.drawn(cands[best].ID) {
			best = i
		}
	}
	s.leader = cands[best].ID
	s.led, _ = claimantOf(&cands[best])
	return best
}

// earlier orders free peers by what they would lack had all shared evenly, then by
// what they lack.
func (s *Share) earlier(a, b *Candidate) bool {
	return cmp.Or(cmp.Compare(s.even[a.ID].left, s.even[b.ID].left), cmp.Compare(a.Left, b.Left), cmp.Compare(a.ID, b.ID)) < 0
}

// mayLead says whether a peer can go first.
func (s *Share) mayLead(c *Candidate) bool {
	return c.Seeding && c.wants() && !c.Idle && !c.buyer() && s.even[c.ID].room > 0
}

// drawn is a peer's lot; no two are equal.
func (s *Share) drawn(id uint64) uint64 { return mix(s.Lot ^ id) }

// helps says whether a peer is served beside the slots.
func (r *round) helps(c *Candidate) bool {
	return r.cfg.Help && c.ID == r.cfg.Helped && c.wants() && c.Seeding && !c.mustPay(&r.cfg)
}

// help serves one beside the slots.
func (r *round) help() {
	for i := range r.cands {
		if d := &r.out[i]; !d.Unchoke && r.helps(&r.cands[i]) {
			d.Unchoke, d.Optimistic = true, true
		}
	}
}
