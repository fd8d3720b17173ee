package autobid

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
)

// haggle has a requester whose formula says 1000 deal with one seller for a time, by
// looks each 15 s and bids once a minute. The seller's price follows from the bid, below
// 0 it sells nothing. It returns the last price, and for how long nothing was sold.
func haggle(b *Bargain, d time.Duration, cheaper bool, reserve amount.Price, price func(bid amount.Price) amount.Price) (last amount.Price, none time.Duration) {
	var bidder Bidder
	start := time.Unix(1000, 0)
	for at := time.Duration(0); at < d; at += time.Second {
		now := start.Add(at)
		bidder.Step(now, b.Bid(1000, reserve))
		p := price(bidder.Sent())
		b.Tick(now, p >= 0)
		switch {
		case p < 0:
			none += time.Second
		case at%SampleEvery == 0:
			last = p
			b.Sample(now, p, bidder.Sent(), reserve, cheaper)
		}
	}
	return last, none
}

func TestBargain(t *testing.T) {
	follows := func(bid amount.Price) amount.Price { return bid - 1 }
	for _, tt := range []struct {
		name     string
		d        time.Duration
		cheaper  bool
		reserve  amount.Price
		price    func(bid amount.Price) amount.Price
		from, to amount.Price
		none     time.Duration // most
	}{
		{"invented losing bids, another is cheaper", 15 * time.Minute, true, 0, follows, 400, 460, 0},
		{"the whole bid is charged", 15 * time.Minute, true, 0, func(bid amount.Price) amount.Price { return bid }, 400, 460, 0},
		{"nobody is cheaper", time.Hour, false, 0, follows, 999, 999, 0},
		{"a short time", 100 * time.Second, true, 0, follows, 999, 999, 0},
		{"the reserve price is near the bid", time.Hour, true, 990, func(amount.Price) amount.Price { return 990 }, 990, 990, 0},
		{"a reserve price below", 15 * time.Minute, true, 700, follows, 698, 766, 0},
		{"another's bid, far below", time.Hour, true, 0, func(amount.Price) amount.Price { return 700 }, 700, 700, 0},
		// Two minutes until it is lowered, one or two without a slot, then ten, twenty, … as it was.
		{"another's bid, just below", 2 * time.Hour, true, 0, func(bid amount.Price) amount.Price {
			if bid < 980 {
				return -1
			}
			return 980
		}, 980, 980, 5 * 135 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			last, none := haggle(new(Bargain), tt.d, tt.cheaper, tt.reserve, tt.price)
			if last < tt.from || last > tt.to || none > tt.none {
				t.Errorf("the price is %d at the end, want %d to %d; nothing was sold for %v, at most %v", last, tt.from, tt.to, none, tt.none)
			}
		})
	}
}

// TestBargainRange: whatever a seller does, the bid to it is no more than the formula's,
// not lowered below its reserve price nor by more than the steps.
func TestBargainRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Bargain
		now := time.Unix(0, 0)
		price := func(name string) amount.Price { return amount.Price(rapid.Int64Range(0, 2000).Draw(t, name)) }
		for range 200 {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "s")) * time.Second)
			b.Tick(now, rapid.Bool().Draw(t, "sells"))
			bid, reserve := price("bid"), price("reserve")
			b.Sample(now, price("price"), bid, reserve, rapid.Bool().Draw(t, "cheaper"))
			if got := b.Bid(bid, reserve); got > bid || got < min(bid, reserve) || got < 44*bid/100 {
				t.Fatalf("bids %d where the formula says %d, reserve price %d", got, bid, reserve)
			}
		}
	})
}
