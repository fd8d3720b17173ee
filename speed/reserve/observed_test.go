package reserve

import (
	"slices"
	"testing"

	"github.com/bttnet/btt/amount"
)

// TestObserved: the slope is a tenth of the median price, the cap the median.
func TestObserved(t *testing.T) {
	const most = amount.MaxPrice
	for _, tt := range []struct {
		name   string
		prices []amount.Price
		want   Growth // zero = there is none
	}{
		{"nothing seen", nil, Growth{}},
		{"no price above 0", []amount.Price{0, -5, 0}, Growth{}},
		{"above the range", []amount.Price{most + 1}, Growth{}},
		{"one", []amount.Price{500}, Growth{Slope: 50, Cap: 500}},
		{"the middle of three, in any order", []amount.Price{900, 10, 200}, Growth{Slope: 20, Cap: 200}},
		{"the lower middle of four", []amount.Price{40, 30, 20, 10}, Growth{Slope: 2, Cap: 20}},
		{"one that is far off", []amount.Price{100, 100, most}, Growth{Slope: 10, Cap: 100}},
		{"zeros do not count", []amount.Price{0, 0, 0, 70}, Growth{Slope: 7, Cap: 70}},
		{"rounded down", []amount.Price{19}, Growth{Slope: 1, Cap: 19}},
		{"it grows at all", []amount.Price{3}, Growth{Slope: 1, Cap: 3}},
		{"the highest", []amount.Price{most}, Growth{Slope: most / 10, Cap: most}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			given := slices.Clone(tt.prices)
			got, ok := Observed(tt.prices)
			if got != tt.want || ok != (tt.want != Growth{}) {
				t.Errorf("got %+v, %v, want %+v", got, ok, tt.want)
			}
			if !slices.Equal(given, tt.prices) {
				t.Errorf("the prices were changed to %v", tt.prices)
			}
		})
	}
}
