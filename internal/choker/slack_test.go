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

// TestSlackOfTorrents: a torrent's own limit counts as the session's does. Peers that wait
// for a torrent at its limit open no slot, whatever the session has left, and those of one
// below it do without a limit of the session; one without any limit tells nothing.
func TestSlackOfTorrents(t *testing.T) {
	const limit = 1 << 20
	full, idle := int64(limit)*15, int64(limit)*15/2
	type torrent struct {
		limit, sent int64
		waits       bool
	}
	for name, tt := range map[string]struct {
		session  int64
		torrents []torrent
		opens    int
	}{
		"below its own":                        {0, []torrent{{limit, idle, true}}, 3},
		"below its own, nobody waits":          {0, []torrent{{limit, idle, false}}, 0},
		"at its own":                           {0, []torrent{{limit, full, true}}, 0},
		"at its own, much left in the session": {10 * limit, []torrent{{limit, full, true}}, 0},
		"at its own, others below":             {10 * limit, []torrent{{limit, full, false}, {0, idle, true}}, 3},
		"waiting for the one at its own":       {10 * limit, []torrent{{limit, full, true}, {limit, idle, false}}, 0},
		"below its own, session full":          {limit, []torrent{{10 * limit, full, true}}, 0},
		"one without any limit":                {0, []torrent{{limit, idle, true}, {0, idle, true}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var cands []Candidate
			for i, x := range tt.torrents {
				c := Candidate{ID: uint64(10 * i), Torrent: uint32(i), Limit: x.limit, Interested: true, Unchoked: true, Sent: x.sent}
				cands = append(cands, c)
				if x.waits {
					cands = append(cands, Candidate{ID: c.ID + 1, Torrent: c.Torrent, Limit: x.limit, Interested: true})
				}
			}
			var s Slack
			for range 3 {
				s.Book(tt.session, Period, cands)
			}
			if got := s.Apply(Default(2)).Slots - 2; got != tt.opens {
				t.Errorf("%d slots are opened, want %d", got, tt.opens)
			}
		})
	}
}
