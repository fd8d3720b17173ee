package tracker

import (
	"bytes"
	"testing"
	"time"
)

func FuzzParseResponse(f *testing.F) {
	f.Add([]byte("d8:intervali60e5:peers6:\x05\x05\x05\x05\x00\x09e"))
	f.Add([]byte("d5:peersld2:ip7:5.5.5.54:porti9eeee"))
	f.Add([]byte("d14:failure reason1:x8:retry in5:nevere"))
	f.Add([]byte("d4:bids8:aaaaaaaa5:peers6:\x05\x05\x05\x05\x00\x09e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseResponse(b)
		if err == nil {
			checkResponse(t, r)
		}
	})
}

func checkResponse(t *testing.T, r *Response) {
	if len(r.Peers) > MaxPeers || r.Interval < 0 || r.Interval > 24*time.Hour || len(r.TrackerID) > MaxTrackerID || len(r.Warning) > MaxText {
		t.Fatalf("limits do not hold: %+v", r)
	}
	for _, p := range r.Peers {
		if !usablePeer(p.Addr) {
			t.Fatalf("useless peer %v", p.Addr)
		}
	}
}

func FuzzParseScrape(f *testing.F) {
	f.Add([]byte("d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1eeee"))
	f.Add([]byte("d5:filesd20:aaaaaaaaaaaaaaaaaaaad3:bidi1eee4:nexti5ee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseScrape(b); err == nil && len(s) > MaxHTTPScrape {
			t.Fatalf("%d torrents", len(s))
		}
		if p, err := ParseBidScrape(b); err == nil && len(p.Torrents) > MaxBidScrape {
			t.Fatalf("%d torrents", len(p.Torrents))
		}
	})
}

func FuzzParseQuery(f *testing.F) {
	f.Add("info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&left=3&event=stopped&btt_bid=5&ipv6=%5B::1%5D:5")
	f.Add("top=5&after=6&min_bid=7&info_hash=%61aaaaaaaaaaaaaaaaaaa")
	f.Fuzz(func(t *testing.T, q string) {
		if r, err := ParseQuery(q); err == nil && (r.Top > MaxNumWant || r.Event > EventPaused) {
			t.Fatalf("limits do not hold: %+v", r)
		}
		if s, err := ParseBidQuery(q); err == nil && (len(s.Hashes) > MaxHTTPScrape || s.Top > MaxBidScrape) {
			t.Fatalf("limits do not hold: %+v", s)
		}
	})
}

func FuzzUDPRequest(f *testing.F) {
	f.Add(AppendConnectRequest(nil, 1))
	f.Add(AppendAnnounceRequest(nil, UDPHeader{ConnectionID: 1}, sample(), "/announce?btt_bid=1"))
	f.Add(AppendBidScrapeRequest(nil, UDPHeader{}, &BidQuery{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseRequestHeader(b)
		if err != nil {
			return
		}
		if hashes, _ := ParseScrapeRequest(b, nil); len(hashes) > MaxScrape {
			t.Fatalf("%d hashes", len(hashes))
		}
		_, _ = ParseBidScrapeRequest(b)
		var r Request
		if _, err := ParseAnnounceRequest(b, &r); err != nil || len(b) != AnnounceRequestSize {
			return
		}
		h.Action = ActionAnnounce
		again := AppendAnnounceRequest(nil, h, &r, "")
		var back Request
		if _, err := ParseAnnounceRequest(again, &back); err != nil || back != r {
			t.Fatalf("%+v comes back as %+v, %v", r, back, err)
		}
	})
}

func FuzzUDPResponse(f *testing.F) {
	f.Add(AppendConnectResponse(nil, 1, 2), false)
	f.Add(append(AppendAnnounceHeader(nil, 1, time.Minute, 2, 3), 5, 5, 5, 5, 0, 9), false)
	f.Add(AppendError(nil, 1, "no"), true)
	f.Add(append([]byte{0x62, 0xb7, 0xa3, 0x1d}, make([]byte, 40)...), true)
	f.Fuzz(func(t *testing.T, b []byte, ipv6 bool) {
		if r, err := ParseAnnounceResponse(b, ipv6); err == nil {
			checkResponse(t, r)
		}
		_, _ = ParseConnectResponse(b)
		if s, err := ParseScrapeResponse(b, make([]InfoHash, 5)); err == nil && len(s) > 5 {
			t.Fatalf("%d torrents", len(s))
		}
		if p, err := ParseBidScrapeResponse(b); err == nil && len(p.Torrents) > MaxUDPBidScrape {
			t.Fatalf("%d torrents", len(p.Torrents))
		}
	})
}

func FuzzURLData(f *testing.F) {
	f.Add([]byte("\x01\x02\x03abc\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseURLData(b)
		if err != nil || s == "" {
			return
		}
		if back, err := ParseURLData(appendURLData(nil, s)); err != nil || back != s {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
		if bytes.Contains(b, []byte("\x00\x00")) && len(s) > MaxURLData {
			t.Fatalf("%d bytes", len(s))
		}
	})
}

func BenchmarkUDPAnnounceRequest(b *testing.B) {
	raw := AppendAnnounceRequest(nil, UDPHeader{}, sample(), "")
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAnnounceRequest(raw, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	body := append([]byte("d8:intervali1800e5:peers300:"), bytes.Repeat([]byte("\x05\x05\x05\x05\x00\x09"), 50)...)
	body = append(body, 'e')
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseResponse(body); err != nil {
			b.Fatal(err)
		}
	}
}
