package ledgerhttp

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// slowLedger answers submissions when the test says so, and never sends an event.
type slowLedger struct {
	ledger.Client
	entered chan struct{}
	wait    chan struct{}
}

func (s *slowLedger) Submit(context.Context, []byte) (ledger.Receipt, error) {
	s.entered <- struct{}{}
	<-s.wait
	return ledger.Receipt{}, nil
}

func (s *slowLedger) Watch(ctx context.Context, _ ledger.Filter, _ uint64) (<-chan ledger.Event, error) {
	s.entered <- struct{}{}
	events := make(chan ledger.Event)
	context.AfterFunc(ctx, func() { close(events) })
	return events, nil
}

// TestPlaces fills the places of submissions and of watches; each is free again
// when its holder is answered or gone.
func TestPlaces(t *testing.T) {
	m := ledgertest.New()
	slow := &slowLedger{Client: m, entered: make(chan struct{}), wait: make(chan struct{})}
	limits := strict
	limits.Submits, limits.Reads, limits.Opens = Rate{100, 100}, Rate{100, 1000}, Rate{100, 100}
	h := newHandler(slow, limits, func() time.Time { return start })
	coin, err := m.Fund(ledgertest.Key("1").Address(), amount.BTT)
	if err != nil {
		t.Fatal(err)
	}
	raw := string(payment(t, m, coin, "1", amount.BTT).Encode())
	for _, c := range []struct {
		path, body string
		quota      *Quota[netip.Prefix]
	}{{pathSubmit, raw, h.gates.waiting}, {pathWatch, "{}", h.gates.watch}} {
		ctx, stop := context.WithCancel(t.Context())
		call := func(remote string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(ctx, "POST", "http://ledger"+c.path, strings.NewReader(c.body))
			r.RemoteAddr = remote
			w := httptest.NewRecorder()
			h.routes().ServeHTTP(w, r)
			return w
		}
		var wg sync.WaitGroup
		enter := func(remote string) {
			wg.Go(func() {
				if w := call(remote); w.Code != 200 {
					t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
				}
			})
			<-slow.entered
		}
		refused := func(remote string) {
			t.Helper()
			if w := call(remote); w.Code != http.StatusTooManyRequests {
				t.Errorf("%s from %s: %d, want a refusal", c.path, remote, w.Code)
			}
		}
		enter(hostA)
		refused(hostA) // one each
		enter(hostB)
		refused(local) // two in all
		if c.path == pathSubmit {
			slow.wait <- struct{}{}
			slow.wait <- struct{}{}
		}
		stop()
		wg.Wait()
		if c.quota.total != 0 || len(c.quota.held) != 0 {
			t.Errorf("%s: %d places are still taken", c.path, c.quota.total)
		}
	}
}

// fountain sends events without end.
type fountain struct{ ledger.Client }

func (f fountain) Watch(ctx context.Context, _ ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	events := make(chan ledger.Event)
	go func() { // ends with ctx
		defer close(events)
		for {
			from++
			select {
			case events <- ledger.Event{Cursor: from, Kind: ledger.EventCommitted, TxID: ledger.TxID{1}, Addresses: make([]ledger.Address, 100)}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

// TestSlowWatcherIsCut lets a client stop reading: its stream ends, and with its
// cursor it misses nothing.
func TestSlowWatcherIsCut(t *testing.T) {
	m := fountain{ledgertest.New()}
	limits := DefaultLimits
	limits.WriteTimeout = 50 * time.Millisecond
	ended := make(chan struct{}, 8)
	inner := LimitedHandler(m, limits, time.Now)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if r.URL.Path == pathWatch {
			ended <- struct{}{}
		}
	}))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("POST " + pathWatch + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReaderSize(conn, 16)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	<-ended                                                                   // the buffers between the two are full
	patient := httptest.NewServer(LimitedHandler(m, DefaultLimits, time.Now)) // a pause of this machine is not the subject
	t.Cleanup(patient.Close)
	c, err := Dial(patient.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	events, err := c.Watch(ctx, ledger.Filter{}, 500)
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(501); want < 520; want++ {
		if e := <-events; e.Cursor != want {
			t.Fatalf("event %d, want %d", e.Cursor, want)
		}
	}
}
