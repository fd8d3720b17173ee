package ledgerhttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

var start = time.Unix(1_700_000_000, 0)

// TestGate compares the gate with buckets that are counted the slow way.
func TestGate(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rate := Rate{PerSecond: rapid.IntRange(1, 20).Draw(r, "rate"), Burst: rapid.IntRange(1, 30).Draw(r, "burst")}
		g := NewGate[string](rate)
		tokens := map[string]float64{}
		now := start
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			d := time.Duration(rapid.IntRange(0, 2000).Draw(r, "ms")) * time.Millisecond
			now = now.Add(d)
			for k := range tokens {
				tokens[k] = min(tokens[k]+d.Seconds()*float64(rate.PerSecond), float64(rate.Burst))
			}
			k := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "key")
			if _, known := tokens[k]; !known {
				tokens[k] = float64(rate.Burst)
			}
			n := rapid.IntRange(1, rate.Burst).Draw(r, "n")
			wait := g.Take(k, n, now)
			missing := (float64(n) - tokens[k]) / float64(rate.PerSecond)
			if wait == 0 {
				if tokens[k] -= float64(n); missing > 1e-6 {
					r.Fatalf("%d tokens taken, %f too many", n, missing)
				}
			} else if got := wait.Seconds(); got < missing-1e-6 || got > missing+1e-6 {
				r.Fatalf("wait %v, want %f s", wait, missing)
			}
		}
	})
}

func TestGateForgets(t *testing.T) {
	g := NewGate[int](Rate{PerSecond: 1, Burst: 2})
	for i := range GateEntries {
		g.Take(i, 1, start)
	}
	g.Take(-1, 2, start.Add(3*time.Second)) // all others are idle by now
	if len(g.full) != 1 || g.Take(-1, 1, start.Add(3*time.Second)) == 0 {
		t.Errorf("%d keys are kept, or the wrong one", len(g.full))
	}
	for i := range 2 * GateEntries { // none is idle
		g.Take(i, 2, start.Add(3*time.Second))
	}
	if len(g.full) > GateEntries {
		t.Errorf("%d keys are kept, at most %d", len(g.full), GateEntries)
	}
	g.Charge(5, 100, start)
	if d := g.Wait(5, 1, start.Add(time.Minute)); d == 0 {
		t.Error("a charge above the burst is forgiven")
	}
}

func TestQuota(t *testing.T) {
	q := NewQuota[string](2, 3)
	for i, want := range []struct {
		key string
		ok  bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"c", false}} {
		if q.Take(want.key) != want.ok {
			t.Errorf("place %d: not %v", i, want.ok)
		}
	}
	q.Release("a")
	if !q.Take("c") || len(q.held) != 3 {
		t.Error("a released place is not given again")
	}
}

func TestClientOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:99": "192.0.2.7/32", "[2001:db8:1:2:3::4]:99": "2001:db8:1:2::/64", "[::ffff:192.0.2.7]:99": "192.0.2.7/32",
		"[fe80::1%eth0]:5": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		if got := clientOf(&http.Request{RemoteAddr: remote}).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

// strict are limits that a test reaches.
var strict = Limits{
	Submits: Rate{1, 3}, Reads: Rate{1, 8}, Opens: Rate{1, 2}, WaitingEach: 1, WaitingAll: 2, WatchesEach: 1, WatchesAll: 2, WriteTimeout: time.Second,
}

// desk calls a handler as a client of some address, at a time of the test's.
type desk struct {
	http.Handler
	*testing.T
	now time.Time
}

func newDesk(t *testing.T, c ledger.Client, l Limits) *desk {
	d := &desk{T: t, now: start}
	d.Handler = LimitedHandler(c, l, func() time.Time { return d.now })
	return d
}

