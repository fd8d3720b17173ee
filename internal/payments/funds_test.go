package payments

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// asked is what Affords says once an answer of the ledger is there.
func (b *Book) asked(t *testing.T, a ledger.Address, sum amount.Amount) bool {
	t.Helper()
	b.Affords(a, sum)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		b.funds.mu.Lock()
		asking := b.funds.seen[a].asking
		b.funds.mu.Unlock()
		if !asking {
			return b.Affords(a, sum)
		}
		if time.Now().After(deadline) {
			t.Fatal("the ledger does not answer")
		}
	}
}

// TestAffords: what an account has free, and what it has left in channels to us,
// it can pay. A ledger that is away makes nobody poor (A2), and the number of
// accounts remembered is bounded.
func TestAffords(t *testing.T) {
	m := ledgertest.New()
	var later atomic.Int64
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) } })
	a := buyer.purse.Address()
	m.SetOutage(errors.New("the ledger is down"))
	if !seller.book.asked(t, a, 1000*amount.BTT) {
		t.Error("an account counts as poor while the ledger is away")
	}
	m.SetOutage(nil)
	later.Add(int64(fundsFor))
	if seller.book.asked(t, a, 100*amount.BTT+1) || !seller.book.Affords(a, 100*amount.BTT) {
		t.Error("100 BTT are not told from more")
	}
	if _, err := m.Fund(a, amount.BTT); err != nil {
		t.Fatal(err)
	}
	later.Add(int64(tooLittleFor))
	if !seller.book.asked(t, a, 101*amount.BTT) {
		t.Error("new coins of a poor account are not seen")
	}
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 2<<20, 1<<20)
	seller.await("a statement of the payment", func(Event) bool {
		list := seller.book.Summary()
		return len(list) == 1 && list[0].Paid == owed(price, 2<<20)
	})
	later.Add(int64(fundsFor))
	left := 101*amount.BTT - owed(price, 2<<20)
	if !seller.book.asked(t, a, left) || seller.book.Affords(a, left+1) {
		t.Errorf("the rest of a deposit is not counted: want %v", left)
	}
	for i := range maxFunds + 9 {
		seller.book.Affords(ledger.Address{1, byte(i), byte(i >> 8)}, 1)
	}
	seller.book.funds.mu.Lock()
	if n := len(seller.book.funds.seen); n > maxFunds {
		t.Errorf("%d accounts are remembered", n)
	}
	seller.book.funds.mu.Unlock()
	closeBook(t, seller)
}
