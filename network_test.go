package btt_test

import (
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/dht"
)

// TestScrape: a node asks a tracker for a torrent's counts, over HTTP and UDP
// (BEP 48).
func TestScrape(t *testing.T) {
	http, udp, _ := openTracker(t)
	dir, torrent := film(t, 100_000, http)
	seed := open(t, nil, nil)
	add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	for _, url := range []string{http, udp} {
		eventually(t, "the seed at "+url, func() bool {
			got, err := seed.Scrape(t.Context(), url, torrent.InfoHash)
			return err == nil && len(got) == 1 && got[0].Complete == 1 && got[0].Incomplete == 0
		})
	}
	if _, err := seed.Scrape(t.Context(), "ftp://nowhere", torrent.InfoHash); err == nil {
		t.Error("a senseless tracker was scraped")
	}
}

// TestNodeDHT: a node is in the DHT if it is asked to be.
func TestNodeDHT(t *testing.T) {
	in := open(t, nil, func(c *btt.Config) { c.DHT = &dht.Config{} })
	if st, ok := in.DHT(); !ok || st.ID == (dht.ID{}) {
		t.Errorf("%+v, %v", st, ok)
	}
	if _, ok := open(t, nil, nil).DHT(); ok {
		t.Error("a node is in the DHT unasked")
	}
}
