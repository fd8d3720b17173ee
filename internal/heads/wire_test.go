package heads

import (
	"context"
	"sync"
	"testing"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// wire is a connection to a ledger that a test bends.
type wire struct {
	*ledgertest.Memory
	mu    sync.Mutex
	bend  func(*books.Proof, error) error // proofs and heads (as proofs without content)
	asked int
}

func (w *wire) set(bend func(*books.Proof, error) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bend = bend
}

func (w *wire) Proof(ctx context.Context, id ledger.TxID, from uint64) (books.Proof, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	p, err := w.Memory.Proof(ctx, id, from)
	if w.bend != nil {
		err = w.bend(&p, err)
	}
	return p, err
}

func (w *wire) Head(ctx context.Context, from uint64) (books.Extension, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, err := w.Memory.Head(ctx, from)
	p := books.Proof{Extension: x}
	if w.bend != nil {
		err = w.bend(&p, err)
	}
	return p.Extension, err
}

// reports gathers what a client reports.
type reports struct {
	mu   sync.Mutex
	list []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, err)
}

func (r *reports) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func open(t *testing.T, dir string, c ledger.Client) (*Client, *reports) {
	t.Helper()
	r := &reports{}
	client, err := Open(t.Context(), Config{Dir: dir, Ledger: c, Report: r.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() }) //nolint:errcheck // the test looks where it matters
	return client, r
}
