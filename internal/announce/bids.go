package announce

import (
	"context"
	"slices"

	"github.com/bttnet/btt/tracker"
)

// maxPages is the number of pages read of a tracker that cannot be asked for
// torrents by name.
const maxPages = 8

// Bids asks one tracker what is bid for torrents (R6.5): by name where that is
// possible, else those among the torrents with the best bids. The answer may
// hold others too.
func (a *Announcer) Bids(ctx context.Context, url string, hashes []tracker.InfoHash) (map[tracker.InfoHash]tracker.BidSwarm, error) {
	told := map[tracker.InfoHash]tracker.BidSwarm{}
	page := func(q *tracker.BidQuery) (next uint64, err error) {
		page, err := a.BidScrape(ctx, url, "", q)
		if err != nil {
			return 0, err
		}
		for _, b := range page.Torrents {
			told[b.InfoHash] = b
		}
		return page.Next, nil
	}
	if tracker.NamesBids(url) {
		for part := range slices.Chunk(hashes, tracker.MaxHTTPScrape) {
			if _, err := page(&tracker.BidQuery{Hashes: part}); err != nil {
				return nil, err
			}
		}
		return told, nil
	}
	q := tracker.BidQuery{Top: tracker.MaxBidScrape}
	for range maxPages {
		next, err := page(&q)
		if err != nil {
			return nil, err
		}
		if q.After = next; next == 0 {
			break
		}
	}
	return told, nil
}

// TopBids asks one tracker for the torrents with the best bids, of at least so
// many µBTT per GiB; at most maxPages pages.
func (a *Announcer) TopBids(ctx context.Context, url string, least uint64) ([]tracker.BidSwarm, error) {
	var list []tracker.BidSwarm
	q := tracker.BidQuery{Top: tracker.MaxBidScrape, MinBid: least}
	for range maxPages {
		page, err := a.BidScrape(ctx, url, "", &q)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Torrents...)
		if q.After = page.Next; q.After == 0 {
			break
		}
	}
	return list, nil
}
