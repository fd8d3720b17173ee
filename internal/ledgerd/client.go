package ledgerd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
)

// Client returns the ledger as its users see it, in process. It stays valid until
// Close; later calls return ErrClosed.
func (s *Server) Client() ledger.Client { return local{s} }

// late names the reason for which the database is closed.
func (s *Server) late(err error) error {
	if errors.Is(err, ledgerdb.ErrClosed) {
		return s.ended()
	}
	return err
}

// head returns the status as of the newest durable block.
func (s *Server) head() ledger.Status {
	h := s.db.Position().Head
	return ledger.Status{
		Network: s.network, Height: h.Height, LedgerTime: h.LedgerTime, Params: s.params,
		Totals: h.Totals, AppHash: h.AppHash(), Cursor: h.Cursor,
	}
}

// Beat asks for a block now, even an empty one, and waits until it is durable.
// Tests and tools use it to carry the ledger time on.
func (s *Server) Beat(ctx context.Context) error {
	_, err := s.submit(ctx, &request{})
	return err
}

// local is the in-process client.
type local struct{ s *Server }

func (l local) Status(ctx context.Context) (ledger.Status, error) {
	if ctx.Err() != nil {
		return ledger.Status{}, context.Cause(ctx)
	}
	if err := l.s.failure(); err != nil {
		return ledger.Status{}, err
	}
	return l.s.head(), nil
}

func (l local) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	if ctx.Err() != nil {
		return ledger.Receipt{}, context.Cause(ctx)
	}
	tx, err := ledger.DecodeTx(raw)
	if err != nil {
		return ledger.Receipt{}, err
	}
	id := tx.ID(l.s.network)
	if receipt, ok, err := l.s.db.Receipt(id); ok || err != nil {
		return receipt, l.s.late(err)
	}
	if rej := ledger.CheckShape(tx, &l.s.params); rej != nil {
		return ledger.Receipt{}, rej
	}
	return l.s.submit(ctx, &request{raw: slices.Clone(raw), tx: tx, id: id})
}

func (l local) Transaction(ctx context.Context, id ledger.TxID) (ledger.Record, error) {
	if ctx.Err() != nil {
		return ledger.Record{}, context.Cause(ctx)
	}
	r, ok, err := l.s.db.Row(id)
	if err != nil {
		return ledger.Record{}, l.s.late(err)
	}
	if !ok {
		return ledger.Record{}, ledger.ErrNotFound
	}
	raw := make([]byte, r.Size)
	if _, err := l.s.log.ReadAt(raw, r.Offset); err != nil {
		return ledger.Record{}, fmt.Errorf("read transaction %s: %w", id, err)
	}
	return ledger.Record{Receipt: r.Receipt(id), Raw: raw, LedgerTime: r.LedgerTime}, nil
}

func (l local) Outpoint(ctx context.Context, o ledger.OutPoint) (ledger.OutpointState, error) {
	if ctx.Err() != nil {
		return ledger.OutpointState{}, context.Cause(ctx)
	}
	state, err := l.s.db.Outpoint(o)
	if state.Status == ledger.OutpointUnspent {
		state.Coin.NotBefore = l.s.releases[o]
	}
	return state, l.s.late(err)
}

func (l local) Unspent(ctx context.Context, a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	coins, err := l.s.db.Unspent(a, after, limit)
	for i := range coins {
		coins[i].NotBefore = l.s.releases[coins[i].OutPoint]
	}
	return coins, l.s.late(err)
}

func (l local) Watch(ctx context.Context, f ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	return l.s.watch(ctx, f, from)
}
