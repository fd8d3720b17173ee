// Package amount holds money as whole micro-BTT and prices as whole micro-BTT
// per GiB (R3.2, R3.3, A6).
//
// Everything that counts, shows or parses BTT uses it: the ledger, channels,
// wallets, bids and the command line. All arithmetic is checked integer
// arithmetic; there is no floating point and no goroutine. Values are plain
// integers, safe to copy and to use from any goroutine.
package amount

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Amount is a sum of money in micro-BTT (10^-6 BTT). A valid sum lies in
// [0, Supply]; see Valid.
type Amount int64

const (
	// BTT is one whole token, 10^6 micro-BTT.
	BTT Amount = 1_000_000
	// Supply is the fixed total of all BTT (R3.2).
	Supply Amount = 990_000_000_000 * BTT

	// Decimals is the number of digits behind the point of one BTT.
	Decimals = 6
	// MaxText is the longest text, in bytes, that Parse and ParsePrice read.
	MaxText = 96
)

var (
	// ErrRange means that a sum or price lies outside [0, Supply].
	ErrRange = errors.New("outside 0 .. 990000000000 BTT")
	// ErrSyntax means that a text is no decimal number of BTT.
	ErrSyntax = errors.New(`not a decimal number of BTT such as "1.5 BTT"`)
	// ErrPrecision means that a text names a part of a micro-BTT.
	ErrPrecision = errors.New("finer than one micro-BTT")
)

// Valid reports whether a lies in [0, Supply].
func (a Amount) Valid() bool { return a >= 0 && a <= Supply }

// Add returns a + b. The error wraps ErrRange when a, b or the sum lies
// outside [0, Supply].
func (a Amount) Add(b Amount) (Amount, error) {
	if !a.Valid() || !b.Valid() || a > Supply-b {
		return 0, fmt.Errorf("add %d and %d micro-BTT: %w", int64(a), int64(b), ErrRange)
	}
	return a + b, nil
}

// Sub returns a - b. The error wraps ErrRange when a, b or the difference
// lies outside [0, Supply].
func (a Amount) Sub(b Amount) (Amount, error) {
	if !a.Valid() || !b.Valid() || b > a {
		return 0, fmt.Errorf("subtract %d from %d micro-BTT: %w", int64(b), int64(a), ErrRange)
	}
	return a - b, nil
}

// Sum adds any number of amounts; the error wraps ErrRange as in Add.
func Sum(list ...Amount) (Amount, error) {
	var total Amount
	var err error
	for _, a := range list {
		if total, err = total.Add(a); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// Decimal returns a as the shortest exact decimal number of BTT, such as
// "1.5" or "0.000001", without the unit.
func (a Amount) Decimal() string {
	return string(a.appendDecimal(make([]byte, 0, 24)))
}

// String returns a with its unit, such as "1.5 BTT".
func (a Amount) String() string {
	return string(append(a.appendDecimal(make([]byte, 0, 28)), " BTT"...))
}

func (a Amount) appendDecimal(b []byte) []byte {
	u := uint64(a)
	if a < 0 {
		b = append(b, '-')
		u = -u // also right for the lowest int64
	}
	b = strconv.AppendUint(b, u/uint64(BTT), 10)
	part := u % uint64(BTT)
	if part == 0 {
		return b
	}
	b = append(b, '.')
	for unit := uint64(BTT) / 10; part > 0; unit /= 10 {
		b = append(b, byte('0'+part/unit))
		part %= unit
	}
	return b
}

// Parse reads a decimal number of BTT with or without the unit: "1.5 BTT",
// "1.5", "0.000001 BTT". Signs, exponents, group marks and more than six
// digits behind the point are refused. Errors wrap ErrSyntax, ErrPrecision
// or ErrRange.
func Parse(s string) (Amount, error) { return ParseUpTo(s, Supply) }

// ParseUpTo is Parse with another upper limit, for running counts that exceed
// the supply with time.
func ParseUpTo(s string, most Amount) (Amount, error) {
	a, err := parse(s, most)
	if err != nil {
		return 0, fmt.Errorf("parse amount %q: %w", clip(s), err)
	}
	return a, nil
}

func parse(s string, most Amount) (Amount, error) {
	if len(s) > MaxText {
		return 0, ErrSyntax
	}
	whole, part, err := splitDecimal(strings.TrimSuffix(s, " BTT"))
	if err != nil {
		return 0, err
	}
	part = strings.TrimRight(part, "0")
	if len(part) > Decimals {
		return 0, ErrPrecision
	}
	part += "000000"[len(part):]
	var a Amount
	for _, digits := range [2]string{whole, part} {
		for _, c := range []byte(digits) {
			d := Amount(c - '0')
			if a > (most-d)/10 || d > most {
				return 0, ErrRange
			}
			a = a*10 + d
		}
	}
	return a, nil
}

// splitDecimal splits "12.5" into "12" and "5". Both sides of a point must
// have a digit.
func splitDecimal(s string) (whole, part string, err error) {
	whole, part, point := strings.Cut(s, ".")
	if whole == "" || (point && part == "") || !digits(whole) || !digits(part) {
		return "", "", ErrSyntax
	}
	return whole, part, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > MaxText {
		return s[:MaxText]
	}
	return s
}

// MarshalText returns the decimal number of BTT without unit, which makes the
// JSON form a string such as "1.5".
func (a Amount) MarshalText() ([]byte, error) {
	return a.appendDecimal(make([]byte, 0, 24)), nil
}

// UnmarshalText reads what Parse reads. A bare JSON number is refused, so that
// no reader passes money through a float.
func (a *Amount) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}
