package ledgertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Harness is one fresh ledger under test, started at Genesis.
type Harness struct {
	Client ledger.Client
	// Advance moves ledger time by at least the given seconds and at most one
	// clamp more, and returns when that is visible through Client.
	Advance func(seconds uint64)
}

// patience bounds the wait for something that must happen at once.
const patience = 20 * time.Second

// RunClient checks an implementation of ledger.Client against the contract of
// the interface and rules LR1 to LR9. factory starts a fresh ledger each time
// and registers its cleanup with t.
func RunClient(t *testing.T, factory func(t *testing.T) Harness) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*suite)
	}{
		{"status", (*suite).status},
		{"submit is idempotent", (*suite).idempotent},
		{"refusals", (*suite).refusals},
		{"conflict", (*suite).conflict},
		{"unspent pages", (*suite).unspent},
		{"refund matures", (*suite).refund},
		{"settlement beats refund", (*suite).settlement},
		{"higher sequence replaces", (*suite).replace},
		{"mint and redeem", (*suite).mint},
		{"watch resumes", (*suite).watch},
		{"cancelled context", (*suite).cancelled},
		{"concurrent double spend", (*suite).race},
		{"every kind of event", (*suite).events},
		{"displaced comes back", (*suite).comeback},
		{"heads and proofs", (*suite).proofs},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := factory(t)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			s := &suite{T: t, ctx: ctx, c: h.Client, advance: h.Advance}
			st, err := s.c.Status(ctx)
			s.no(err)
			s.net = st.Network
			c.run(s)
			s.totals()
		})
	}
}

func (s *suite) status() {
	g := Genesis()
	st, err := s.c.Status(s.ctx)
	s.no(err)
	if st.Network != g.Hash() || st.LedgerTime < g.Time || st.Totals.Minted != amount.Supply {
		s.Errorf("status %+v", st)
	}
	if st.Params.Clamp != g.Params.Clamp || st.Params.MinOutput != g.Params.MinOutput ||
		!slices.Equal(st.Params.Operators, g.Params.Operators) {
		s.Errorf("params %+v", st.Params)
	}
	s.advance(65)
	later, err := s.c.Status(s.ctx)
	s.no(err)
	if d := later.LedgerTime - st.LedgerTime; d < 65 || d > 65+g.Params.Clamp {
		s.Errorf("ledger time moved by %d s, want 65", d)
	}
	if _, err := s.c.Transaction(s.ctx, ledger.TxID{1}); !errors.Is(err, ledger.ErrNotFound) {
		s.Errorf("unknown transaction: %v, want ErrNotFound", err)
	}
	s.outpoint(ledger.OutPoint{TxID: ledger.TxID{1}}, ledger.OutpointUnknown)
}

func (s *suite) idempotent() {
	key := Key("alice")
	c := s.pay(ledger.PayTo(key.Address()), 5*amount.BTT)
	tx := s.spend(c, key, ledger.Output{Amount: 5 * amount.BTT, Lock: ledger.PayTo(Key("bob").Address())})
	first := s.submit(tx, ledger.Committed)
	s.advance(60)
	if again := s.submit(tx, ledger.Committed); again != first {
		s.Errorf("second answer %+v, first %+v", again, first)
	}
	rec, err := s.c.Transaction(s.ctx, first.TxID)
	if err != nil || rec.Receipt != first || !slices.Equal(rec.Raw, tx.Encode()) {
		s.Errorf("record %+v, %v", rec, err)
	}
	if st := s.outpoint(c.OutPoint, ledger.OutpointSpent); st.By != first.TxID {
		s.Errorf("spent by %s, want %s", st.By, first.TxID)
	}
}

func (s *suite) refusals() {
	key := Key("alice")
	c := s.pay(ledger.PayTo(key.Address()), 5*amount.BTT)
	bob := ledger.PayTo(Key("bob").Address())
	if _, err := s.c.Submit(s.ctx, []byte("junk")); ledger.CodeOf(err) != ledger.CodeMalformed {
		s.Errorf("junk: %v", err)
	}
	if _, err := s.c.Submit(s.ctx, make([]byte, ledger.MaxTxBytes+1)); ledger.CodeOf(err) != ledger.CodeOversized {
		s.Errorf("oversized: %v", err)
	}
	s.refused(s.spend(c, key, ledger.Output{Amount: 4 * amount.BTT, Lock: bob}), ledger.CodeBalance)
	s.refused(s.spend(c, key, ledger.Output{Amount: 5*amount.BTT - 1, Lock: bob}, ledger.Output{Amount: 1, Lock: bob}), ledger.CodeDust)
	late := ledger.NewTransfer([]ledger.OutPoint{c.OutPoint}, []ledger.Output{{Amount: c.Amount, Lock: bob}})
	late.LockTime = StartTime + 1_000_000
	s.no(ledger.Sign(late, s.net, c.Lock, key))
	s.refused(late, ledger.CodeNotFinal)
	tx := s.spend(c, key, ledger.Output{Amount: c.Amount, Lock: bob})
	tx.Witnesses[0].Signatures[0][40] ^= 1
	s.refused(tx, ledger.CodeSignature)
	other := ledger.NewTransfer([]ledger.OutPoint{c.OutPoint}, []ledger.Output{{Amount: c.Amount, Lock: bob}})
	s.no(ledger.Sign(other, ledger.Network{1}, c.Lock, key))
	s.refused(other, ledger.CodeSignature)
	s.outpoint(c.OutPoint, ledger.OutpointUnspent)
}

