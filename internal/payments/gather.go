package payments

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// gatherAfter is how many payments of a link are made at once before one is put
	// off: the default window is four quanta then (docs/rfcs/0042).
	gatherAfter = 256
	// gatherWait is how long a payment is put off for the next one's sake. Below
	// a quantum in that time every payment is made at once.
	gatherWait = 3 * time.Millisecond
	// gatherRest bounds how many payments are made at once after one was put off in vain.
	gatherRest = 4096
)

// gather puts off every other payment of a link that is so fast that the next one
// comes within gatherWait: one payment says both, for one signature, one check and one
// write. Where nothing comes in that time, because the provider lends no more than one
// quantum or is not so fast, payments are made at once for the next 64, then 128, and
// so on. A link's end puts off nothing.
type gather struct {
	off atomic.Bool // a payment is put off

	mu    sync.Mutex // guards what follows; a leaf
	timer *time.Timer
	eager int // payments to make at once before the next is put off
	rest  int // what eager was after the last one that was put off in vain
}

// puts says whether a payment of n bytes waits for the next one, and for how many bytes
// the one after it will be. late is called when it waited in vain.
func (g *gather) puts(n, left int64, late func()) (off bool, next int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.off.Load():
		g.timer.Stop()
		g.off.Store(false)
		return false, 2 * n
	case g.eager > 0:
		g.eager--
		return false, n
	case left < 2*n:
		return false, n
	}
	g.off.Store(true)
	if g.timer == nil {
		g.timer = time.AfterFunc(gatherWait, func() {
			if g.vain() {
				late()
			}
		})
		return true, 2 * n
	}
	g.timer.Reset(gatherWait)
	return true, 2 * n
}

// vain ends the wait; false if it is over already.
func (g *gather) vain() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.off.Load() {
		return false
	}
	g.off.Store(false)
	g.rest = min(max(2*g.rest, gatherAfter/4), gatherRest)
	g.eager = g.rest
	return true
}
