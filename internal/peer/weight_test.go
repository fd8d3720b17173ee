package peer

import (
	"testing"

	"github.com/bttnet/btt/internal/ratelimit"
)

// TestWeight: under a rate limit a connection takes as many blocks at a time as
// its weight, so that two share the limit as their weights are.
func TestWeight(t *testing.T) {
	for weight, want := range map[int]int{0: 1, 1: 1, 3: 3, 8: 8} {
		c := New(Config{Up: []*ratelimit.Limiter{ratelimit.New(1 << 20)}})
		c.SetWeight(weight)
		for i := range 10 {
			c.uploads = append(c.uploads, req(i))
		}
		var w writer
		if _, ok := c.next(&w); !ok || len(w.batch) != want {
			t.Errorf("weight %d: %d blocks at a time, want %d", weight, len(w.batch), want)
		}
	}
}
