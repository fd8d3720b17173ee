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

// asked is what Funds says once an answer of the ledger is there.
func (b *Book) asked(t *testing.T, a ledger.Address, least amount.Amount) (amount.Amount, bool) {
	t.Helper()
	b.Funds(a, least)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b.funds.mu.Lock()
		h := b.funds.seen[a]
		asking := h != nil && h.asking
		b.funds.mu.Unlock()
		if !asking {
			return b.Funds(a, least)
		}
		if time.Now().After(deadline) {
			t.Fatal("the ledger does not answer")
		}
	}
}

// fundsNode is a seller whose clock can be put forward.
func fundsNode(t *testing.T, m *ledgertest.Memory) (*node, *atomic.Int64) {
	later := new(atomic.Int64)
	return newNode(t, m, "seller", 0, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}), later
}

// TestFunds: what an account has free on the ledger, all but one least output, it
// can pay; nothing if it is too little for a channel. While the ledger is away
// nothing is known, and who was poor is asked for again soon (A2).
func TestFunds(t *testing.T) {
	m := ledgertest.New()
	seller, later := fundsNode(t, m)
	a := ledgertest.Key("buyer").Address()
	if _, known := seller.book.Funds(a, 1); known {
		t.Error("an account is known before the ledger said anything")
	}
	if sum, known := seller.book.asked(t, a, 1); sum != 0 || !known {
		t.Errorf("an empty account has %v, %v", sum, known)
	}
	fund := func(sum amount.Amount) {
		t.Helper()
		if _, err := m.Fund(a, sum); err != nil {
			t.Fatal(err)
		}
		later.Add(int64(tooLittleFor))
	}
	fund(10*ledger.DefaultMinOutput - 1)
	if sum, known := seller.book.asked(t, a, 1); sum != 0 || !known {
		t.Errorf("coins too few for a channel count as %v, %v", sum, known)
	}
	fund(100 * amount.BTT)
	want := 100*amount.BTT + 10*ledger.DefaultMinOutput - 1 - ledger.DefaultMinOutput
	if sum, known := seller.book.asked(t, a, 50*amount.BTT); sum != want || !known {
		t.Errorf("new coins are seen as %v, %v, want %v", sum, known, want)
	}
	m.SetOutage(errors.New("the ledger is down"))
	later.Add(int64(fundsFor))
	if _, known := seller.book.asked(t, a, 50*amount.BTT); known {
		t.Error("an account is known while the ledger is away")
	}
	m.SetOutage(nil)
	later.Add(int64(fundsFor))
	seller.book.asked(t, a, 1)
	later.Add(int64(fundsStale))
	if _, known := seller.book.Funds(a, 50*amount.BTT); known {
		t.Error("an answer of long ago is believed")
	}
}

// TestFundsOfChannels: what is left in an account's channels counts, with and
// without the ledger, also after a restart of either side; of an exhausted or ended
// channel nothing does.
func TestFundsOfChannels(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller, later := fundsNode(t, m)
	a := buyer.purse.Address()
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 4<<20)
	w.serve(t, 2<<20, 1<<20)
	w.paid(t)
	m.SetOutage(errors.New("the ledger is down"))
	capacity := capacityOf(t, seller)
	left := capacity - owed(price, 2<<20)
	if sum, known := seller.book.Funds(a, left); sum < left || !known {
		t.Errorf("the rest of a deposit counts as %v, %v, want %v", sum, known, left)
	}
	w.cut()
	buyer.kill()
	seller.kill()
	seller.open()
	buyer.open()
	eventually(t, "the restored channel", func() bool {
		sum, known := seller.book.Funds(a, left)
		return sum == left && known
	})
	if _, known := seller.book.Funds(a, left+1); known {
		t.Error("more than the channel holds is known while the ledger is away")
	}
	m.SetOutage(nil)
	eventually(t, "the ledger", func() bool { _, err := seller.book.Terms(); return err == nil })
	w = newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 2<<20)
	w.serve(t, 2<<20, 1<<20)
	w.paid(t)
	closeBook(t, buyer)
	seller.awaitKind(EventSettled)
	later.Add(int64(fundsFor))
	want := buyer.purse.balance(t) - ledger.DefaultMinOutput
	eventually(t, "the end of the channel", func() bool {
		sum, known := seller.book.asked(t, a, amount.Supply)
		return sum == want && known
	})
	closeBook(t, seller)
}

// capacityOf is what a seller's one channel can carry.
func capacityOf(t *testing.T, n *node) amount.Amount {
	t.Helper()
	list := n.book.Summary()
	if len(list) != 1 {
		t.Fatalf("%d channels, want one", len(list))
	}
	return list[0].Deposit - ledger.DefaultMinOutput
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestFundsAreBounded: a flood of names leaves a bounded memory, asks the ledger
// a few at a time, and pushes no account with a channel out.
func TestFundsAreBounded(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller, _ := fundsNode(t, m)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 1<<20, 1<<20)
	w.paid(t)
	left := capacityOf(t, seller) - owed(price, 1<<20)
	for i := range 2*maxFunds + 9 {
		seller.book.Funds(ledger.Address{1, byte(i), byte(i >> 8)}, 1)
		seller.book.funds.mu.Lock()
		if n := len(seller.book.funds.seen); n > maxFunds {
			t.Fatalf("%d accounts are remembered", n)
		}
		if n := seller.book.funds.asks; n > maxFundAsks {
			t.Fatalf("%d accounts are asked for at once", n)
		}
		seller.book.funds.mu.Unlock()
	}
	if sum, known := seller.book.Funds(buyer.purse.Address(), left); sum < left || !known {
		t.Errorf("the flood pushed a channel out: %v, %v, want %v", sum, known, left)
	}
}
