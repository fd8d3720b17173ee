package announce

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/tracker"
)

// quick is a base timeout that makes lost datagrams cheap to wait for.
const quick = 50 * time.Millisecond

func announcer(t *testing.T, c Config) *Announcer {
	t.Helper()
	if c.UDPBase == 0 {
		c.UDPBase = quick
	}
	c.PeerID, c.Port = [20]byte{1}, 6881
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return a
}

func request() *tracker.Request {
	return &tracker.Request{InfoHash: tracker.InfoHash{9}, PeerID: [20]byte{1}, Port: 6881, NumWant: 50,
		Stats: tracker.Stats{Left: 5, Bid: 4096, Top: 10}}
}

func serveHTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/announce"
}

const okBody = "d8:intervali1800e5:peers6:\x05\x05\x05\x05\x00\x09e"

func TestHTTPErrors(t *testing.T) {
	a := announcer(t, Config{HTTPTimeout: 2 * time.Minute})
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
		is      error
	}{
		{"status", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }, "500", nil},
		{"reason with status", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			fmt.Fprint(w, "d14:failure reason7:not youe")
		}, "not you", nil},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "malformed", tracker.ErrMalformed},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(bytes.Repeat([]byte("d"), tracker.MaxResponse+2))
		}, "limit", tracker.ErrTooLarge},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/announce", http.StatusFound) }, "redirects", ErrRedirect},
	} {
		url := serveHTTP(t, c.handler)
		_, err := a.Announce(t.Context(), url+"?passkey=secret", request())
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
			continue
		}
		if !strings.Contains(err.Error(), Name(url)) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error must name the tracker and not its key: %v", c.name, err)
		}
	}
	for _, url := range []string{"ftp://x/announce", "::", "http://127.0.0.1:1/announce", "udp://127.0.0.1/announce"} {
		if _, err := a.Announce(t.Context(), url, request()); err == nil {
			t.Errorf("%s is accepted", url)
		}
	}
}

func TestRedirectIntoPrivateNetwork(t *testing.T) {
	ask := func(from, to string) error {
		first, _ := http.NewRequest("GET", from, nil)
		next, _ := http.NewRequest("GET", to, nil)
		return checkRedirect(next, []*http.Request{first})
	}
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"http://t.example/a", "http://u.example/a", true}, {"http://t.example/a", "http://127.0.0.1/a", false},
		{"http://t.example/a", "http://192.168.0.1/", false}, {"http://t.example/a", "http://[::1]/", false},
		{"http://192.168.0.1/a", "http://192.168.0.2/a", true}, {"https://t.example/a", "http://t.example/a", false},
		{"http://t.example/a", "https://t.example/a", true}, {"http://t.example/a", "http://localhost/a", false},
	} {
		if err := ask(c.from, c.to); (err == nil) != c.ok {
			t.Errorf("redirect from %s to %s: %v", c.from, c.to, err)
		}
	}
}

// TestHTTPBidParameters: told at first contact, then only to trackers that speak bids.
func TestHTTPBidParameters(t *testing.T) {
	for _, speaks := range []bool{false, true} {
		var mu sync.Mutex
		var told []bool
		url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			told = append(told, r.URL.Query().Has("btt_bid"))
			mu.Unlock()
			if speaks {
				fmt.Fprint(w, "d12:btt intervali60e8:intervali1800e5:peers0:e")
				return
			}
			fmt.Fprint(w, okBody)
		})
		a := announcer(t, Config{})
		for range 3 {
			if _, err := a.Announce(t.Context(), url, request()); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		if want := []bool{true, speaks, speaks}; fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("tracker that speaks bids %v was told %v, want %v", speaks, told, want)
		}
		mu.Unlock()
	}
}

