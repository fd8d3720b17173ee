package tracker

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bttnet/btt/bencode"
)

// parseOptions bound what an answer may make us hold: trackers are sloppy
// about key order, never about nesting.
var parseOptions = bencode.Options{
	Lenient: true, AllowTrailing: true,
	MaxSize: MaxResponse, MaxDepth: 8, MaxItems: 16 * MaxPeers,
}

// AppendURL appends the URL of an HTTP announce: the tracker's own URL (its
// query kept: private trackers put keys there) and the request's parameters.
// bids says whether to add btt_bid and btt_top.
func (r *Request) AppendURL(b []byte, tracker string, bids bool) ([]byte, error) {
	b, err := appendBase(b, tracker)
	if err != nil {
		return b, err
	}
	b = appendEscaped(append(b, "info_hash="...), r.InfoHash[:])
	b = appendEscaped(append(b, "&peer_id="...), r.PeerID[:])
	b = appendInt(b, "&port=", int64(r.Port))
	b = appendInt(b, "&uploaded=", max(r.Uploaded, 0))
	b = appendInt(b, "&downloaded=", max(r.Downloaded, 0))
	left := r.Left
	if left < 0 { // the size is not known yet: not a seed, say 16 KiB as others do
		left = 16 << 10
	}
	b = appendInt(b, "&left=", left)
	b = append(b, "&compact=1&no_peer_id=1"...)
	if r.NumWant >= 0 {
		b = appendInt(b, "&numwant=", int64(r.NumWant))
	}
	b = append(b, "&key="...)
	b = fmt.Appendf(b, "%08x", r.Key)
	if e := r.Event.String(); e != "" {
		b = append(append(b, "&event="...), e...)
	}
	if r.IPv4.Is4() {
		b = append(append(b, "&ipv4="...), r.IPv4.String()...)
	}
	if r.IPv6.Is6() {
		b = appendEscaped(append(b, "&ipv6="...), []byte(r.IPv6.WithZone("").String()))
	}
	if r.TrackerID != "" {
		b = appendEscaped(append(b, "&trackerid="...), []byte(r.TrackerID))
	}
	if bids {
		b = r.appendBidParameters(append(b, '&'))
	}
	return b, nil
}

// appendBase appends an http(s) tracker URL, ready for a first parameter.
func appendBase(b []byte, tracker string) ([]byte, error) {
	if err := checkHTTP(tracker); err != nil {
		return b, err
	}
	tracker, _, _ = strings.Cut(tracker, "#")
	b = append(b, tracker...)
	switch i := strings.IndexByte(tracker, '?'); {
	case i < 0:
		b = append(b, '?')
	case i < len(tracker)-1 && !strings.HasSuffix(tracker, "&"):
		b = append(b, '&')
	}
	return b, nil
}

func checkHTTP(tracker string) error {
	if len(tracker) > MaxURL {
		return fmt.Errorf("%w: longer than %d bytes", ErrURL, MaxURL)
	}
	u, err := url.Parse(tracker)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrURL, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%w %q: want http://host or https://host", ErrURL, tracker)
	}
	return nil
}

