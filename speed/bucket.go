package speed

import "time"

// bucket is a token bucket over the caller's clock: burst events at once, one
// more per interval. The zero value is full.
type bucket struct{ full time.Time } // when the bucket is full again

// take uses one token; false if none is left.
func (b *bucket) take(now time.Time, burst int, interval time.Duration) bool {
	full := b.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(interval)
	if full.Sub(now) > time.Duration(burst)*interval {
		return false
	}
	b.full = full
	return true
}
