// Package ledgerhttp is the ledger's interface over HTTP, for TCP, TLS and unix
// sockets: Handler and Serve for the operator, Dial for everyone else (R3.7,
// R3.13; limits against R3.8's strangers; heads and proofs for A31).
//
// Handler serves any ledger.Client; when that is a books.Source too, it serves
// signed heads and proofs. What one client may ask in a second, how many may wait
// and how many may watch is bounded by Limits. Dial's client repeats what a lost
// connection or a busy server may have swallowed, which is safe since Submit is
// idempotent, and resumes a Watch after its last event.
//
// The server's goroutines are those of net/http; Serve ends them with its
// context. A client's Watch has one goroutine that ends with its context.
// cmd/btt calls both sides; docs/beps/ledger.rst describes the interface.
package ledgerhttp
