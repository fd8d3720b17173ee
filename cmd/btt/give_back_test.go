package main

import (
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/swarm"
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
