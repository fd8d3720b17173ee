package choker

import "testing"

// firsts is a seed that owes its free peers: 1 pays and has all, 2 holds the
// optimistic slot and has nothing, 3 and 4 wait; 4 lacks least.
func firsts() []Candidate {
	return []Candidate{
		{ID: 1, Interested: true, Seeding: true, Speed: true, Bid: 9, Unchoked: true, Paid: true, UnchokedAt: now, Sent: 6e5, Left: 1e9},
		{ID: 2, Interested: true, Seeding: true, Unchoked: true, Optimistic: true, UnchokedAt: now, Sent: 4e5, Left: 1e9},
		{ID: 3, Interested: true, Seeding: true, WaitingSince: now.Add(-Period), Left: 1e9},
		{ID: 4, Interested: true, Seeding: true, WaitingSince: now, Left: 8e8},
	}
}

// TestFirstIsServedBeside: what free peers are owed goes to the one that lacks
// least, beside the slots and with the highest weight; it takes nobody's turn, and
// ends once the debt is paid.
func TestFirstIsServedBeside(t *testing.T) {
	var s Share
	cands := firsts()
	s.Book(Keep{}, cands)
	if cfg := s.Apply(Default(2), cands); cfg.Help {
		t.Fatalf("helped at once: %+v", cfg)
	}
	s.Book(Keep{}, cands)
	cfg := s.Apply(Default(2), cands)
	if !cfg.Help || cfg.Helped != 4 {
		t.Fatalf("owed %d: %+v", s.Owed(), cfg)
	}
	ds := new(Scratch).Round(nil, cfg, now, 1, cands)
	if !ds[0].Paid || !ds[1].Unchoke || ds[2].Unchoke || !ds[3].Unchoke || ds[3].Paid {
		t.Fatalf("served: %+v", ds)
	}
	w := s.Weigh(cands, func(i int) (bool, bool) { return ds[i].Unchoke, ds[i].Paid })
	if w.Of(4, false) != firstWeight || w.Of(2, false) != 1 || w.Of(1, true) >= firstWeight {
		t.Fatalf("weights %+v", w)
	}
	cands[3].Unchoked, cands[3].Optimistic, cands[3].UnchokedAt = true, true, now
	if cfg = s.Apply(Default(2), cands); !cfg.Help || cfg.Helped != 4 {
		t.Fatalf("not helped any more: %+v", cfg)
	}
	if got := new(Scratch).Fill(nil, cfg, now, cands); len(got) != 0 {
		t.Fatalf("no slot is free: %+v", got)
	}
	cands[0].Sent, cands[3].Sent = 0, 1e7
	s.Book(Keep{}, cands)
	if cfg = s.Apply(Default(2), cands); cfg.Help || s.Owed() > 0 {
		t.Fatalf("still helped, owed %d", s.Owed())
	}
	served := 0
	for _, d := range new(Scratch).Round(nil, cfg, now, 1, cands) {
		if d.Unchoke {
			served++
		}
	}
	if served != 2 {
		t.Errorf("%d of 2 slots are given after the help", served)
	}
}

// TestFirstLies: who says that it lacks little and takes more than that is not
// first for ever.
func TestFirstLies(t *testing.T) {
	var s Share
	cands := firsts()
	cands[3].Left = 4e6
	for round := range 20 {
		cands[3].Sent = 5e5
		s.Book(Keep{Fixed: true, Part: 900_000}, cands)
		cfg := s.Apply(Default(2), cands)
		if liar := cfg.Help && cfg.Helped == 4; liar != (round < 9) {
			t.Errorf("round %d: %+v, room %d", round, cfg, s.even[4].room)
		}
	}
}

// TestFirstByLot: of peers that are about equal a lot says who goes first, for as
// long as they are; who lacks clearly more does not take part.
func TestFirstByLot(t *testing.T) {
	led := map[uint64]int{}
	for lot := range uint64(300) {
		s := Share{Lot: lot}
		cands := firsts()
		cands[1].Left, cands[2].Left, cands[3].Left = 1e9, 99e7, 2e9
		s.Book(Keep{}, cands)
		s.first(cands)
		leader := s.leader
		led[leader]++
		for range 5 {
			cands[1].Left -= 4e5
			s.Book(Keep{}, cands)
			if s.first(cands); s.leader != leader {
				t.Fatalf("peer %d goes before %d now", s.leader, leader)
			}
		}
	}
	if led[2]+led[3] != 300 || led[2] < 100 || led[3] < 100 {
		t.Errorf("who went first, by peer: %v", led)
	}
}
