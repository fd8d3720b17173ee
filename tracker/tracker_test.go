package tracker

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBidCode(t *testing.T) {
	for _, c := range []struct {
		bid  uint64
		code uint16
		back uint64
	}{
		{0, 0, 0}, {1, 1, 1}, {2047, 2047, 2047}, {2048, 2048, 2048}, {4095, 4095, 4095},
		{4096, 4096, 4096}, {4097, 4096, 4096}, {4098, 4097, 4098}, {2_000_000, 22338, 1_999_872},
		{MaxCodedBid, math.MaxUint16, MaxCodedBid}, {math.MaxUint64, math.MaxUint16, MaxCodedBid},
	} {
		if got := BidCode(c.bid); got != c.code {
			t.Errorf("BidCode(%d) = %d, want %d", c.bid, got, c.code)
		}
		if got := CodedBid(c.code); got != c.back {
			t.Errorf("CodedBid(%d) = %d, want %d", c.code, got, c.back)
		}
	}
	for code := range uint16(math.MaxUint16) {
		if got := BidCode(CodedBid(code)); got != code {
			t.Fatalf("code %d comes back as %d", code, got)
		}
		if CodedBid(code) >= CodedBid(code+1) {
			t.Fatalf("codes %d and %d do not order as their bids", code, code+1)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		bid := rapid.Uint64Range(1, MaxCodedBid).Draw(t, "bid")
		back := CodedBid(BidCode(bid))
		if back > bid || (bid-back)*2048 > bid {
			t.Fatalf("bid %d comes back as %d", bid, back)
		}
	})
}

func TestFarBelow(t *testing.T) {
	told := Peer{HasBid: true, Bid: 1000, BidAge: 9 * time.Minute}
	old, none := told, Peer{Bid: 1000}
	old.BidAge = 10 * time.Minute
	for _, c := range []struct {
		told Peer
		own  uint64
		want bool
	}{{told, 499, true}, {told, 500, false}, {told, 2000, false}, {told, 0, true}, {old, 0, false}, {none, 0, false}} {
		if got := FarBelow(c.told, c.own); got != c.want {
			t.Errorf("FarBelow(%+v, %d) = %v", c.told, c.own, got)
		}
	}
}

func sample() *Request {
	return &Request{
		InfoHash: InfoHash([]byte("\x124Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x124Vx\x9a")),
		PeerID:   [20]byte([]byte("-BT0001-abcdefghij&=")),
		Port:     6881, Event: EventStarted, NumWant: 80, Key: 0xdeadbeef,
		Stats: Stats{Uploaded: 1, Downloaded: 2, Left: 3, Bid: 2_000_000, Top: 10},
	}
}

func TestAppendURL(t *testing.T) {
	const params = "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-BT0001-abcdefghij%26%3D" +
		"&port=6881&uploaded=1&downloaded=2&left=3&compact=1&no_peer_id=1&numwant=80&key=deadbeef&event=started"
	for _, c := range []struct {
		tracker string
		bids    bool
		want    string
	}{
		{"http://t.example/announce", false, "http://t.example/announce?" + params},
		{"https://t.example/a?key=1", false, "https://t.example/a?key=1&" + params},
		{"http://t.example/announce?", true, "http://t.example/announce?" + params + "&btt_bid=2000000&btt_top=10"},
		{"http://t.example/announce#x", false, "http://t.example/announce?" + params},
		{"udp://t.example:1/announce", false, ""},
		{"http:///announce", false, ""},
		{"http://" + strings.Repeat("x", MaxURL), false, ""},
	} {
		got, err := sample().AppendURL(nil, c.tracker, c.bids)
		if c.want == "" {
			if !errors.Is(err, ErrURL) {
				t.Errorf("AppendURL(%q) = %q, %v, want ErrURL", c.tracker, got, err)
			}
			continue
		}
		if err != nil || string(got) != c.want {
			t.Errorf("AppendURL(%q)\n got %s, %v\nwant %s", c.tracker, got, err, c.want)
		}
		_, query, _ := strings.Cut(string(got), "?")
		back, err := ParseQuery(query)
		want := sample()
		want.Compact, want.NoPeerID = true, true
		if !c.bids {
			want.Bid, want.Top = 0, 0
		}
		if err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("ParseQuery(%q) = %+v, %v, want %+v", query, back, err, want)
		}
	}
}

