package ledgertest

import (
	"context"
	"errors"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// proofs follows the history from before the first block: each transaction is
// proved under a head that continues the one before.
func (s *suite) proofs() {
	source, ok := s.c.(books.Source)
	if !ok {
		s.Fatal("the client gives no proofs")
	}
	x, err := source.Head(s.ctx, 0)
	s.no(err)
	f, err := books.NewFollower(s.net, x.Operator, "")
	s.no(err)
	s.no(f.Extend(&x))
	prove := func(id ledger.TxID) ledger.Header {
		s.Helper()
		p, err := source.Proof(s.ctx, id, f.Head().Size)
		s.no(err)
		h, err := f.Include(&p, id)
		s.no(err)
		return h
	}
	ch := s.open()
	funding, err := s.c.Transaction(s.ctx, ch.coin.OutPoint.TxID)
	s.no(err)
	if h := prove(funding.TxID); h.Height != funding.Height {
		s.Errorf("proved in block %d, the record says %d", h.Height, funding.Height)
	}
	parked := s.submit(ch.refund, ledger.Parked)
	prove(parked.TxID)
	final := s.submit(s.settle(ch, 1, amount.BTT, 0), ledger.Committed)
	prove(final.TxID)
	prove(parked.TxID) // displaced, but it was there
	ch = s.open()
	matured := s.submit(ch.refund, ledger.Parked)
	s.advance(lockFor)
	if h := prove(matured.TxID); h.Height != matured.Height {
		s.Errorf("a matured transaction proved in block %d, taken in %d", h.Height, matured.Height)
	}
	_, err = source.Proof(s.ctx, ledger.TxID{1}, 0)
	if !errors.Is(err, ledger.ErrNotFound) {
		s.Errorf("unknown transaction: %v", err)
	}
	st, err := s.c.Status(s.ctx)
	s.no(err)
	if x, err = source.Head(s.ctx, f.Head().Size); err != nil || f.Extend(&x) != nil || f.Head().Size < st.Height {
		s.Errorf("head of %d blocks at height %d, %v", f.Head().Size, st.Height, err)
	}
	if x, err = source.Head(s.ctx, st.Height+100); err != nil || len(x.Prefix) != 0 {
		s.Errorf("a client that is ahead gets %+v, %v", x, err)
	}
}

// events sees all five kinds in one stream, cut and resumed after each.
func (s *suite) events() {
	ch := s.open()
	s.submit(ch.refund, ledger.Parked)
	checkpoint := s.settle(ch, 1, amount.BTT, ch.refund.LockTime-60)
	s.submit(checkpoint, ledger.Parked)
	s.advance(lockFor)
	all := ledger.Filter{
		Outpoints: []ledger.OutPoint{ch.coin.OutPoint}, TxIDs: []ledger.TxID{ch.coin.OutPoint.TxID, ch.refund.ID(s.net), checkpoint.ID(s.net)},
	}
	var from uint64
	var kinds []ledger.EventKind
	for len(kinds) < 7 {
		ctx, stop := context.WithCancel(s.ctx)
		w, err := s.c.Watch(ctx, all, from)
		s.no(err)
		e := s.next(w)
		stop()
		for range w { // must be closed soon
		}
		if e.Cursor <= from {
			s.Fatalf("cursor %d after %d", e.Cursor, from)
		}
		from, kinds = e.Cursor, append(kinds, e.Kind)
	}
	want := []ledger.EventKind{
		ledger.EventCommitted, ledger.EventSpent, // T1
		ledger.EventParked,                        // T2
		ledger.EventDisplaced, ledger.EventParked, // by the checkpoint
		ledger.EventMatured, ledger.EventSpent,
	}
	for i := range want {
		if kinds[i] != want[i] {
			s.Fatalf("events %v, want %v", kinds, want)
		}
	}
	if _, err := s.c.Watch(s.ctx, ledger.Filter{TxIDs: make([]ledger.TxID, ledger.MaxFilter+1)}, 0); err == nil {
		s.Error("an oversized filter is accepted")
	}
}

// comeback submits a refund again that a checkpoint displaced: it is refused
// while the slot is taken by a higher sequence, for good.
func (s *suite) comeback() {
	ch := s.open()
	s.submit(ch.refund, ledger.Parked)
	checkpoint := s.settle(ch, 3, amount.BTT, ch.refund.LockTime-60)
	s.submit(checkpoint, ledger.Parked)
	rec, err := s.c.Transaction(s.ctx, ch.refund.ID(s.net))
	if err != nil || rec.State != ledger.Displaced {
		s.Errorf("the refund is %s, %v; want displaced", rec.State, err)
	}
	s.refused(ch.refund, ledger.CodeStale)
	st := s.outpoint(ch.coin.OutPoint, ledger.OutpointParked)
	if st.Sequence != 3 || st.By != checkpoint.ID(s.net) || st.Coin.Amount != deposit {
		s.Errorf("slot %+v", st)
	}
	s.advance(lockFor)
	s.refused(ch.refund, ledger.CodeConflict)
	if rec, err = s.c.Transaction(s.ctx, ch.refund.ID(s.net)); err != nil || rec.State != ledger.Displaced {
		s.Errorf("the refund is %s, %v; want displaced", rec.State, err)
	}
}
