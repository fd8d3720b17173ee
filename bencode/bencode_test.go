package bencode

import (
	"errors"
	"math"
	"slices"
	"strings"
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

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name, in string
		o        Options
		want     error
	}{
		{"size", "5:hello", Options{MaxSize: 7}, nil},
		{"size+1", "6:hello!", Options{MaxSize: 7}, ErrTooLarge},
		{"depth", "lllleeee", Options{MaxDepth: 4}, nil},
		{"depth+1", "llllleeeee", Options{MaxDepth: 4}, ErrTooDeep},
		{"dictionary depth", "d1:ad1:adeee", Options{MaxDepth: 2}, ErrTooDeep},
		{"items", "li1ei2ee", Options{MaxItems: 3}, nil},
		{"items+1", "li1ei2ei3ee", Options{MaxItems: 3}, ErrTooManyItems},
		{"keys are items", "d1:ai1ee", Options{MaxItems: 2}, ErrTooManyItems},
		{"string", "3:abc", Options{MaxString: 3}, nil},
		{"string+1", "4:abcd", Options{MaxString: 3}, ErrStringSize},
		{"string limit before truncation", "999:abcd", Options{MaxString: 3}, ErrStringSize},
		{"trailing", "i1eXX", Options{AllowTrailing: true}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A used document has more room than the limits allow.
			var used Doc
			if err := used.Parse([]byte("l"+strings.Repeat("i1e", 1000)+"e"), Options{}); err != nil {
				t.Fatal(err)
			}
			for name, doc := range map[string]*Doc{"fresh": {}, "used": &used} {
				if err := doc.Parse([]byte(c.in), c.o); !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", name, err, c.want)
				}
			}
		})
	}
}

func TestParsePrefix(t *testing.T) {
	in := []byte("d8:msg_typei1e5:piecei0ee\x00payload")
	d, n, err := ParsePrefix(in, Options{})
	if err != nil || string(in[n:]) != "\x00payload" {
		t.Fatalf("took %d bytes: %v", n, err)
	}
	if v, ok := d.Root().Get("msg_type").Int(); v != 1 || !ok {
		t.Errorf("msg_type is %d, %v", v, ok)
	}
	if _, n, err := ParsePrefix([]byte("d1:a"), Options{}); n != 0 || !errors.Is(err, ErrTruncated) {
		t.Errorf("prefix of a truncated dictionary: %d, %v", n, err)
	}
}

func TestValue(t *testing.T) {
	const in = "d4:dictd1:xi-7ee5:emptyle3:inti42e4:listl1:a0:i3eli4eee3:str5:helloe"
	d, err := Parse([]byte(in), Options{})
	if err != nil {
		t.Fatal(err)
	}
	root := d.Root()
	if root.Kind() != Dictionary || root.Len() != 5 || string(root.Raw()) != in {
		t.Errorf("root: %v of %d: %q", root.Kind(), root.Len(), root.Raw())
	}
	if v := root.Get("dict"); string(v.Raw()) != "d1:xi-7ee" || v.Offset() != 7 || v.Items() != 3 {
		t.Errorf("dict: %q at %d", v.Raw(), v.Offset())
	}
	if v, ok := root.Get("dict").Get("x").Int(); v != -7 || !ok {
		t.Errorf("x is %d", v)
	}
	if v := root.Get("str"); v.Text() != "hello" || v.Len() != 5 || string(v.Raw()) != "5:hello" {
		t.Errorf("str is %q", v.Bytes())
	}
	list := root.Get("list")
	if list.Len() != 4 || list.At(0).Text() != "a" || list.At(1).Bytes() == nil || list.At(3).At(0).Kind() != Integer ||
		list.At(4).Exists() || list.At(-1).Exists() {
		t.Errorf("list: %q", list.Raw())
	}
	var keys, kinds []string
	for key, v := range root.Dict() {
		keys, kinds = append(keys, string(key)), append(kinds, v.Kind().String())
	}
	if !slices.Equal(keys, []string{"dict", "empty", "int", "list", "str"}) ||
		!slices.Equal(kinds, []string{"dictionary", "list", "integer", "list", "string"}) {
		t.Errorf("entries %v %v", keys, kinds)
	}
	for range root.Dict() {
		break // an early end must not walk on
	}
	for range list.List() {
		break
	}
	// Nothing, and values of the wrong kind, answer empty.
	for _, v := range []Value{{}, root.Get("none"), root.Get("int").Get("x"), root.Get("str").At(0), (&Doc{}).Root()} {
		if n, ok := v.Int(); v.Exists() || v.Kind() != Invalid || v.Raw() != nil || v.Bytes() != nil || n != 0 || ok ||
			v.Len() != 0 || v.Items() != 0 || v.Offset() != 0 || v.Text() != "" || v.Get("a").Exists() || v.At(0).Exists() {
			t.Errorf("missing value answers: %+v", v)
		}
		for range v.List() {
			t.Error("missing value has items")
		}
		for range v.Dict() {
			t.Error("missing value has entries")
		}
	}
	if root.Bytes() != nil || root.Get("int").Bytes() != nil {
		t.Error("a value that is no string has bytes")
	}
	if _, ok := root.Get("str").Int(); ok {
		t.Error("a string has an integer")
	}
}