func TestParseQueryRefuses(t *testing.T) {
	good := "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1"
	if _, err := ParseQuery(good + "&x=%zz&left=-5&event=dance"); err != nil {
		t.Errorf("harmless nonsense is refused: %v", err)
	}
	for _, q := range []string{
		"", "info_hash=a", strings.Replace(good, "port=1", "port=65536", 1), strings.Replace(good, "port=1", "", 1),
		good + "&left=x", good + "&btt_bid=-1", good + "&btt_top=x", strings.Repeat("&", MaxQuery+1),
		strings.Replace(good, "aaaaaaaaaaaaaaaaaaaa", "%zz", 1),
	} {
		if _, err := ParseQuery(q); err == nil {
			t.Errorf("ParseQuery(%.60q) is accepted", q)
		}
	}
}

func addrs(r *Response) (out []string) {
	for _, p := range r.Peers {
		out = append(out, p.Addr.String())
	}
	return out
}

func TestParseResponse(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Response
		peers      []string
	}{
		{"compact with both families", "d8:completei5e10:downloadedi50e11:external ip4:\x01\x02\x03\x0410:incompletei3e8:intervali1800e" +
			"12:min intervali900e5:peers12:\x7f\x00\x00\x01\x1a\xe1\x0a\x00\x00\x02\x00\x50" +
			"6:peers618:\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x1a\xe1e",
			Response{Interval: 1800 * time.Second, MinInterval: 900 * time.Second, Complete: 5, Incomplete: 3, Downloaded: 50,
				ExternalIP: netip.MustParseAddr("1.2.3.4")},
			[]string{"127.0.0.1:6881", "10.0.0.2:80", "[2001:db8::1]:6881"}},
		{"dictionaries, keys unsorted, trailing newline", "d5:peersld4:porti80e2:ip9:127.0.0.1ed2:ip11:example.com4:porti1eed2:ip3:::14:porti9eee" +
			"8:intervali60e10:tracker id3:abc15:warning message4:slowe\n",
			Response{Interval: time.Minute, Complete: -1, Incomplete: -1, Downloaded: -1, TrackerID: "abc", Warning: "slow"},
			[]string{"127.0.0.1:80", "[::1]:9"}},
		{"useless peers and a cut tail", "d8:intervali-5e5:peers21:\x01\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x09\x05\x05\x05\x05\x00\x09abce",
			Response{Complete: -1, Incomplete: -1, Downloaded: -1}, []string{"5.5.5.5:9"}},
		{"empty dictionary", "de", Response{Complete: -1, Incomplete: -1, Downloaded: -1}, nil},
	} {
		got, err := ParseResponse([]byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if a := addrs(got); !reflect.DeepEqual(a, c.peers) {
			t.Errorf("%s: peers %v, want %v", c.name, a, c.peers)
		}
		if got.Peers = nil; !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, *got, c.want)
		}
	}
}

func TestParseResponseBids(t *testing.T) {
	// The first peer cannot be used: bids must stay with their own peers.
	body := "d7:bid age3:\x01\x02\x0410:bid scrapei1e4:bids16:\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x1e\x84\x80" +
		"5:bids68:\x00\x00\x00\x00\x00\x00\x00\x0012:btt intervali300e8:intervali600e" +
		"5:peers12:\x00\x00\x00\x00\x00\x00\x05\x05\x05\x05\x00\x096:peers618:\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01e"
	got, err := ParseResponse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := []Peer{
		{Addr: netip.MustParseAddrPort("5.5.5.5:9"), HasBid: true, Bid: 2_000_000, BidAge: 2 * time.Minute},
		{Addr: netip.MustParseAddrPort("[2001:db8::1]:1"), BidAge: 4 * time.Minute},
	}
	if !reflect.DeepEqual(got.Peers, want) || !got.SpeaksBids || got.BidScrape != "bidscrape" || got.BidInterval != 5*time.Minute {
		t.Errorf("got %+v, want peers %+v", got, want)
	}
}

