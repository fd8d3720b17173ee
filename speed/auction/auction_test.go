package auction

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
)

// bidders builds peers 1..n with the given bids and one reserve.
func bidders(reserve amount.Price, bids ...amount.Price) []Bidder {
	out := make([]Bidder, len(bids))
	for i, bid := range bids {
		out[i] = Bidder{ID: uint64(i + 1), Bid: bid, Reserve: reserve}
	}
	return out
}

func TestRun(t *testing.T) {
	type want struct {
		id    uint64
		price amount.Price
	}
	tests := []struct {
		name    string
		rules   Rules
		bidders []Bidder
		want    []want
	}{
		{"figure 2", Rules{Slots: 3, MaxCapped: 3}, bidders(4, 9, 7, 6, 5, 2), []want{{1, 5}, {2, 5}, {3, 5}}},
		{"no losing bid", Rules{Slots: 3, MaxCapped: 3}, bidders(4, 9, 7), []want{{1, 4}, {2, 4}}},
		{"below the reserve", Rules{Slots: 3, MaxCapped: 3}, bidders(4, 9, 3), []want{{1, 4}}},
		{"ineligible loser sets no price", Rules{Slots: 1, MaxCapped: 1}, bidders(8, 9, 7), []want{{1, 8}}},
		{"bid equal to the reserve", Rules{Slots: 1, MaxCapped: 1}, bidders(5, 5), []want{{1, 5}}},
		{"single bidder, no reserve, pays nothing", Rules{Slots: 2, MaxCapped: 2}, bidders(0, 9), []want{{1, 0}}},
		{"equal bids: all pay the bid", Rules{Slots: 2, MaxCapped: 2}, []Bidder{
			{ID: 1, Bid: 5, Tie: 1}, {ID: 2, Bid: 5, Tie: 3}, {ID: 3, Bid: 5, Tie: 2},
		}, []want{{2, 5}, {3, 5}}},
		{"tie by data received before random", Rules{Slots: 1, MaxCapped: 1}, []Bidder{
			{ID: 1, Bid: 5, Received: 1, Tie: 1}, {ID: 2, Bid: 5, Received: 0, Tie: 9},
		}, []want{{1, 5}}},
		{"two torrents, two reserves", Rules{Slots: 2, MaxCapped: 2}, []Bidder{
			{ID: 1, Bid: 9, Reserve: 8}, {ID: 2, Bid: 7, Reserve: 1}, {ID: 3, Bid: 5, Reserve: 0},
		}, []want{{1, 8}, {2, 5}}},
		{"cap full: capped losers do not price open winners", Rules{Slots: 2, MaxCapped: 1}, []Bidder{
			{ID: 1, Bid: 9, Capped: true}, {ID: 2, Bid: 8, Capped: true}, {ID: 3, Bid: 3}, {ID: 4, Bid: 2},
		}, []want{{1, 8}, {3, 2}}},
		{"cap not full", Rules{Slots: 2, MaxCapped: 2}, []Bidder{
			{ID: 1, Bid: 9, Capped: true}, {ID: 3, Bid: 3}, {ID: 4, Bid: 2, Capped: true},
		}, []want{{1, 2}, {3, 2}}},
		{"nothing may be sold capped", Rules{Slots: 2}, []Bidder{
			{ID: 1, Bid: 9, Capped: true}, {ID: 2, Bid: 8, Capped: true},
		}, nil},
		{"no slots", Rules{MaxCapped: 1}, bidders(0, 3), nil},
		{"nobody bids", Rules{Slots: 2, MaxCapped: 2}, bidders(0, 0, 0), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []want
			for _, a := range Run(nil, new(Scratch), tt.rules, tt.bidders) {
				if !a.Paid || tt.bidders[a.Index].ID != a.ID {
					t.Errorf("award %+v", a)
				}
				got = append(got, want{a.ID, a.Price})
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWeightedKeepsBarterPartner(t *testing.T) {
	list := []Bidder{
		{ID: 1, Bid: 1}, // a minimal bid, no barter
		{ID: 2, Received: 4 << 20, Sent: 1 << 20, Own: 3}, // free, worth 12
		{ID: 3, Bid: 9}, // money only
		{ID: 4, Bid: 2, Received: 1 << 20, Sent: 1 << 20, Own: 3}, // worth 5
	}
	got := Run(nil, new(Scratch), Rules{Slots: 3, MaxCapped: 3, Strategy: Weighted{}}, list)
	want := []Award{{Index: 1, ID: 2}, {Index: 2, ID: 3, Paid: true, Price: 1}, {Index: 3, ID: 4, Paid: true, Price: 1}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// The paper's order gives the barter partner nothing.
	paper := Run(nil, new(Scratch), Rules{Slots: 3, MaxCapped: 3}, list)
	if ids := []uint64{paper[0].ID, paper[1].ID, paper[2].ID}; !slices.Equal(ids, []uint64{3, 4, 1}) {
		t.Errorf("paper order %v", ids)
	}
}

func TestWeightedSaturates(t *testing.T) {
	b := Bidder{Bid: 7, Own: amount.MaxPrice, Received: math.MaxInt64, Sent: 1}
	if got := (Weighted{}).Effective(&b); got != math.MaxInt64 {
		t.Errorf("got %d", got)
	}
	b = Bidder{Bid: -7, Own: -1, Received: -5, Sent: -9}
	if got := (Weighted{}).Effective(&b); got != 0 {
		t.Errorf("got %d", got)
	}
}

// reference is the auction written for clarity: sort all, walk, price.
func reference(rules Rules, list []Bidder) map[uint64]amount.Price {
	sorted := slices.Clone(list)
	sorted = slices.DeleteFunc(sorted, func(b Bidder) bool { return !b.Eligible() })
	slices.SortFunc(sorted, func(a, b Bidder) int {
		return cmp.Or(cmp.Compare(b.Bid, a.Bid), cmp.Compare(b.Received, a.Received), cmp.Compare(b.Tie, a.Tie), cmp.Compare(a.ID, b.ID))
	})
	var winners, losers []Bidder
	capped := 0
	for _, b := range sorted {
		if len(winners) == rules.Slots || b.Capped && capped == rules.MaxCapped {
			losers = append(losers, b)
			continue
		}
		if b.Capped {
			capped++
		}
		winners = append(winners, b)
	}
	out := map[uint64]amount.Price{}
	for _, w := range winners {
		price := w.Reserve
		for _, l := range losers {
			if w.Capped || !l.Capped || capped < rules.MaxCapped {
				price = max(price, l.Bid)
			}
		}
		out[w.ID] = price
	}
	return out
}

func TestRunAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(t, "n")
		top := rapid.SampledFrom([]int64{3, 50, 1 << 40}).Draw(t, "top")
		list := make([]Bidder, n)
		for i := range list {
			list[i] = Bidder{
				ID: uint64(i + 1), Bid: amount.Price(rapid.Int64Range(0, top).Draw(t, "bid")),
				Reserve:  amount.Price(rapid.Int64Range(0, top).Draw(t, "reserve")),
				Received: rapid.Int64Range(0, 2).Draw(t, "received"), Tie: rapid.Uint64Range(0, 5).Draw(t, "tie"),
				Capped: rapid.Bool().Draw(t, "capped"),
			}
		}
		rules := Rules{Slots: rapid.IntRange(0, 60).Draw(t, "slots"), MaxCapped: rapid.IntRange(0, 60).Draw(t, "cap")}
		got := map[uint64]amount.Price{}
		for _, a := range Run(nil, new(Scratch), rules, list) {
			b := list[a.Index]
			if a.Price > b.Bid || a.Price < b.Reserve {
				t.Fatalf("price %d outside [%d, %d]", a.Price, b.Reserve, b.Bid)
			}
			got[a.ID] = a.Price
		}
		want := reference(rules, list)
		if len(got) != len(want) {
			t.Fatalf("%d winners, want %d", len(got), len(want))
		}
		for id, price := range want {
			if p, ok := got[id]; !ok || p != price {
				t.Fatalf("winner %d pays %d (%v), want %d", id, p, ok, price)
			}
		}
	})
}

// TestTruthful holds the reason for the uniform price: with one slot per
// bidder, no other bid does better than the true value, once.
func TestTruthful(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		list := make([]Bidder, n)
		for i := range list {
			list[i] = Bidder{ID: uint64(i + 1), Bid: amount.Price(rapid.Int64Range(0, 30).Draw(t, "bid")), Reserve: 4}
		}
		rules := Rules{Slots: rapid.IntRange(1, 6).Draw(t, "slots"), MaxCapped: 6}
		value := amount.Price(rapid.Int64Range(0, 30).Draw(t, "value"))
		gain := func(bid amount.Price) amount.Price {
			list[0].Bid = bid
			for _, a := range Run(nil, new(Scratch), rules, list) {
				if a.ID == 1 {
					return value - a.Price
				}
			}
			return 0
		}
		honest := gain(value)
		if other := gain(amount.Price(rapid.Int64Range(0, 30).Draw(t, "other"))); other > honest {
			t.Fatalf("another bid gains %d, the true one %d", other, honest)
		}
	})
}

