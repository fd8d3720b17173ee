package trackerd

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/tracker"
)

// bidder announces a leecher with a bid from port.
func bidder(hash byte, port uint16, bid uint64, top int) *tracker.Request {
	r := request(hash, port, 100)
	r.Bid, r.Top = bid, top
	return r
}

// TestBidAnnounce: bids told over either protocol come back over either, the
// highest first, at most half of the answer, never to who did not ask.
func TestBidAnnounce(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			s := start(t, Config{Listen: tr.listen})
			url := fmt.Sprintf(tr.url, s.Addr().Port())
			a := client(t, 1)
			ctx := t.Context()
			// First contact over UDP is plain by design: make it known.
			if _, err := a.Announce(ctx, url, request(3, 999, 100)); err != nil {
				t.Fatal(err)
			}
			for i := range uint16(20) {
				if _, err := a.Announce(ctx, url, bidder(7, 1000+i, uint64(i)*1_000_000, 1)); err != nil {
					t.Fatal(err)
				}
			}
			r := bidder(7, 2000, 5, 4)
			r.NumWant = 10
			got, err := a.Announce(ctx, url, r)
			if err != nil || len(got.Peers) != 10 || !got.SpeaksBids {
				t.Fatalf("got %+v, %v", got, err)
			}
			for i := range 4 {
				p := got.Peers[i]
				want := tracker.CodedBid(tracker.BidCode(uint64(19-i) * 1_000_000))
				if p.Addr.Port() != uint16(1019-i) || !p.HasBid || p.Bid != want || p.BidAge > time.Minute {
					t.Errorf("peer %d is %+v, want port %d with bid %d", i, p, 1019-i, want)
				}
			}
			r.Top, r.NumWant = 10, 4
			if got, err = a.Announce(ctx, url, r); err != nil || len(got.Peers) != 4 {
				t.Fatalf("got %+v, %v", got, err)
			}
			plain, err := a.Announce(ctx, url, request(7, 2001, 100))
			if err != nil || plain.SpeaksBids || plain.Peers[0].HasBid {
				t.Errorf("who asked for no bids got %+v, %v", plain, err)
			}
		})
	}
}

