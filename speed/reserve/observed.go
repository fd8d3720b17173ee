package reserve

import (
	"slices"

	"github.com/bttnet/btt/amount"
)

// slopeShare is the part of the median price that Observed lets a price grow by
// each day: it reaches its cap after so many days.
const slopeShare = 10

// Observed returns the growth that follows from prices paid lately (R7.3): a
// tenth of their median each day, up to the median. A price in tokens means
// nothing by itself; in proportion to what others pay it neither does nothing
// nor stops trade. Of an even number the lower of the two middle prices counts.
// What is not a price above 0 is left out; false = none is left.
// The argument is not changed.
func Observed(prices []amount.Price) (Growth, bool) {
	seen := slices.DeleteFunc(slices.Clone(prices), func(p amount.Price) bool { return p <= 0 || !p.Valid() })
	if len(seen) == 0 {
		return Growth{}, false
	}
	slices.Sort(seen)
	median := seen[(len(seen)-1)/2]
	return Growth{Slope: max(1, median/slopeShare), Cap: median}, true
}
