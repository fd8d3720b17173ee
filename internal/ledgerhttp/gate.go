package ledgerhttp

import (
	"sync"
	"time"
)

// Rate is a token bucket: PerSecond tokens flow in, Burst fit in.
type Rate struct {
	PerSecond int
	Burst     int
}

// GateEntries is the most keys that a Gate remembers. Beyond them the idle ones are
// forgotten, then any: forgetting one gives it a full bucket.
const GateEntries = 1 << 16

// Gate holds a token bucket for each key. It knows no clock: time is an argument,
// so that it can be tested and simulated. Its lock is a leaf.
type Gate[K comparable] struct {
	rate Rate
	mu   sync.Mutex
	// full is when a key's bucket is full again; absent means now.
	full map[K]time.Time
}

// NewGate returns a gate with full buckets.
func NewGate[K comparable](r Rate) *Gate[K] {
	return &Gate[K]{rate: Rate{PerSecond: max(r.PerSecond, 1), Burst: max(r.Burst, 1)}, full: map[K]time.Time{}}
}

// span is the time in which n tokens flow in.
func (g *Gate[K]) span(n int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(g.rate.PerSecond)
}

// Wait returns how long n tokens are away for k, 0 when they are there. n is at
// most the burst: more is counted as the burst.
func (g *Gate[K]) Wait(k K, n int, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wait(k, n, now)
}

func (g *Gate[K]) wait(k K, n int, now time.Time) time.Duration {
	missing := max(g.full[k].Sub(now), 0)
	return max(missing+g.span(min(n, g.rate.Burst))-g.span(g.rate.Burst), 0)
}

// Take takes n tokens of k, or none of them and says how long they are away.
func (g *Gate[K]) Take(k K, n int, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.wait(k, n, now); d > 0 {
		return d
	}
	g.charge(k, n, now)
	return 0
}

// Charge takes n tokens of k whether they are there or not: for what turned out
// to count only after it was done.
func (g *Gate[K]) Charge(k K, n int, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.charge(k, n, now)
}

func (g *Gate[K]) charge(k K, n int, now time.Time) {
	from, known := g.full[k]
	if !known && len(g.full) >= GateEntries {
		g.forget(now)
	}
	if from.Before(now) {
		from = now
	}
	g.full[k] = from.Add(g.span(n))
}

// forget makes room: for many keys at once, since it looks at all of them.
func (g *Gate[K]) forget(now time.Time) {
	for k, full := range g.full {
		if !full.After(now) {
			delete(g.full, k)
		}
	}
	for k := range g.full {
		if len(g.full) <= GateEntries*3/4 {
			return
		}
		delete(g.full, k)
	}
}

// Quota bounds how many places each key and all together hold at a time. Its lock
// is a leaf.
type Quota[K comparable] struct {
	each, all int
	mu        sync.Mutex
	held      map[K]int
	total     int
}

// NewQuota returns a quota of which nothing is held.
func NewQuota[K comparable](each, all int) *Quota[K] {
	return &Quota[K]{each: each, all: all, held: map[K]int{}}
}

// Take takes a place for k, or reports false.
func (q *Quota[K]) Take(k K) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total >= q.all || q.held[k] >= q.each {
		return false
	}
	q.total++
	q.held[k]++
	return true
}

// Release gives back a place that Take gave.
func (q *Quota[K]) Release(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.held[k]--; q.held[k] == 0 {
		delete(q.held, k)
	}
}
