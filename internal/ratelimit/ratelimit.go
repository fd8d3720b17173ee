// Package ratelimit bounds bytes a second over many peers with one token
// bucket.
//
// internal/peer and internal/session share Limiters: one each for the upload
// and download of a torrent and of the session. A Limiter has no goroutine and
// reads no clock: callers pass the time and wait themselves (or use Wait).
//
// Fairness: a taker that must wait gets its place in time at once, right after
// all earlier takers, so nobody can be overtaken; and since one Take is bounded
// by MaxTake, peers that take in turn share the rate evenly.
package ratelimit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// BurstTime is how much unused rate may be saved up.
	BurstTime = 100 * time.Millisecond
	// MinBurst is the least burst in bytes: one block with its header must
	// always pass as a whole.
	MinBurst = 32 << 10
	// MaxTake bounds one Take in bytes; larger ones are cut to it.
	MaxTake = 1 << 20
	// MaxWait bounds the wait one Take tells, and so the debt of a Limiter.
	MaxWait = time.Hour
	// MaxRate bounds a rate in bytes a second (about 1 TB/s); more is no limit.
	MaxRate = 1 << 40
)

// Limiter is a token bucket. The nil Limiter and one of rate 0 are unlimited.
// It may be used by any number of goroutines.
type Limiter struct {
	bound atomic.Bool // rate > 0: who is unlimited takes no lock
	mu    sync.Mutex
	rate  int64     // bytes a second, 0 = unlimited
	free  time.Time // when all that was taken will be paid for
	paced bool      // free is set
}

// New returns a Limiter of a rate in bytes a second; 0 or less is unlimited.
func New(bytesPerSecond int64) *Limiter {
	l := &Limiter{}
	l.rate = normal(bytesPerSecond)
	l.bound.Store(l.rate > 0)
	return l
}

func normal(rate int64) int64 {
	if rate <= 0 || rate > MaxRate {
		return 0
	}
	return rate
}

// Bound says whether there is a limit now.
func (l *Limiter) Bound() bool { return l != nil && l.bound.Load() }

// Rate returns the rate in bytes a second, 0 when unlimited.
func (l *Limiter) Rate() int64 {
	if l == nil || !l.bound.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate
}

// SetRate changes the rate; 0 or less is unlimited. What was taken and is not
// paid for yet is paid at the new rate; waits already told do not change. It
// panics on a nil Limiter with anything but unlimited.
func (l *Limiter) SetRate(bytesPerSecond int64, now time.Time) {
	rate := normal(bytesPerSecond)
	if l == nil {
		if rate != 0 {
			panic("ratelimit: rate set on a nil Limiter")
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch debt := l.free.Sub(now); {
	case rate == 0 || l.rate == 0:
		l.paced = false
	case l.paced && debt > 0:
		l.free = now.Add(min(span(bytes(debt, l.rate), rate), MaxWait))
	}
	l.rate = rate
	l.bound.Store(rate > 0)
}

// Take takes n bytes (cut to MaxTake) at time now and returns how long the
// caller must wait before it may use them; 0 means at once. The bytes are taken
// in any case: a caller that gives up calls Give.
func (l *Limiter) Take(n int, now time.Time) time.Duration {
	if l == nil || n <= 0 || !l.bound.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == 0 {
		return 0
	}
	burst := max(BurstTime, span(MinBurst, l.rate))
	if earliest := now.Add(-burst); !l.paced || l.free.Before(earliest) {
		l.free = earliest
		l.paced = true
	}
	l.free = l.free.Add(span(int64(min(n, MaxTake)), l.rate))
	if latest := now.Add(MaxWait); l.free.After(latest) {
		l.free = latest
	}
	return max(l.free.Sub(now), 0)
}

// Give returns bytes taken and not used.
func (l *Limiter) Give(n int) {
	if l == nil || n <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate > 0 && l.paced {
		l.free = l.free.Add(-span(int64(min(n, MaxTake)), l.rate))
	}
}

// Wait takes n bytes and sleeps until they may be used. When ctx ends first, it
// gives them back and returns ctx's error.
func (l *Limiter) Wait(ctx context.Context, n int) error {
	if l == nil {
		return nil
	}
	wait := l.Take(n, time.Now())
	if wait == 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		l.Give(n)
		return ctx.Err()
	}
}

// span returns the time n bytes take, rate > 0, at most about 200 years.
func span(n, rate int64) time.Duration {
	whole, rest := min(n/rate, 200*365*24*3600), n%rate
	return time.Duration(whole)*time.Second + time.Duration(float64(rest)/float64(rate)*float64(time.Second))
}

// bytes returns what passes in d.
func bytes(d time.Duration, rate int64) int64 {
	return int64(d.Seconds() * float64(rate))
}
