package purse

import (
	"context"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestFollowRecordsEachPaymentOnce receives before, while and after following.
func TestFollowRecordsEachPaymentOnce(t *testing.T) {
	b := newBench(t)
	b.gift(3 * amount.BTT)
	wait := func(want int) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.purse.Follow(ctx) }()
		if want == 2 {
			b.gift(4 * amount.BTT)
		}
		for deadline := time.Now().Add(3 * time.Minute); len(b.history()) < want; {
			if time.Now().After(deadline) {
				t.Fatalf("%d entries, want %d", len(b.history()), want)
			}
			time.Sleep(time.Millisecond)
		}
		stop()
		if err := <-done; err == nil {
			t.Error("Follow ended without an error")
		}
	}
	wait(1)
	wait(2)
	b.reopen()
	b.gift(5 * amount.BTT)
	wait(3)
	if _, err := b.purse.Send(t.Context(), ledgertest.Key("shop").Address(), amount.BTT, "order"); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	b.gift(6 * amount.BTT)
	wait(5) // three receipts, the send, the new receipt: change is no receipt
	sum := amount.Amount(0)
	for _, e := range b.history() {
		if e.Kind == Receive {
			sum += e.Amount
		}
	}
	if sum != 18*amount.BTT {
		t.Errorf("received %s, want 18 BTT", sum)
	}
}

// TestFollowRecordsGrants starts with coins of the genesis: each is in the journal
// once, with its reason, also after a restart.
func TestFollowRecordsGrants(t *testing.T) {
	b := newBench(t)
	g := ledgertest.Genesis()
	for _, sum := range []amount.Amount{3 * amount.BTT, 4 * amount.BTT} {
		g.Shares[0].Grants = append(g.Shares[0].Grants, ledger.Grant{Address: b.purse.Address(), Amount: sum})
		g.Shares[0].Grants[7].Amount -= sum
	}
	m, err := ledgertest.NewMemory(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.cfg.Ledger = m
	for _, entries := range []int{2, 3} {
		b.reopen()
		if entries == 3 { // found behind the coins of the genesis, which are looked at first
			if _, err := m.Fund(b.purse.Address(), amount.BTT); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.purse.Follow(ctx) }()
		for deadline := time.Now().Add(3 * time.Minute); len(b.history()) < entries; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d entries, want %d", len(b.history()), entries)
			}
		}
		stop()
		<-done
	}
	sum := amount.Amount(0)
	for _, e := range b.history() {
		if sum += e.Amount; e.Kind != Receive || e.Reason == "" {
			t.Errorf("%+v is no receipt with a reason", e)
		}
	}
	if sum != 8*amount.BTT || len(b.history()) != 3 {
		t.Errorf("received %s in %d entries, want 8 BTT in 3", sum, len(b.history()))
	}
}
