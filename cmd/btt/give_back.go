package main

import (
	"fmt"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
)

const (
	// giveBackMost is the longest that a download which paid is shared on.
	giveBackMost = time.Hour
	// giveBackGrace is how long after it was complete peers have to say that they
	// want something of it.
	giveBackGrace = time.Second
)

// giveBack lets downloads that paid be shared on for as long as they took, while
// somebody who is connected lacks something. Who buys slots is complete and leaves
// before it would have without, and what it does not upload then others would lack:
// they wait for it longer than in a swarm in which nobody bids (R1.10, A21).
type giveBack struct {
	r    *terminal.Reporter
	list map[*btt.Torrent]back
}

// back is a download that is shared on: since when, and until when at most.
type back struct{ since, until time.Time }

// begin notes a download that is complete.
func (g *giveBack) begin(t *btt.Torrent, st *btt.Status, took time.Duration, now time.Time) {
	b := back{now, now.Add(min(took, giveBackMost))}
	n := b.wanting(st, now)
	if st.Paid <= 0 || n == 0 {
		return
	}
	if g.list == nil {
		g.list = map[*btt.Torrent]back{}
	}
	g.list[t] = b
	most := b.until.Sub(now)
	g.r.Event("sharing", fmt.Sprintf("goes on sharing %s for %s at most, %s of those it may have overtaken still lack something (Ctrl-C or --leave ends it)",
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
