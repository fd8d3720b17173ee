package joiner

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/tracker"
)

// TestStakesNeverPassTheLimit: whatever torrents promise, spend within their
// grants, earn, and however they end, what is laid out and not earned back never
// passes the limit by a single unit.
func TestStakesNeverPassTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := amount.Amount(rapid.Int64Range(0, 1e6).Draw(t, "most"))
		s := NewStakes(most, amount.Amount(rapid.Int64Range(0, 2e5).Draw(t, "lost")))
		begun := s.Lost()
		var all []Venture
		next := byte(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				next++
				all = append(all, Venture{Hash: [20]byte{next}})
			case 1:
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "left")
					s.Left(&all[i])
					all = append(all[:i], all[i+1:]...)
				}
			}
			granted := s.Grant(all)
			for i := range all {
				v := &all[i]
				if room := granted[v.Hash] - v.Spent; room > 0 && !v.Complete {
					v.Spent += amount.Amount(rapid.Int64Range(0, int64(room)).Draw(t, "spend"))
				}
				v.Earned += amount.Amount(rapid.Int64Range(0, 1000).Draw(t, "earn"))
				v.Expected = amount.Amount(rapid.Int64Range(0, 1e6).Draw(t, "promise"))
				v.Complete = v.Complete || rapid.IntRange(0, 5).Draw(t, "done") == 0
			}
			out := s.Lost()
			for i := range all {
				out += max(0, all[i].Spent-all[i].Earned)
			}
			if out > max(most, begun) {
				t.Fatalf("%d is laid out, at most %d may be", out, most)
			}
		}
	})
}

// TestStakesGoByStep: a torrent begins with a small part; more follows from what
// it earned and what its own peers promise, and what was lost comes off all.
func TestStakesGoByStep(t *testing.T) {
	s := NewStakes(1600, 0)
	v := Venture{Hash: [20]byte{1}}
	grant := func(want amount.Amount) {
		t.Helper()
		if got := s.Grant([]Venture{v})[v.Hash]; got != want {
			t.Errorf("granted %d, want %d", got, want)
		}
	}
	grant(100) // a sixteenth
	v.Spent = 100
	grant(100) // and no more for nothing
	v.Expected = 1000
	grant(500) // half of what is promised
	v.Expected = 0
	grant(500) // a bid may stand on it
	v.Earned = 300
	grant(500)
	v.Expected = 9000
	grant(1900) // all there is, and what it earned
	s.Left(&Venture{Hash: v.Hash, Spent: 900, Earned: 300})
	v = Venture{Hash: [20]byte{2}, Expected: 9000}
	if s.Lost() != 600 {
		t.Errorf("lost %d", s.Lost())
	}
	grant(1000)
	s.Left(&Venture{Hash: v.Hash, Spent: 0, Earned: 700})
	if s.Lost() != 0 {
		t.Errorf("gains do not make up for losses: %d", s.Lost())
	}
}

// TestExpected: only peers that can pay our price count, for what they lack, at
// our price whatever they bid, and other seeds take their share.
func TestExpected(t *testing.T) {
	const gib = 1 << 30
	price := amount.Price(2 * amount.BTT)
	peers := []buyer{{backed: price, lacks: gib}, {backed: 50 * price, lacks: gib / 2}, {backed: price - 1, lacks: gib}, {lacks: gib}}
	if got := expected(price, peers, 0); got != 3*amount.BTT {
		t.Errorf("alone: %v", got)
	}
	if got := expected(price, peers, 2); got != amount.BTT {
		t.Errorf("beside two seeds: %v", got)
	}
	if got := expected(amount.MaxPrice, []buyer{{backed: amount.MaxPrice, lacks: 1 << 62}, {backed: amount.MaxPrice, lacks: gib}}, 0); got != amount.Supply {
		t.Errorf("more than there is: %v", got)
	}
}

// TestRank: a single high bid does not lead the list; seeds and the crowd count.
func TestRank(t *testing.T) {
	swarm := func(name byte, bid, bid5 uint64, bidders, leechers, seeds int) tracker.BidSwarm {
		b := tracker.BidSwarm{Bid: bid, Bid5: bid5, Bidders: bidders}
		b.InfoHash[0], b.Incomplete, b.Complete = name, leechers, seeds
		return b
	}
	list := []tracker.BidSwarm{
		swarm('l', 1<<40, 5, 9, 9, 0),     // one liar among nine
		swarm('s', 1000, 900, 9, 10, 9),   // many seeds
		swarm('b', 1000, 900, 9, 10, 0),   // many bidders, no seed
		swarm('o', 1000, 0, 1, 10, 0),     // one bidder
		swarm('x', 1<<63, 1<<63, 9, 9, 0), // beyond every price
		swarm('n', 0, 0, -1, -1, -1),
	}
	rank(list)
	got := ""
	for _, b := range list {
		got += string(b.InfoHash[0])
	}
	if got != "xbosln" {
		t.Errorf("order %q", got)
	}
}

// TestIdle: a joined torrent is left when nobody bids while it is not whole, or when it
// earned nothing; not while a whole one that earned stops to rest, or starts again.
func TestIdle(t *testing.T) {
	then := time.Now()
	for _, tt := range []struct {
		name            string
		state           swarm.State
		completed       time.Time
		earned          amount.Amount
		resting         bool
		want, wantQuiet bool
	}{
		{name: "fetched", state: swarm.Downloading, wantQuiet: true},
		{name: "fetched and sold", state: swarm.Downloading, earned: 1, wantQuiet: true},
		{name: "broken since", state: swarm.Downloading, completed: then, earned: 1, wantQuiet: true},
		{name: "whole", state: swarm.Seeding, completed: then, earned: 1},
		{name: "at rest", state: swarm.Queued, completed: then, earned: 1, resting: true},
		{name: "about to run", state: swarm.Queued, completed: then, earned: 1},
		{name: "being read", state: swarm.Checking, completed: then, earned: 1},
		{name: "never paid", state: swarm.Seeding, completed: then, wantQuiet: true},
		{name: "never paid, at rest", state: swarm.Queued, completed: then, resting: true, want: true, wantQuiet: true},
	} {
		st := &session.Status{Completed: tt.completed, Resting: tt.resting}
		st.State, st.Earned = tt.state, tt.earned
		if got, quiet := idle(st, false), idle(st, true); got != tt.want || quiet != tt.wantQuiet {
			t.Errorf("%s: left %v, and when it is quiet %v", tt.name, got, quiet)
		}
	}
}
