package amount

import (
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/bttnet/btt/internal/golden"
)

const vectorPath = "../testdata/vectors/amount.json"

// vectorFile is what independent implementations check themselves against. All
// counts are texts, for JSON readers that take numbers for floats.
type vectorFile struct {
	About   string         `json:"about"`
	Supply  string         `json:"supply_micro"`
	Amounts []vectorAmount `json:"amounts"`
	Prices  []vectorPrice  `json:"prices"`
	Owed    []vectorOwed   `json:"owed"`
	Bytes   []vectorBytes  `json:"bytes"`
	Sums    []vectorSum    `json:"sums"`
}

// vectorAmount is a text and the micro-BTT it means, or why it is refused.
type vectorAmount struct {
	Text    string `json:"text"`
	Micro   string `json:"micro,omitempty"`
	Printed string `json:"printed,omitempty"`
	JSON    string `json:"json,omitempty"`
	Refused string `json:"refused,omitempty"` // syntax, precision, range
}

type vectorPrice struct {
	Text    string `json:"text"`
	Micro   string `json:"micro_per_gib,omitempty"`
	GiB     string `json:"per_gib,omitempty"`
	MiB     string `json:"btt_per_mib,omitempty"`
	KiB     string `json:"btt_per_kib,omitempty"`
	Byte    string `json:"btt_per_byte,omitempty"`
	Refused string `json:"refused,omitempty"`
}

