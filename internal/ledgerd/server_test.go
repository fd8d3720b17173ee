package ledgerd

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

func TestTransferAndLookups(t *testing.T) {
	clients(t, func(t *testing.T, s *Server, c ledger.Client, clk *clock) {
		ctx := t.Context()
		before, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		a, b := key(2), key(3)
		coin := coinOf(t, c, a.Address(), amount.BTT)
		tx := transfer(s.Network(), a, coin, ledger.PayTo(b.Address()), amount.BTT)
		receipt := mustSubmit(t, c, tx)
		id := tx.ID(s.Network())
		if receipt.TxID != id || receipt.State != ledger.Committed || receipt.Height != 1 {
			t.Fatalf("receipt %+v", receipt)
		}
		if again := mustSubmit(t, c, tx); again != receipt {
			t.Errorf("second submit %+v, want %+v", again, receipt)
		}
		record, err := c.Transaction(ctx, id)
		if err != nil || !bytes.Equal(record.Raw, tx.Encode()) || record.Receipt != receipt {
			t.Errorf("record %+v, %v", record, err)
		}
		if _, err := c.Transaction(ctx, ledger.TxID{1}); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("unknown transaction: %v", err)
		}
		if o, err := c.Outpoint(ctx, coin.OutPoint); err != nil || o.Status != ledger.OutpointSpent || o.By != id {
			t.Errorf("spent output: %+v, %v", o, err)
		}
		if o, err := c.Outpoint(ctx, ledger.OutPoint{TxID: id}); err != nil || o.Status != ledger.OutpointUnspent || o.Coin.Amount != amount.BTT {
			t.Errorf("new output: %+v, %v", o, err)
		}
		if o, err := c.Outpoint(ctx, ledger.OutPoint{TxID: id, Index: 7}); err != nil || o.Status != ledger.OutpointUnknown {
			t.Errorf("unknown output: %+v, %v", o, err)
		}
		other := transfer(s.Network(), a, coin, ledger.PayTo(b.Address()), 2*amount.BTT)
		_, err = c.Submit(ctx, other.Encode())
		if rej, ok := errors.AsType[*ledger.Rejection](err); !ok || rej.Code != ledger.CodeConflict || rej.By != id {
			t.Errorf("double spend: %v", err)
		}
		if _, err := c.Submit(ctx, []byte("nonsense")); ledger.CodeOf(err) != ledger.CodeMalformed {
			t.Errorf("nonsense: %v", err)
		}
		after, err := c.Status(ctx)
		if err != nil || after.Totals != before.Totals || after.AppHash == before.AppHash || after.Network != s.Network() {
			t.Errorf("status %+v, %v", after, err)
		}
	})
}

func TestUnspentPages(t *testing.T) {
	clients(t, func(t *testing.T, s *Server, c ledger.Client, clk *clock) {
		a := key(2)
		coin := coinOf(t, c, a.Address(), amount.BTT)
		tx := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{coin.OutPoint}}
		for range 10 {
			tx.Outputs = append(tx.Outputs, ledger.Output{Amount: coin.Amount / 10, Lock: ledger.PayTo(key(77).Address())})
		}
		sign(s.Network(), tx, coin.Lock, a)
		mustSubmit(t, c, tx)
		var all []ledger.Coin
		var after ledger.OutPoint
		for {
			page, err := c.Unspent(t.Context(), key(77).Address(), after, 3)
			if err != nil || len(page) > 3 {
				t.Fatalf("page of %d, %v", len(page), err)
			}
			if all = append(all, page...); len(page) == 0 {
				break
			}
			after = page[len(page)-1].OutPoint
		}
		if len(all) != 10 {
			t.Fatalf("%d coins, want 10", len(all))
		}
		for i := 1; i < len(all); i++ {
			if all[i-1].OutPoint.Compare(all[i].OutPoint) >= 0 {
				t.Fatal("coins are not in order")
			}
		}
	})
}

// channelTxs makes T1 (submitted), T2 with the lock time, and T3 of sequence 1.
func channelTxs(t *testing.T, s *Server, c ledger.Client, lockTime uint64) (t1, t2, t3 *ledger.Tx) {
	a, b := key(2), key(3)
	joint := ledger.Joint(a.PublicKey(), b.PublicKey())
	t1 = transfer(s.Network(), a, coinOf(t, c, a.Address(), 10*amount.BTT), joint, 10*amount.BTT)
	mustSubmit(t, c, t1)
	o := t1.OutPoint(s.Network(), 0)
	t2 = &ledger.Tx{Kind: ledger.Transfer, LockTime: lockTime, Inputs: []ledger.OutPoint{o}, Outputs: []ledger.Output{{Amount: 10 * amount.BTT, Lock: ledger.PayTo(a.Address())}}}
	sign(s.Network(), t2, joint, a, b)
	t3 = &ledger.Tx{Kind: ledger.Transfer, Sequence: 1, Inputs: []ledger.OutPoint{o}, Outputs: []ledger.Output{
		{Amount: 4 * amount.BTT, Lock: ledger.PayTo(a.Address())}, {Amount: 6 * amount.BTT, Lock: ledger.PayTo(b.Address())}}}
	sign(s.Network(), t3, joint, a, b)
	return t1, t2, t3
}

