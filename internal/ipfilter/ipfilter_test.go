package ipfilter

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const text = "\ufeff# a comment\r\n" + `
// another
; and one more
192.0.2.0/24
198.51.100.7
203.0.113.5 - 203.0.113.9
001.002.003.000 - 001.002.003.255 , 000 , ipfilter.dat, with a comma
009.009.009.000 - 009.009.009.255 , 200 , allowed by its level
Some company: a division:10.0.0.0-10.0.0.255
10.0.0.200 - 10.0.1.3
2001:db8::/32
A name:fd00::1-fd00::ff
::ffff:7.7.7.7
`
	l, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]bool{
		"192.0.2.0": true, "192.0.2.255": true, "192.0.3.0": false, "192.0.1.255": false,
		"198.51.100.7": true, "198.51.100.8": false,
		"203.0.113.4": false, "203.0.113.5": true, "203.0.113.9": true, "203.0.113.10": false,
		"1.2.3.4": true, "1.2.4.0": false, "9.9.9.9": false,
		"10.0.0.0": true, "10.0.0.255": true, "10.0.1.3": true, "10.0.1.4": false, "9.255.255.255": false,
		"2001:db8::1": true, "2001:db9::": false, "fd00::": false, "fd00::1": true, "fd00::ff": true, "fd00::100": false,
		"7.7.7.7": true, "::ffff:192.0.2.1": true, "0.0.0.0": false, "255.255.255.255": false, "::": false,
	} {
		if got := l.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("Contains(%s) = %v, want %v", a, got, want)
		}
	}
	if l.Len() != 8 { // the two that overlap are one
		t.Errorf("%d ranges, want 8", l.Len())
	}
	var none *List
	if none.Contains(netip.MustParseAddr("1.1.1.1")) || none.Len() != 0 || l.Contains(netip.Addr{}) {
		t.Error("the empty list holds something")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{"hello", "1.2.3", "1.2.3.4/33", "5.5.5.5 - 4.4.4.4", "1.2.3.4 - ::1", "1.2.3.256", "x:y", "1.2.3.4 - , 0 , a",
		"fe80::1%eth0", "0001.2.3.4"} {
		_, err := Parse(strings.NewReader("1.1.1.1\n" + bad + "\n"))
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := Parse(strings.NewReader(strings.Repeat("x", MaxLine+1))); !errors.Is(err, ErrLimit) {
		t.Errorf("long line: %v", err)
	}
}

// FuzzParse checks that a list holds the ends of each range that a line of its
// own gives.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "a:1.2.3.4-1.2.3.5", "1.2.3.4 - 1.2.3.9 , 0 , x", "::/0", "0.0.0.0/0\n::1", "#\n\n", "1.1.1.1-1.1.1.1\n1.1.1.2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		for line := range strings.Lines(string(b)) {
			if first, last, ok := parseRange(line); ok && (!l.Contains(first) || !l.Contains(last)) {
				t.Fatalf("%q: its ends are not in the list", line)
			}
		}
		for i := 1; i < len(l.v4); i++ {
			if l.v4[i-1].last >= l.v4[i].first {
				t.Fatal("ranges overlap")
			}
		}
	})
}

func BenchmarkContains(b *testing.B) {
	var text bytes.Buffer
	for i := range 200_000 {
		a := netip.AddrFrom4([4]byte{byte(i >> 12), byte(i >> 4), byte(i << 4), 0})
		text.WriteString(a.String() + "/29\n")
	}
	l, err := Parse(&text)
	if err != nil {
		b.Fatal(err)
	}
	a := netip.MustParseAddr("20.30.40.50")
	for b.Loop() {
		l.Contains(a)
	}
}
