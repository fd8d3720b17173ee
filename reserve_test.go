package btt

import (
	"testing"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/speed/reserve"
)

// TestReserveFollows: only a node whose user chose no reserve price follows the
// prices seen.
func TestReserveFollows(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    SpeedConfig
		want market.Reserve
	}{
		{"nothing chosen", SpeedConfig{}, market.Reserve{Growth: reserve.Growth{Slope: DefaultGrowth, Cap: DefaultGrowthCap}, Follow: true}},
		{"a price", SpeedConfig{Reserve: 7}, market.Reserve{Fixed: 7}},
		{"none", SpeedConfig{NoReserve: true}, market.Reserve{}},
		{"a growth", SpeedConfig{ReserveGrowth: 7}, market.Reserve{Growth: reserve.Growth{Slope: 7}}},
		{"a growth and a cap", SpeedConfig{ReserveGrowth: 7, ReserveCap: 9}, market.Reserve{Growth: reserve.Growth{Slope: 7, Cap: 9}}},
	} {
		if got := tt.c.reserve(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
