// Package reserve is the reserve price of a torrent this node seeds: how it
// grows, which chunk a peer must prove to lower it, and when a proof counts.
//
// internal/swarm owns one Torrent per seeded torrent and asks it
// for a Quote to announce (package speed) and to auction with
// (internal/choker). The package is pure: no goroutine, no clock, no random
// source; not safe for concurrent use.
//
// Requirements: R7; readings A11-A15. Chunks are request blocks of 16 KiB.
package reserve

import (
	"math/bits"
	"time"

	"github.com/bttnet/btt/amount"
)

// Policy says what a torrent's bytes cost at least, in µBTT per GiB.
type Policy interface {
	Price(now time.Time) amount.Price
}

// Fixed is the same price at any time (R7.19). The zero value asks nothing.
type Fixed amount.Price

// Price returns the fixed price.
func (f Fixed) Price(time.Time) amount.Price { return amount.Price(f) }

const (
	// Day is the time in which Linear grows by Growth.Slope.
	Day = 24 * time.Hour
	// DailySteps is the number of announcement steps a day if Growth.Step is
	// 0: about one message a quarter of an hour.
	DailySteps = 100
)

// Growth configures Linear (A11). Prices are in µBTT per GiB.
type Growth struct {
	// Slope is the growth per day without a proof; 0 keeps the price at 0.
	// It is nominal: derive it from prices paid lately, say a tenth of their
	// median.
	Slope amount.Price
	// Cap is the highest price; 0 means amount.MaxPrice.
	Cap amount.Price
	// Step is the announcement step: prices are its multiples, rounded down,
	// so that a growing price does not mean endless messages (A15). 0 means
	// a hundredth of Slope, at least 1.
	Step amount.Price
}

// Linear is the default policy: 0 before completion and at the moment of a
// proof, then growing in proportion to the time since (R7.3-R7.5, R7.11, A11).
type Linear struct {
	Growth Growth
	start  time.Time // later of completion and last valid proof
}

// Complete tells when this node became complete.
func (l *Linear) Complete(at time.Time) { l.later(at) }

// Proved tells when another peer's possession was last proved.
func (l *Linear) Proved(at time.Time) {
	if !l.start.IsZero() { // a leecher asks 0 anyway (A11)
		l.later(at)
	}
}

func (l *Linear) later(at time.Time) {
	if at.After(l.start) {
		l.start = at
	}
}

// Start returns the later of completion and last proof; zero before completion.
func (l *Linear) Start() time.Time { return l.start }

// Price returns the quantised price at now.
func (l *Linear) Price(now time.Time) amount.Price {
	age := now.Sub(l.start)
	if l.start.IsZero() || age <= 0 || l.Growth.Slope <= 0 {
		return 0
	}
	limit := l.Growth.Cap
	if limit <= 0 || limit > amount.MaxPrice {
		limit = amount.MaxPrice
	}
	price := limit
	hi, lo := bits.Mul64(uint64(l.Growth.Slope), uint64(age))
	if hi < uint64(Day) {
		grown, _ := bits.Div64(hi, lo, uint64(Day))
		price = amount.Price(min(grown, uint64(limit)))
	}
	if price == limit {
		return limit // the cap is a step of its own
	}
	return price - price%l.step()
}

// step returns the announcement step.
func (l *Linear) step() amount.Price {
	if l.Growth.Step > 0 {
		return l.Growth.Step
	}
	return max(1, l.Growth.Slope/DailySteps)
}