func TestBidsEnd(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s, err := New(Config{Listen: "127.0.0.1:0", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.closeSockets()
	h := tracker.InfoHash{7}
	tell := func(bid uint64, left int64, event tracker.Event) row {
		r := &tracker.Request{InfoHash: h, Port: 5, Event: event, Stats: tracker.Stats{Left: left, Bid: bid}}
		var v visit[[6]byte]
		v.fill(r, s, priceNone)
		v.clock, v.peer = s.clock(now), peerKey(1)
		s.v4.announce(nil, &v)
		return s.bidRow(&h, s.clock(now))
	}
	code := func(n uint64) uint16 { return tracker.BidCode(n) }
	if r := tell(1000, 5, 0); r.bid != 1000 || r.bidders != 1 || r.age != 0 {
		t.Errorf("told 1000: %+v", r)
	}
	if r := tell(5000, 5, 0); r.bid != 1000 {
		t.Errorf("second change within a minute counts: %+v", r)
	}
	now = now.Add(2 * time.Minute)
	if r := tell(1050, 5, 0); r.bid != 1000 || r.age != 0 {
		t.Errorf("a change of 5 %% must only refresh the age: %+v", r)
	}
	now = now.Add(2 * time.Minute)
	if r := s.bidRow(&h, s.clock(now)); r.age != 2 {
		t.Errorf("age after 2 minutes: %+v", r)
	}
	if r := tell(5000, 5, 0); r.bid != code(5000) {
		t.Errorf("told 5000: %+v", r)
	}
	for _, c := range []struct {
		name  string
		bid   uint64
		left  int64
		event tracker.Event
	}{{"no bid", 0, 5, 0}, {"seed", 9000, 0, 0}, {"completed", 9000, 5, tracker.EventCompleted}, {"stopped", 9000, 5, tracker.EventStopped}} {
		now = now.Add(2 * time.Minute)
		if r := tell(7000, 5, 0); r.bidders != 1 {
			t.Errorf("before %s: %+v", c.name, r)
		}
		if r := tell(c.bid, c.left, c.event); r.bid != 0 || r.bidders != 0 {
			t.Errorf("after %s a bid is left: %+v", c.name, r)
		}
	}
	now = now.Add(2 * time.Minute)
	tell(7000, 5, 0)
	now = now.Add(61 * time.Minute) // two intervals and a tick
	for i := range shardCount {
		s.Sweep(i, now)
	}
	if r := s.bidRow(&h, s.clock(now)); r.bidders != 0 || s.Stats().Peers4 != 0 || s.Stats().Expired != 1 {
		t.Errorf("after two intervals: %+v, %+v", r, s.Stats())
	}
}

// TestBidScrape pages through the board over HTTP and UDP.
func TestBidScrape(t *testing.T) {
	s := start(t, Config{})
	ctx := t.Context()
	url := fmt.Sprintf("http://%v/announce", s.Addr())
	a := client(t, 1)
	const torrents = 130
	for i := range torrents {
		if _, err := a.Announce(ctx, url, bidder(byte(i), 1000, uint64(i+1)*1_000_000, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint16(6) { // one torrent with a fifth highest bid
		if _, err := a.Announce(ctx, url, bidder(200, 1000+i, uint64(i+1)*1_000_000_000, 1)); err != nil {
			t.Fatal(err)
		}
	}
	q := tracker.BidQuery{Top: 50}
	seen := make(map[tracker.InfoHash]tracker.BidSwarm)
	for range 10 {
		page, err := a.BidScrape(ctx, url, "", &q)
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) == 0 && len(page.Torrents) == 50 {
			for _, b := range page.Torrents {
				if n := int(b.InfoHash[0]); n < torrents-49 {
					t.Errorf("torrent %d is on the first page", n)
				}
			}
		}
		for _, b := range page.Torrents {
			if _, twice := seen[b.InfoHash]; twice {
				t.Errorf("torrent %d comes twice", b.InfoHash[0])
			}
			seen[b.InfoHash] = b
		}
		if q.After = page.Next; q.After == 0 {
			break
		}
	}
	if len(seen) != torrents+1 {
		t.Errorf("pages hold %d torrents, want %d", len(seen), torrents+1)
	}
	best := seen[tracker.InfoHash{200, 19: 1}]
	if best.Bidders != 6 || best.Bid != tracker.CodedBid(tracker.BidCode(6e9)) || best.Bid5 != tracker.CodedBid(tracker.BidCode(2e9)) || best.Incomplete != 6 {
		t.Errorf("torrent with six bidders: %+v", best)
	}
	page, err := a.BidScrape(ctx, url, "", &tracker.BidQuery{Top: 200, MinBid: 125_000_000})
	if err != nil || len(page.Torrents) != 7 {
		t.Errorf("min_bid leaves %d torrents, %v", len(page.Torrents), err)
	}
	page, err = a.BidScrape(ctx, url, "", &tracker.BidQuery{Hashes: []tracker.InfoHash{{3, 19: 1}, {255}}})
	if err != nil || len(page.Torrents) != 2 || page.Torrents[0].Bidders+page.Torrents[1].Bidders != 1 {
		t.Errorf("named torrents: %+v, %v", page, err)
	}
	udpBidScrape(t, s, len(seen))
	announcerBidScrapeUDP(t, s, a, len(seen))
}

// announcerBidScrapeUDP pages through the board by the client over a socket.
func announcerBidScrapeUDP(t *testing.T, s *Server, a *announce.Announcer, want int) {
	url := fmt.Sprintf("udp://%v/announce", s.Addr())
	q := tracker.BidQuery{Top: 45}
	seen := make(map[tracker.InfoHash]bool)
	for first := true; first || q.After != 0; first = false {
		page, err := a.BidScrape(t.Context(), url, "", &q)
		if err != nil || len(page.Torrents) == 0 || len(page.Torrents) > tracker.MaxUDPBidScrape {
			t.Fatalf("page %+v, %v", page, err)
		}
		if best := page.Torrents[0]; first && (best.InfoHash[0] != 200 || best.Bidders != 6 || best.Incomplete != 6) {
			t.Errorf("best torrent over UDP is %+v", best)
		}
		for _, b := range page.Torrents {
			seen[b.InfoHash] = true
		}
		q.After = page.Next
	}
	if len(seen) != want {
		t.Errorf("UDP pages hold %d torrents, want %d", len(seen), want)
	}
	page, err := a.BidScrape(t.Context(), url, "", &tracker.BidQuery{Top: 45, MinBid: 125_000_000})
	if err != nil || len(page.Torrents) != 7 {
		t.Errorf("the least bid leaves %d torrents, %v", len(page.Torrents), err)
	}
	if _, err := a.BidScrape(t.Context(), url, "", &tracker.BidQuery{Hashes: []tracker.InfoHash{{3}}}); !errors.Is(err, announce.ErrNamedBids) {
		t.Errorf("named torrents over UDP: %v", err)
	}
}

func udpBidScrape(t *testing.T, s *Server, want int) {
	w := newWorker(s)
	w.tick()
	from := source{ip: netip.MustParseAddr("1.2.3.4").As16(), port: 9, is4: true}
	q := tracker.BidQuery{Top: 45}
	seen := 0
	for first := true; first || q.After != 0; first = false {
		h := tracker.UDPHeader{ConnectionID: s.ids.make(&from.ip, w.bucket), TransactionID: 4}
		in := tracker.AppendBidScrapeRequest(nil, h, &q)
		out := w.handle(nil, in, &from)
		if len(out) > 7*len(in) {
			t.Fatalf("answer of %d bytes to %d", len(out), len(in))
		}
		page, err := tracker.ParseBidScrapeResponse(out)
		if err != nil || len(page.Torrents) == 0 {
			t.Fatalf("page %+v, %v", page, err)
		}
		if first && page.Torrents[0].InfoHash[0] != 200 {
			t.Errorf("best torrent is %d", page.Torrents[0].InfoHash[0])
		}
		seen += len(page.Torrents)
		q.After = page.Next
	}
	if seen != want {
		t.Errorf("UDP pages hold %d torrents, want %d", seen, want)
	}
}

func TestNoBids(t *testing.T) {
	s := start(t, Config{NoBids: true})
	a := client(t, 1)
	url := fmt.Sprintf("http://%v/announce", s.Addr())
	for range 2 {
		got, err := a.Announce(t.Context(), url, bidder(7, 1000, 5, 5))
		if err != nil || got.SpeaksBids {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	for _, url := range []string{url, fmt.Sprintf("udp://%v", s.Addr())} {
		if _, err := a.BidScrape(t.Context(), url, "", &tracker.BidQuery{}); err == nil {
			t.Error("bid scrape is served:", url)
		}
	}
}
