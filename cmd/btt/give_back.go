package main

import (
	"fmt"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
)

const (
	// giveBackMost is the longest that a download which paid is shared on where
	// somebody reads that it is, and can end it.
	giveBackMost = time.Hour
	// giveBackUnwatched is the longest where nobody does: what a script does next
	// waits for the end of the command.
	giveBackUnwatched = time.Minute
	// giveBackGrace is how long after it was complete peers have to say that they
	// want something of it.
	giveBackGrace = time.Second
)

// giveBack lets downloads that paid be shared on for as long as they took, while
// somebody who is connected lacks something. Who buys slots is complete and leaves
// before it would have without, and what it does not upload then others would lack:
// they wait for it longer than in a swarm in which nobody bids (R1.10, A21).
type giveBack struct {
	r      *terminal.Reporter
	most   time.Duration
	bills  *bills
	onsets map[*btt.Torrent]onset
	list   map[*btt.Torrent]back
}

// onset is the last moment at which a download had got nothing yet.
type onset struct {
	at   time.Time
	over bool
}

// back is a download that is shared on: since when, and until when at most.
type back struct{ since, until time.Time }

func newGiveBack(r *terminal.Reporter, bills *bills) *giveBack {
	g := &giveBack{r: r, most: giveBackUnwatched, bills: bills, onsets: map[*btt.Torrent]onset{}, list: map[*btt.Torrent]back{}}
	if r.Mode() == terminal.Bars {
		g.most = giveBackMost
	}
	return g
}

// look notes when a download gets something at last: it did not take the time
// for which it waited for its turn or for peers.
func (g *giveBack) look(t *btt.Torrent, st *btt.Status, now time.Time) {
	if g.onsets[t].over {
		return
	}
	if st.Down > 0 {
		g.onsets[t] = onset{g.onsets[t].at, true}
	} else {
		g.onsets[t] = onset{at: now}
	}
}

// begin notes a download that is complete, after at most took.
func (g *giveBack) begin(t *btt.Torrent, st *btt.Status, took time.Duration, now time.Time) {
	if at := g.onsets[t].at; !at.IsZero() {
		took = min(took, now.Sub(at))
	}
	b := back{now, now.Add(min(took, g.most))}
	n := b.wanting(st, now)
	if g.bills.of(st).run == 0 || n == 0 {
		return
	}
	g.list[t] = b
	most := b.until.Sub(now)
	g.r.Event("sharing", fmt.Sprintf("goes on sharing %s for %s at most, for %s that it may have overtaken (Ctrl-C or --leave ends it)",
		title(st), terminal.Span(most), terminal.Count(n, "peer")), of(st, terminal.Fields{"seconds": most.Seconds(), "peers": n}))
}

// wanting counts the peers that lack something and want it of us.
func (b *back) wanting(st *btt.Status, now time.Time) (n int) {
	for i := range st.Peers {
		if p := &st.Peers[i]; !p.Seed && p.Lacks > 0 && (p.Interested || now.Before(b.since.Add(giveBackGrace))) {
			n++
		}
	}
	return n
}

// goesOn says whether something is shared still.
func (g *giveBack) goesOn(now time.Time) bool {
	for t, b := range g.list {
		st := t.Status()
		if !now.Before(b.until) || b.wanting(&st, now) == 0 || st.State != btt.Seeding {
			delete(g.list, t)
		}
	}
	return len(g.list) > 0
}
