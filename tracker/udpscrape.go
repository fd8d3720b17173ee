package tracker

import (
	"encoding/binary"
	"fmt"
)

// Swarm is a torrent's line of a scrape. Counts are -1 if not told.
type Swarm struct {
	InfoHash                         InfoHash
	Complete, Incomplete, Downloaded int
}

// AppendScrapeRequest appends a UDP scrape of 1 to MaxScrape torrents.
func AppendScrapeRequest(b []byte, h UDPHeader, hashes []InfoHash) ([]byte, error) {
	if len(hashes) == 0 || len(hashes) > MaxScrape {
		return b, fmt.Errorf("encode scrape of %d torrents, at most %d: %w", len(hashes), MaxScrape, ErrTooLarge)
	}
	b = binary.BigEndian.AppendUint64(b, h.ConnectionID)
	b = appendReplyHeader(b, ActionScrape, h.TransactionID)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b, nil
}

// ParseScrapeRequest appends the asked hashes to dst[:0]; beyond MaxScrape
// they are left out, as BEP 15 leaves to the server.
func ParseScrapeRequest(b []byte, dst []InfoHash) ([]InfoHash, error) {
	dst = dst[:0]
	if len(b) < scrapeRequestHeader+20 || len(b) > MaxUDPMessage {
		return dst, malformed("scrape of %d bytes", len(b))
	}
	for b = b[scrapeRequestHeader:]; len(b) >= 20 && len(dst) < MaxScrape; b = b[20:] {
		dst = append(dst, InfoHash(b[:20]))
	}
	return dst, nil
}

// AppendScrapeHeader appends the start of a scrape's answer.
func AppendScrapeHeader(b []byte, transaction uint32) []byte {
	return appendReplyHeader(b, ActionScrape, transaction)
}

// AppendScrapeEntry appends one torrent's counts.
func AppendScrapeEntry(b []byte, complete, downloaded, incomplete int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(complete))
	b = binary.BigEndian.AppendUint32(b, uint32(downloaded))
	return binary.BigEndian.AppendUint32(b, uint32(incomplete))
}

// ParseScrapeResponse reads the answer to a scrape of hashes; the result is in
// their order and shorter if the tracker answered fewer.
func ParseScrapeResponse(b []byte, hashes []InfoHash) ([]Swarm, error) {
	if err := expect(b, ActionScrape); err != nil {
		return nil, err
	}
	b = b[8:]
	out := make([]Swarm, 0, min(len(hashes), len(b)/scrapeEntrySize))
	for i := 0; i < len(hashes) && len(b) >= scrapeEntrySize; i, b = i+1, b[scrapeEntrySize:] {
		out = append(out, Swarm{
			InfoHash:   hashes[i],
			Complete:   int(int32(binary.BigEndian.Uint32(b))),
			Downloaded: int(int32(binary.BigEndian.Uint32(b[4:]))),
			Incomplete: int(int32(binary.BigEndian.Uint32(b[8:]))),
		})
	}
	return out, nil
}
