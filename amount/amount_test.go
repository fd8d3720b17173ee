package amount

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Amount
		err  error
	}{
		{"1.5 BTT", 1_500_000, nil},
		{"1.5", 1_500_000, nil},
		{"0", 0, nil},
		{"0.000001 BTT", 1, nil},
		{"0.0000010", 1, nil},
		{"007", 7 * BTT, nil},
		{"990000000000", Supply, nil},
		{"990000000000.000001", 0, ErrRange},
		{"990000000001 BTT", 0, ErrRange},
		{"9900000000000", 0, ErrRange}, // ten times the supply passes int64
		{"99999999999999999999999999", 0, ErrRange},
		{"0.0000001", 0, ErrPrecision},
		{"-1", 0, ErrSyntax},
		{"+1", 0, ErrSyntax},
		{"1e3", 0, ErrSyntax},
		{"1,000", 0, ErrSyntax},
		{"", 0, ErrSyntax},
		{".5", 0, ErrSyntax},
		{"5.", 0, ErrSyntax},
		{"1.5BTT", 0, ErrSyntax},
		{"1.5 btt", 0, ErrSyntax},
		{" 1", 0, ErrSyntax},
		{"1.2.3", 0, ErrSyntax},
		{"٣", 0, ErrSyntax},
	} {
		got, err := Parse(c.in)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Parse(%q) = %d, %v; want %d, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestParseUpTo(t *testing.T) {
	for _, c := range []struct {
		in   string
		most Amount
		want Amount
		err  error
	}{
		{"9223372036854.775807", math.MaxInt64, math.MaxInt64, nil},
		{"9223372036854.775808", math.MaxInt64, 0, ErrRange},
		{"92233720368547", math.MaxInt64, 0, ErrRange},
		{"990000000007", math.MaxInt64, Supply + 7*BTT, nil},
		{"0.000005", 5, 5, nil},
		{"0.000006", 5, 0, ErrRange},
		{"0", 0, 0, nil},
		{"0.000001", 0, 0, ErrRange},
	} {
		if got, err := ParseUpTo(c.in, c.most); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ParseUpTo(%q, %d) = %d, %v; want %d, %v", c.in, c.most, got, err, c.want, c.err)
		}
	}
}

func TestString(t *testing.T) {
	for _, c := range []struct {
		a    Amount
		want string
	}{
		{0, "0 BTT"}, {1, "0.000001 BTT"}, {BTT, "1 BTT"}, {1_500_000, "1.5 BTT"},
		{10_000, "0.01 BTT"}, {Supply, "990000000000 BTT"}, {-1_500_000, "-1.5 BTT"},
		{math.MinInt64, "-9223372036854.775808 BTT"},
	} {
		if got := c.a.String(); got != c.want {
			t.Errorf("Amount(%d).String() = %q, want %q", int64(c.a), got, c.want)
		}
	}
}

func TestArithmeticRange(t *testing.T) {
	for _, c := range []struct{ a, b Amount }{
		{Supply, 1}, {-1, 1}, {1, -1}, {math.MaxInt64, math.MaxInt64}, {math.MinInt64, math.MinInt64},
	} {
		if v, err := c.a.Add(c.b); !errors.Is(err, ErrRange) || v != 0 {
			t.Errorf("%d + %d = %d, %v; want ErrRange", c.a, c.b, v, err)
		}
	}
	for _, c := range []struct{ a, b Amount }{{0, 1}, {1, -1}, {-1, -1}, {math.MaxInt64, 1}, {0, math.MinInt64}} {
		if v, err := c.a.Sub(c.b); !errors.Is(err, ErrRange) || v != 0 {
			t.Errorf("%d - %d = %d, %v; want ErrRange", c.a, c.b, v, err)
		}
	}
	if v, err := Sum(1, 2, Supply-3); err != nil || v != Supply {
		t.Errorf("Sum = %d, %v", v, err)
	}
	if _, err := Sum(1, Supply); !errors.Is(err, ErrRange) {
		t.Errorf("Sum over supply: %v", err)
	}
}

func TestJSON(t *testing.T) {
	type doc struct {
		A Amount `json:"a"`
		P Price  `json:"p"`
	}
	raw, err := json.Marshal(doc{1_500_000, Price(2 * BTT)})
	if err != nil || string(raw) != `{"a":"1.5","p":"2 BTT/GiB"}` {
		t.Fatalf("Marshal = %s, %v", raw, err)
	}
	var back doc
	if err := json.Unmarshal(raw, &back); err != nil || back != (doc{1_500_000, Price(2 * BTT)}) {
		t.Fatalf("Unmarshal = %+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"a":1.5}`), &back); err == nil {
		t.Error("a JSON number was taken as an amount")
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Amount(rapid.Int64Range(0, int64(Supply)).Draw(t, "a"))
		for _, s := range []string{a.String(), a.Decimal()} {
			if b, err := Parse(s); err != nil || b != a {
				t.Fatalf("Parse(%q) = %d, %v; want %d", s, b, err, a)
			}
		}
	})
}

func TestPriceParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Price
		err  error
	}{
		{"2 BTT/GiB", 2_000_000, nil},
		{"0.000001 BTT/GiB", 1, nil},
		{"1 BTT/MiB", 1024 * 1_000_000, nil},
		{"0.000001 BTT/KiB", 1 << 20, nil},
		{"0.000001 BTT/byte", 1 << 30, nil},
		{"0 BTT/GiB", 0, nil},
		{"990000000000 BTT/GiB", MaxPrice, nil},
		{"990000000000 BTT/MiB", 0, ErrRange},
		{"0.0000001 BTT/KiB", 0, ErrPrecision},
		{"0.0000001 BTT/GiB", 0, ErrPrecision},
		{"2", 0, ErrSyntax},
		{"2 BTT", 0, ErrSyntax},
		{"2 BTT/GB", 0, ErrSyntax},
		{"-2 BTT/GiB", 0, ErrSyntax},
		{" BTT/GiB", 0, ErrSyntax},
	} {
		got, err := ParsePrice(c.in)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ParsePrice(%q) = %d, %v; want %d, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestPriceViews(t *testing.T) {
	p := Price(2 * BTT)
	for _, c := range []struct{ got, want string }{
		{p.String(), "2 BTT/GiB"},
		{p.PerMiB(), "0.001953125"},
		{p.PerKiB(), "0.0000019073486328125"},
		{p.PerByte(), "0.00000000186264514923095703125"},
		{Price(1 << 30).PerByte(), "0.000001"},
		{Price(0).PerByte(), "0"},
		{MaxPrice.PerMiB(), "966796875"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := Price(rapid.Int64Range(0, int64(MaxPrice)).Draw(t, "p"))
		for unit, s := range map[string]string{"GiB": Amount(p).Decimal(), "MiB": p.PerMiB(), "KiB": p.PerKiB(), "byte": p.PerByte()} {
			if got, err := ParsePrice(s + " BTT/" + unit); err != nil || got != p {
				t.Fatalf("ParsePrice(%s BTT/%s) = %d, %v; want %d", s, unit, got, err, p)
			}
		}
	})
}

func TestOwed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Price(rapid.Int64Range(0, int64(MaxPrice)).Draw(t, "p"))
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n") >> rapid.IntRange(0, 62).Draw(t, "shift")
		want := new(big.Int).Mul(big.NewInt(int64(p)), big.NewInt(n))
		want.Rsh(want, 30)
		got, err := p.Owed(n)
		if want.Cmp(big.NewInt(int64(Supply))) > 0 {
			if !errors.Is(err, ErrRange) {
				t.Fatalf("Owed over supply = %d, %v", got, err)
			}
			return
		}
		if err != nil || int64(got) != want.Int64() {
			t.Fatalf("Price(%d).Owed(%d) = %d, %v; want %s", p, n, got, err, want)
		}
	})
	for _, c := range []struct {
		p Price
		n int64
	}{{-1, 1}, {1, -1}, {MaxPrice + 1, 1}, {MaxPrice, 1<<30 + 1}} {
		if _, err := c.p.Owed(c.n); !errors.Is(err, ErrRange) {
			t.Errorf("Price(%d).Owed(%d): %v, want ErrRange", c.p, c.n, err)
		}
	}
}

func TestBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Price(rapid.Int64Range(1, int64(MaxPrice)).Draw(t, "p"))
		a := Amount(rapid.Int64Range(0, int64(Supply)-1).Draw(t, "a"))
		n, err := p.Bytes(a)
		if err != nil {
			t.Fatal(err)
		}
		if owed, err := p.Owed(n); n < math.MaxInt64 && (err != nil || owed > a) {
			t.Fatalf("Owed(%d) = %d, %v > %d", n, owed, err, a)
		}
		if n < math.MaxInt64 {
			if owed, err := p.Owed(n + 1); err == nil && owed <= a {
				t.Fatalf("one more byte is still inside the budget: %d <= %d", owed, a)
			}
		}
	})
	if n, err := Price(0).Bytes(5); err != nil || n != math.MaxInt64 {
		t.Errorf("free price: %d, %v", n, err)
	}
	if _, err := Price(1).Bytes(-1); !errors.Is(err, ErrRange) {
		t.Errorf("negative budget: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1.5 BTT", "0.000001", "990000000000", "-1", "1e9", "5.", "0.0000001 BTT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if b, err := Parse(a.String()); !a.Valid() || err != nil || a != b {
			t.Fatalf("%q -> %d -> %d, %v", s, a, b, err)
		}
	})
}

func FuzzParsePrice(f *testing.F) {
	for _, s := range []string{"2 BTT/GiB", "0.001 BTT/KiB", "1 BTT/byte", "1 BTT/", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrice(s)
		if err != nil {
			return
		}
		if q, err := ParsePrice(p.String()); !p.Valid() || err != nil || p != q {
			t.Fatalf("%q -> %d -> %d, %v", s, p, q, err)
		}
	})
}

func BenchmarkOwed(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		if _, err := Price(2 * BTT).Owed(int64(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestHighestPrice: the price found costs no more than the budget, and the next
// one costs more.
func TestHighestPrice(t *testing.T) {
	for _, c := range []struct {
		budget Amount
		bytes  int64
	}{{1, 1}, {1, 1 << 30}, {999, 65536}, {1_000_000, 1 << 20}, {Supply, 1 << 40}, {7, 3}, {12345, 1<<30 + 1}, {Supply, 1 << 30}} {
		p := HighestPrice(c.budget, c.bytes)
		if cost, err := p.Owed(c.bytes); err != nil || cost > c.budget {
			t.Errorf("%v for %d bytes: price %d costs %v, %v", c.budget, c.bytes, int64(p), cost, err)
		}
		if p < MaxPrice {
			if cost, err := (p + 1).Owed(c.bytes); err == nil && cost <= c.budget {
				t.Errorf("%v for %d bytes: price %d is not the highest", c.budget, c.bytes, int64(p))
			}
		}
	}
	if HighestPrice(0, 5) != 0 || HighestPrice(-1, 5) != 0 || HighestPrice(5, 0) != MaxPrice {
		t.Error("no money or no bytes")
	}
}