type vectorOwed struct {
	Price   string `json:"micro_per_gib"`
	Bytes   string `json:"bytes"`
	Owed    string `json:"owed_micro,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// vectorBytes is the most bytes that a budget pays for.
type vectorBytes struct {
	Price  string `json:"micro_per_gib"`
	Budget string `json:"budget_micro"`
	Bytes  string `json:"bytes"`
}

type vectorSum struct {
	A       string `json:"a"`
	B       string `json:"b"`
	Add     string `json:"add,omitempty"`
	Sub     string `json:"sub,omitempty"`
	Refused string `json:"refused,omitempty"` // add, sub or both
}

func why(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrSyntax):
		return "syntax"
	case errors.Is(err, ErrPrecision):
		return "precision"
	case errors.Is(err, ErrRange):
		return "range"
	}
	return "unknown"
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

func buildVectors(t *testing.T) vectorFile {
	f := vectorFile{About: "Amounts of BTT, prices per GiB, and sums owed: parsing, printing, checked arithmetic. 1 BTT = 1000000 micro-BTT; 1 GiB = 2^30 bytes.",
		Supply: text(int64(Supply))}
	for _, s := range []string{"0", "1", "1.5", "1.5 BTT", "0.000001 BTT", "0.0000010", "007", "12.340000 BTT", "990000000000", "989999999999.999999 BTT",
		"990000000000.000001", "990000000001", "99999999999999999999999", "0.0000001", "-1", "+1", "1e3", "1,000", "", ".5", "5.", "1.5BTT", "1.5 btt", " 1", "1 ", "1.2.3", "0x10"} {
		v := vectorAmount{Text: s}
		a, err := Parse(s)
		if v.Refused = why(err); err == nil {
			v.Micro, v.Printed = text(int64(a)), a.String()
			j, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			v.JSON = string(j)
		}
		f.Amounts = append(f.Amounts, v)
	}
	for _, s := range []string{"2 BTT/GiB", "0 BTT/GiB", "0.000001 BTT/GiB", "0.001 BTT/MiB", "0.001 BTT/KiB", "1 BTT/byte", "0.0000000009313225746154785156250 BTT/byte",
		"990000000000 BTT/GiB", "990000000000.000001 BTT/GiB", "1000 BTT/byte", "0.0000001 BTT/GiB", "0.000000001 BTT/byte", "2", "2 BTT", "2 BTT/GB", "2 BTT/gib", "-2 BTT/GiB"} {
		v := vectorPrice{Text: s}
		p, err := ParsePrice(s)
		if v.Refused = why(err); err == nil {
			v.Micro, v.GiB, v.MiB, v.KiB, v.Byte = text(int64(p)), p.String(), p.PerMiB(), p.PerKiB(), p.PerByte()
		}
		f.Prices = append(f.Prices, v)
	}
	for _, c := range [][2]int64{{2_000_000, 1 << 20}, {2_000_000, 3 << 20}, {3_000_000, 1 << 20}, {1, 1<<30 - 1}, {1, 1 << 30}, {0, 1<<63 - 1}, {int64(Supply), 1 << 30},
		{int64(Supply), 1<<30 + 1}, {int64(Supply), 1}, {7, 1<<63 - 1}, {2_000_000, -1}, {-1, 5}, {123_456_789_012, 98_765_432_109}} {
		v := vectorOwed{Price: text(c[0]), Bytes: text(c[1])}
		a, err := Price(c[0]).Owed(c[1])
		if v.Refused = why(err); err == nil {
			v.Owed = text(int64(a))
		}
		f.Owed = append(f.Owed, v)
	}
	for _, c := range [][2]int64{{2_000_000, 8788}, {2_000_000, 0}, {1, 0}, {1, 1}, {int64(Supply), 0}, {int64(Supply), 1}, {0, 5}, {1, int64(Supply)}, {3, 1}} {
		n, err := Price(c[0]).Bytes(Amount(c[1]))
		if err != nil {
			t.Fatal(err)
		}
		f.Bytes = append(f.Bytes, vectorBytes{Price: text(c[0]), Budget: text(c[1]), Bytes: text(n)})
	}
	for _, c := range [][2]int64{{1, 2}, {5, 5}, {int64(Supply), 0}, {int64(Supply), 1}, {int64(Supply) - 1, 1}, {0, 1}, {-1, 1}, {int64(Supply) + 1, 0}} {
		v := vectorSum{A: text(c[0]), B: text(c[1])}
		add, addErr := Amount(c[0]).Add(Amount(c[1]))
		sub, subErr := Amount(c[0]).Sub(Amount(c[1]))
		switch {
		case addErr != nil && subErr != nil:
			v.Refused = "both"
		case addErr != nil:
			v.Refused, v.Sub = "add", text(int64(sub))
		case subErr != nil:
			v.Refused, v.Add = "sub", text(int64(add))
		default:
			v.Add, v.Sub = text(int64(add)), text(int64(sub))
		}
		f.Sums = append(f.Sums, v)
	}
	return f
}

// TestVectorsAreCurrent builds the file anew and compares it; -rewrite writes it.
func TestVectorsAreCurrent(t *testing.T) { golden.JSON(t, vectorPath, " ", buildVectors(t)) }

// TestVectors checks the file with rational numbers, as somebody would who has
// nothing but the file and a definition of the units.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile(filepath.FromSlash(vectorPath))
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Amounts) < 20 || len(f.Prices) < 15 || len(f.Owed) < 10 {
		t.Fatal("vectors are missing")
	}
	rat := func(s string) *big.Rat {
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q is no number", s)
		}
		return r
	}
	million := big.NewRat(1_000_000, 1)
	for _, v := range f.Amounts {
		a, err := Parse(v.Text)
		if why(err) != v.Refused || err == nil && (text(int64(a)) != v.Micro || a.String() != v.Printed) {
			t.Errorf("%q: %d, %v", v.Text, a, err)
		}
		if err == nil && rat(a.Decimal()).Cmp(new(big.Rat).Quo(rat(v.Micro), million)) != 0 {
			t.Errorf("%q is %s micro-BTT", v.Text, v.Micro)
		}
	}
	for _, v := range f.Prices {
		p, err := ParsePrice(v.Text)
		if why(err) != v.Refused || err == nil && text(int64(p)) != v.Micro {
			t.Errorf("%q: %d, %v", v.Text, p, err)
		}
		if err != nil {
			continue
		}
		gib := new(big.Rat).Quo(rat(v.Micro), million)
		for shift, view := range map[uint]string{20: v.MiB, 10: v.KiB, 0: v.Byte} {
			share := new(big.Rat).SetFrac64(1, 1<<(30-shift))
			if rat(view).Cmp(share.Mul(share, gib)) != 0 {
				t.Errorf("%q: %s per 2^%d bytes is not exact", v.Text, view, shift)
			}
		}
	}
	supply := rat(f.Supply)
	for _, v := range f.Owed {
		product := new(big.Rat).Mul(rat(v.Price), rat(v.Bytes))
		product.Quo(product, new(big.Rat).SetInt64(1<<30))
		floor := new(big.Int).Div(product.Num(), product.Denom())
		out := rat(v.Price).Sign() < 0 || rat(v.Bytes).Sign() < 0 || new(big.Rat).SetInt(floor).Cmp(supply) > 0
		if out != (v.Refused == "range") || !out && floor.String() != v.Owed {
			t.Errorf("%s bytes at %s: %s owed (%s), computed %v", v.Bytes, v.Price, v.Owed, v.Refused, floor)
		}
	}
	for _, v := range f.Bytes {
		price, _ := strconv.ParseInt(v.Price, 10, 64)
		n, _ := strconv.ParseInt(v.Bytes, 10, 64)
		at, err := Price(price).Owed(n)
		if err != nil || text(int64(at)) != v.Budget && rat(v.Budget).Cmp(rat(text(int64(at)))) < 0 {
			t.Errorf("%s bytes at %s cost %v, more than %s (%v)", v.Bytes, v.Price, at, v.Budget, err)
		}
		if n == 1<<63-1 {
			continue
		}
		if more, err := Price(price).Owed(n + 1); err == nil && rat(text(int64(more))).Cmp(rat(v.Budget)) <= 0 {
			t.Errorf("%s also pays for one byte more than %s at %s", v.Budget, v.Bytes, v.Price)
		}
	}
}