func (s *suite) conflict() {
	key := Key("alice")
	c := s.pay(ledger.PayTo(key.Address()), 5*amount.BTT)
	one := s.spend(c, key, ledger.Output{Amount: c.Amount, Lock: ledger.PayTo(Key("bob").Address())})
	two := s.spend(c, key, ledger.Output{Amount: c.Amount, Lock: ledger.PayTo(Key("carol").Address())})
	r := s.submit(one, ledger.Committed)
	_, err := s.c.Submit(s.ctx, two.Encode())
	rej, ok := errors.AsType[*ledger.Rejection](err)
	if !ok || rej.Code != ledger.CodeConflict || rej.By != r.TxID {
		s.Errorf("double spend: %v, want conflict by %s", err, r.TxID)
	}
}

func (s *suite) unspent() {
	key := Key("alice")
	c := s.pay(ledger.PayTo(key.Address()), 7*amount.BTT)
	var out []ledger.Output
	for range 7 {
		out = append(out, ledger.Output{Amount: amount.BTT, Lock: c.Lock})
	}
	s.submit(s.spend(c, key, out...), ledger.Committed)
	var all []ledger.Coin
	var after ledger.OutPoint
	for {
		page, err := s.c.Unspent(s.ctx, key.Address(), after, 3)
		s.no(err)
		if len(page) == 0 {
			break
		}
		if len(page) > 3 {
			s.Fatalf("page of %d, limit 3", len(page))
		}
		all = append(all, page...)
		after = page[len(page)-1].OutPoint
	}
	if len(all) != 7 || !slices.IsSortedFunc(all, func(a, b ledger.Coin) int { return a.OutPoint.Compare(b.OutPoint) }) {
		s.Errorf("%d coins, sorted wrongly or not 7: %v", len(all), all)
	}
	for _, c := range all {
		if c.Amount != amount.BTT || c.Lock != ledger.PayTo(key.Address()) {
			s.Errorf("coin %+v", c)
		}
	}
}

func (s *suite) refund() {
	ch := s.open()
	parked := s.submit(ch.refund, ledger.Parked)
	if again := s.submit(ch.refund, ledger.Parked); again != parked {
		s.Errorf("second answer %+v, first %+v", again, parked)
	}
	st := s.outpoint(ch.coin.OutPoint, ledger.OutpointParked)
	if st.By != parked.TxID || st.LockTime != ch.refund.LockTime {
		s.Errorf("slot %+v", st)
	}
	s.outpoint(ch.refund.OutPoint(s.net, 0), ledger.OutpointUnknown)
	s.advance(lockFor)
	if st := s.outpoint(ch.coin.OutPoint, ledger.OutpointSpent); st.By != parked.TxID {
		s.Errorf("spent by %s, want the refund", st.By)
	}
	rec, err := s.c.Transaction(s.ctx, parked.TxID)
	if err != nil || rec.State != ledger.Committed || rec.Height <= parked.Height {
		s.Errorf("matured refund %+v, %v", rec.Receipt, err)
	}
	s.outpoint(ch.refund.OutPoint(s.net, 0), ledger.OutpointUnspent)
}

func (s *suite) settlement() {
	ch := s.open()
	parked := s.submit(ch.refund, ledger.Parked)
	final := s.submit(s.settle(ch, 1, 3*amount.BTT, 0), ledger.Committed)
	rec, err := s.c.Transaction(s.ctx, parked.TxID)
	if err != nil || rec.State != ledger.Displaced {
		s.Errorf("refund %+v, %v; want displaced", rec.Receipt, err)
	}
	s.advance(lockFor + 60)
	if st := s.outpoint(ch.coin.OutPoint, ledger.OutpointSpent); st.By != final.TxID {
		s.Errorf("spent by %s, want the settlement", st.By)
	}
	coins, err := s.c.Unspent(s.ctx, ch.payee.Address(), ledger.OutPoint{}, 10)
	if err != nil || len(coins) != 1 || coins[0].Amount != 3*amount.BTT {
		s.Errorf("payee has %v, %v; want one coin of 3 BTT", coins, err)
	}
	s.refused(ch.refund, ledger.CodeConflict)
}

func (s *suite) replace() {
	ch := s.open()
	lock := ch.refund.LockTime
	s.submit(ch.refund, ledger.Parked)
	five := s.settle(ch, 5, 5*amount.BTT, lock)
	s.submit(five, ledger.Parked)
	s.refused(s.settle(ch, 4, 4*amount.BTT, lock), ledger.CodeStale)
	s.refused(s.settle(ch, 5, 4*amount.BTT, lock), ledger.CodeStale)
	s.refused(ch.refund, ledger.CodeStale)
	s.advance(lockFor)
	if st := s.outpoint(ch.coin.OutPoint, ledger.OutpointSpent); st.By != five.ID(s.net) {
		s.Errorf("spent by %s, want the parked settlement", st.By)
	}
}

