package peer

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/ratelimit"
)

// TestBatch: without a rate limit a write carries more blocks as long as writes are fast,
// also where there is a limiter that limits nothing, and few again when they are not.
func TestBatch(t *testing.T) {
	c := New(Config{Up: []*ratelimit.Limiter{ratelimit.New(0), nil}})
	for i := range 200 {
		c.uploads = append(c.uploads, req(i))
	}
	w := writer{most: 1}
	take := func(want int) {
		t.Helper()
		if _, ok := c.next(&w); !ok || len(w.batch) != want {
			t.Errorf("%d blocks at a time, want %d", len(w.batch), want)
		}
	}
	for _, want := range []int{1, 2, 4, 8, 16, 16} {
		take(want)
		w.learn(time.Millisecond)
	}
	for _, want := range []int{16, 8, 4, 2, 1, 1} {
		take(want)
		w.learn(slowWrite + 1)
	}
}
