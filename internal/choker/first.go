package choker

import "cmp"

// first returns who of those that do not bid would be complete first had all shared
// evenly, -1 if there is nobody. It stays the same while others are ahead of it by
// less than a round of upload.
func (s *Share) first(cands []Candidate) int {
	best, now := -1, -1
	for i := range cands {
		c := &cands[i]
		if !c.Seeding || !c.wants() || c.Idle || c.buyer() || s.even[c.ID].room <= 0 {
			continue
		}
		if s.leads && c.ID == s.leader {
			now = i
		}
		if best < 0 || s.earlier(c, &cands[best]) {
			best = i
		}
	}
	if now >= 0 && s.even[s.leader].left <= s.even[cands[best].ID].left+s.sent {
		best = now
	}
	if s.leads = best >= 0; s.leads {
		s.leader = cands[best].ID
		s.led, _ = claimantOf(&cands[best])
	}
	return best
}

// earlier orders free peers by what they would lack had all shared evenly, then by
// what they lack.
func (s *Share) earlier(a, b *Candidate) bool {
	return cmp.Or(cmp.Compare(s.even[a.ID].left, s.even[b.ID].left), cmp.Compare(a.Left, b.Left), cmp.Compare(a.ID, b.ID)) < 0
}

// helps says whether a peer is served beside the slots.
func (r *round) helps(c *Candidate) bool {
	return r.cfg.Help && c.ID == r.cfg.Helped && c.wants() && c.Seeding && !r.cfg.PaidOnly
}

// help serves one beside the slots.
func (r *round) help() {
	for i := range r.cands {
		if d := &r.out[i]; !d.Unchoke && r.helps(&r.cands[i]) {
			d.Unchoke, d.Optimistic = true, true
		}
	}
}
