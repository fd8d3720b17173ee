package ledgerhttp

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/bttnet/btt/ledger"
)

// watch streams events until the client goes away or reads nothing for too long.
// Its only goroutine is the request's own; the ledger's channel ends with the
// request's context.
func (h *handler) watch(w http.ResponseWriter, r *http.Request) {
	client := clientOf(r)
	events, stop, err := h.openWatch(client, w, r)
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer h.gates.watch.Release(client)
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	out := bufio.NewWriter(w)
	beat := time.NewTicker(watchHeartbeat)
	defer beat.Stop()
	for err == nil {
		if out.Flush() != nil || control.Flush() != nil {
			return
		}
		h.allow(control, 0)
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			h.allow(control, h.writeTimeout)
			err = writeEvents(out, e, events)
		case <-beat.C:
			h.allow(control, h.writeTimeout)
			err = out.WriteByte('\n')
		}
	}
}

// allow gives the client its time to read what is written next; 0 ends it. A
// deadline that passes while nothing is written would end an HTTP/2 stream.
func (h *handler) allow(control *http.ResponseController, d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	_ = control.SetWriteDeadline(until) // only a recorder of a test has none
}

// openWatch reads the request, takes a place, and asks the ledger.
func (h *handler) openWatch(client netip.Prefix, w http.ResponseWriter, r *http.Request) (<-chan ledger.Event, context.CancelFunc, error) {
	if err := h.gates.read(client, watchCost); err != nil {
		return nil, nil, err
	}
	var filter ledger.Filter
	receive(w, true)
	defer receive(w, false)
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxFilterBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&filter); err != nil && err != io.EOF {
		return nil, nil, badRequest("filter: " + err.Error())
	}
	from, err := fromOf(r)
	if err != nil {
		return nil, nil, err
	}
	if !h.gates.watch.Take(client) {
		return nil, nil, &limited{"too many watch streams are open", retryWaiting}
	}
	ctx, stop := context.WithCancel(r.Context())
	stop = endWithServer(ctx, stop)
	events, err := h.ledger.Watch(ctx, filter, from)
	if err != nil {
		stop()
		h.gates.watch.Release(client)
		return nil, nil, err
	}
	return events, stop, nil
}

// writeEvents writes e and what waits behind it, so that a busy stream is
// flushed once for many events.
func writeEvents(out *bufio.Writer, e ledger.Event, more <-chan ledger.Event) error {
	encoder := json.NewEncoder(out)
	for range watchFlushLines {
		if err := encoder.Encode(e); err != nil {
			return err
		}
		select {
		case next, ok := <-more:
			if !ok {
				return io.EOF
			}
			e = next
		default:
			return nil
		}
	}
	return encoder.Encode(e)
}