// TestTorrentLife: started, completed and stopped reach the tracker in order.
func TestTorrentLife(t *testing.T) {
	var mu sync.Mutex
	var events []string
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		events = append(events, r.URL.Query().Get("event")+" "+r.URL.Query().Get("left"))
		mu.Unlock()
		fmt.Fprint(w, okBody)
	})
	a := announcer(t, Config{})
	results := make(chan Result, 10)
	var left sync.Map
	left.Store("left", int64(10))
	h := a.Start(t.Context(), Torrent{
		InfoHash: tracker.InfoHash{1}, Tiers: [][]string{{"http://127.0.0.1:1/announce"}, {url}},
		Stats:  func() tracker.Stats { n, _ := left.Load("left"); return tracker.Stats{Left: n.(int64)} },
		Notify: func(r Result) { results <- r },
	})
	if r := <-results; r.Err == nil || !strings.Contains(r.Err.Error(), "127.0.0.1:1") {
		t.Fatalf("dead tracker: %+v", r)
	}
	if r := <-results; r.Err != nil || len(r.Peers) != 1 || r.Tracker != url {
		t.Fatalf("live tracker: %+v", r)
	}
	left.Store("left", int64(0))
	h.Completed()
	if r := <-results; r.Err != nil || r.Event != tracker.EventCompleted {
		t.Fatalf("completed: %+v", r)
	}
	h.Now() // within the min interval: nothing yet
	h.Stop(t.Context())
	h.Stop(t.Context())
	h.Completed() // after the end: no effect, no block
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(events), "[started 10 completed 0 stopped 0]"; got != want {
		t.Fatalf("tracker heard %s, want %s", got, want)
	}
}

// TestStopIsBounded: a silent tracker does not hold Stop up beyond its context,
// nor Close.
// TestPaused: a partial seed says so in each announce that has no other event (BEP 21).
func TestPaused(t *testing.T) {
	h := &Handle{a: announcer(t, Config{}), torrent: Torrent{Stats: func() tracker.Stats { return tracker.Stats{Left: 5, Paused: true} }}}
	for event, want := range map[tracker.Event]tracker.Event{
		tracker.EventNone: tracker.EventPaused, tracker.EventStarted: tracker.EventStarted, tracker.EventStopped: tracker.EventStopped,
	} {
		if got := h.request(tracker.Announce{Event: event}).Event; got != want {
			t.Errorf("event %q becomes %q", event, got)
		}
	}
}

func TestStopIsBounded(t *testing.T) {
	block := make(chan struct{})
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("event") != "started" {
			<-block
		}
		fmt.Fprint(w, okBody)
	})
	defer close(block)
	a := announcer(t, Config{})
	results := make(chan Result, 10)
	start := func() *Handle {
		return a.Start(t.Context(), Torrent{Tiers: [][]string{{url}}, Notify: func(r Result) { results <- r },
			Stats: func() tracker.Stats { return tracker.Stats{} }})
	}
	h := start()
	<-results
	ctx, cancel := context.WithTimeout(t.Context(), quick)
	defer cancel()
	h.Stop(ctx)
	h = start()
	<-results
	a.Close()
	h.Stop(t.Context())
	if _, err := a.Announce(t.Context(), url, request()); !errors.Is(err, ErrClosed) {
		t.Errorf("announce after close: %v", err)
	}
}

// TestLyingTracker: a tracker whose told bids fail too often hears and is asked none.
func TestLyingTracker(t *testing.T) {
	for lies, trusted := range map[int]bool{6: true, 7: false} {
		var mu sync.Mutex
		told := false
		url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			told = r.URL.Query().Has("btt_bid")
			mu.Unlock()
			fmt.Fprint(w, okBody)
		})
		a := announcer(t, Config{})
		for i := range trustChecks {
			a.ReportBid(url, i >= lies)
		}
		if _, err := a.Announce(t.Context(), url, request()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if told != trusted {
			t.Errorf("after %d lies of %d the tracker is told bids: %v", lies, trustChecks, told)
		}
		mu.Unlock()
	}
}

// TestHTTPS: a tracker over TLS is asked when its certificate is good, and only
// then.
func TestHTTPS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(okBody)) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the refused handshake
	s.StartTLS()
	t.Cleanup(s.Close)
	a := announcer(t, Config{})
	var unknown *tls.CertificateVerificationError
	if _, err := a.Announce(t.Context(), s.URL+"/announce", request()); !errors.As(err, &unknown) {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for _, c := range []*http.Client{a.http, a.http4, a.http6} {
		c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	got, err := a.Announce(t.Context(), s.URL+"/announce", request())
	if err != nil || len(got.Peers) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}
