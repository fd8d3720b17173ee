package ledgerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerhttp"
	"github.com/bttnet/btt/ledger"
)

// key returns test key n.
func key(n byte) *ledger.PrivateKey {
	k, err := ledger.NewPrivateKey([32]byte{31: n, 0: 1})
	if err != nil {
		panic(err)
	}
	return k
}

// clock is a test clock that moves when told.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func devGenesis(t testing.TB, n byte) ledger.Genesis {
	t.Helper()
	var addresses []ledger.Address
	for i := range n {
		addresses = append(addresses, key(i+1).Address())
	}
	g, err := DevGenesis(addresses...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func testConfig(t testing.TB, dir string, c *clock) Config {
	return Config{Dir: dir, Genesis: devGenesis(t, 4), OperatorKey: key(200), Now: c.Now, Heartbeat: -1}
}

func openServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// coinOf returns the first coin of at least sum.
func coinOf(t testing.TB, c ledger.Client, a ledger.Address, sum amount.Amount) ledger.Coin {
	t.Helper()
	coins, err := c.Unspent(t.Context(), a, ledger.OutPoint{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, coin := range coins {
		if coin.Amount >= sum {
			return coin
		}
	}
	t.Fatalf("%s has no coin of %s", a, sum)
	return ledger.Coin{}
}

// transfer signs a payment of sum out of coin, with change back to the key.
func transfer(net ledger.Network, k *ledger.PrivateKey, coin ledger.Coin, to ledger.Lock, sum amount.Amount) *ledger.Tx {
	tx := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{coin.OutPoint}, Outputs: []ledger.Output{{Amount: sum, Lock: to}}}
	if coin.Amount > sum {
		tx.Outputs = append(tx.Outputs, ledger.Output{Amount: coin.Amount - sum, Lock: ledger.PayTo(k.Address())})
	}
	sign(net, tx, coin.Lock, k)
	return tx
}

// sign sets the one witness of tx.
func sign(net ledger.Network, tx *ledger.Tx, lock ledger.Lock, keys ...*ledger.PrivateKey) {
	var w ledger.Witness
	for _, k := range keys {
		sig, err := k.Sign(tx.Digest(net, lock))
		if err != nil {
			panic(err)
		}
		if lock.Kind == ledger.AddressLock {
			w.Keys = append(w.Keys, k.PublicKey())
		}
		w.Signatures = append(w.Signatures, sig)
	}
	tx.Witnesses = []ledger.Witness{w}
}

func mustSubmit(t testing.TB, c ledger.Client, tx *ledger.Tx) ledger.Receipt {
	t.Helper()
	r, err := c.Submit(t.Context(), tx.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// clients calls f with a client of each transport to a fresh server.
func clients(t *testing.T, f func(t *testing.T, s *Server, c ledger.Client, clk *clock)) {
	for _, transport := range []string{"in process", "http", "https", "unix socket"} {
		t.Run(transport, func(t *testing.T) {
			clk := newClock()
			dir := t.TempDir()
			s := openServer(t, testConfig(t, dir, clk))
			f(t, s, connect(t, s, transport, dir), clk)
		})
	}
}

// serve serves s until the test ends and returns the address.
func serve(t *testing.T, s *Server, secure *tls.Config, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ledgerhttp.Serve(ctx, l, ledgerhttp.Handler(s.Client()), secure) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func connect(t *testing.T, s *Server, transport, dir string) ledger.Client {
	t.Helper()
	var address string
	switch transport {
	case "in process":
		return s.Client()
	case "http":
		address = "http://" + serve(t, s, nil, "tcp", "127.0.0.1:0")
	case "https":
		// The certificate of package httptest is good for this address.
		server := httptest.NewUnstartedServer(nil)
		server.StartTLS()
		server.Close()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		c, err := ledgerhttp.DialTLS("https://"+serve(t, s, server.TLS, "tcp", "127.0.0.1:0"), roots)
		if err != nil {
			t.Fatal(err)
		}
		return c
	case "unix socket":
		address = "unix:" + serve(t, s, nil, "unix", filepath.Join(dir, "socket"))
	}
	c, err := ledgerhttp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
