package ledgerhttp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// The HTTP interface, version 1. Transactions travel as raw bytes, all else as
// JSON; an error is a problem document (RFC 9457) with a stable code.
//
//	GET  /v1/status
//	POST /v1/transactions                      raw transaction -> receipt, when durable
//	GET  /v1/transactions/{id}                 record
//	GET  /v1/transactions/{id}/proof           ?from=size -> proof under a signed head
//	GET  /v1/head                              ?from=size -> signed head that continues a tree
//	GET  /v1/outpoints/{outpoint}              what became of an output
//	GET  /v1/addresses/{address}/unspent       ?after=outpoint&limit=n -> coins
//	POST /v1/watch                             ?from=cursor, filter -> events, one a line
//
// An empty line in the stream of events means only that the server is alive.
const (
	pathStatus  = "/v1/status"
	pathSubmit  = "/v1/transactions"
	pathProof   = "/proof"
	pathHead    = "/v1/head"
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

// Handler serves a ledger over HTTP within DefaultLimits; c is usually
// Server.Client. It starts no goroutine beyond those of net/http.
func Handler(c ledger.Client) http.Handler { return LimitedHandler(c, DefaultLimits, time.Now) }

// LimitedHandler is Handler with limits and a clock of the caller's.
func LimitedHandler(c ledger.Client, l Limits, now func() time.Time) http.Handler {
	return newHandler(c, l, now).routes()
}

func newHandler(c ledger.Client, l Limits, now func() time.Time) *handler {
	h := &handler{ledger: c, gates: newGates(l, now), writeTimeout: l.WriteTimeout}
	h.books, _ = c.(books.Source)
	return h
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, h.reading(1, h.status))
	mux.HandleFunc("POST "+pathSubmit, h.submit)
	mux.HandleFunc("GET "+pathSubmit+"/{id}", h.reading(1, h.transaction))
	mux.HandleFunc("GET "+pathSubmit+"/{id}"+pathProof, h.reading(proofCost, h.proof))
	mux.HandleFunc("GET "+pathHead, h.reading(proofCost, h.head))
	mux.HandleFunc("GET "+pathOutput+"{outpoint}", h.reading(1, h.outpoint))
	mux.HandleFunc("GET "+pathUnspent+"{address}/unspent", h.reading(1, h.unspent))
	mux.HandleFunc("POST "+pathWatch, h.watch)
	return mux
}

type handler struct {
	ledger       ledger.Client
	books        books.Source // nil when the ledger gives no proofs
	gates        *gates
	writeTimeout time.Duration
}

// reading makes a handler of a function that returns the answer.
func (h *handler) reading(cost int, answer func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h.gates.read(clientOf(r), cost)
		var v any
		if err == nil {
			v, err = answer(r)
		}
		if err != nil {
			writeProblem(w, err)
			return
		}
		writeJSON(w, v)
	}
}

func (h *handler) status(r *http.Request) (any, error) {
	s, err := h.ledger.Status(r.Context())
	return newStatusAnswer(s), err
}

func (h *handler) submit(w http.ResponseWriter, r *http.Request) {
	receive(w, true)
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ledger.MaxTxBytes))
	receive(w, false)
	if err != nil {
		if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
			writeProblem(w, &ledger.Rejection{Code: ledger.CodeOversized, Reason: "the transaction is longer than " + strconv.Itoa(ledger.MaxTxBytes) + " bytes"})
			return
		}
		writeProblem(w, badRequest("read transaction: "+err.Error()))
		return
	}
	tx, err := ledger.DecodeTx(raw)
	if err != nil {
		writeProblem(w, err)
		return
	}
	done, err := h.gates.submit(clientOf(r), tx)
	if err != nil {
		writeProblem(w, err)
		return
	}
	receipt, err := h.ledger.Submit(r.Context(), raw)
	done(err == nil)
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, receipt)
}

func (h *handler) transaction(r *http.Request) (any, error) {
	id, err := txidOf(r)
	if err != nil {
		return nil, err
	}
	return answer(h.ledger.Transaction(r.Context(), id))
}

func (h *handler) proof(r *http.Request) (any, error) {
	id, err := txidOf(r)
	if err != nil {
		return nil, err
	}
	from, err := fromOf(r)
	if err != nil {
		return nil, err
	}
	if h.books == nil {
		return nil, noProofs()
	}
	return answer(h.books.Proof(r.Context(), id, from))
}

func (h *handler) head(r *http.Request) (any, error) {
	from, err := fromOf(r)
	if err != nil {
		return nil, err
	}
	if h.books == nil {
		return nil, noProofs()
	}
	return answer(h.books.Head(r.Context(), from))
}

func noProofs() *problem {
	return &problem{Title: "No proofs here", Status: http.StatusNotFound, Code: codeNoProofs, Detail: "this ledger signs no heads of its history"}
}

func (h *handler) outpoint(r *http.Request) (any, error) {
	o, err := ledger.ParseOutPoint(r.PathValue("outpoint"))
	if err != nil {
		return nil, badRequest(err.Error())
	}
	return answer(h.ledger.Outpoint(r.Context(), o))
}

func (h *handler) unspent(r *http.Request) (any, error) {
	a, err := ledger.ParseAddress(r.PathValue("address"))
	if err != nil {
		return nil, badRequest(err.Error())
	}
	query := r.URL.Query()
	var after ledger.OutPoint
	if text := query.Get("after"); text != "" {
		if after, err = ledger.ParseOutPoint(text); err != nil {
			return nil, badRequest(err.Error())
		}
	}
	limit := 0
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, badRequest("limit: write a number")
		}
	}
	coins, err := h.ledger.Unspent(r.Context(), a, after, limit)
	if coins == nil {
		coins = []ledger.Coin{}
	}
	return coins, err
}

func txidOf(r *http.Request) (ledger.TxID, error) {
	id, err := ledger.ParseTxID(r.PathValue("id"))
	if err != nil {
		return id, badRequest(err.Error())
	}
	return id, nil
}

// fromOf reads the parameter from, a cursor or a size; absent means 0.
func fromOf(r *http.Request) (uint64, error) {
	text := r.URL.Query().Get("from")
	if text == "" {
		return 0, nil
	}
	from, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, badRequest("from: write a number")
	}
	return from, nil
}

// answer makes a result one that any function can return.
func answer[T any](v T, err error) (any, error) { return v, err }

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// A failed write means that the client is gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(v)
}