func (d *desk) call(remote, method, path, body string) *httptest.ResponseRecorder {
	d.Helper()
	ctx, stop := context.WithCancel(d.Context())
	if path == pathWatch {
		stop()
	}
	defer stop()
	r := httptest.NewRequestWithContext(ctx, method, "http://ledger"+path, strings.NewReader(body))
	r.RemoteAddr = remote
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func (d *desk) want(remote, method, path, body string, status int) {
	d.Helper()
	w := d.call(remote, method, path, body)
	if w.Code != status {
		d.Errorf("%s %s from %s: %d %s, want %d", method, path, remote, w.Code, w.Body, status)
	}
	if status == http.StatusTooManyRequests && (w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"busy"`)) {
		d.Errorf("refused without saying for how long: %v %s", w.Header(), w.Body)
	}
}

const (
	hostA, hostB = "192.0.2.1:5", "192.0.2.2:5"
	local        = "@"
)

func TestReadLimit(t *testing.T) {
	d := newDesk(t, ledgertest.New(), strict)
	for range 3 {
		d.want(hostA, "GET", pathStatus, "", 200)
	}
	d.want(hostA, "GET", pathHead, "", 200) // costs 5
	d.want(hostA, "GET", pathStatus, "", 429)
	d.want(hostA, "POST", pathWatch, "{}", 429)
	d.want(hostB, "GET", pathStatus, "", 200)
	for range 20 {
		d.want(local, "GET", pathStatus, "", 200)
	}
	d.now = d.now.Add(2 * time.Second)
	d.want(hostA, "GET", pathStatus, "", 200)
	d.want(hostA, "GET", pathHead, "", 429)
}

func TestSubmitLimits(t *testing.T) {
	m := ledgertest.New()
	d := newDesk(t, m, strict)
	fund := func(sum amount.Amount) ledger.Coin {
		c, err := m.Fund(ledgertest.Key("1").Address(), sum)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pay := func(remote string, sum amount.Amount, status int) {
		d.Helper()
		d.want(remote, "POST", pathSubmit, string(payment(t, m, fund(sum), "1", sum).Encode()), status)
	}
	pay(hostA, amount.BTT, 200)
	pay(hostA, amount.BTT, 200)
	pay(hostA, amount.BTT, 429) // of this address, the third at once
	pay(hostB, amount.BTT, 429) // wherever it comes from
	pay(local, amount.BTT, 429)
	bad := payment(t, m, fund(amount.BTT), "1", amount.BTT)
	bad.Witnesses[0].Signatures[0][7] ^= 1
	d.now = d.now.Add(time.Hour)
	for range 3 {
		d.want(hostA, "POST", pathSubmit, string(bad.Encode()), 422)
	}
	d.want(hostA, "POST", pathSubmit, string(bad.Encode()), 429) // of this client
	pay(hostB, amount.BTT, 200)                                  // a forger used up nobody's share
	pay(hostB, amount.BTT, 200)
	pay(hostB, amount.BTT, 429)
	// Consolidations and closes pass.
	two := []ledger.Coin{fund(amount.BTT), fund(amount.BTT)}
	join := ledger.NewTransfer([]ledger.OutPoint{two[0].OutPoint, two[1].OutPoint}, []ledger.Output{{Amount: 2 * amount.BTT, Lock: two[0].Lock}})
	status, _ := m.Status(t.Context())
	if err := ledger.SignInputs(join, status.Network, two, ledgertest.Key("1")); err != nil {
		t.Fatal(err)
	}
	d.want(local, "POST", pathSubmit, string(join.Encode()), 200)
}

// TestClientWaitsWhenAsked: a busy server is asked again after the time it names.
func TestClientWaitsWhenAsked(t *testing.T) {
	inner := Handler(ledgertest.New())
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls < 3 {
			writeProblem(w, &limited{"busy", 10 * time.Millisecond})
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	always := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, &limited{"busy", 10 * time.Millisecond})
	}))
	t.Cleanup(always.Close)
	if c, err = Dial(always.URL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(t.Context(), []byte("x")); ledger.CodeOf(err) != ledger.CodeBusy {
		t.Errorf("a server that stays busy: %v", err)
	}
}

// TestServeEnds: streams end with the server, not with its patience.
func TestServeEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, Handler(ledgertest.New()), nil) }()
	answer, err := http.Post("http://"+l.Addr().String()+pathWatch, "application/json", strings.NewReader("{}"))
	if err != nil || answer.StatusCode != 200 {
		t.Fatal(answer, err)
	}
	defer answer.Body.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := LoadTLS("missing.pem", "missing.key"); err == nil {
		t.Error("a missing certificate is no error")
	}
	if err := Serve(t.Context(), l, nil, nil); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a closed listener: %v", err)
	}
}
