package tracker

import (
	"bytes"
	"errors"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestUDPTranscript checks both sides against bytes put together by hand from BEP 15 and 41.
func TestUDPTranscript(t *testing.T) {
	if got, want := AppendConnectRequest(nil, 0x01020304), unhex(t, "0000041727101980 00000000 01020304"); !bytes.Equal(got, want) {
		t.Errorf("connect is %x", got)
	}
	if got, want := AppendConnectResponse(nil, 1, 0xabcdef), unhex(t, "00000000 00000001 0000000000abcdef"); !bytes.Equal(got, want) {
		t.Errorf("connect answer is %x", got)
	} else if id, err := ParseConnectResponse(got); id != 0xabcdef || err != nil {
		t.Errorf("connection id %x, %v", id, err)
	}
	h := UDPHeader{ConnectionID: 0xabcdef, Action: ActionAnnounce, TransactionID: 2}
	r := sample()
	got := AppendAnnounceRequest(nil, h, r, "/announce?btt_bid=5&btt_top=3&btt_ext=1")
	want := append(unhex(t, `0000000000abcdef 00000001 00000002
		123456789abcdef123456789abcdef123456789a 2d4254303030312d6162636465666768696a263d
		0000000000000002 0000000000000003 0000000000000001 00000002 00000000 deadbeef 00000050 1ae1 02 27`),
		"/announce?btt_bid=5&btt_top=3&btt_ext=1"...)
	if !bytes.Equal(got, want) {
		t.Errorf("announce is\n%x, want\n%x", got, want)
	}
	if head, err := ParseRequestHeader(got); err != nil || head != h {
		t.Errorf("header %+v, %v", head, err)
	}
	var back Request
	path, err := ParseAnnounceRequest(got, &back)
	wantBack := sample()
	wantBack.Bid, wantBack.Top, wantBack.ExtendedReply, wantBack.Compact = 5, 3, true, true
	if err != nil || path != "/announce" || !reflect.DeepEqual(&back, wantBack) {
		t.Errorf("announce reads %q %+v, %v", path, back, err)
	}
	answer := AppendAnnounceHeader(nil, 2, 1800*time.Second, 3, 5)
	answer = AppendCompactPeer(answer, netip.MustParseAddrPort("5.6.7.8:9"))
	if want := unhex(t, "00000001 00000002 00000708 00000003 00000005 05060708 0009"); !bytes.Equal(answer, want) {
		t.Errorf("announce answer is %x", answer)
	}
	resp, err := ParseAnnounceResponse(answer, false)
	if err != nil || resp.Interval != 30*time.Minute || resp.Complete != 5 || resp.Incomplete != 3 ||
		!reflect.DeepEqual(addrs(resp), []string{"5.6.7.8:9"}) {
		t.Errorf("announce answer reads %+v, %v", resp, err)
	}
	var f *Failure
	if _, err := ParseAnnounceResponse(AppendError(nil, 2, "no"), false); !errors.As(err, &f) || f.Reason != "no" {
		t.Errorf("error answer reads %v", err)
	}
}

func TestUDPBidAnswer(t *testing.T) {
	b := AppendAnnounceHeader(nil, 2, time.Minute, 1, 2)
	copy(b, []byte{0x62, 0xb7, 0xa3, 0x1d})
	b = append(b, 0, 1)
	b = AppendBidPeer(b, []byte{5, 6, 7, 8, 0, 9}, BidCode(2048), 3)
	b = append(b, 1, 1, 1, 1, 0, 1)
	got, err := ParseAnnounceResponse(b, false)
	want := []Peer{{Addr: netip.MustParseAddrPort("5.6.7.8:9"), HasBid: true, Bid: 2048, BidAge: 3 * time.Minute},
		{Addr: netip.MustParseAddrPort("1.1.1.1:1")}}
	if err != nil || !got.SpeaksBids || !reflect.DeepEqual(got.Peers, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ParseAnnounceResponse(b[:len(b)-10], false); !errors.Is(err, ErrMalformed) {
		t.Errorf("cut bid answer: %v", err)
	}
}

func TestUDPScrapes(t *testing.T) {
	hashes := []InfoHash{{1}, {2}, {3}}
	h := UDPHeader{ConnectionID: 7, TransactionID: 8, Action: ActionScrape}
	b, err := AppendScrapeRequest(nil, h, hashes)
	if err != nil || len(b) != 16+60 {
		t.Fatalf("scrape of %d bytes, %v", len(b), err)
	}
	if back, err := ParseScrapeRequest(b, nil); err != nil || !reflect.DeepEqual(back, hashes) {
		t.Errorf("scrape reads %v, %v", back, err)
	}
	for _, n := range []int{0, MaxScrape + 1} {
		if _, err := AppendScrapeRequest(nil, h, make([]InfoHash, n)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("scrape of %d: %v", n, err)
		}
	}
	answer := AppendScrapeEntry(AppendScrapeHeader(nil, 8), 1, 2, 3)
	got, err := ParseScrapeResponse(answer, hashes)
	if want := []Swarm{{InfoHash: hashes[0], Complete: 1, Downloaded: 2, Incomplete: 3}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("scrape answer reads %+v, %v", got, err)
	}
	q := AppendBidScrapeRequest(nil, h, &BidQuery{Top: 10, After: 99})
	if back, err := ParseBidScrapeRequest(q); err != nil || back.Top != 10 || back.After != 99 || len(q) != BidScrapeRequestSize {
		t.Errorf("bid scrape reads %+v, %v", back, err)
	}
	entry := BidSwarm{Swarm: Swarm{InfoHash: hashes[2], Complete: 1, Incomplete: 100_000, Downloaded: -1}, Bid: 4096, Bid5: 7, Bidders: 9}
	page, err := ParseBidScrapeResponse(AppendBidScrapeEntry(AppendBidScrapeHeader(nil, 8, 42), &entry))
	entry.Incomplete = 65535
	if want := (&BidPage{Torrents: []BidSwarm{entry}, Next: 42}); err != nil || !reflect.DeepEqual(page, want) {
		t.Errorf("bid scrape answer reads %+v, %v", page, err)
	}
}

func TestURLData(t *testing.T) {
	for _, c := range []struct {
		tracker string
		bids    bool
		want    string
	}{
		{"udp://t.example:1", false, ""}, {"udp://t.example:1/announce", false, ""}, {"udp://t.example:1/", false, ""},
		{"udp://t.example:1/key/announce?a=b", false, "/key/announce?a=b"},
		{"udp://t.example:1", true, "/announce?btt_bid=2000000&btt_top=10"},
		{"udp://t.example:1/k?a=b", true, "/k?a=b&btt_bid=2000000&btt_top=10"},
	} {
		u, err := url.Parse(c.tracker)
		if err != nil {
			t.Fatal(err)
		}
		if got := sample().URLData(u, c.bids); got != c.want {
			t.Errorf("URLData(%q, %v) = %q, want %q", c.tracker, c.bids, got, c.want)
		}
	}
	long := strings.Repeat("x", 600)
	if got, err := ParseURLData(appendURLData(nil, long)); err != nil || got != long {
		t.Errorf("600 bytes come back as %d, %v", len(got), err)
	}
	for in, want := range map[string]string{
		"\x01\x01\x02\x02ab\x00zz": "ab", "\x07\x01z\x02\x01a": "a", "": "", "\x00": "",
	} {
		if got, err := ParseURLData([]byte(in)); err != nil || got != want {
			t.Errorf("ParseURLData(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"\x02", "\x02\x05ab", "\x09\xff"} {
		if _, err := ParseURLData([]byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseURLData(%q): %v", in, err)
		}
	}
}
