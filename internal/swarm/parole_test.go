package swarm

import (
	"testing"
	"time"
)

// TestTakerOfDoubted: a paid peer that took the rest of a piece waits for what was left to
// the one that lost it, and that one's data are in doubt since: no longer than for any other.
func TestTakerOfDoubted(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		g := w.node(w.buyer(), t.TempDir(), nil)
		slow := w.seed(w.market(), nil)
		w.joinSlow(slow, g, 1, 5*time.Minute)
		after(time.Second)
		slow.sells(t, btt)
		after(2 * time.Second)
		fast := w.seed(w.market(), nil)
		w.join(fast, g)
		after(time.Second)
		fast.sells(t, btt)
		lost, began := false, time.Now()
		for !lost && time.Since(began) < time.Minute {
			after(100 * time.Millisecond)
			_ = g.do(func() {
				for _, m := range g.peers {
					if !m.lostAt.IsZero() {
						lost, m.parole = true, true
					}
				}
			})
		}
		if st := g.Status(); !lost || st.State != Downloading {
			t.Fatalf("%v: the slow one lost a piece: %v", st.State, lost)
		}
		took := fetch(t, g, fast)
		t.Logf("%v", took)
		if st := g.Status(); st.State != Seeding || took > 2*blockMax {
			t.Errorf("%v after %v more, at most %v", st.State, took, 2*blockMax)
		}
		slow.Close()
		after(10 * time.Minute)
	})
}
