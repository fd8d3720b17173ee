package bencode

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// ErrType is Marshal's refusal of a Go type outside its closed set.
var ErrType = errors.New("type has no bencode form")

// AppendInt appends the integer v to dst.
func AppendInt(dst []byte, v int64) []byte {
	dst = append(dst, 'i')
	dst = strconv.AppendInt(dst, v, 10)
	return append(dst, 'e')
}

// AppendString appends the string s, or the string with the content of the bytes s.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, ':')
	return append(dst, s...)
}

// Raw is encoded bencode that Marshal and Dict write as it is; whoever makes it answers
// for it being exactly one value.
type Raw []byte

// Dict collects the entries of a dictionary in any order and writes them canonically:
// keys sorted, of equal keys the last one set. The zero value is an empty dictionary;
// Reset keeps the memory for the next one. Values are encoded when they are set.
type Dict struct {
	entries []entry
	buf     []byte
}

type entry struct {
	key        string
	start, end int // of the encoded value in Dict.buf
}

// Reset empties the dictionary and keeps its memory.
func (d *Dict) Reset() { d.entries, d.buf = d.entries[:0], d.buf[:0] }

// Len is the number of entries set, equal keys counted each.
func (d *Dict) Len() int { return len(d.entries) }

// SetInt sets key to an integer.
func (d *Dict) SetInt(key string, v int64) {
	start := len(d.buf)
	d.buf = AppendInt(d.buf, v)
	d.add(key, start)
}

// SetString sets key to a string.
func (d *Dict) SetString(key, v string) {
	start := len(d.buf)
	d.buf = AppendString(d.buf, v)
	d.add(key, start)
}

// SetBytes sets key to a string with the content v.
func (d *Dict) SetBytes(key string, v []byte) {
	start := len(d.buf)
	d.buf = AppendString(d.buf, v)
	d.add(key, start)
}

// SetRaw sets key to a value that is bencode already.
func (d *Dict) SetRaw(key string, v []byte) {
	start := len(d.buf)
	d.buf = append(d.buf, v...)
	d.add(key, start)
}

// SetDict sets key to the dictionary v as it is now.
func (d *Dict) SetDict(key string, v *Dict) {
	start := len(d.buf)
	d.buf = v.Append(d.buf)
	d.add(key, start)
}

// SetStrings sets key to a list of strings.
func (d *Dict) SetStrings(key string, v []string) {
	start := len(d.buf)
	d.buf = AppendStrings(d.buf, v)
	d.add(key, start)
}

// SetFunc sets key to the one value that appendValue appends to its argument.
func (d *Dict) SetFunc(key string, appendValue func([]byte) []byte) {
	start := len(d.buf)
	d.buf = appendValue(d.buf)
	d.add(key, start)
}

func (d *Dict) add(key string, start int) {
	d.entries = append(d.entries, entry{key, start, len(d.buf)})
}

// Append appends the dictionary to dst. It sorts the entries in place.
func (d *Dict) Append(dst []byte) []byte {
	if d == nil {
		return append(dst, "de"...)
	}
	byKey := func(a, b entry) int { return cmp.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(d.entries, byKey) {
		slices.SortStableFunc(d.entries, byKey)
	}
	dst = append(dst, 'd')
	for i, e := range d.entries {
		if i+1 < len(d.entries) && d.entries[i+1].key == e.key {
			continue // a later value of the same key counts
		}
		dst = AppendString(dst, e.key)
		dst = append(dst, d.buf[e.start:e.end]...)
	}
	return append(dst, 'e')
}

// AppendStrings appends a list of strings.
func AppendStrings(dst []byte, list []string) []byte {
	dst = append(dst, 'l')
	for _, s := range list {
		dst = AppendString(dst, s)
	}
	return append(dst, 'e')
}

// Marshal encodes a value of the closed set string, []byte, int, int64, Raw, []any,
// []string, map[string]any, *Dict. It fails with ErrType for any other type and with
// ErrTooDeep beyond DefaultMaxDepth.
func Marshal(v any) ([]byte, error) { return appendAny(nil, v, 0) }

func appendAny(dst []byte, v any, depth int) ([]byte, error) {
	if depth > DefaultMaxDepth {
		return nil, fmt.Errorf("encode bencode: %w", ErrTooDeep)
	}
	switch v := v.(type) {
	case string:
		return AppendString(dst, v), nil
	case []byte:
		return AppendString(dst, v), nil
	case int:
		return AppendInt(dst, int64(v)), nil
	case int64:
		return AppendInt(dst, v), nil
	case Raw:
		return append(dst, v...), nil
	case []string:
		return AppendStrings(dst, v), nil
	case *Dict:
		return v.Append(dst), nil
	case []any:
		dst = append(dst, 'l')
		for _, item := range v {
			var err error
			if dst, err = appendAny(dst, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, 'e'), nil
	case map[string]any:
		dst = append(dst, 'd')
		for _, key := range slices.Sorted(maps.Keys(v)) {
			var err error
			if dst, err = appendAny(AppendString(dst, key), v[key], depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, 'e'), nil
	}
	return nil, fmt.Errorf("encode bencode: %T: %w", v, ErrType)
}
