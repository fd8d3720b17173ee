package ledgerhttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// Limits of the HTTP client.
const (
	dialAttempts   = 4 // for a request that found no server or lost it
	dialBackoff    = 50 * time.Millisecond
	dialBackoffMax = 5 * time.Second
	dialIdle       = 64               // connections kept for reuse
	answerTimeout  = 30 * time.Second // until the first byte of an answer
	maxEventBytes  = 1 << 20          // of one line in a stream
)

// Dial returns a client of the ledger at "http://host:port", "https://host:port"
// or "unix:/path/to/socket". It does not connect yet: a ledger that is down shows
// at the first call. Requests are repeated a few times when the connection
// fails or the server is busy, which is safe because Submit is idempotent; a Watch
// connects again and goes on after the last event until its context ends. The
// client is a books.Source too.
func Dial(address string) (ledger.Client, error) { return DialTLS(address, nil) }

// DialTLS is Dial with the certificate authorities to trust for https; nil means
// those of the system.
func DialTLS(address string, roots *x509.CertPool) (ledger.Client, error) {
	transport := &http.Transport{
		MaxIdleConns: dialIdle, MaxIdleConnsPerHost: dialIdle, IdleConnTimeout: time.Minute,
		ResponseHeaderTimeout: answerTimeout, DisableCompression: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		var d net.Dialer
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
		return &remote{base: "http://ledger", http: &http.Client{Transport: transport}}, nil
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("dial ledger %q: write http://host:port, https://host:port or unix:/path", address)
	}
	return &remote{base: strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), http: &http.Client{Transport: transport}}, nil
}

// remote is a ledger.Client and books.Source over HTTP; safe for concurrent use.
type remote struct {
	base string
	http *http.Client
}

var (
	_ ledger.Client = (*remote)(nil)
	_ books.Source  = (*remote)(nil)
)

func (r *remote) Status(ctx context.Context) (ledger.Status, error) {
	var a statusAnswer
	if err := r.call(ctx, http.MethodGet, pathStatus, nil, &a); err != nil {
		return ledger.Status{}, fmt.Errorf("ask ledger status: %w", err)
	}
	s, err := a.status()
	if err != nil {
		return ledger.Status{}, fmt.Errorf("ask ledger status: %w", err)
	}
	return s, nil
}

func (r *remote) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	var receipt ledger.Receipt
	if err := r.call(ctx, http.MethodPost, pathSubmit, raw, &receipt); err != nil {
		return ledger.Receipt{}, fmt.Errorf("submit transaction: %w", err)
	}
	return receipt, nil
}

func (r *remote) Transaction(ctx context.Context, id ledger.TxID) (ledger.Record, error) {
	var record ledger.Record
	if err := r.call(ctx, http.MethodGet, pathSubmit+"/"+id.String(), nil, &record); err != nil {
		return ledger.Record{}, fmt.Errorf("get transaction: %w", err)
	}
	return record, nil
}

func (r *remote) Outpoint(ctx context.Context, o ledger.OutPoint) (ledger.OutpointState, error) {
	var state ledger.OutpointState
	if err := r.call(ctx, http.MethodGet, pathOutput+o.String(), nil, &state); err != nil {
		return ledger.OutpointState{}, fmt.Errorf("get output: %w", err)
	}
	return state, nil
}

func (r *remote) Unspent(ctx context.Context, a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if !after.IsZero() {
		q.Set("after", after.String())
	}
	var coins []ledger.Coin
	if err := r.call(ctx, http.MethodGet, pathUnspent+a.String()+"/unspent?"+q.Encode(), nil, &coins); err != nil {
		return nil, fmt.Errorf("list coins: %w", err)
	}
	return coins, nil
}

// Head implements books.Source.
func (r *remote) Head(ctx context.Context, from uint64) (books.Extension, error) {
	var x books.Extension
	if err := r.call(ctx, http.MethodGet, pathHead+"?from="+strconv.FormatUint(from, 10), nil, &x); err != nil {
		return books.Extension{}, fmt.Errorf("get tree head: %w", err)
	}
	return x, nil
}

// Proof implements books.Source.
func (r *remote) Proof(ctx context.Context, id ledger.TxID, from uint64) (books.Proof, error) {
	var p books.Proof
	path := pathSubmit + "/" + id.String() + pathProof + "?from=" + strconv.FormatUint(from, 10)
	if err := r.call(ctx, http.MethodGet, path, nil, &p); err != nil {
		return books.Proof{}, fmt.Errorf("get proof of transaction: %w", err)
	}
	return p, nil
}

// call makes one request, again if the connection fails or the server asks for
// patience, and reads the answer.
func (r *remote) call(ctx context.Context, method, path string, body []byte, into any) error {
	backoff := dialBackoff
	for attempt := 1; ; attempt++ {
		answer, err := r.send(ctx, method, path, body)
		wait := backoff
		if err == nil {
			if wait = patience(answer); wait == 0 || attempt == dialAttempts {
				defer answer.Body.Close()
				return readAnswer(answer, into)
			}
			answer.Body.Close()
		}
		if ctx.Err() != nil || attempt == dialAttempts {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		backoff = min(2*backoff, dialBackoffMax)
	}
}

// patience returns how long a server that is busy asks to wait; 0 for an answer
// that is final.
func patience(answer *http.Response) time.Duration {
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, dialBackoffMax)
}

func (r *remote) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	return r.http.Do(request)
}

func readAnswer(answer *http.Response, into any) error {
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if len(data) > maxAnswerBytes {
		return fmt.Errorf("read answer: longer than %d bytes", maxAnswerBytes)
	}
	if answer.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, into); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return nil
	}
	return answerError(answer, data)
}

// answerError turns a problem document back into the error of the ledger.
func answerError(answer *http.Response, data []byte) error {
	var p problem
	if err := json.Unmarshal(data, &p); err != nil || p.Code == "" {
		return fmt.Errorf("the server answers %q; check that the address is a ledger's", answer.Status)
	}
	switch p.Code {
	case codeNotFound:
		return ledger.ErrNotFound
	case codeGone:
		return ledger.ErrCursorGone
	case codeNoProofs:
		return books.ErrNoProofs
	case codeBadQuery, codeFailed:
		return &p
	}
	return &ledger.Rejection{Code: p.Code, Reason: p.Detail, By: p.By}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
