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
	"net/netip"
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
	a := announcer(t, Config{HTTPTimeout: 2 * time.Second})
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

// udpTracker answers by a function of the datagrams, called under mu; nil is silence.
func udpTracker(t *testing.T, network string, answer func(in []byte) []byte) (url string, mu *sync.Mutex) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "udp6" {
		addr = "[::1]:0"
	}
	conn, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	mu = new(sync.Mutex)
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			out := answer(buf[:n])
			mu.Unlock()
			if out != nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	return "udp://" + conn.LocalAddr().String() + "/announce", mu
}

// polite answers as BEP 15 wants.
func polite(in []byte) []byte {
	h, err := tracker.ParseRequestHeader(in)
	if err != nil {
		return nil
	}
	switch h.Action {
	case tracker.ActionConnect:
		return tracker.AppendConnectResponse(nil, h.TransactionID, 77)
	case tracker.ActionAnnounce:
		out := tracker.AppendAnnounceHeader(nil, h.TransactionID, time.Hour, 1, 2)
		return tracker.AppendCompactPeer(out, netip.MustParseAddrPort("5.5.5.5:9"))
	}
	return tracker.AppendError(nil, h.TransactionID, "what?")
}

func action(in []byte) tracker.Action {
	h, _ := tracker.ParseRequestHeader(in)
	return h.Action
}

func TestUDPLoss(t *testing.T) {
	lost := map[tracker.Action]int{}
	url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
		if a := action(in); lost[a] < 1 { // the first of each kind is lost
			lost[a]++
			return nil
		}
		return polite(in)
	})
	a := announcer(t, Config{})
	r, err := a.Announce(t.Context(), url, request())
	mu.Lock()
	defer mu.Unlock()
	if err != nil || len(r.Peers) != 1 || r.Complete != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestUDPSilence(t *testing.T) {
	var sent []time.Time
	url, mu := udpTracker(t, "udp4", func([]byte) []byte { sent = append(sent, time.Now()); return nil })
	a := announcer(t, Config{UDPTries: 2})
	if _, err := a.Announce(t.Context(), url, request()); !errors.Is(err, ErrTimeout) {
		t.Fatalf("error %v, want ErrTimeout", err)
	}
	mu.Lock()
	n := len(sent)
	mu.Unlock()
	if n != 2 {
		t.Fatalf("%d datagrams, want 2", n)
	}
	a.udp.mu.Lock()
	waiting := len(a.udp.waiting)
	a.udp.mu.Unlock()
	if waiting != 0 {
		t.Fatalf("%d calls still wait", waiting)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Announce(ctx, url, request()); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want canceled", err)
	}
}

// TestUDPIgnoresForgery: answers with a wrong transaction, too short ones and
// foreign sources do not count.
func TestUDPIgnoresForgery(t *testing.T) {
	var a *Announcer
	forger, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	n := 0
	url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
		out := polite(in)
		to := a.udp.conn4.LocalAddr().(*net.UDPAddr)
		forger.WriteTo(tracker.AppendError(nil, be32(out[4:]), "forged"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port})
		if n++; n%2 == 1 {
			out[7]++
			return out
		}
		return out
	})
	mu.Lock()
	a = announcer(t, Config{UDPTries: 4})
	mu.Unlock()
	if _, err := a.Announce(t.Context(), url, request()); err != nil {
		t.Fatal(err)
	}
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// TestUDPStaleConnection: a restarted tracker refuses the cached id; the
// client connects anew without bothering the schedule.
func TestUDPStaleConnection(t *testing.T) {
	id, connects := uint64(1), 0
	url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
		h, _ := tracker.ParseRequestHeader(in)
		if h.Action == tracker.ActionConnect {
			connects++
			return tracker.AppendConnectResponse(nil, h.TransactionID, id)
		}
		if h.ConnectionID != id {
			return tracker.AppendError(nil, h.TransactionID, "bad id")
		}
		return polite(in)
	})
	a := announcer(t, Config{})
	for range 2 {
		if _, err := a.Announce(t.Context(), url, request()); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	if connects != 1 {
		t.Fatalf("%d connects, want 1: the id is cached", connects)
	}
	id = 2
	mu.Unlock()
	_, err := a.Announce(t.Context(), url, request())
	mu.Lock()
	defer mu.Unlock()
	if err != nil || connects != 2 {
		t.Fatalf("after a restart: %v, %d connects", err, connects)
	}
}

// TestUDPOptions: none at first contact; then bids; a tracker that drops or
// refuses them is spared.
func TestUDPOptions(t *testing.T) {
	for _, mood := range []string{"silent", "error", "ignores", "speaks"} {
		t.Run(mood, func(t *testing.T) {
			var sizes []int
			url, mu := udpTracker(t, "udp4", func(in []byte) []byte {
				if action(in) != tracker.ActionAnnounce {
					return polite(in)
				}
				sizes = append(sizes, len(in))
				if len(in) == tracker.AnnounceRequestSize {
					return polite(in)
				}
				h, _ := tracker.ParseRequestHeader(in)
				switch mood {
				case "silent":
					return nil
				case "error":
					return tracker.AppendError(nil, h.TransactionID, "options?")
				case "speaks":
					out := append(polite(in)[:20], 0, 1)
					out[0], out[1], out[2], out[3] = 0x62, 0xb7, 0xa3, 0x1d
					return tracker.AppendBidPeer(out, []byte{5, 5, 5, 5, 0, 9}, tracker.BidCode(7), 1)
				}
				return polite(in)
			})
			a := announcer(t, Config{})
			var last *tracker.Response
			for range 3 {
				var err error
				if last, err = a.Announce(t.Context(), url, request()); err != nil {
					t.Fatal(err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if sizes[0] != tracker.AnnounceRequestSize {
				t.Errorf("first announce has %d bytes", sizes[0])
			}
			if plainAgain := sizes[len(sizes)-1] == tracker.AnnounceRequestSize; plainAgain == (mood == "speaks") {
				t.Errorf("announces had %v bytes", sizes)
			}
			if mood == "speaks" && (len(last.Peers) != 1 || last.Peers[0].Bid != 7) {
				t.Errorf("answer %+v", last)
			}
		})
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
