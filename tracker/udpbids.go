package tracker

import (
	"encoding/binary"
	"math"
)

// Sizes of the UDP bid scrape (docs/beps/tracker-bids.rst). The request is
// padded so that no answer is more than seven times as long.
const (
	BidScrapeRequestSize = 200
	MaxUDPBidScrape      = 45 // torrents of an answer
	bidScrapeHeaderSize  = 16
	bidScrapeEntrySize   = 30
)

// AppendBidScrapeRequest appends a bid scrape; Top and After of q are used.
func AppendBidScrapeRequest(b []byte, h UDPHeader, q *BidQuery) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(b, h.ConnectionID)
	b = appendReplyHeader(b, ActionBidScrape, h.TransactionID)
	b = binary.BigEndian.AppendUint32(b, 0) // flags
	b = binary.BigEndian.AppendUint32(b, uint32(min(max(q.Top, 1), MaxUDPBidScrape)))
	b = binary.BigEndian.AppendUint64(b, q.After)
	return append(b, make([]byte, BidScrapeRequestSize-(len(b)-start))...)
}

// ParseBidScrapeRequest reads a bid scrape on the server's side.
func ParseBidScrapeRequest(b []byte) (BidQuery, error) {
	if len(b) < BidScrapeRequestSize || len(b) > MaxUDPMessage {
		return BidQuery{}, malformed("bid scrape of %d bytes", len(b))
	}
	return BidQuery{
		Top:   int(min(max(binary.BigEndian.Uint32(b[20:]), 1), MaxUDPBidScrape)),
		After: binary.BigEndian.Uint64(b[24:]),
	}, nil
}

// AppendBidScrapeHeader appends the start of a bid scrape's answer; next is
// the cursor of the next page, 0 if there is none.
func AppendBidScrapeHeader(b []byte, transaction uint32, next uint64) []byte {
	b = appendReplyHeader(b, ActionBidScrape, transaction)
	return binary.BigEndian.AppendUint64(b, next)
}

// AppendBidScrapeEntry appends one torrent; numbers beyond 16 bits are told as
// 65535, bids as codes.
func AppendBidScrapeEntry(b []byte, t *BidSwarm) []byte {
	b = append(b, t.InfoHash[:]...)
	b = binary.BigEndian.AppendUint16(b, BidCode(t.Bid))
	b = binary.BigEndian.AppendUint16(b, BidCode(t.Bid5))
	for _, n := range [...]int{t.Bidders, t.Complete, t.Incomplete} {
		b = binary.BigEndian.AppendUint16(b, uint16(min(max(n, 0), math.MaxUint16)))
	}
	return b
}

// ParseBidScrapeResponse reads the answer to a UDP bid scrape, best torrents
// first. An error answer is a *Failure.
func ParseBidScrapeResponse(b []byte) (*BidPage, error) {
	if err := expect(b, ActionBidScrape); err != nil {
		return nil, err
	}
	if len(b) < bidScrapeHeaderSize {
		return nil, malformed("bid scrape answer of %d bytes", len(b))
	}
	page := &BidPage{Next: binary.BigEndian.Uint64(b[8:])}
	for b = b[bidScrapeHeaderSize:]; len(b) >= bidScrapeEntrySize && len(page.Torrents) < MaxUDPBidScrape; b = b[bidScrapeEntrySize:] {
		number := func(at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
		page.Torrents = append(page.Torrents, BidSwarm{
			Swarm: Swarm{InfoHash: InfoHash(b[:20]), Complete: number(26), Incomplete: number(28), Downloaded: -1},
			Bid:   CodedBid(uint16(number(20))), Bid5: CodedBid(uint16(number(22))), Bidders: number(24),
		})
	}
	return page, nil
}