func (s *suite) mint() {
	key := Key("alice")
	c := s.pay(ledger.PayTo(key.Address()), 5*amount.BTT)
	red := ledger.RedeemTx([]ledger.OutPoint{c.OutPoint}, key.Address(), 5*amount.BTT)
	s.no(ledger.Sign(red, s.net, c.Lock, key))
	d := ledger.Deposit{Chain: [32]byte{7}, Index: 1}
	mint := ledger.MintTx(d, []ledger.Output{{Amount: 5 * amount.BTT, Lock: c.Lock}})
	s.no(ledger.Sign(mint, s.net, ledger.Lock{Kind: ledger.OperatorLock}, OperatorKeys()[:2]...))
	s.refused(mint, ledger.CodeOverCap) // the whole supply is on the ledger
	s.submit(red, ledger.Committed)
	st, err := s.c.Status(s.ctx)
	if err != nil || st.Totals.Burned != 5*amount.BTT || st.Totals.Unspent != amount.Supply-5*amount.BTT {
		s.Errorf("after redeem %+v, %v", st.Totals, err)
	}
	s.submit(mint, ledger.Committed)
	twice := ledger.MintTx(d, []ledger.Output{{Amount: amount.BTT, Lock: c.Lock}})
	s.no(ledger.Sign(twice, s.net, ledger.Lock{Kind: ledger.OperatorLock}, OperatorKeys()[1:]...))
	s.refused(twice, ledger.CodeMinted)
}

// next waits for one event.
func (s *suite) next(ch <-chan ledger.Event) ledger.Event {
	s.Helper()
	select {
	case e, ok := <-ch:
		if !ok {
			s.Fatal("watch ended")
		}
		return e
	case <-s.ctx.Done():
		s.Fatal("no event")
	}
	return ledger.Event{}
}

func (s *suite) watch() {
	ch := s.open()
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	w, err := s.c.Watch(ctx, ledger.Filter{Outpoints: []ledger.OutPoint{ch.coin.OutPoint}}, 0)
	s.no(err)
	s.submit(ch.refund, ledger.Parked)
	parked := s.next(w)
	if parked.Kind != ledger.EventParked || parked.TxID != ch.refund.ID(s.net) || parked.LockTime != ch.refund.LockTime || parked.Cursor == 0 {
		s.Fatalf("first event %+v, want the parked refund", parked)
	}
	stop()
	for range w { // must be closed soon
	}
	final := s.settle(ch, 1, amount.BTT, 0)
	s.submit(final, ledger.Committed)
	w, err = s.c.Watch(s.ctx, ledger.Filter{Outpoints: []ledger.OutPoint{ch.coin.OutPoint}}, parked.Cursor)
	s.no(err)
	gone, spent := s.next(w), s.next(w)
	if gone.Kind != ledger.EventDisplaced || gone.TxID != ch.refund.ID(s.net) || gone.By != final.ID(s.net) {
		s.Errorf("second event %+v, want the displaced refund", gone)
	}
	if spent.Kind != ledger.EventSpent || spent.TxID != final.ID(s.net) || spent.Cursor <= gone.Cursor {
		s.Errorf("third event %+v, want spent", spent)
	}
	byAddress, err := s.c.Watch(s.ctx, ledger.Filter{Addresses: []ledger.Address{ch.payee.Address()}}, 0)
	s.no(err)
	if e := s.next(byAddress); e.Kind != ledger.EventCommitted || e.TxID != final.ID(s.net) {
		s.Errorf("payee's first event %+v, want the settlement", e)
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := s.c.Status(ctx); err == nil {
		s.Error("Status answered a cancelled context")
	}
}

func (s *suite) race() {
	key := Key("alice")
	c := s.pay(ledger.PayTo(key.Address()), 5*amount.BTT)
	const n = 8
	txs := make([]*ledger.Tx, n)
	for i := range txs {
		to := Key(string(rune('a' + i))).Address()
		txs[i] = s.spend(c, key, ledger.Output{Amount: c.Amount, Lock: ledger.PayTo(to)})
	}
	won := make([]bool, 2*n)
	errs := make([]error, 2*n)
	var wg sync.WaitGroup
	for i := range won {
		wg.Go(func() {
			_, errs[i] = s.c.Submit(s.ctx, txs[i%n].Encode())
			won[i] = errs[i] == nil
		})
	}
	wg.Wait()
	by := s.outpoint(c.OutPoint, ledger.OutpointSpent).By
	for i := range won {
		if own := txs[i%n].ID(s.net) == by; own != won[i] || (!own && ledger.CodeOf(errs[i]) != ledger.CodeConflict) {
			s.Errorf("submitter %d: %v; the coin went to %s", i, errs[i], by)
		}
	}
}