func appendInt(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

// appendEscaped percent-encodes all but RFC 3986's unreserved bytes.
func appendEscaped(b, raw []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range raw {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// ParseResponse reads the answer to an HTTP announce, leniently: keys in any
// order, compact and dictionary peers, trailing bytes. A failure reason is a
// *Failure; the peers are at most MaxPeers, useless addresses left out.
func ParseResponse(body []byte) (*Response, error) {
	doc, err := parseAnswer(body)
	if err != nil {
		return nil, err
	}
	root := doc.Root()
	r := &Response{
		Interval:    seconds(number(root, "interval", 0)),
		MinInterval: seconds(number(root, "min interval", 0)),
		TrackerID:   clip(root.Get("tracker id").Bytes(), MaxTrackerID),
		Warning:     clip(root.Get("warning message").Bytes(), MaxText),
		Complete:    count(root, "complete"),
		Incomplete:  count(root, "incomplete"),
		Downloaded:  count(root, "downloaded"),
	}
	if ip, ok := netip.AddrFromSlice(root.Get("external ip").Bytes()); ok {
		r.ExternalIP = ip.Unmap()
	}
	r.readBidOffer(root)
	ages := root.Get("bid age").Bytes()
	n := r.readPeers(root.Get("peers"), compact4, root.Get("bids").Bytes(), ages)
	r.readPeers(root.Get("peers6"), compact6, root.Get("bids6").Bytes(), ages[min(n, len(ages)):])
	return r, nil
}

// parseAnswer parses an answer's dictionary and turns failures into *Failure.
func parseAnswer(body []byte) (*bencode.Doc, error) {
	if len(body) > MaxResponse {
		return nil, fmt.Errorf("parse answer of %d bytes: %w", len(body), ErrTooLarge)
	}
	doc := new(bencode.Doc)
	if err := doc.Parse(body, parseOptions); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	root := doc.Root()
	if root.Kind() != bencode.Dictionary {
		return nil, malformed("answer is a %v", root.Kind())
	}
	if reason := root.Get("failure reason"); reason.Exists() {
		return nil, readFailure(root, clip(reason.Bytes(), MaxText))
	}
	return doc, nil
}

// readFailure reads BEP 31's retry in: minutes, or "never".
func readFailure(root bencode.Value, reason string) *Failure {
	f := &Failure{Reason: reason}
	retry := root.Get("retry in")
	minutes, ok := retry.Int()
	if !ok {
		text := retry.Text()
		if text == "never" {
			f.Never = true
			return f
		}
		minutes, _ = strconv.ParseInt(text, 10, 32)
	}
	f.RetryIn = seconds(min(max(minutes, 0), MaxIntervalSec/60) * 60)
	return f
}

// number reads an integer, also one written as a string.
func number(v bencode.Value, key string, missing int64) int64 {
	value := v.Get(key)
	if n, ok := value.Int(); ok {
		return n
	}
	if n, err := strconv.ParseInt(value.Text(), 10, 64); err == nil {
		return n
	}
	return missing
}

func count(v bencode.Value, key string) int {
	n := number(v, key, -1)
	if n < 0 {
		return -1
	}
	return int(min(n, math.MaxInt32))
}

// readBidOffer reads what the tracker says about bids as a whole.
func (r *Response) readBidOffer(root bencode.Value) {
	interval, has := root.Get("btt interval").Int()
	r.BidInterval = seconds(interval)
	r.SpeaksBids = has || root.Get("bids").Exists() || root.Get("bids6").Exists()
	offer := root.Get("bid scrape")
	if n, ok := offer.Int(); ok && n == 1 {
		r.BidScrape, r.SpeaksBids = "bidscrape", true
	} else if path := offer.Bytes(); len(path) > 0 && len(path) <= MaxURL {
		r.BidScrape, r.SpeaksBids = string(path), true
	}
}

// readPeers reads a compact or dictionary list of peers with its parallel
// bids, and returns how many entries the tracker's list had.
func (r *Response) readPeers(list bencode.Value, size int, bids, ages []byte) int {
	n := 0
	add := func(addr netip.AddrPort, ok bool) {
		if ok = ok && len(r.Peers) < MaxPeers; ok {
			r.Peers = append(r.Peers, withBid(addr, n, bids, ages))
		}
		n++
	}
	if compact := list.Bytes(); compact != nil {
		for ; len(compact) >= size; compact = compact[size:] {
			add(compactPeer(compact[:size]))
		}
		return n
	}
	for item := range list.List() {
		ip, err := netip.ParseAddr(item.Get("ip").Text()) // host names are not looked up
		addr := netip.AddrPortFrom(ip.Unmap(), uint16(number(item, "port", 0)))
		add(addr, err == nil && usablePeer(addr))
	}
	return n
}

// withBid joins a peer with entry i of the parallel bids and ages.
func withBid(addr netip.AddrPort, i int, bids, ages []byte) Peer {
	p := Peer{Addr: addr}
	if len(bids) >= 8*(i+1) {
		p.Bid = binary.BigEndian.Uint64(bids[8*i:])
		p.HasBid = p.Bid != 0
	}
	if i < len(ages) {
		p.BidAge = time.Duration(ages[i]) * time.Minute
	}
	return p
}