func TestParseResponseFailures(t *testing.T) {
	for body, want := range map[string]Failure{
		"d14:failure reason4:gonee":                       {Reason: "gone"},
		"d14:failure reason4:gone8:retry in5:nevere":      {Reason: "gone", Never: true},
		"d14:failure reason4:busy8:retry ini3ee":          {Reason: "busy", RetryIn: 3 * time.Minute},
		"d14:failure reason4:busy8:retry in2:15e":         {Reason: "busy", RetryIn: 15 * time.Minute},
		"d14:failure reason0:8:retry ini99999999999999ee": {RetryIn: 24 * time.Hour},
	} {
		_, err := ParseResponse([]byte(body))
		var f *Failure
		if !errors.As(err, &f) || *f != want {
			t.Errorf("%q: %v, want %+v", body, err, want)
		}
	}
	for _, body := range []string{"", "<html>", "le", "i1e", strings.Repeat("l", 100)} {
		if _, err := ParseResponse([]byte(body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, want ErrMalformed", body, err)
		}
	}
	if _, err := ParseResponse(make([]byte, MaxResponse+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("huge answer: %v", err)
	}
	back := AppendFailure(nil, &Failure{Reason: "busy", RetryIn: 90 * time.Second})
	if want := "d14:failure reason4:busy8:retry ini2ee"; string(back) != want {
		t.Errorf("AppendFailure = %s, want %s", back, want)
	}
}

func TestPeersAreLimited(t *testing.T) {
	var body bytes.Buffer
	body.WriteString("d5:peers60000:")
	for range 10000 {
		body.WriteString("\x05\x05\x05\x05\x00\x09")
	}
	body.WriteString("e")
	got, err := ParseResponse(body.Bytes())
	if err != nil || len(got.Peers) != MaxPeers {
		t.Errorf("%d peers, %v", len(got.Peers), err)
	}
}

func TestScrapeURL(t *testing.T) {
	for tracker, want := range map[string]string{
		"http://t.example/announce":          "http://t.example/scrape",
		"http://t.example/x/announce":        "http://t.example/x/scrape",
		"http://t.example/announce.php?x=/y": "http://t.example/scrape.php?x=/y",
		"http://t.example/a":                 "",
		"http://t.example/announce?x=2%0644": "http://t.example/scrape?x=2%0644",
		"udp://t.example:1/announce":         "",
	} {
		got, err := ScrapeURL(tracker, "scrape")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ScrapeURL(%q) = %q, %v, want %q", tracker, got, err, want)
		}
	}
}

// unhex joins hex text, spaces ignored.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBidScrapeHTTP(t *testing.T) {
	b, err := AppendBidScrapeURL(nil, "http://t.example/bidscrape", &BidQuery{Top: 5, After: 7, MinBid: 9})
	if want := "http://t.example/bidscrape?top=5&after=7&min_bid=9"; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
	q, err := ParseBidQuery("top=5&after=7&min_bid=9")
	if err != nil || q.Top != 5 || q.After != 7 || q.MinBid != 9 {
		t.Errorf("query reads %+v, %v", q, err)
	}
	if _, err := ParseBidQuery("top=x"); !errors.Is(err, ErrMalformed) {
		t.Errorf("bad top: %v", err)
	}
	page, err := ParseBidScrape([]byte("d5:filesd20:aaaaaaaaaaaaaaaaaaaad3:bidi7e7:bid agei2e4:bid5i3e7:biddersi6e8:completei1e10:downloadedi2e10:incompletei4eee" +
		"5:flagsd20:min_request_intervali5ee4:nexti77e3:nowi1000ee"))
	want := &BidPage{Torrents: []BidSwarm{{Swarm: Swarm{InfoHash: InfoHash([]byte("aaaaaaaaaaaaaaaaaaaa")), Complete: 1, Downloaded: 2, Incomplete: 4},
		Bid: 7, Bid5: 3, Bidders: 6, Age: 2 * time.Minute}}, Next: 77, Now: 1000, MinRequestInterval: 5 * time.Second}
	if err != nil || !reflect.DeepEqual(page, want) {
		t.Errorf("page reads %+v, %v", page, err)
	}
}