// crowd is a market of n bidders with pseudo-random bids.
func crowd(n int) []Bidder {
	list := make([]Bidder, n)
	x := uint64(88172645463325252)
	for i := range list {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		list[i] = Bidder{ID: uint64(i), Bid: amount.Price(x>>20) % 1e9, Reserve: 1000, Tie: x, Received: int64(x % 7), Sent: 1 << 20, Own: 1e6, Capped: x&1 == 0}
	}
	return list
}

func TestRunAllocates(t *testing.T) {
	list, scratch, dst := crowd(1000), new(Scratch), make([]Award, 0, 64)
	for _, s := range []Strategy{Paper{}, Weighted{}} {
		rules := Rules{Slots: 50, MaxCapped: 50, Strategy: s}
		Run(dst[:0], scratch, rules, list)
		if n := testing.AllocsPerRun(20, func() { Run(dst[:0], scratch, rules, list) }); n != 0 {
			t.Errorf("%T: %v allocations a run", s, n)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	list, scratch, dst := crowd(1000), new(Scratch), make([]Award, 0, 64)
	for _, bm := range []struct {
		name  string
		rules Rules
	}{
		{"paper", Rules{Slots: 50, MaxCapped: 50, Strategy: Paper{}}},
		{"weighted", Rules{Slots: 50, MaxCapped: 50, Strategy: Weighted{}}},
		{"capped", Rules{Slots: 50, MaxCapped: 5, Strategy: Paper{}}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dst = Run(dst[:0], scratch, bm.rules, list)
			}
		})
	}
}
