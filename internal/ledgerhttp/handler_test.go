package ledgerhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// payment spends a coin of a test key whole.
func payment(t testing.TB, c ledger.Client, coin ledger.Coin, from string, sum amount.Amount) *ledger.Tx {
	t.Helper()
	status, err := c.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tx := ledger.NewTransfer([]ledger.OutPoint{coin.OutPoint}, []ledger.Output{{Amount: sum, Lock: ledger.PayTo(ledgertest.Key("2").Address())}})
	if err := ledger.Sign(tx, status.Network, coin.Lock, ledgertest.Key(from)); err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestProblems(t *testing.T) {
	server := httptest.NewServer(Handler(ledgertest.New()))
	t.Cleanup(server.Close)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               ledger.Code
	}{
		{"POST", pathSubmit, "nonsense", 422, ledger.CodeMalformed},
		{"POST", pathSubmit, strings.Repeat("x", ledger.MaxTxBytes+1), 413, ledger.CodeOversized},
		{"GET", pathSubmit + "/zz", "", 400, codeBadQuery},
		{"GET", pathSubmit + "/" + strings.Repeat("0", 64), "", 404, codeNotFound},
		{"GET", pathSubmit + "/zz/proof", "", 400, codeBadQuery},
		{"GET", pathSubmit + "/" + strings.Repeat("0", 64) + "/proof", "", 404, codeNotFound},
		{"GET", pathSubmit + "/" + strings.Repeat("0", 64) + "/proof?from=x", "", 400, codeBadQuery},
		{"GET", pathHead + "?from=-1", "", 400, codeBadQuery},
		{"GET", pathOutput + "zz", "", 400, codeBadQuery},
		{"GET", pathUnspent + "T1/unspent", "", 400, codeBadQuery},
		{"GET", pathUnspent + ledgertest.Key("1").Address().String() + "/unspent?after=x", "", 400, codeBadQuery},
		{"GET", pathUnspent + ledgertest.Key("1").Address().String() + "/unspent?limit=x", "", 400, codeBadQuery},
		{"POST", pathWatch, `{"addresses":["x"]}`, 400, codeBadQuery},
		{"POST", pathWatch, `{"secrets":[]}`, 400, codeBadQuery},
		{"POST", pathWatch, `{"txids":["` + strings.Repeat("0", MaxFilterBytes) + `"]}`, 400, codeBadQuery},
		{"POST", pathWatch + "?from=-1", `{}`, 400, codeBadQuery},
	} {
		request, err := http.NewRequest(tc.method, server.URL+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var p problem
		err = json.NewDecoder(answer.Body).Decode(&p)
		answer.Body.Close()
		if err != nil || answer.StatusCode != tc.status || p.Code != tc.code || p.Detail == "" || p.Status != tc.status ||
			answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %.60s: %d %+v, %v, want %d %s", tc.method, tc.path, answer.StatusCode, p, err, tc.status, tc.code)
		}
	}
}

func TestDialRefusesBadAddresses(t *testing.T) {
	for _, address := range []string{"", "unix:", "localhost:80", "ftp://x", "http://", "://"} {
		if _, err := Dial(address); err == nil {
			t.Errorf("%q accepted", address)
		}
	}
	c, err := Dial("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("no server, no error")
	}
}

// TestDialMeetsAnotherService gives clear errors for answers no ledger sends.
func TestDialMeetsAnotherService(t *testing.T) {
	for _, body := range []string{"<html>", `{"app_hash":"zz"}`, `{"totals":{"minted":-1},"app_hash":"` + strings.Repeat("0", 64) + `"}`, strings.Repeat(" ", maxAnswerBytes+1)} {
		for _, status := range []int{200, 502} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				io.WriteString(w, body) //nolint:errcheck // the client's error is what counts
			}))
			c, err := Dial(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Status(t.Context()); err == nil {
				t.Errorf("answer %.20q with %d: no error", body, status)
			}
			server.Close()
		}
	}
}

// TestWatchReconnects cuts the stream again and again; no event is missed or
// comes twice.
func TestWatchReconnects(t *testing.T) {
	m := ledgertest.New()
	inner := Handler(m)
	var streams atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == pathWatch {
			streams.Add(1)
			w = &cutWriter{ResponseWriter: w, left: 900}
			defer func() {
				if recover() != nil {
					panic(http.ErrAbortHandler)
				}
			}()
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, err := m.Fund(ledgertest.Key("1").Address(), amount.BTT); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	events, err := c.Watch(ctx, ledger.Filter{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); want <= 12; want++ {
		if e := <-events; e.Cursor != want {
			t.Fatalf("event %d, want %d", e.Cursor, want)
		}
	}
	if streams.Load() < 3 {
		t.Errorf("only %d streams: nothing was cut", streams.Load())
	}
}

// cutWriter ends the connection after some bytes, in the middle of a line.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left]) //nolint:errcheck // the connection ends anyway
		http.NewResponseController(c.ResponseWriter).Flush()
		panic(errors.New("cut"))
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func FuzzHTTP(f *testing.F) {
	f.Add("POST", pathSubmit, []byte("nonsense"))
	f.Add("POST", pathWatch+"?from=1", []byte(`{"addresses":["TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"]}`))
	f.Add("GET", pathUnspent+"TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH/unspent?limit=3", []byte{})
	m := ledgertest.New()
	coin, err := m.Fund(ledgertest.Key("1").Address(), amount.BTT)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("POST", pathSubmit, payment(f, m, coin, "1", amount.BTT).Encode())
	f.Add("GET", pathSubmit+"/"+coin.OutPoint.TxID.String()+"/proof?from=1", []byte{})
	f.Add("GET", pathHead+"?from=1", []byte{})
	h := Handler(m)
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		ctx, stop := context.WithCancel(t.Context())
		stop() // a watch ends at once
		request, err := http.NewRequestWithContext(ctx, method, "http://ledger/", bytes.NewReader(body))
		if err != nil {
			return
		}
		if u, err := request.URL.Parse(path); err == nil {
			request.URL = u
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request)
		if w.Code >= 400 && w.Header().Get("Content-Type") == "application/problem+json" {
			var p problem
			if json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Code == "" {
				t.Fatalf("not a problem document: %q", w.Body)
			}
		}
	})
}
