package swarm

import (
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/internal/choker"
)

// TestIdleSlot: a peer that holds a slot and asks for nothing is idle after two
// seconds, the choker is told to look once, and what the peer lacks is known.
func TestIdleSlot(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		var looks atomic.Int32
		s := w.seed(nil, func(c *Config) { c.FreeSlot = func() { looks.Add(1) } })
		w.visit(s)
		c := s.Candidates(nil, true)
		if len(c) != 1 || c[0].Idle || c[0].Left != 10*testPiece {
			t.Fatalf("candidates %+v", c)
		}
		s.Decide([]choker.Decision{{ID: c[0].ID, Unchoke: true}}, choker.Weights{Free: 1, Bidder: 1})
		looks.Store(0)
		after(lendAfter / 2)
		if c = s.Candidates(nil, false); c[0].Idle || looks.Load() > 0 {
			t.Errorf("idle at once: %+v", c)
		}
		after(2 * lendAfter)
		if c = s.Candidates(nil, false); !c[0].Unchoked || !c[0].Idle || looks.Load() != 1 {
			t.Errorf("%+v, the choker was told %d times", c, looks.Load())
		}
	})
}