func TestParkedAndDisplaced(t *testing.T) {
	clients(t, func(t *testing.T, s *Server, c ledger.Client, clk *clock) {
		status, _ := c.Status(t.Context())
		t1, t2, t3 := channelTxs(t, s, c, status.LedgerTime+100)
		receipt := mustSubmit(t, c, t2)
		if receipt.State != ledger.Parked {
			t.Fatalf("T2: %+v", receipt)
		}
		if again := mustSubmit(t, c, t2); again != receipt {
			t.Errorf("T2 again: %+v", again)
		}
		o, err := c.Outpoint(t.Context(), t1.OutPoint(s.Network(), 0))
		if err != nil || o.Status != ledger.OutpointParked || o.By != receipt.TxID || o.LockTime != t2.LockTime {
			t.Errorf("parked output %+v, %v", o, err)
		}
		mustSubmit(t, c, t3)
		if r, err := c.Transaction(t.Context(), receipt.TxID); err != nil || r.State != ledger.Displaced {
			t.Errorf("T2 after T3: %+v, %v", r, err)
		}
		_, err = c.Submit(t.Context(), t2.Encode())
		if ledger.CodeOf(err) != ledger.CodeConflict {
			t.Errorf("T2 after T3: %v", err)
		}
	})
}

func TestRefundMaturesByLedgerTime(t *testing.T) {
	clk := newClock()
	s := openServer(t, testConfig(t, t.TempDir(), clk))
	c := s.Client()
	status, _ := c.Status(t.Context())
	_, t2, _ := channelTxs(t, s, c, status.LedgerTime+70)
	mustSubmit(t, c, t2)
	clk.advance(time.Hour) // a jump of the clock moves the ledger by the clamp only
	for want := uint64(30); want <= 90; want += 30 {
		if err := s.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		now, _ := c.Status(t.Context())
		if now.LedgerTime != status.LedgerTime+want {
			t.Fatalf("ledger time moved by %d, want %d", now.LedgerTime-status.LedgerTime, want)
		}
		r, err := c.Transaction(t.Context(), t2.ID(s.Network()))
		if err != nil || (r.State == ledger.Committed) != (want == 90) {
			t.Fatalf("after %d s: %+v, %v", want, r, err)
		}
		clk.advance(time.Hour)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	clk := newClock()
	dir := t.TempDir()
	s := openServer(t, testConfig(t, dir, clk))
	c := s.Client()
	status, _ := c.Status(t.Context())
	_, t2, t3 := channelTxs(t, s, c, status.LedgerTime+100)
	parked := mustSubmit(t, c, t2)
	for i := range 20 {
		mustSubmit(t, c, transfer(s.Network(), key(1), coinOf(t, c, key(1).Address(), amount.BTT), ledger.PayTo(key(4).Address()), amount.Amount(i+1)*amount.BTT))
	}
	before, _ := c.Status(t.Context())
	coins, _ := c.Unspent(t.Context(), key(4).Address(), ledger.OutPoint{}, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(t.Context(), t3.Encode()); !errors.Is(err, ErrClosed) {
		t.Errorf("submit after Close: %v", err)
	}
	s = openServer(t, testConfig(t, dir, clk))
	c = s.Client()
	after, _ := c.Status(t.Context())
	if after.AppHash != before.AppHash || after.Height != before.Height || after.LedgerTime != before.LedgerTime || after.Cursor != before.Cursor || after.Totals != before.Totals {
		t.Errorf("status %+v, want %+v", after, before)
	}
	again, _ := c.Unspent(t.Context(), key(4).Address(), ledger.OutPoint{}, 0)
	if len(again) != len(coins) || again[7] != coins[7] {
		t.Errorf("%d coins after restart, want %d", len(again), len(coins))
	}
	if r := mustSubmit(t, c, t2); r != parked {
		t.Errorf("parked receipt %+v, want %+v", r, parked)
	}
	mustSubmit(t, c, t3)
}

func TestWatchResumes(t *testing.T) {
	clients(t, func(t *testing.T, s *Server, c ledger.Client, clk *clock) {
		pay := func() {
			mustSubmit(t, c, transfer(s.Network(), key(1), coinOf(t, c, key(1).Address(), amount.BTT), ledger.PayTo(key(9).Address()), amount.BTT))
			mustSubmit(t, c, transfer(s.Network(), key(2), coinOf(t, c, key(2).Address(), amount.BTT), ledger.PayTo(key(8).Address()), amount.BTT))
		}
		filter := ledger.Filter{Addresses: []ledger.Address{key(9).Address()}}
		take := func(from uint64, n int) uint64 {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			events, err := c.Watch(ctx, filter, from)
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				e := <-events
				if e.Kind != ledger.EventCommitted || e.Cursor <= from {
					t.Fatalf("event %+v after %d", e, from)
				}
				from = e.Cursor
			}
			return from
		}
		pay()
		pay()
		at := take(0, 2)
		pay()
		pay()
		take(at, 2)
		// Live: the event comes after the subscription.
		ctx, stop := context.WithCancel(t.Context())
		status, _ := c.Status(ctx)
		events, err := c.Watch(ctx, filter, status.Cursor)
		if err != nil {
			t.Fatal(err)
		}
		pay()
		if e := <-events; e.Kind != ledger.EventCommitted {
			t.Errorf("live event %+v", e)
		}
		stop()
		for range events {
		}
		if _, err := c.Watch(t.Context(), ledger.Filter{TxIDs: make([]ledger.TxID, ledger.MaxFilter+1)}, 0); err == nil {
			t.Error("oversized filter accepted")
		}
	})
}

func TestWatchForgetsOldEvents(t *testing.T) {
	clk := newClock()
	cfg := testConfig(t, t.TempDir(), clk)
	cfg.EventsKept = 5
	s := openServer(t, cfg)
	c := s.Client()
	for range 6 {
		mustSubmit(t, c, transfer(s.Network(), key(1), coinOf(t, c, key(1).Address(), amount.BTT), ledger.PayTo(key(9).Address()), amount.BTT))
	}
	if _, err := c.Watch(t.Context(), ledger.Filter{}, 0); !errors.Is(err, ledger.ErrCursorGone) {
		t.Errorf("watch from 0: %v", err)
	}
	status, _ := c.Status(t.Context())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	events, err := c.Watch(ctx, ledger.Filter{}, status.Cursor-5)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		if e := <-events; e.Cursor != status.Cursor-4+i {
			t.Errorf("event %d has cursor %d", i, e.Cursor)
		}
	}
}

