package tracker

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/golden"
)

type (
	bidCodeVector struct {
		Bid   uint64 `json:"bid"`
		Code  uint16 `json:"code"`
		Coded uint64 `json:"coded_bid"`
	}
	messageVector struct {
		Name    string `json:"name"`
		Hex     string `json:"hex,omitempty"`
		Text    string `json:"text,omitempty"`
		Meaning any    `json:"meaning"`
	}
	farBelowVector struct {
		Told uint64 `json:"told"`
		Own  uint64 `json:"own"`
		Lie  bool   `json:"lie"`
	}
	trackerVectors struct {
		Comment  string           `json:"comment"`
		BidCodes []bidCodeVector  `json:"bid_codes"`
		Messages []messageVector  `json:"messages"`
		FarBelow []farBelowVector `json:"far_below"`
	}
)

func makeTrackerVectors(t *testing.T) trackerVectors {
	t.Helper()
	v := trackerVectors{Comment: "tracker bids, docs/beps/tracker-bids.rst; bids are micro-BTT per GiB, binary messages are hexadecimal"}
	for _, bid := range []uint64{0, 1, 2047, 2048, 2049, 4095, 4097, 1_000_000, 5_000_000_000, 1 << 40, 1<<63 - 1, ^uint64(0)} {
		v.BidCodes = append(v.BidCodes, bidCodeVector{bid, BidCode(bid), CodedBid(BidCode(bid))})
	}
	for _, f := range [][2]uint64{{100, 50}, {100, 49}, {1, 0}, {2, 1}, {0, 0}} {
		v.FarBelow = append(v.FarBelow, farBelowVector{f[0], f[1], FarBelow(Peer{HasBid: true, Bid: f[0]}, f[1])})
	}
	r := &Request{InfoHash: InfoHash(bytes.Repeat([]byte("h"), 20)), PeerID: [20]byte(bytes.Repeat([]byte("p"), 20)), Port: 6881, NumWant: 50,
		Key: 7, Stats: Stats{Downloaded: 1, Left: 2, Uploaded: 3, Bid: 1_048_576, Top: 50}}
	h := UDPHeader{ConnectionID: 0x0102030405060708, TransactionID: 0x0a0b0c0d}
	u, err := url.Parse("udp://tracker.example:6969/announce")
	if err != nil {
		t.Fatal(err)
	}
	data := r.URLData(u, true)
	add := func(name string, b []byte, text string, meaning any) {
		v.Messages = append(v.Messages, messageVector{name, hex.EncodeToString(b), text, meaning})
	}
	add("announce over UDP with a bid and the wish for bidders", AppendAnnounceRequest(nil, h, r, data), "",
		map[string]any{"url_data": data, "bid": r.Bid, "top": r.Top})
	reply := AppendAnnounceHeader(nil, h.TransactionID, 30*time.Minute, 3, 2)
	reply[0], reply[1], reply[2], reply[3] = byte(ActionBidAnnounce>>24), byte(ActionBidAnnounce>>16&0xff), byte(ActionBidAnnounce>>8&0xff), byte(ActionBidAnnounce&0xff)
	reply = AppendBidPeer(append(reply, 0, 1), []byte{192, 0, 2, 1, 0x1a, 0xe1}, BidCode(1_048_576), 3)
	add("its answer with one bidder and one other peer", append(reply, 192, 0, 2, 2, 0x1a, 0xe1), "",
		map[string]any{"interval": 1800, "bidder": "192.0.2.1:6881", "bid": 1_048_576, "age_minutes": 3, "peer": "192.0.2.2:6881"})
	add("bid scrape over UDP", AppendBidScrapeRequest(nil, h, &BidQuery{Top: 10, After: 99}), "", map[string]any{"top": 10, "after": 99})
	add("its answer", AppendBidScrapeEntry(AppendBidScrapeHeader(nil, h.TransactionID, 42), &BidSwarm{
		Swarm: Swarm{InfoHash: r.InfoHash, Complete: 1, Incomplete: 9}, Bid: 4096, Bid5: 2048, Bidders: 6}), "",
		map[string]any{"next": 42, "complete": 1, "incomplete": 9, "bid": 4096, "bid5": 2048, "bidders": 6})
	top, err := AppendBidScrapeURL(nil, "http://tracker.example/bidscrape", &BidQuery{Top: 10, After: 99, MinBid: 5})
	if err != nil {
		t.Fatal(err)
	}
	add("bid scrape over HTTP, the best", nil, string(top), map[string]any{"top": 10, "after": 99, "min_bid": 5})
	named, err := AppendBidScrapeURL(nil, "http://tracker.example/bidscrape", &BidQuery{Hashes: []InfoHash{r.InfoHash}})
	if err != nil {
		t.Fatal(err)
	}
	add("bid scrape over HTTP, by name", nil, string(named), map[string]any{"hashes": 1})
	return v
}

// TestTrackerVectors: the file is what we encode, and it reads back to what it
// says. Run with -rewrite to write it anew, and read the difference.
func TestTrackerVectors(t *testing.T) {
	const path = "../testdata/vectors/tracker.json"
	got := golden.JSON(t, path, "  ", makeTrackerVectors(t))
	var v trackerVectors
	if err := json.Unmarshal(got, &v); err != nil {
		t.Fatal(err)
	}
	raw := func(i int) []byte {
		b, err := hex.DecodeString(v.Messages[i].Hex)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var r Request
	if path, err := ParseAnnounceRequest(raw(0), &r); err != nil || path != "/announce" || r.Bid != 1_048_576 || r.Top != 50 || r.Left != 2 {
		t.Errorf("announce reads %+v, path %q, %v", r, path, err)
	}
	a, err := ParseAnnounceResponse(raw(1), false)
	if err != nil || len(a.Peers) != 2 || a.Peers[0].Bid != 1_048_576 || a.Peers[0].BidAge != 3*time.Minute || a.Peers[1].HasBid {
		t.Errorf("answer reads %+v, %v", a, err)
	}
	if q, err := ParseBidScrapeRequest(raw(2)); err != nil || q.Top != 10 || q.After != 99 {
		t.Errorf("bid scrape reads %+v, %v", q, err)
	}
	page, err := ParseBidScrapeResponse(raw(3))
	if err != nil || page.Next != 42 || len(page.Torrents) != 1 || page.Torrents[0].Bid5 != 2048 || page.Torrents[0].Bidders != 6 {
		t.Errorf("page reads %+v, %v", page, err)
	}
	for i, want := range map[int]BidQuery{4: {Top: 10, After: 99, MinBid: 5}, 5: {Hashes: []InfoHash{r.InfoHash}}} {
		u, err := url.Parse(v.Messages[i].Text)
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParseBidQuery(u.RawQuery)
		if want.Top == 0 {
			q.Top = 0
		}
		if err != nil || !reflect.DeepEqual(q, want) {
			t.Errorf("%s reads %+v, %v", v.Messages[i].Text, q, err)
		}
	}
}
