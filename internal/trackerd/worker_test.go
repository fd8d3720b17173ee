package trackerd

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/tracker"
)

func testWorker(t testing.TB, c Config) (*worker, *source) {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.closeSockets)
	w := newWorker(s)
	w.tick()
	return w, &source{ip: netip.MustParseAddr("192.0.2.1").As16(), port: 1234, is4: true}
}

func (w *worker) id(from *source) uint64 { return w.server.ids.make(&from.ip, w.bucket) }

func announceBytes(id uint64, r *tracker.Request) []byte {
	return tracker.AppendAnnounceRequest(nil, tracker.UDPHeader{ConnectionID: id, TransactionID: 1}, r, "")
}

func TestSipHash(t *testing.T) {
	// Vector 24 of the reference implementation: key 00…0f, message 00…17.
	word := func(i byte) uint64 {
		var b [8]byte
		for j := range b {
			b[j] = 8*i + byte(j)
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	if got := siphash(word(0), word(1), word(0), word(1), word(2)); got != 0xb8ad50c6f649af94 {
		t.Errorf("siphash = %x", got)
	}
}

func TestConnectionIDs(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	w, from := testWorker(t, Config{Now: func() time.Time { return now }})
	id := w.id(from)
	other := *from
	other.ip[15]++
	if w.server.ids.valid(id, &other.ip, w.bucket) || w.server.ids.valid(id^1<<40, &from.ip, w.bucket) ||
		w.server.ids.valid(0, &from.ip, w.bucket) || w.server.ids.valid(w.server.ids.make(&from.ip, w.bucket+1), &from.ip, w.bucket) {
		t.Error("a forged id is valid")
	}
	for age, want := range map[time.Duration]bool{0: true, time.Minute: true, DefaultIDLifetime: true,
		DefaultIDLifetime + 2*idStep: false, 68*time.Minute + 16*time.Second: false} {
		if got := w.server.ids.valid(id, &from.ip, idBucket(now.Add(age))); got != want {
			t.Errorf("after %v an id is valid %v, want %v", age, got, want)
		}
	}
}

// TestNoAmplification: without a valid id no answer is longer than the request,
// and floods of invalid ids are soon met with silence.
func TestNoAmplification(t *testing.T) {
	w, from := testWorker(t, Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	answered := 0
	for i := range 20_000 {
		in := make([]byte, rng.IntN(300))
		for j := range in {
			in[j] = byte(rng.Uint32())
		}
		if len(in) >= 16 && i%2 == 0 {
			binary.BigEndian.PutUint32(in[8:], uint32(rng.IntN(5)))
		}
		out := w.handle(nil, in, from)
		if len(out) > len(in) {
			t.Fatalf("answer of %d bytes to %d", len(out), len(in))
		}
		if len(out) > 0 {
			answered++
		}
	}
	if answered > 2*limiterAnswer {
		t.Errorf("%d answers to garbage", answered)
	}
	if st := w.server.Stats(); st.Peers4 != 0 {
		t.Errorf("garbage left peers: %+v", st)
	}
	if out := w.handle(nil, announceBytes(w.id(from), request(1, 5, 5)), from); len(out) != udpHeaderSize {
		t.Errorf("after the flood an announce is answered by %x", out)
	}
}

func TestUDPRefusals(t *testing.T) {
	dir := t.TempDir()
	deny := filepath.Join(dir, "deny")
	if err := os.WriteFile(deny, []byte("# refused\n"+strings.Repeat("07", 20)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, from := testWorker(t, Config{DenyFile: deny})
	port0 := request(1, 0, 5)
	denied := request(1, 5, 5)
	copy(denied.InfoHash[:], strings.Repeat("\x07", 20))
	for name, in := range map[string][]byte{
		"port 0": announceBytes(w.id(from), port0), "not served": announceBytes(w.id(from), denied),
		"malformed announce": announceBytes(w.id(from), denied)[:97],
		"expired":            announceBytes(5, denied),
	} {
		out := w.handle(nil, in, from)
		if a, id, err := tracker.ParseReplyHeader(out); a != tracker.ActionError || id != 1 || err != nil || !strings.Contains(string(out[8:]), name) {
			t.Errorf("%s: answer %q", name, out)
		}
	}
	// Options unknown to us and longer announces are fine (BEP 41).
	in := append(announceBytes(w.id(from), request(1, 5, 5)), 9, 1, 'x', 1, 2, 3, '/', 'a', '?', 0)
	if out := w.handle(nil, in, from); len(out) != udpHeaderSize || out[3] != 1 {
		t.Errorf("announce with options: %q", out)
	}
}

func TestListsReload(t *testing.T) {
	allow := filepath.Join(t.TempDir(), "allow")
	write := func(s string) {
		if err := os.WriteFile(allow, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	s := start(t, Config{AllowFile: allow})
	url := fmt.Sprintf("udp://%v/announce", s.Addr())
	a := client(t, 1)
	if _, err := a.Announce(t.Context(), url, request(7, 5, 5)); err == nil || !strings.Contains(err.Error(), "not served") {
		t.Fatalf("unlisted torrent: %v", err)
	}
	write(fmt.Sprintf("%x\n", request(7, 5, 5).InfoHash))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Announce(t.Context(), url, request(7, 5, 5)); err != nil {
		t.Fatal(err)
	}
	write("no hash\n")
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("bad list: %v", err)
	}
	if _, err := a.Announce(t.Context(), url, request(7, 5, 5)); err != nil {
		t.Errorf("after a bad list the old one must stay: %v", err)
	}
}

func TestPrivateKeys(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, Config{KeyFile: keys})
	a := client(t, 1)
	for _, scheme := range []string{"http", "udp"} {
		for key, ok := range map[string]bool{"alice/": true, "bob/": false, "": false} {
			url := fmt.Sprintf("%s://%v/%sannounce", scheme, s.Addr(), key)
			if _, err := a.Announce(t.Context(), url, request(7, 5, 5)); (err == nil) != ok {
				t.Errorf("%s with key %q: %v", scheme, key, err)
			}
		}
	}
}

// TestClientAddress: only trusted proxies may speak for others, the query never.
func TestClientAddress(t *testing.T) {
	w, _ := testWorker(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, c := range []struct{ remote, forwarded, want string }{
		{"5.5.5.5:1", "", "5.5.5.5"}, {"5.5.5.5:1", "6.6.6.6", "5.5.5.5"}, {"10.0.0.1:1", "6.6.6.6", "6.6.6.6"},
		{"10.0.0.1:1", "7.7.7.7, 6.6.6.6, 10.1.1.1", "6.6.6.6"}, {"10.0.0.1:1", "nonsense", "10.0.0.1"},
		{"[::ffff:5.5.5.5]:1", "", "5.5.5.5"}, {"10.0.0.1:1", "[2001:db8::1]:99", "2001:db8::1"},
	} {
		r := httptest.NewRequest("GET", "/announce?ip=9.9.9.9", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got, ok := w.server.clientAddr(r); !ok || got.String() != c.want {
			t.Errorf("remote %s, forwarded %q: %v, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

func TestHTTPTable(t *testing.T) {
	s := start(t, Config{ServeMetrics: true})
	base := fmt.Sprintf("http://%v", s.Addr())
	const q = "?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&left=5&port="
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/announce" + q + "1", 200, "d8:completei0e10:downloadedi0e11:external ip4:\x7f\x00\x00\x0110:incompletei1e8:intervali1800e12:min intervali900e5:peers0:e"},
		{"/announce" + q + "2&compact=0", 200, "5:peersld2:ip9:127.0.0.14:porti1eeee"},
		{"/announce" + q + "0", 200, "d14:failure reason24:port 0 cannot be reached8:retry in5:nevere"},
		{"/announce", 200, "failure reason"}, {"/scrape", 200, "failure reason"},
		{"/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa", 200, "d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei0e10:downloadedi0e10:incompletei2eeee"},
		{"/nothing", 404, ""}, {"/metrics", 200, "btt_tracker_peers{family=\"ipv4\"} 2"}, {"/stats", 200, `"peers_ipv4":2`},
	} {
		resp, err := http.Get(base + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("GET %s: %d %q, want %d with %q", c.path, resp.StatusCode, body, c.status, c.want)
		}
	}
}

func TestListenErrors(t *testing.T) {
	s := start(t, Config{})
	if _, err := New(Config{Listen: s.Addr().String(), NoUDP: true}); err == nil {
		t.Error("a taken port is taken twice")
	}
	for _, c := range []Config{{Listen: "nonsense"}, {Listen: "127.0.0.1:0", Interval: 3 * time.Hour}, {Listen: "127.0.0.1:0", DenyFile: "/does/not/exist"}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// TestBothFamilies: an empty host serves IPv4 and IPv6, and HTTP tells each
// client the other family's peers too.
func TestBothFamilies(t *testing.T) {
	if c, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here")
	} else {
		c.Close()
	}
	s := start(t, Config{Listen: ":0"})
	a := client(t, 1)
	port := s.Addr().Port()
	if _, err := a.Announce(t.Context(), fmt.Sprintf("udp://[::1]:%d", port), request(7, 1001, 5)); err != nil {
		t.Fatal(err)
	}
	got, err := a.Announce(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/announce", port), request(7, 1002, 5))
	if err != nil || len(got.Peers) != 1 || got.Peers[0].Addr != netip.MustParseAddrPort("[::1]:1001") || got.Incomplete != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMaxPeers(t *testing.T) {
	w, from := testWorker(t, Config{MaxPeers: 2})
	for port := range uint16(5) {
		w.server.Sweep(0, time.Now())
		w.tick()
		w.handle(nil, announceBytes(w.id(from), request(7, port+1, 5)), from)
	}
	if st := w.server.Stats(); st.Peers4 != 2 {
		t.Errorf("%d peers, at most 2 wanted", st.Peers4)
	}
}

func FuzzHandle(f *testing.F) {
	w, from := testWorker(f, Config{})
	id := w.id(from)
	f.Add(announceBytes(id, request(1, 5, 5)))
	f.Add(tracker.AppendConnectRequest(nil, 1))
	f.Add(tracker.AppendBidScrapeRequest(nil, tracker.UDPHeader{ConnectionID: id}, &tracker.BidQuery{Top: 3}))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) >= 16 && in[0]&1 == 0 {
			binary.BigEndian.PutUint64(in, w.id(from))
		}
		if out := w.handle(nil, in, from); len(out) > sendSize {
			t.Fatalf("answer of %d bytes", len(out))
		}
	})
}

// BenchmarkHandleAnnounce answers announces of 4096 peers in 100 swarms,
// without the socket: plain ones, and with a bid and the wish for ten bidders.
func BenchmarkHandleAnnounce(b *testing.B) {
	for _, data := range []string{"", "/announce?btt_bid=1048576", "/announce?btt_bid=1048576&btt_top=10"} {
		b.Run("urldata="+data, func(b *testing.B) {
			w, from := testWorker(b, Config{})
			var requests [4096][]byte
			for i := range requests {
				r := request(byte(i%100), uint16(i+1), 5)
				r.NumWant = 30
				requests[i] = tracker.AppendAnnounceRequest(nil, tracker.UDPHeader{ConnectionID: w.id(from), TransactionID: 1}, r, data)
				w.handle(nil, requests[i], from)
			}
			out := make([]byte, 0, 4096)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if len(w.handle(out, requests[i&4095], from)) == 0 {
					b.Fatal("no answer")
				}
				i++
			}
		})
	}
}
