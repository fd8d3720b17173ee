package main

import (
	"io"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/internal/terminal"
)

// TestGiveBackWanting: who is complete, or wants nothing of us, keeps nobody; right
// after the end peers have a moment to say what they want.
func TestGiveBackWanting(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	b := back{since: now, until: now.Add(time.Minute)}
	for _, tt := range []struct {
		name  string
		peer  swarm.PeerStatus
		after time.Duration
		want  int
	}{
		{"lacks and wants", swarm.PeerStatus{Lacks: 1, Interested: true}, 30 * time.Second, 1},
		{"lacks, wants nothing", swarm.PeerStatus{Lacks: 1}, 30 * time.Second, 0},
		{"lacks, did not say yet", swarm.PeerStatus{Lacks: 1}, giveBackGrace / 2, 1},
		{"a seed", swarm.PeerStatus{Seed: true, Lacks: 1, Interested: true}, 0, 0},
		{"lacks nothing", swarm.PeerStatus{Interested: true}, 0, 0},
	} {
		st := btt.Status{Status: swarm.Status{Peers: []swarm.PeerStatus{tt.peer}}}
		if got := b.wanting(&st, now.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestGiveBackTime: a download is shared on for as long as it took, without the time for
// which it waited; for a minute at most where nobody watches, so that what a script does
// next does not wait for long; and not at all for what it cost in an earlier run.
func TestGiveBackTime(t *testing.T) {
	const lines, bars, json = terminal.Lines, terminal.Bars, terminal.JSON
	for _, tt := range []struct {
		name   string
		mode   terminal.Mode
		waited time.Duration // of took
		took   time.Duration
		paid   amount.Amount
		want   time.Duration // 0 = it leaves
	}{
		{"in a file", lines, 0, 20 * time.Second, 8, 20 * time.Second},
		{"in a file, long", lines, 0, 3 * time.Hour, 8, time.Minute},
		{"for a program, long", json, 0, 3 * time.Hour, 8, time.Minute},
		{"on a terminal", bars, 0, 20 * time.Minute, 8, 20 * time.Minute},
		{"on a terminal, long", bars, 0, 3 * time.Hour, 8, time.Hour},
		{"waited for peers", bars, 3 * time.Hour, 3*time.Hour + 5*time.Second, 8, 5 * time.Second},
		{"paid before only", bars, 0, time.Minute, 7, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGiveBack(terminal.New(tt.mode, io.Discard), newBills([]*btt.Receipt{{InfoHash: [20]byte{1}, Lines: []*btt.ReceiptLine{{Role: btt.ReceiptPaid, Sum: 7}}}}))
			torrent, began := new(btt.Torrent), time.Unix(1_000_000, 0)
			st := btt.Status{Status: swarm.Status{InfoHash: [20]byte{1}, Paid: 7}}
			for at := time.Duration(0); at <= tt.waited; at += time.Minute {
				g.look(torrent, &st, began.Add(at))
			}
			st.Down = 1000
			g.look(torrent, &st, began.Add(tt.waited+time.Second))
			st.Down = 0 // a pause counts
			g.look(torrent, &st, began.Add(tt.took))
			st.Paid, st.Peers = tt.paid, []swarm.PeerStatus{{Lacks: 1, Interested: true}}
			now := began.Add(tt.took)
			g.begin(torrent, &st, tt.took, now)
			b, shared := g.list[torrent]
			if shared != (tt.want > 0) || shared && b.until.Sub(now) != tt.want {
				t.Errorf("shared on %v, for %v, want %v", shared, b.until.Sub(now), tt.want)
			}
		})
	}
}