func TestTwoServersAndOtherNetworks(t *testing.T) {
	clk := newClock()
	dir := t.TempDir()
	cfg := testConfig(t, dir, clk)
	s := openServer(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("second server: %v", err)
	}
	if err := s.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	head := s.writer.previous
	s.Close()
	other := cfg
	other.Genesis = devGenesis(t, 3)
	if _, err := Open(other); !errors.Is(err, ErrNetwork) {
		t.Errorf("other genesis: %v", err)
	}
	other = cfg
	other.OperatorKey = key(201)
	if _, err := Open(other); !errors.Is(err, ErrOperator) {
		t.Errorf("other operator: %v", err)
	}
	for _, a := range []Anchor{{Height: 2}, {Height: 1, Hash: [32]byte{1}}} {
		other = cfg
		other.Anchor = a
		if _, err := Open(other); !errors.Is(err, ErrAnchor) {
			t.Errorf("anchor %d: %v", a.Height, err)
		}
	}
	cfg.Anchor = Anchor{Height: 1, Hash: head}
	cfg.Genesis = ledger.Genesis{} // the one in the directory
	openServer(t, cfg)
}

func TestHeartbeat(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), newClock())
	cfg.Heartbeat = time.Millisecond
	s := openServer(t, cfg)
	for s.head().Height < 3 {
		time.Sleep(time.Millisecond)
	}
	head := s.head()
	if g := cfg.Genesis; head.AppHash != func() [32]byte { h := ledger.GenesisHead(g); return h.AppHash() }() {
		t.Error("empty blocks change the application hash")
	}
}

// TestConcurrentDuplicates submits each transaction from several goroutines at
// once: all get the same receipt.
func TestConcurrentDuplicates(t *testing.T) {
	s := openServer(t, testConfig(t, t.TempDir(), newClock()))
	c := s.Client()
	coin := coinOf(t, c, key(1).Address(), amount.BTT)
	for range 50 {
		tx := transfer(s.Network(), key(1), coin, ledger.PayTo(key(4).Address()), amount.BTT)
		raw := tx.Encode()
		receipts := make([]ledger.Receipt, 8)
		var wg sync.WaitGroup
		for i := range receipts {
			wg.Go(func() {
				var err error
				if receipts[i], err = c.Submit(t.Context(), raw); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, r := range receipts {
			if r != receipts[0] {
				t.Fatalf("receipts differ: %+v and %+v", r, receipts[0])
			}
		}
		coin = ledger.Coin{OutPoint: tx.OutPoint(s.Network(), 1), Amount: tx.Outputs[1].Amount, Lock: tx.Outputs[1].Lock}
	}
}
