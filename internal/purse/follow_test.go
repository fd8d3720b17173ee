package purse

import (
	"context"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
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
		for deadline := time.Now().Add(20 * time.Second); len(b.history()) < want; {
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
