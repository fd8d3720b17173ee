package ledgerhttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/bttnet/btt/ledger"
)

// Codes of problems that are no refusal of a transaction.
const (
	codeNotFound ledger.Code = "not-found"
	codeBadQuery ledger.Code = "bad-request"
	codeGone     ledger.Code = "cursor-gone"
	codeNoProofs ledger.Code = "no-proofs"
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

// Error names the code and the cause.
func (p *problem) Error() string { return string(p.Code) + ": " + p.Detail }

func badRequest(detail string) *problem {
	return &problem{Title: "The request cannot be read", Status: http.StatusBadRequest, Code: codeBadQuery, Detail: detail}
}

// statusOf gives refusals their HTTP status; all others are 422.
var statusOf = map[ledger.Code]int{
	ledger.CodeBusy: http.StatusServiceUnavailable, ledger.CodeConflict: http.StatusConflict, ledger.CodeOversized: http.StatusRequestEntityTooLarge,
}

// problemOf turns an error of a ledger into a document.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*ledger.Rejection](err); ok {
		p := &problem{Title: "The transaction is refused", Status: http.StatusUnprocessableEntity, Code: r.Code, Detail: r.Reason, By: r.By}
		if status, ok := statusOf[r.Code]; ok {
			p.Status = status
		}
		return p
	}
	if _, ok := errors.AsType[*limited](err); ok {
		return &problem{Title: "Not so fast", Status: http.StatusTooManyRequests, Code: ledger.CodeBusy, Detail: err.Error()}
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return &problem{Title: "Not found", Status: http.StatusNotFound, Code: codeNotFound, Detail: err.Error()}
	case errors.Is(err, ledger.ErrCursorGone):
		return &problem{Title: "Events are gone", Status: http.StatusGone, Code: codeGone, Detail: err.Error()}
	case errors.Is(err, ledger.ErrFilter):
		return badRequest(err.Error())
	}
	return &problem{Title: "The ledger failed", Status: http.StatusInternalServerError, Code: codeFailed, Detail: err.Error()}
}

func writeProblem(w http.ResponseWriter, err error) {
	p := problemOf(err)
	w.Header().Set("Content-Type", "application/problem+json")
	if l, ok := errors.AsType[*limited](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(l.seconds()))
	}
	w.WriteHeader(p.Status)
	// A failed write means that the client is gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(p)
}
