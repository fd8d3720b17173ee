package ledgerd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bttnet/btt/ledger"
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
// fails, which is safe because Submit is idempotent; a Watch connects again and
// goes on after the last event until its context ends.
func Dial(address string) (ledger.Client, error) {
	transport := &http.Transport{
		MaxIdleConns: dialIdle, MaxIdleConnsPerHost: dialIdle, IdleConnTimeout: time.Minute,
		ResponseHeaderTimeout: answerTimeout, DisableCompression: true,
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

// remote is a ledger.Client over HTTP; safe for concurrent use.
type remote struct {
	base string
	http *http.Client
}

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

// call makes one request, again if the connection fails, and reads the answer.
func (r *remote) call(ctx context.Context, method, path string, body []byte, into any) error {
	backoff := dialBackoff
	for attempt := 1; ; attempt++ {
		answer, err := r.send(ctx, method, path, body)
		if err == nil {
			defer answer.Body.Close()
			return readAnswer(answer, into)
		}
		if ctx.Err() != nil || attempt == dialAttempts {
			return err
		}
		if err := pause(ctx, backoff); err != nil {
			return err
		}
		backoff = min(2*backoff, dialBackoffMax)
	}
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
		return ErrCursorGone
	case codeBadQuery, codeFailed:
		return &p
	}
	return &ledger.Rejection{Code: p.Code, Reason: p.Detail, By: p.By}
}

// Watch connects before it returns, so that a bad filter or cursor is an error.
// Its goroutine ends, and the channel is closed, when ctx ends.
func (r *remote) Watch(ctx context.Context, f ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("watch ledger: %w", err)
	}
	stream, err := r.openWatch(ctx, body, from)
	if err != nil {
		return nil, fmt.Errorf("watch ledger: %w", err)
	}
	out := make(chan ledger.Event)
	go func() {
		defer close(out)
		backoff := dialBackoff
		for {
			last := copyEvents(ctx, stream, out, from)
			if last > from {
				from, backoff = last, dialBackoff
			}
			for {
				if pause(ctx, backoff) != nil {
					return
				}
				backoff = min(2*backoff, dialBackoffMax)
				var err error
				if stream, err = r.openWatch(ctx, body, from); err == nil {
					break
				}
				if errors.Is(err, ErrCursorGone) {
					return
				}
			}
		}
	}()
	return out, nil
}

func (r *remote) openWatch(ctx context.Context, filter []byte, from uint64) (io.ReadCloser, error) {
	answer, err := r.send(ctx, http.MethodPost, pathWatch+"?from="+strconv.FormatUint(from, 10), filter)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	return nil, readAnswer(answer, nil)
}

// copyEvents passes events on until the stream or ctx ends and returns the last
// cursor delivered. Events at or below from were delivered before.
func copyEvents(ctx context.Context, stream io.ReadCloser, out chan<- ledger.Event, from uint64) uint64 {
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 4096), maxEventBytes)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e ledger.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			break // cut off in the middle of a line
		}
		if e.Cursor <= from {
			continue
		}
		select {
		case out <- e:
			from = e.Cursor
		case <-ctx.Done():
			return from
		}
	}
	return from
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
