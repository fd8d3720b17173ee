package tracker

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bttnet/btt/bencode"
)

// ScrapeURL derives the scrape URL of an HTTP tracker (BEP 48): the last path
// element must start with "announce", which is replaced by name ("scrape", or
// "bidscrape" for the bid scrape).
func ScrapeURL(tracker, name string) (string, error) {
	if err := checkHTTP(tracker); err != nil {
		return "", err
	}
	path, query, hasQuery := strings.Cut(tracker, "?")
	i := strings.LastIndexByte(path, '/')
	rest, ok := strings.CutPrefix(path[i+1:], "announce")
	if !ok {
		return "", fmt.Errorf("%w %q: it has no scrape", ErrURL, tracker)
	}
	out := path[:i+1] + name + rest
	if hasQuery {
		out += "?" + query
	}
	return out, nil
}

// AppendScrapeURL appends the URL of an HTTP scrape of 1 to MaxHTTPScrape
// torrents; base is ScrapeURL's result. An empty list is refused: it would be
// a full scrape.
func AppendScrapeURL(b []byte, base string, hashes []InfoHash) ([]byte, error) {
	if len(hashes) == 0 || len(hashes) > MaxHTTPScrape {
		return b, fmt.Errorf("encode scrape of %d torrents, at most %d: %w", len(hashes), MaxHTTPScrape, ErrTooLarge)
	}
	b, err := appendBase(b, base)
	for i := range hashes {
		if i > 0 {
			b = append(b, '&')
		}
		b = appendEscaped(append(b, "info_hash="...), hashes[i][:])
	}
	return b, err
}

// ParseScrape reads the answer to an HTTP scrape; torrents come in the
// answer's order, at most MaxHTTPScrape.
func ParseScrape(body []byte) ([]Swarm, error) {
	doc, err := parseAnswer(body)
	if err != nil {
		return nil, err
	}
	var out []Swarm
	for hash, file := range doc.Root().Get("files").Dict() {
		if len(hash) != 20 || len(out) == MaxHTTPScrape {
			continue
		}
		out = append(out, readSwarm(hash, file))
	}
	return out, nil
}

func readSwarm(hash []byte, file bencode.Value) Swarm {
	return Swarm{
		InfoHash:   InfoHash(hash),
		Complete:   count(file, "complete"),
		Incomplete: count(file, "incomplete"),
		Downloaded: count(file, "downloaded"),
	}
}

// BidQuery asks for the torrents with the best bids, or for those named.
type BidQuery struct {
	Top    int        // torrents wanted, 1 to MaxBidScrape; ignored if Hashes is set
	After  uint64     // cursor of the last page, 0 to begin
	MinBid uint64     // µBTT per GiB
	Hashes []InfoHash // asked torrents, at most MaxHTTPScrape
}

// BidSwarm is a torrent's line of a bid scrape (R6.5). Bids are µBTT per GiB.
type BidSwarm struct {
	Swarm
	Bid     uint64 // highest fresh bid
	Bid5    uint64 // fifth highest, 0 if fewer bid
	Bidders int    // fresh bids
	Age     time.Duration
}

// BidPage is the answer to a bid scrape.
type BidPage struct {
	Torrents           []BidSwarm
	Next               uint64 // cursor of the next page, 0 if this was the last
	Now                int64  // the tracker's clock, Unix seconds, 0 if not told
	MinRequestInterval time.Duration
}

// NamesBids says whether a tracker can be asked for the bids of named torrents:
// by HTTP only.
func NamesBids(tracker string) bool { return checkHTTP(tracker) == nil }

// AppendBidScrapeURL appends the URL of an HTTP bid scrape.
func AppendBidScrapeURL(b []byte, base string, q *BidQuery) ([]byte, error) {
	if len(q.Hashes) > 0 {
		return AppendScrapeURL(b, base, q.Hashes)
	}
	b, err := appendBase(b, base)
	b = appendInt(b, "top=", int64(min(max(q.Top, 1), MaxBidScrape)))
	b = append(b, "&after="...)
	b = strconv.AppendUint(b, q.After, 10)
	b = append(b, "&min_bid="...)
	return strconv.AppendUint(b, q.MinBid, 10), err
}

// ParseBidScrape reads the answer to an HTTP bid scrape, at most MaxBidScrape
// torrents, in the answer's order (sorted by hash; Bid and Bid5 let the
// reader rank).
func ParseBidScrape(body []byte) (*BidPage, error) {
	doc, err := parseAnswer(body)
	if err != nil {
		return nil, err
	}
	root := doc.Root()
	page := &BidPage{
		Next:               unsigned(root, "next"),
		Now:                number(root, "now", 0),
		MinRequestInterval: seconds(number(root.Get("flags"), "min_request_interval", 0)),
	}
	for hash, file := range root.Get("files").Dict() {
		if len(hash) != 20 || len(page.Torrents) == MaxBidScrape {
			continue
		}
		page.Torrents = append(page.Torrents, BidSwarm{
			Swarm:   readSwarm(hash, file),
			Bid:     unsigned(file, "bid"),
			Bid5:    unsigned(file, "bid5"),
			Bidders: max(count(file, "bidders"), 0),
			Age:     time.Duration(min(max(number(file, "bid age", 0), 0), 255)) * time.Minute,
		})
	}
	return page, nil
}

// unsigned reads a number that may need 64 bits; such ones travel as strings.
func unsigned(v bencode.Value, key string) uint64 {
	value := v.Get(key)
	if n, ok := value.Int(); ok {
		return uint64(max(n, 0))
	}
	n, _ := strconv.ParseUint(value.Text(), 10, 64)
	return n
}

// ParseBidQuery reads the query of an HTTP bid scrape on the server's side.
func ParseBidQuery(query string) (BidQuery, error) {
	q := BidQuery{Top: 50}
	if len(query) > MaxQuery {
		return q, fmt.Errorf("parse query of %d bytes: %w", len(query), ErrTooLarge)
	}
	for key, value := range parameters(query) {
		n, err := strconv.ParseUint(value, 10, 64)
		switch key {
		case "top":
			q.Top = int(min(max(n, 1), MaxBidScrape))
		case "after":
			q.After = n
		case "min_bid":
			q.MinBid = n
		case "info_hash":
			var h InfoHash
			if h, err = hashParameter(value); err == nil && len(q.Hashes) < MaxHTTPScrape {
				q.Hashes = append(q.Hashes, h)
			}
		default:
			continue
		}
		if err != nil {
			return q, malformed("%s is not a number or hash", key)
		}
	}
	return q, nil
}

func hashParameter(value string) (h InfoHash, err error) {
	raw, err := url.QueryUnescape(value)
	if err != nil || len(raw) != 20 {
		return h, malformed("info_hash is not 20 bytes")
	}
	copy(h[:], raw)
	return h, nil
}
