package announce

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/tracker"
)

// TestHTTPBothFamilies: a tracker with addresses of both families hears one
// announce over each, and its answers are joined (BEP 7).
func TestHTTPBothFamilies(t *testing.T) {
	var mu sync.Mutex
	heard := map[bool]int{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := netip.MustParseAddrPort(r.RemoteAddr).Addr()
		mu.Lock()
		heard[from.Is6()]++
		mu.Unlock()
		if from.Is6() {
			w.Write([]byte("d8:intervali1800e6:peers618:\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x095:peers6:\x05\x05\x05\x05\x00\x09e"))
			return
		}
		w.Write([]byte(okBody))
	})
	l4, l6 := listenBoth(t)
	port := netip.MustParseAddrPort(l4.Addr().String()).Port()
	for _, l := range []net.Listener{l4, l6} {
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
		s.Start()
		t.Cleanup(s.Close)
	}
	a := announcer(t, Config{UDPBase: 50 * time.Second})
	if a.udp.conn6 == nil {
		t.Fatal("the machine has IPv6, the announcer has not")
	}
	names(a, port)
	resp, err := a.Announce(t.Context(), "http://localhost:"+l4.Addr().String()[len("127.0.0.1:"):]+"/announce", request())
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if heard[false] != 1 || heard[true] != 1 || len(resp.Peers) != 2 {
		t.Errorf("heard %v, %d peers", heard, len(resp.Peers))
	}
}

// names lets localhost have both addresses, whatever this machine calls so.
func names(a *Announcer, port uint16) {
	both := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
	a.lookUp = func(context.Context, string, string) ([]netip.Addr, error) { return both, nil }
	for i, c := range []*http.Client{a.http4, a.http6} {
		c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(both[i], port).String())
		}
	}
}

// TestHTTPOneFamilyDown: where one family does not answer, the other one's
// answer counts, and a tracker's own refusal is what the user reads.
func TestHTTPOneFamilyDown(t *testing.T) {
	if err := moreTelling([]error{net.ErrClosed, &tracker.Failure{Reason: "no"}}); err.Error() != `tracker refused: "no"` {
		t.Error(err)
	}
	url := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(okBody)) })
	u, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := announcer(t, Config{UDPBase: 5 * time.Second})
	port, err := strconv.ParseUint(u.URL.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	names(a, uint16(port))
	resp, err := a.Announce(t.Context(), "http://localhost:"+u.URL.Port()+"/announce", request()) // nobody on ::1
	if err != nil || len(resp.Peers) != 1 {
		t.Errorf("got %+v, %v", resp, err)
	}
}

// listenBoth listens on one port of both families' loopback. The test is skipped
// on a machine without IPv6.
func listenBoth(t *testing.T) (l4, l6 net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	l.Close()
	for range 100 { // another program may have the other family's
		if l4, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l4.Addr().String())
		if l6, err = net.Listen("tcp6", "[::1]:"+port); err == nil {
			return l4, l6
		}
		l4.Close()
	}
	t.Fatal(err)
	return nil, nil
}
