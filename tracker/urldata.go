package tracker

import (
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
	var joined []byte
	for len(b) > 0 {
		switch b[0] {
		case optionEnd:
			return string(joined), nil
		case optionNOP:
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return "", malformed("announce option %d is cut short", b[0])
		}
		if b[0] == optionURLData {
			joined = append(joined, b[2:2+int(b[1])]...)
			if len(joined) > MaxURLData {
				return "", malformed("URLData of more than %d bytes", MaxURLData)
			}
		}
		b = b[2+int(b[1]):]
	}
	return string(joined), nil
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

// applyURLData sets the bid parameters of URLData in r and returns its path.
func (r *Request) applyURLData(data string) (path string, err error) {
	path, query, _ := strings.Cut(data, "?")
	for key, value := range parameters(query) {
		if err := r.setBidParameter(key, value); err != nil {
			return path, err
		}
	}
	return path, nil
}

// setBidParameter reads one query parameter of the bid extension, ignoring others.
func (r *Request) setBidParameter(key, value string) (err error) {
	switch key {
	case "btt_bid":
		if r.Bid, err = strconv.ParseUint(value, 10, 64); err != nil {
			return malformed("btt_bid is %q", clip([]byte(value), 32))
		}
	case "btt_top":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return malformed("btt_top is %q", clip([]byte(value), 32))
		}
		r.Top = int(min(n, MaxNumWant))
	case "btt_ext":
		r.ExtendedReply = value == "1"
	}
	return nil
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
