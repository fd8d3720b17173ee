package ratelimit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

const block = 16384

func TestUnlimited(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, l := range []*Limiter{nil, New(0), New(-5), New(MaxRate + 1)} {
		if l.Rate() != 0 || l.Take(1<<30, now) != 0 || l.Wait(t.Context(), 1<<30) != nil {
			t.Errorf("limiter %v holds back", l)
		}
		l.Give(5)
		l.SetRate(0, now)
	}
}

// TestNeverTooFast compares with the definition of a token bucket: in no
// interval may more be granted than burst + rate x time.
func TestNeverTooFast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := int64(rapid.IntRange(1, 1<<24).Draw(t, "rate"))
		l := New(rate)
		now := time.Unix(1e9, 0)
		type grant struct {
			at time.Time
			n  int64
		}
		var grants []grant
		for range rapid.IntRange(1, 30).Draw(t, "takes") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
			n := rapid.IntRange(1, 2*block).Draw(t, "n")
			wait := l.Take(n, now)
			if wait >= MaxWait {
				return
			}
			grants = append(grants, grant{now.Add(wait), int64(n)})
		}
		burst := max(float64(MinBurst), float64(rate)*BurstTime.Seconds())
		for i := range grants {
			sum := int64(0)
			for k := i; k < len(grants); k++ {
				if k > 0 && grants[k].at.Before(grants[k-1].at) {
					t.Fatalf("grant %d overtakes", k)
				}
				sum += grants[k].n
				limit := burst + grants[k].at.Sub(grants[i].at).Seconds()*float64(rate)
				if float64(sum-grants[i].n) > limit+1+float64(rate)*1e-6 {
					t.Fatalf("%d bytes in %v at %d B/s", sum, grants[k].at.Sub(grants[i].at), rate)
				}
			}
		}
	})
}

func TestPeersShareEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, seconds, peers = 1 << 20, 20, 7
		l := New(rate)
		ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
		defer cancel()
		var got [peers]int
		var group sync.WaitGroup
		for i := range peers {
			group.Go(func() {
				for l.Wait(ctx, block) == nil {
					got[i] += block
				}
			})
		}
		group.Wait()
		sum := 0
		for i := range got {
			sum += got[i]
			// One peer may have had the whole burst at the start.
			if want := rate * seconds / peers; got[i] < want-rate/10-block || got[i] > want+rate/10+block {
				t.Errorf("peer %d got %d, fair are %d", i, got[i], want)
			}
		}
		if sum > rate*seconds+rate/5 || sum < rate*seconds*98/100 {
			t.Errorf("%d bytes in %d s at %d B/s", sum, seconds, rate)
		}
	})
}

func TestSetRate(t *testing.T) {
	now := time.Unix(1000, 0)
	l := New(1 << 20)
	l.Take(1<<20, now)
	first := l.Take(1<<20, now)
	l.SetRate(1<<21, now)
	if half := l.Take(1, now); half < first/2-time.Millisecond || half > first/2+time.Millisecond {
		t.Errorf("debt of %v became %v at twice the rate", first, half)
	}
	l.SetRate(0, now)
	if w := l.Take(1<<20, now); w != 0 {
		t.Errorf("unlimited waits %v", w)
	}
	l.SetRate(1<<20, now)
	if w := l.Take(block, now); w != 0 {
		t.Errorf("a fresh bucket waits %v", w)
	}
	for range 10000 {
		l.SetRate(1, now)
		if w := l.Take(MaxTake, now); w < 0 || w > MaxWait {
			t.Fatalf("wait of %v", w)
		}
	}
}

func TestWaitGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(block)
		l.Take(10*block, time.Now())
		before := l.Take(1, time.Now())
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- l.Wait(ctx, 100*block) }()
		synctest.Wait()
		cancel(nil)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if after := l.Take(1, time.Now()); after > before+time.Millisecond {
			t.Errorf("wait %v grew to %v after a cancelled Wait", before, after)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	l := New(1 << 40)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		l.Take(block, now)
	}
}
