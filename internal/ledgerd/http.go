package ledgerd

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// The HTTP interface, version 1. Transactions travel as raw bytes, all else as
// JSON; an error is a problem document (RFC 9457) with a stable code.
//
//	GET  /v1/status
//	POST /v1/transactions                      raw transaction -> receipt
//	GET  /v1/transactions/{id}                 record
//	GET  /v1/outpoints/{outpoint}              what became of an output
//	GET  /v1/addresses/{address}/unspent       ?after=outpoint&limit=n -> coins
//	POST /v1/watch                             ?from=cursor, filter -> events, one a line
//
// An empty line in the stream of events means only that the server is alive.
const (
	pathStatus  = "/v1/status"
	pathSubmit  = "/v1/transactions"
	pathUnspent = "/v1/addresses/"
	pathOutput  = "/v1/outpoints/"
	pathWatch   = "/v1/watch"
)

// Limits of the HTTP interface.
const (
	MaxFilterBytes  = 1 << 20          // of a watch request
	maxAnswerBytes  = 8 << 20          // that the client reads
	watchHeartbeat  = 15 * time.Second // between lines of a quiet stream
	watchFlushLines = 256              // events written before a forced flush
)

// Codes of problems that are no refusal of a transaction.
const (
	codeNotFound ledger.Code = "not-found"
	codeBadQuery ledger.Code = "bad-request"
	codeGone     ledger.Code = "cursor-gone"
	codeFailed   ledger.Code = "internal"
)

// problem is an error document (RFC 9457). Code is stable, Detail is for people.
type problem struct {
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Code   ledger.Code `json:"code"`
	Detail string      `json:"detail"`
	By     ledger.TxID `json:"by,omitzero"`
}

// statusAnswer is ledger.Status with the application hash, and with totals as
// integers of µBTT: over the years more may be minted in all than the supply,
// which the text form of an amount cannot say.
type statusAnswer struct {
	ledger.Status
	Totals  totalsAnswer `json:"totals"`
	AppHash string       `json:"app_hash"`
}

type totalsAnswer struct {
	Minted  int64 `json:"minted"`
	Burned  int64 `json:"burned"`
	Unspent int64 `json:"unspent"`
}

func newStatusAnswer(s ledger.Status) statusAnswer {
	t := s.Totals
	return statusAnswer{Status: s, AppHash: hex.EncodeToString(s.AppHash[:]), Totals: totalsAnswer{int64(t.Minted), int64(t.Burned), int64(t.Unspent)}}
}

// status checks what a server sent.
func (a *statusAnswer) status() (ledger.Status, error) {
	s := a.Status
	if n, err := hex.Decode(s.AppHash[:], []byte(a.AppHash)); len(a.AppHash) != 64 || err != nil || n != 32 {
		return ledger.Status{}, errors.New("the answer holds a bad hash")
	}
	if t := a.Totals; t.Minted < 0 || t.Burned < 0 || t.Unspent < 0 {
		return ledger.Status{}, errors.New("the answer holds a negative sum")
	}
	s.Totals = ledger.Totals{Minted: amount.Amount(a.Totals.Minted), Burned: amount.Amount(a.Totals.Burned), Unspent: amount.Amount(a.Totals.Unspent)}
	return s, nil
}

// Handler serves a ledger over HTTP; c is usually Server.Client. It starts no
// goroutine beyond those of net/http and keeps no state.
func Handler(c ledger.Client) http.Handler {
	h := &handler{ledger: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, h.status)
	mux.HandleFunc("POST "+pathSubmit, h.submit)
	mux.HandleFunc("GET "+pathSubmit+"/{id}", h.transaction)
	mux.HandleFunc("GET "+pathOutput+"{outpoint}", h.outpoint)
	mux.HandleFunc("GET "+pathUnspent+"{address}/unspent", h.unspent)
	mux.HandleFunc("POST "+pathWatch, h.watch)
	return mux
}

type handler struct{ ledger ledger.Client }

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	s, err := h.ledger.Status(r.Context())
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, newStatusAnswer(s))
}

