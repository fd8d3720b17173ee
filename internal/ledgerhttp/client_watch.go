package ledgerhttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/bttnet/btt/ledger"
)

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
				if errors.Is(err, ledger.ErrCursorGone) {
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
