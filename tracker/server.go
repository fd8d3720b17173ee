package tracker

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/bttnet/btt/bencode"
)

// ParseQuery reads the raw query of an HTTP announce on the server's side.
// Info hash, peer id and port are required; the rest has defaults. The ip,
// ipv4 and ipv6 parameters are read but say nothing a server may trust.
func ParseQuery(query string) (*Request, error) {
	if len(query) > MaxQuery {
		return nil, fmt.Errorf("parse query of %d bytes: %w", len(query), ErrTooLarge)
	}
	r := &Request{NumWant: -1, Compact: true, Stats: Stats{Left: -1}}
	const hash, id, port = 1, 2, 4
	seen := 0
	for key, value := range parameters(query) {
		var err error
		switch key {
		case "info_hash":
			r.InfoHash, err = hashParameter(value)
			seen |= hash
		case "peer_id":
			err = r.setPeerID(value)
			seen |= id
		case "port":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 16)
			r.Port = uint16(n)
			seen |= port
		default:
			err = r.setParameter(key, value)
		}
		if err != nil {
			why := strings.TrimPrefix(err.Error(), ErrMalformed.Error()+": ") // said once is enough
			return nil, malformed("parameter %s: %s", clip([]byte(key), 32), why)
		}
	}
	if seen != hash|id|port {
		return nil, malformed("info_hash, peer_id and port are required")
	}
	return r, nil
}

func (r *Request) setPeerID(value string) error {
	raw, err := url.QueryUnescape(value)
	if err != nil || len(raw) != 20 {
		return malformed("peer_id is not 20 bytes")
	}
	copy(r.PeerID[:], raw)
	return nil
}

// setParameter reads an optional parameter; unknown ones are ignored.
func (r *Request) setParameter(key, value string) (err error) {
	switch key {
	case "uploaded":
		r.Uploaded, err = amount(value)
	case "downloaded":
		r.Downloaded, err = amount(value)
	case "left":
		r.Left, err = amount(value)
	case "numwant":
		if n, err := strconv.Atoi(value); err == nil {
			r.NumWant = n
		}
	case "key":
		n, _ := strconv.ParseUint(value, 16, 32) // opaque to trackers: any spelling will do
		r.Key = uint32(n)
	case "compact":
		r.Compact = value != "0"
	case "no_peer_id":
		r.NoPeerID = value == "1"
	case "event":
		r.Event = parseEvent(value)
	case "ipv4":
		r.IPv4 = parseAddr(value)
	case "ipv6":
		r.IPv6 = parseAddr(value)
	case "trackerid":
		id, _ := url.QueryUnescape(value)
		r.TrackerID = clip([]byte(id), MaxTrackerID)
	default:
		return setBidParameter(r, key, value)
	}
	return err
}

// amount reads a byte count; a few clients send unsigned or negative nonsense,
// which is clamped rather than refused.
func amount(value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err == nil {
		return max(n, 0), nil
	}
	if u, err := strconv.ParseUint(value, 10, 64); err == nil {
		return clampInt64(u), nil
	}
	return 0, err
}

func parseEvent(value string) Event {
	for e := EventCompleted; e <= EventPaused; e++ {
		if e.String() == value {
			return e
		}
	}
	return EventNone
}

func parseAddr(value string) netip.Addr {
	text, _ := url.QueryUnescape(value)
	if a, err := netip.ParseAddr(text); err == nil {
		return a
	}
	p, _ := netip.ParseAddrPort(text) // BEP 7 allows an endpoint
	return p.Addr()
}

// ParseScrapeQuery reads the info hashes of an HTTP scrape, at most MaxHTTPScrape.
// No hash at all is ErrMalformed: full scrapes are not offered.
func ParseScrapeQuery(query string) ([]InfoHash, error) {
	q, err := ParseBidQuery(query)
	if err == nil && len(q.Hashes) == 0 {
		err = malformed("scrape without info_hash")
	}
	return q.Hashes, err
}

// AppendFailure appends an HTTP answer that refuses; f.RetryIn is told in
// minutes, rounded up (BEP 31).
func AppendFailure(b []byte, f *Failure) []byte {
	b = append(b, 'd')
	b = bencode.AppendString(b, "failure reason")
	b = bencode.AppendString(b, clip([]byte(f.Reason), MaxText))
	if f.Never || f.RetryIn > 0 {
		b = bencode.AppendString(b, "retry in")
		if f.Never {
			b = bencode.AppendString(b, "never")
		} else {
			b = bencode.AppendInt(b, int64((f.RetryIn+59e9)/60e9))
		}
	}
	return append(b, 'e')
}