func (h *handler) submit(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ledger.MaxTxBytes))
	if err != nil {
		if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
			writeProblem(w, &ledger.Rejection{Code: ledger.CodeOversized, Reason: "the transaction is longer than " + strconv.Itoa(ledger.MaxTxBytes) + " bytes"})
			return
		}
		writeProblem(w, badRequest("read transaction: "+err.Error()))
		return
	}
	receipt, err := h.ledger.Submit(r.Context(), raw)
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, receipt)
}

func (h *handler) transaction(w http.ResponseWriter, r *http.Request) {
	id, err := ledger.ParseTxID(r.PathValue("id"))
	if err != nil {
		writeProblem(w, badRequest(err.Error()))
		return
	}
	record, err := h.ledger.Transaction(r.Context(), id)
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, record)
}

func (h *handler) outpoint(w http.ResponseWriter, r *http.Request) {
	o, err := ledger.ParseOutPoint(r.PathValue("outpoint"))
	if err != nil {
		writeProblem(w, badRequest(err.Error()))
		return
	}
	state, err := h.ledger.Outpoint(r.Context(), o)
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, state)
}

func (h *handler) unspent(w http.ResponseWriter, r *http.Request) {
	a, err := ledger.ParseAddress(r.PathValue("address"))
	if err != nil {
		writeProblem(w, badRequest(err.Error()))
		return
	}
	var after ledger.OutPoint
	if text := r.FormValue("after"); text != "" {
		if after, err = ledger.ParseOutPoint(text); err != nil {
			writeProblem(w, badRequest(err.Error()))
			return
		}
	}
	limit := 0
	if text := r.FormValue("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil {
			writeProblem(w, badRequest("limit: write a number"))
			return
		}
	}
	coins, err := h.ledger.Unspent(r.Context(), a, after, limit)
	if err != nil {
		writeProblem(w, err)
		return
	}
	if coins == nil {
		coins = []ledger.Coin{}
	}
	writeJSON(w, coins)
}

// watch streams events until the client goes away. Its only goroutine is the
// request's own; the ledger's channel ends with the request's context.
func (h *handler) watch(w http.ResponseWriter, r *http.Request) {
	var filter ledger.Filter
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxFilterBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&filter); err != nil && err != io.EOF {
		writeProblem(w, badRequest("filter: "+err.Error()))
		return
	}
	from := uint64(0)
	if text := r.URL.Query().Get("from"); text != "" {
		var err error
		if from, err = strconv.ParseUint(text, 10, 64); err != nil {
			writeProblem(w, badRequest("from: write a cursor"))
			return
		}
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	events, err := h.ledger.Watch(ctx, filter, from)
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriter(w)
	control := http.NewResponseController(w)
	beat := time.NewTicker(watchHeartbeat)
	defer beat.Stop()
	for err == nil {
		if out.Flush() != nil || control.Flush() != nil {
			return
		}
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			err = writeEvents(out, e, events)
		case <-beat.C:
			err = out.WriteByte('\n')
		}
	}
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

func badRequest(detail string) *problem {
	return &problem{Title: "The request cannot be read", Status: http.StatusBadRequest, Code: codeBadQuery, Detail: detail}
}

func (p *problem) Error() string { return string(p.Code) + ": " + p.Detail }

// problemOf turns an error of a ledger into a document.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*ledger.Rejection](err); ok {
		p := &problem{Title: "The transaction is refused", Status: http.StatusUnprocessableEntity, Code: r.Code, Detail: r.Reason, By: r.By}
		switch r.Code {
		case ledger.CodeBusy:
			p.Title, p.Status = "The ledger is busy", http.StatusServiceUnavailable
		case ledger.CodeConflict:
			p.Status = http.StatusConflict
		case ledger.CodeOversized:
			p.Status = http.StatusRequestEntityTooLarge
		}
		return p
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return &problem{Title: "Not found", Status: http.StatusNotFound, Code: codeNotFound, Detail: err.Error()}
	case errors.Is(err, ErrCursorGone):
		return &problem{Title: "Events are gone", Status: http.StatusGone, Code: codeGone, Detail: err.Error()}
	case errors.Is(err, ErrFilter):
		return badRequest(err.Error())
	}
	return &problem{Title: "The ledger failed", Status: http.StatusInternalServerError, Code: codeFailed, Detail: err.Error()}
}

func writeProblem(w http.ResponseWriter, err error) {
	p := problemOf(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	// A failed write means that the client is gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(p)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // as above
}