func TestLenientFirstKeyCounts(t *testing.T) {
	d, err := Parse([]byte("d1:bi1e1:ai2e1:bi-03ee"), Options{Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := d.Root().Get("b").Int(); v != 1 {
		t.Errorf("b is %d", v)
	}
	if v, _ := d.Root().Get("a").Int(); v != 2 {
		t.Errorf("a is %d", v)
	}
}

func TestIntExtremes(t *testing.T) {
	for _, want := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 9, math.MinInt64 + 9} {
		d, err := Parse(AppendInt(nil, want), Options{})
		if got, ok := d.Root().Int(); err != nil || got != want || !ok {
			t.Errorf("%d came back as %d: %v", want, got, err)
		}
	}
}

func TestReset(t *testing.T) {
	d, err := Parse([]byte("li1ei2ee"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.Reset(1)
	if d.Root().Exists() || cap(d.tokens) != 0 {
		t.Error("reset keeps more than it may")
	}
}

func TestNoAllocationOnceWarm(t *testing.T) {
	in := []byte("d4:dictd1:xi-7ee4:listl1:a0:i3eli4eee3:str5:helloe")
	var doc Doc
	var inner, dict Dict
	var out []byte
	use := func() {
		if err := doc.Parse(in, Options{}); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, v := range doc.Root().Dict() {
			for item := range v.List() {
				n, _ := item.Int()
				sum += int(n)
			}
		}
		if sum != 3 || len(doc.Root().Get("str").Bytes()) != 5 {
			t.Fatal(sum)
		}
		inner.Reset()
		inner.SetInt("z", 1)
		inner.SetString("a", "b")
		dict.Reset()
		dict.SetDict("inner", &inner)
		dict.SetBytes("bytes", in)
		out = dict.Append(out[:0])
	}
	use()
	if n := testing.AllocsPerRun(100, use); n != 0 {
		t.Errorf("%v allocations for each use", n)
	}
}

func TestDict(t *testing.T) {
	var inner, d Dict
	inner.SetInt("i", -1)
	d.SetString("b", "old")
	d.SetDict("c", &inner)
	d.SetStrings("a", []string{"x", ""})
	d.SetBytes("", []byte{0xff})
	d.SetRaw("raw", []byte("le"))
	d.SetFunc("f", func(dst []byte) []byte { return AppendInt(dst, 5) })
	d.SetString("b", "new")
	const want = "d0:1:\xff1:al1:x0:e1:b3:new1:cd1:ii-1ee1:fi5e3:rawlee"
	if got := string(d.Append(nil)); got != want || d.Len() != 7 {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := string((*Dict)(nil).Append([]byte("x"))); got != "xde" {
		t.Errorf("nil dictionary: %q", got)
	}
}

func TestMarshal(t *testing.T) {
	var d Dict
	d.SetInt("k", 1)
	got, err := Marshal(map[string]any{
		"z": []any{"a", []byte("b"), 1, int64(-2), Raw("le")}, "a": map[string]any{}, "m": &d, "s": []string{"q"},
	})
	const want = "d1:ade1:md1:ki1ee1:sl1:qe1:zl1:a1:bi1ei-2eleee"
	if err != nil || string(got) != want {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	for _, v := range []any{nil, 1.5, true, []any{uint8(1)}, map[string]any{"a": struct{}{}}} {
		if got, err := Marshal(v); got != nil || !errors.Is(err, ErrType) {
			t.Errorf("%T: %q, %v", v, got, err)
		}
	}
	var deep any = "x"
	for range DefaultMaxDepth + 1 {
		deep = []any{deep}
	}
	if _, err := Marshal(deep); !errors.Is(err, ErrTooDeep) {
		t.Errorf("deep list: %v", err)
	}
}
