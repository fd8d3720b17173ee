package bencode

import (
	"errors"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in      string
		strict  error
		lenient error
	}{
		{"i0e", nil, nil},
		{"i-1e", nil, nil},
		{"i9223372036854775807e", nil, nil},
		{"i-9223372036854775808e", nil, nil},
		{"0:", nil, nil},
		{"4:spam", nil, nil},
		{"le", nil, nil},
		{"de", nil, nil},
		{"d0:0:1:ai1ee", nil, nil},
		{"d1:ali1e1:xe1:bd1:ci1eee", nil, nil},
		{"", ErrTruncated, ErrTruncated},
		{"i", ErrTruncated, ErrTruncated},
		{"i-", ErrTruncated, ErrTruncated},
		{"i12", ErrTruncated, ErrTruncated},
		{"5:spam", ErrTruncated, ErrTruncated},
		{"4", ErrTruncated, ErrTruncated},
		{"l", ErrTruncated, ErrTruncated},
		{"d", ErrTruncated, ErrTruncated},
		{"d1:a", ErrTruncated, ErrTruncated},
		{"d1:ai1e", ErrTruncated, ErrTruncated},
		{"9999999999:", ErrTruncated, ErrTruncated},
		{"e", ErrSyntax, ErrSyntax},
		{"x", ErrSyntax, ErrSyntax},
		{"-", ErrSyntax, ErrSyntax},
		{"lxe", ErrSyntax, ErrSyntax},
		{"d1:ae", ErrSyntax, ErrSyntax},
		{"di1ei2ee", ErrKey, ErrKey},
		{"dlei2ee", ErrKey, ErrKey},
		{"ie", ErrInteger, ErrInteger},
		{"i-e", ErrInteger, ErrInteger},
		{"i+1e", ErrInteger, ErrInteger},
		{"i--1e", ErrInteger, ErrInteger},
		{"i1x", ErrInteger, ErrInteger},
		{"i1.5e", ErrInteger, ErrInteger},
		{"i-0e", ErrInteger, nil},
		{"i007e", ErrInteger, nil},
		{"i-07e", ErrInteger, nil},
		{"i9223372036854775808e", ErrRange, ErrRange},
		{"i-9223372036854775809e", ErrRange, ErrRange},
		{"i99999999999999999999e", ErrRange, ErrRange},
		{"04:spam", ErrLength, nil},
		{"00:", ErrLength, nil},
		{"4spam", ErrLength, ErrLength},
		{"00000000004:spam", ErrLength, ErrLength},
		{"d1:bi1e1:ai2ee", ErrKeyOrder, nil},
		{"d1:ai1e1:ai2ee", ErrDuplicateKey, nil},
		{"i1ei2e", ErrTrailing, ErrTrailing},
		{"4:spam\n", ErrTrailing, ErrTrailing},
	} {
		for _, lenient := range []bool{false, true} {
			want := c.strict
			if lenient {
				want = c.lenient
			}
			d, err := Parse([]byte(c.in), Options{Lenient: lenient})
			if !errors.Is(err, want) {
				t.Errorf("%q, lenient %v: %v, want %v", c.in, lenient, err, want)
			}
			var syntax *SyntaxError
			if err != nil && !errors.As(err, &syntax) {
				t.Errorf("%q: %v is no *SyntaxError", c.in, err)
			}
			if got := d.Root().Exists(); got != (want == nil) {
				t.Errorf("%q, lenient %v: root exists: %v", c.in, lenient, got)
			}
		}
	}
}
