package autobid

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
)

func TestShade(t *testing.T) {
	for _, tt := range []struct {
		name string
		full amount.Price
		m    Market
		want amount.Price
	}{
		{"nothing seen: the paper's bid", 1000, Market{}, 1000},
		{"nothing seen, but rare", 1000, Market{Sources: 9, Resale: 5}, 1000},
		{"the price and a quarter", 1000, Market{Slot: 40}, 50},
		{"never more than the wallet allows", 1000, Market{Slot: 900}, 1000},
		{"lost once", 1000, Market{Slot: 40, Lost: 1}, 100},
		{"lost until all is offered", 1000, Market{Slot: 40, Lost: 5}, 1000},
		{"lost for ever", 1000, Market{Slot: 1, Lost: 1 << 30}, 1000},
		{"nobody else has it", 1000, Market{Slot: 40, Sources: 1}, 1000},
		{"two have it", 1000, Market{Slot: 40, Sources: 2}, 50 + 475},
		{"a hundred have it", 1050, Market{Slot: 40, Sources: 100}, 50 + 10},
		{"and another would buy it", 1050, Market{Slot: 40, Sources: 100, Resale: 500}, 50 + 10 + 5},
		{"who would pay more than we can", 1050, Market{Slot: 40, Sources: 100, Resale: 1 << 50}, 50 + 10 + 10},
		{"no bid", 0, Market{Slot: 40, Sources: 1, Resale: 50}, 0},
		{"the highest price there is", amount.MaxPrice, Market{Slot: amount.MaxPrice, Lost: 9, Resale: amount.MaxPrice, Sources: 2}, amount.MaxPrice},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Shade(tt.full, tt.m); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestShadeIsMonotone: it stays within the guards, rarer pieces are never worth less,
// nor those that can be sold again, nor is a lost bid followed by a lower one.
func TestShadeIsMonotone(t *testing.T) {
	price := rapid.Custom(func(t *rapid.T) amount.Price {
		return amount.Price(rapid.Int64Range(0, int64(amount.MaxPrice)).Draw(t, "price") >> rapid.IntRange(0, 60).Draw(t, "shift"))
	})
	rapid.Check(t, func(t *rapid.T) {
		full := price.Draw(t, "full")
		m := Market{Slot: price.Draw(t, "slot"), Lost: rapid.IntRange(0, 100).Draw(t, "lost"),
			Sources: rapid.IntRange(1, 1000).Draw(t, "sources"), Resale: price.Draw(t, "resale")}
		got := Shade(full, m)
		if got < 0 || got > full || full > 0 && m.Slot > 0 && got < min(full, m.Slot) {
			t.Fatalf("%d of %d at a price of %d", got, full, m.Slot)
		}
		lost, rarer, sold, common := m, m, m, m
		lost.Lost++
		sold.Resale = 0
		common.Sources = 0
		if rarer.Sources > 1 {
			rarer.Sources--
		}
		if Shade(full, lost) < got || Shade(full, rarer) < got || Shade(full, sold) > got || Shade(full, common) > got {
			t.Fatalf("%+v of %d: %d, lost %d, rarer %d, not sold %d, common %d", m, full, got, Shade(full, lost), Shade(full, rarer), Shade(full, sold), Shade(full, common))
		}
	})
}
