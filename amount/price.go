package amount

import (
	"fmt"
	"math/big"
	"math/bits"
	"strings"
)

// Price is a rate in micro-BTT per GiB (2^30 bytes): the one canonical rate
// (A6). A valid price lies in [0, Supply].
type Price int64

// MaxPrice is the highest valid price: the whole supply for one GiB.
const MaxPrice = Price(Supply)

// gibShift is log2 of the bytes in the unit of a Price.
const gibShift = 30

// units of ParsePrice, with log2 of their bytes.
var priceUnits = [...]struct {
	name  string
	shift uint
}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"byte", 0}}

// Valid reports whether p lies in [0, MaxPrice].
func (p Price) Valid() bool { return p >= 0 && p <= MaxPrice }

// Owed returns the sum due for a cumulative count of bytes: the product over
// 2^30, rounded down, computed in 128 bits. Call it on the cumulative count so
// that rounding never drifts (A6). The error wraps ErrRange when p or bytes is
// out of range or the sum exceeds Supply.
func (p Price) Owed(bytes int64) (Amount, error) {
	if !p.Valid() || bytes < 0 {
		return 0, fmt.Errorf("price %d bytes at %d micro-BTT per GiB: %w", bytes, int64(p), ErrRange)
	}
	hi, lo := bits.Mul64(uint64(p), uint64(bytes))
	owed := hi<<(64-gibShift) | lo>>gibShift
	if hi>>gibShift != 0 || owed > uint64(Supply) {
		return 0, fmt.Errorf("price %d bytes at %d micro-BTT per GiB: %w", bytes, int64(p), ErrRange)
	}
	return Amount(owed), nil
}

// Bytes returns the most bytes whose Owed does not exceed budget, at most
// math.MaxInt64 (also for a price of 0). The error wraps ErrRange when p or
// budget is out of range.
func (p Price) Bytes(budget Amount) (int64, error) {
	if !p.Valid() || !budget.Valid() {
		return 0, fmt.Errorf("spend %d micro-BTT at %d micro-BTT per GiB: %w", int64(budget), int64(p), ErrRange)
	}
	const most = 1<<63 - 1
	if p == 0 {
		return most, nil
	}
	// The largest b with floor(p*b / 2^30) <= budget is
	// ceil((budget+1) * 2^30 / p) - 1.
	hi, lo := bits.Mul64(uint64(budget)+1, 1<<gibShift)
	if hi >= uint64(p) {
		return most, nil
	}
	quo, rem := bits.Div64(hi, lo, uint64(p))
	if rem == 0 {
		quo--
	}
	return int64(min(quo, most)), nil
}

// HighestPrice returns the highest price at which budget pays for a count of
// bytes, at most MaxPrice: the greatest p with p.Owed(bytes) <= budget. It is
// MaxPrice for no bytes and 0 for no money.
func HighestPrice(budget Amount, bytes int64) Price {
	if budget <= 0 {
		return 0
	}
	if bytes <= 0 {
		return MaxPrice
	}
	// ceil((budget+1) * 2^30 / bytes) - 1, as in Bytes.
	hi, lo := bits.Mul64(uint64(budget)+1, 1<<gibShift)
	if hi >= uint64(bytes) {
		return MaxPrice
	}
	quo, rem := bits.Div64(hi, lo, uint64(bytes))
	if rem == 0 {
		quo--
	}
	return Price(min(quo, uint64(MaxPrice)))
}

// String returns the rate with its unit, such as "2 BTT/GiB".
func (p Price) String() string { return Amount(p).Decimal() + " BTT/GiB" }

// PerMiB returns the rate in BTT per MiB as an exact decimal number.
func (p Price) PerMiB() string { return p.per(20) }

// PerKiB returns the rate in BTT per KiB, the unit of a bid (R8.2), as an
// exact decimal number.
func (p Price) PerKiB() string { return p.per(10) }

// PerByte returns the rate in BTT per byte, the unit of a bid response
// (R10.15), as an exact decimal number.
func (p Price) PerByte() string { return p.per(0) }

// per renders p * 10^-6 / 2^k exactly: 2^-k is 5^k * 10^-k.
func (p Price) per(unitShift uint) string {
	k := int64(gibShift - unitShift)
	n := new(big.Int).Exp(big.NewInt(5), big.NewInt(k), nil)
	n.Mul(n, big.NewInt(int64(p)))
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
		n.Neg(n)
	}
	places := int(k) + Decimals
	text := n.String()
	if len(text) <= places {
		text = strings.Repeat("0", places+1-len(text)) + text
	}
	cut := len(text) - places
	part := strings.TrimRight(text[cut:], "0")
	if part == "" {
		return sign + text[:cut]
	}
	return sign + text[:cut] + "." + part
}

// ParsePrice reads a rate such as "2 BTT/GiB", "0.001 BTT/KiB" or
// "0.0000000000009313225746154785156250 BTT/byte"; the units are byte, KiB,
// MiB and GiB and must be named. A rate that is no whole number of micro-BTT
// per GiB is refused (ErrPrecision) with the next lower one named. Other
// errors wrap ErrSyntax or ErrRange.
func ParsePrice(s string) (Price, error) {
	p, err := parsePrice(s)
	if err != nil {
		return 0, fmt.Errorf("parse price %q: %w", clip(s), err)
	}
	return p, nil
}

func parsePrice(s string) (Price, error) {
	if len(s) > MaxText {
		return 0, ErrSyntax
	}
	number, unit, _ := strings.Cut(s, " BTT/")
	shift := -1
	for _, u := range priceUnits {
		if unit == u.name {
			shift = int(u.shift)
		}
	}
	if shift < 0 {
		return 0, fmt.Errorf("%w; write the unit too, as in \"2 BTT/GiB\" (or /MiB, /KiB, /byte)", ErrSyntax)
	}
	whole, part, err := splitDecimal(number)
	if err != nil {
		return 0, err
	}
	n, ok := new(big.Int).SetString(whole+part, 10)
	if !ok {
		return 0, ErrSyntax
	}
	n.Mul(n, big.NewInt(int64(BTT)))
	n.Lsh(n, uint(gibShift-shift))
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(part))), nil)
	n, rest := n.QuoRem(n, scale, new(big.Int))
	if !n.IsInt64() || !Price(n.Int64()).Valid() {
		return 0, ErrRange
	}
	p := Price(n.Int64())
	if rest.Sign() != 0 {
		return 0, fmt.Errorf("%w per GiB; the next lower price is %s", ErrPrecision, p)
	}
	return p, nil
}

// MarshalText returns the form of String.
func (p Price) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what ParsePrice reads.
func (p *Price) UnmarshalText(text []byte) error {
	v, err := ParsePrice(string(text))
	if err != nil {
		return err
	}
	*p = v
	return nil
}
