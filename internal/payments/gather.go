package payments

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// gatherWait is how long a payment that was put off waits while nothing arrives.
	gatherWait = 5 * time.Millisecond
	// gatherLong is how long it waits while data come on.
	gatherLong = 20 * time.Millisecond
	// gatherMax is how many bytes are gathered at most: half of what providers lend by
	// default, so that they send on while a payment is made.
	gatherMax = DefaultCredit / 2
	// gatherRest and gatherMost bound the number of payments for which less is gathered
	// after one for which the provider seems to have stopped.
	gatherRest = 64
	gatherMost = 4096
)

// gather puts payments of a link off while data come on: the next one says all, for one
// signature, one check and one write. What the provider lends is not told; it is found:
// twice as much is gathered each time, from a quantum to gatherMax, while the provider
// sends on (docs/rfcs/0042). One that lends less stops; then it is paid, and for the next
// 64 payments half as much is gathered as came, which may be nothing, then for 128, and so
// on. A silence at which less was unpaid than the provider let be before is no such stop.
// A link's end puts off nothing.
type gather struct {
	off   atomic.Bool  // a payment is put off
	wide  atomic.Bool  // half of gatherMax was gathered, and the provider sent on
	under atomic.Int64 // bytes that arrived at a price and are not verified

	mu      sync.Mutex // guards what follows; a leaf
	timer   *time.Timer
	limit   int64     // bytes gathered at most by now
	held    int64     // bytes put off
	since   time.Time // when the first of them were
	armed   time.Time // when the timer was
	heard   int64     // under then
	proven  int64     // unpaid bytes at which the provider sent on, about
	stopped int64     // those at which it seems to have stopped
	rests   int       // payments until more is tried
	rest    int       // what rests was after the last stop
}

// puts says whether a payment for n bytes more waits for others, and for how many bytes
// the one after it will be. left is what is wanted besides; late is called when it is to
// be made without others, and not by the caller.
func (g *gather) puts(n, left int64, late func()) (off bool, next int64) {
	under := max(0, g.under.Add(-n))
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	ahead := g.held + n + under
	g.proven = max(g.proven, ahead)
	if g.rest > 0 && ahead > g.stopped { // so it had not
		g.rest, g.rests = 0, 0
	}
	if g.held == 0 {
		g.since = now
	}
	off = true
	if full := g.held+2*n > g.limit; full || left < 2*n || now.Sub(g.since) >= gatherLong {
		if full && g.rests == 0 {
			g.wide.Store(g.held > 0 && g.limit >= gatherMax/2)
			g.limit = min(2*max(g.limit, n), gatherMax)
		}
		g.pays()
		off = false
	} else {
		g.held += n
		g.off.Store(true)
		g.arm(now, under, late)
	}
	return off, max(g.limit-g.limit%n, n)
}

// arm has vain look in gatherWait. The caller holds mu.
func (g *gather) arm(now time.Time, under int64, late func()) {
	g.armed, g.heard = now, under
	if g.timer != nil {
		g.timer.Reset(gatherWait)
		return
	}
	g.timer = time.AfterFunc(gatherWait, func() {
		if g.vain() {
			late()
		}
	})
}

// pays notes that a payment is made. The caller holds mu.
func (g *gather) pays() {
	if g.held > 0 {
		g.timer.Stop()
		g.off.Store(false)
	}
	g.held, g.rests = 0, max(g.rests-1, 0)
}

// vain ends a wait in which nothing was verified and says so, unless it is over or
// data come on.
func (g *gather) vain() bool {
	now, under := time.Now(), max(0, g.under.Load())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == 0 || now.Sub(g.armed) < gatherWait { // over; or begun anew meanwhile
		return false
	}
	ahead := g.held + under
	switch {
	case under != g.heard:
		if g.proven = max(g.proven, ahead); now.Sub(g.since) < gatherLong {
			g.arm(now, under, nil)
			return false
		}
	case ahead >= g.proven:
		g.rest = min(max(2*g.rest, gatherRest), gatherMost)
		g.limit, g.rests, g.stopped, g.proven = g.held/2, g.rest+1, ahead, ahead
		g.wide.Store(false)
	default: // perhaps it lends less by now
		if g.proven -= (g.proven - ahead) / 2; g.proven < ahead+ahead/2 {
			g.proven = ahead
		}
	}
	g.pays()
	return true
}
