package tracker

import (
	"bytes"
	"math"
	"net/url"
	"strconv"
	"strings"
)

// BEP 41 options after an announce.
const (
	optionEnd     = 0x0
	optionNOP     = 0x1
	optionURLData = 0x2
)

// appendURLData appends s as URLData options of at most 255 bytes each.
func appendURLData(b []byte, s string) []byte {
	s = s[:min(len(s), MaxURLData)]
	for len(s) > 0 {
		n := min(len(s), 255)
		b = append(b, optionURLData, byte(n))
		b = append(b, s[:n]...)
		s = s[n:]
	}
	return b
}

// ParseURLData joins the URLData of BEP 41 options (the bytes after the 98th
// of an announce). Unknown options are skipped by their length, as the BEP
// wants; a cut option is ErrMalformed.
func ParseURLData(b []byte) (string, error) {
	data, err := urlData(b)
	return string(data), err
}

// urlData is ParseURLData without a copy: what stands in one option, as nearly
// all does, is a part of b.
func urlData(b []byte) (joined []byte, err error) {
	for len(b) > 0 {
		switch b[0] {
		case optionEnd:
			return joined, nil
		case optionNOP:
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return nil, malformed("announce option %d is cut short", b[0])
		}
		if b[0] == optionURLData {
			part := b[2 : 2+int(b[1])]
			if len(joined) == 0 {
				joined = part[:len(part):len(part)] // appending to it copies
			} else if joined = append(joined, part...); len(joined) > MaxURLData {
				return nil, malformed("URLData of more than %d bytes", MaxURLData)
			}
		}
		b = b[2+int(b[1]):]
	}
	return joined, nil
}

// URLData returns what a UDP announce to tracker carries as BEP 41 URLData:
// path and query of the tracker's URL and, if bids is set, the bid parameters.
// It is empty if there is nothing to say, so that plain announces stay 98 bytes.
func (r *Request) URLData(tracker *url.URL, bids bool) string {
	path := tracker.EscapedPath()
	query := tracker.RawQuery
	plain := query == "" && (path == "" || path == "/" || path == "/announce")
	if bids && (r.Bid != 0 || r.Top > 0) {
		var b []byte
		if query != "" {
			b = append(append(b, query...), '&')
		}
		b = r.appendBidParameters(b)
		if r.ExtendedReply {
			b = append(b, "&btt_ext=1"...)
		}
		query, plain = string(b), false
	}
	if plain {
		return ""
	}
	if path == "" {
		path = "/announce"
	}
	if query != "" {
		path += "?" + query
	}
	return path[:min(len(path), MaxURLData)]
}

// appendBidParameters appends btt_bid and btt_top, the two parameters of R6.2.
func (r *Request) appendBidParameters(b []byte) []byte {
	b = append(b, "btt_bid="...)
	b = strconv.AppendUint(b, r.Bid, 10)
	b = append(b, "&btt_top="...)
	return strconv.AppendInt(b, int64(max(r.Top, 0)), 10)
}

// usualPath is the path of nearly all announces; it is told without a copy.
const usualPath = "/announce"

// applyURLData sets the bid parameters of URLData in r and returns its path.
func (r *Request) applyURLData(data []byte) (path string, err error) {
	before, query, _ := bytes.Cut(data, []byte{'?'})
	if string(before) == usualPath {
		path = usualPath
	} else {
		path = string(before)
	}
	for len(query) > 0 {
		part := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			part, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		if i := bytes.IndexByte(part, '='); i >= 0 {
			if err := setBidParameter(r, part[:i], part[i+1:]); err != nil {
				return path, err
			}
		} else if err := setBidParameter(r, part, nil); err != nil {
			return path, err
		}
	}
	return path, nil
}

// setBidParameter reads one query parameter of the bid extension, ignoring others.
func setBidParameter[T string | []byte](r *Request, key, value T) error {
	switch string(key) {
	case "btt_bid":
		n, ok := decimal(value, math.MaxUint64)
		if !ok {
			return malformed("btt_bid is %q", clip([]byte(value), 32))
		}
		r.Bid = n
	case "btt_top":
		n, ok := decimal(value, math.MaxInt32)
		if !ok {
			return malformed("btt_top is %q", clip([]byte(value), 32))
		}
		r.Top = int(min(n, MaxNumWant))
	case "btt_ext":
		r.ExtendedReply = string(value) == "1"
	}
	return nil
}

// decimal reads digits, and nothing else, of a number of at most limit.
func decimal[T string | []byte](text T, limit uint64) (n uint64, ok bool) {
	for i := range len(text) {
		digit := uint64(text[i] - '0')
		if digit > 9 || n > (limit-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, len(text) > 0
}

// parameters yields the raw key and value of each part of a query string.
func parameters(query string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for query != "" {
			var part string
			part, query, _ = strings.Cut(query, "&")
			key, value, _ := strings.Cut(part, "=")
			if key != "" && !yield(key, value) {
				return
			}
		}
	}
}
