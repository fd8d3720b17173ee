package swarm

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/wire"
)

// TestWideWindowIsPaced: what is bought is asked for beyond what the line holds, since its
// seller's window bounds it. Once the seller seems to lend several times that, no more is
// asked for than of any other peer, which under a download limit is what comes in a second:
// the words of a connection come behind its blocks.
func TestWideWindowIsPaced(t *testing.T) {
	const second, deep = 16, 1000 // blocks
	bubble(t, 100*testPiece, func(t *testing.T, w *world) {
		g := w.node(w.buyer(), t.TempDir(), func(c *Config) { c.Down = []*ratelimit.Limiter{ratelimit.New(second * wire.BlockSize)} })
		s := w.seed(w.market(), nil)
		w.join(s, g)
		after(time.Second)
		s.sells(t, btt)
		after(10 * time.Second)
		_ = g.do(func() {
			here := uint32(0)
			for !g.pieces.Has(here) {
				here++
			}
			for _, m := range g.peers {
				wants := func() int {
					g.feed(m)
					m.conn.SetDepth(deep)
					return m.conn.Want()
				}
				if n := wants(); !m.trade.Paying() || m.trade.Wide() || n == 0 {
					t.Errorf("paying %v, by a wide window %v: %d blocks more are wanted", m.trade.Paying(), m.trade.Wide(), n)
				}
				for i := 0; i < 1<<14 && !m.trade.Wide(); i++ { // as if so much had come before
					g.market.Credit(m.trade, here, 0, testPiece)
					g.market.Pay(m.trade)
				}
				if n := wants(); !m.trade.Wide() || m.conn.Outstanding() < 2*second || n > 0 {
					t.Errorf("by a wide window (%v): %d blocks more are wanted than %d", m.trade.Wide(), n, m.conn.Outstanding())
				}
			}
			if len(g.peers) != 1 {
				t.Errorf("%d peers", len(g.peers))
			}
		})
		g.Close()
		after(time.Minute) // its reader waits for the limit
	})
}
