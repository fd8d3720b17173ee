package bencode

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// anyValue draws one of the Go values Marshal takes, in the form toAny gives back.
func anyValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Map(rapid.Int64(), func(v int64) any { return v }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) any { return string(v) }),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	return rapid.OneOf(append(leaves,
		rapid.Map(rapid.SliceOfN(anyValue(depth-1), 0, 5), func(v []any) any { return v }),
		rapid.Map(rapid.MapOfN(rapid.StringN(0, 8, 8), anyValue(depth-1), 0, 5), func(v map[string]any) any { return v }),
	)...)
}

func toAny(v Value) any {
	switch v.Kind() {
	case Integer:
		n, _ := v.Int()
		return n
	case String:
		return v.Text()
	case List:
		list := []any{}
		for item := range v.List() {
			list = append(list, toAny(item))
		}
		return list
	case Dictionary:
		dict := map[string]any{}
		for key, item := range v.Dict() {
			if _, ok := dict[string(key)]; !ok {
				dict[string(key)] = toAny(item)
			}
		}
		return dict
	}
	return nil
}

func TestMarshalParseRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyValue(4).Draw(t, "value")
		encoded, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse(encoded, Options{})
		if err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		if got := toAny(d.Root()); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		// Every proper prefix is truncated; nothing else may be said of it.
		cut := rapid.IntRange(0, len(encoded)-1).Draw(t, "cut")
		if _, n, err := ParsePrefix(encoded[:cut], Options{}); err == nil {
			t.Fatalf("%q parses: %d bytes", encoded[:cut], n)
		}
	})
}

func TestDictWritesWhatMarshalWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.MapOf(rapid.String(), rapid.Int64()).Draw(t, "values")
		var d Dict
		plain := map[string]any{}
		for key, v := range values { // the order of a map is the point
			d.SetInt(key, v)
			plain[key] = v
		}
		want, err := Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Append(nil); !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzParse holds for any input: no panic; what strict mode takes, lenient mode takes
// too and reads the same; what strict mode takes is canonical, so that encoding what was
// read gives the input back; all views lie inside the input.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"i0e", "i-1e", "0:", "4:spam", "le", "de", "d1:ali1e1:xe1:bd1:ci1eee", "d1:bi1e1:ai2ee", "d1:ai1e1:ai2ee",
		"i-0e", "i007e", "04:spam", "i9223372036854775808e", "99999999999999999999:", "llllllllleeeeeeeee", "d1:ae",
		"d8:msg_typei1e5:piecei0ee\x00payload", "d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		limits := Options{MaxItems: 1 << 16, MaxDepth: 50}
		strict, err := Parse(in, limits)
		limits.Lenient = true
		lenient, lenientErr := Parse(in, limits)
		if lenientErr == nil {
			toAny(lenient.Root())
		}
		if err != nil {
			if strict.Root().Exists() {
				t.Fatal("an error left a document")
			}
			return
		}
		if lenientErr != nil {
			t.Fatalf("lenient refuses what strict takes: %v", lenientErr)
		}
		a, b := toAny(strict.Root()), toAny(lenient.Root())
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("strict reads %v, lenient %v", a, b)
		}
		again, err := Marshal(a)
		if err != nil || !bytes.Equal(again, in) {
			t.Fatalf("%q encodes to %q, %v", in, again, err)
		}
		if !bytes.Equal(strict.Root().Raw(), in) {
			t.Fatal("the root's bytes are not the input")
		}
		_, n, err := ParsePrefix(append(bytes.Clone(in), "trailing"...), limits)
		if err != nil || n != len(in) {
			t.Fatalf("as a prefix it takes %d bytes of %d: %v", n, len(in), err)
		}
	})
}
