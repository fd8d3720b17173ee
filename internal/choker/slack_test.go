package choker

import (
	"testing"
)

// TestSlack: while the upload is not used up and somebody waits, more are served,
// free of charge and a named number at most; later as many as before. A limit that
// binds, nobody who waits, or no limit opens nothing.
func TestSlack(t *testing.T) {
	cands := []Candidate{
		{ID: 1, Interested: true, Seeding: true, Speed: true, Bid: 9, Unchoked: true, Paid: true, UnchokedAt: now},
		{ID: 2, Interested: true, Seeding: true, Unchoked: true, Optimistic: true, UnchokedAt: now},
	}
	for i := range 6 {
		cands = append(cands, Candidate{ID: uint64(10 + i), Interested: true, Seeding: true, WaitingSince: now.Add(-Period)})
	}
	const limit = 1 << 20
	var s Slack
	served := func() (n int) {
		for i, d := range new(Scratch).Round(nil, s.Apply(Default(2)), now, 1, cands) {
			if d.Unchoke {
				n++
			}
			if d.Paid != (i == 0) {
				t.Errorf("peer %d: %+v", i, d)
			}
		}
		return n
	}
	book := func(sent int64, cands []Candidate) {
		cands[0].Sent = sent
		s.Book(limit, Period, cands)
	}
	full, idle := int64(limit)*15, int64(limit)*15/2
	if book(full, cands); served() != 2 {
		t.Errorf("%d are served by a full upload", served())
	}
	for n := range slackMost + 2 {
		if book(idle, cands); served() != 2+min(n+1, slackMost) {
			t.Errorf("after %d idle rounds %d are served", n+1, served())
		}
	}
	for range slackMost * slackRounds {
		book(full, cands)
	}
	if served() != 2 {
		t.Errorf("%d are served when the upload is full again", served())
	}
	if book(idle, cands[:2]); served() != 2 {
		t.Error("a slot is opened for nobody")
	}
	book(idle, cands)
	if s.Book(0, Period, cands); served() != 2 {
		t.Error("a slot is open without a limit")
	}
	if cfg := s.Apply(Config{Slots: -1}); cfg.Slots != -1 {
		t.Errorf("no limit of slots becomes %d", cfg.Slots)
	}
}
