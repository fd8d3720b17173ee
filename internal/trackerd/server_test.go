package trackerd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/tracker"
)

// start runs a server on a free loopback port until the test ends.
func start(t testing.TB, c Config) *Server {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func client(t testing.TB, port uint16) *announce.Announcer {
	t.Helper()
	a, err := announce.New(announce.Config{PeerID: [20]byte{byte(port)}, Port: port, UDPBase: 2 * time.Second, NumWant: 50})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func request(hash byte, port uint16, left int64) *tracker.Request {
	return &tracker.Request{InfoHash: tracker.InfoHash{hash, 19: 1}, PeerID: [20]byte{byte(port)}, Port: port,
		Stats: tracker.Stats{Left: left}, Event: tracker.EventStarted, NumWant: 50}
}

var transports = []struct{ name, listen, url string }{
	{"http4", "127.0.0.1:0", "http://127.0.0.1:%d/announce"},
	{"udp4", "127.0.0.1:0", "udp://127.0.0.1:%d/announce"},
	{"http6", "[::1]:0", "http://[::1]:%d/announce"},
	{"udp6", "[::1]:0", "udp://[::1]:%d/announce"},
}

func TestAnnounceFindsPeers(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			s := start(t, Config{Listen: tr.listen, Interval: 10 * time.Minute})
			url := fmt.Sprintf(tr.url, s.Addr().Port())
			a := client(t, 1)
			ctx := t.Context()
			if _, err := a.Announce(ctx, url, request(7, 1001, 0)); err != nil { // a seed
				t.Fatal(err)
			}
			got, err := a.Announce(ctx, url, request(7, 1002, 5))
			if err != nil {
				t.Fatal(err)
			}
			want := []netip.AddrPort{netip.AddrPortFrom(s.Addr().Addr(), 1001)}
			if !slices.Equal(got.AddrPorts(), want) || got.Complete != 1 || got.Incomplete != 1 || got.Interval != 10*time.Minute {
				t.Fatalf("leecher got %+v, want peer %v, 1 seed, 1 leecher", got, want)
			}
			got, err = a.Announce(ctx, url, request(7, 1003, 0)) // another seed hears of the leecher only
			if err != nil || len(got.Peers) != 1 || got.Peers[0].Addr.Port() != 1002 {
				t.Fatalf("seed got %+v, %v", got, err)
			}
			done := request(7, 1002, 0)
			done.Event = tracker.EventCompleted
			if _, err := a.Announce(ctx, url, done); err != nil {
				t.Fatal(err)
			}
			swarms, err := a.Scrape(ctx, url, []tracker.InfoHash{{7, 19: 1}})
			if err != nil || len(swarms) == 0 || swarms[0].Complete != 3 || swarms[0].Incomplete != 0 || swarms[0].Downloaded != 1 {
				t.Fatalf("scrape gives %+v, %v", swarms, err)
			}
			for port := uint16(1001); port <= 1003; port++ {
				bye := request(7, port, 0)
				bye.Event = tracker.EventStopped
				if _, err := a.Announce(ctx, url, bye); err != nil {
					t.Fatal(err)
				}
			}
			if st := s.Stats(); st.Peers4+st.Peers6 != 0 || st.Torrents4+st.Torrents6 != 0 || st.Seeds4+st.Seeds6 != 0 {
				t.Fatalf("after goodbyes: %+v", st)
			}
		})
	}
}
