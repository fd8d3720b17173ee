package payments

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// torrents are connections of one pair for so many torrents from the first on, each of
// which bought a quantum.
func torrents(t *testing.T, buyer, seller *node, first, n int, q int64) (wires []*wire) {
	t.Helper()
	for i := range n {
		w := newWire(t, buyer.book, seller.book, byte(first+i), q)
		trade(t, buyer, seller, w, price, 1<<40)
		w.serve(t, q, q)
		w.paid(t)
		wires = append(wires, w)
	}
	return wires
}

// unpaid is what an account left and was not forgiven, and what was.
func (n *node) unpaid() (owed, forgiven int64) {
	for _, d := range n.book.Debtors() {
		owed, forgiven = owed+d.Unpaid, forgiven+d.Forgiven
	}
	return owed, forgiven
}

// TestAllMadeGood: whoever lost connections in more torrents than their debts wait for, with
// a quantum unpaid or its payment on the way, comes back in any one and is whole again: it
// pays for all of them, has not failed, and is lent what it would be.
func TestAllMadeGood(t *testing.T) {
	const q, n = 64 << 10, waitingQuanta + 3
	for name, lose := range map[string]func(w *wire){
		"unpaid": func(w *wire) {
			w.requester.gather.off.Store(true) // it is put off
			w.requester.Owe(q)
		},
		"on the way": func(w *wire) {
			nothing := func(channel.Message) channel.Message { return nil }
			w.tamper.Store(&nothing)
			w.requester.Verified(q)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := ledgertest.New()
			buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
			seller := newNode(t, m, "seller", 0, patiently)
			wires := torrents(t, buyer, seller, 1, n, q)
			for _, w := range wires {
				w.provider.Served(q)
				lose(w)
			}
			for _, w := range wires {
				w.cut()
			}
			eventually(t, "the debts", func() bool { owed, _ := seller.unpaid(); return owed == n*q })
			w := torrents(t, buyer, seller, 100, 1, q)[0]
			if owed, forgiven := seller.unpaid(); owed+forgiven != 0 {
				t.Errorf("%d bytes are owed and %d written off", owed, forgiven)
			}
			if got := seller.count(EventOverdue) + seller.book.Strikes(buyer.purse.Account()); got != 0 {
				t.Errorf("%d failures", got)
			}
			w.serve(t, (share-2*n-1)*q, q) // 64 quanta in all
			w.paid(t)
			if got := w.window(); got != 2*q {
				t.Errorf("a window of %d, want two quanta", got)
			}
		})
	}
}

// TestPaidAfterJudgment: what was written off before its payer could pay for it is not held
// against it once it did; a failure stays one.
func TestPaidAfterJudgment(t *testing.T) {
	const q = 64 << 10
	s := &standing{debts: make(map[channel.Tag]int64)}
	s.history.Store(q)
	for tag := range byte(waitingQuanta + 4) {
		s.owe(channel.Tag{1, tag}, q, 1, waitingQuanta*q, time.Now())
	}
	if failed := s.forgive(channel.Tag{}, q); failed != 2*q { // all but a quantum, and less than one
		t.Fatalf("%d bytes failed", failed)
	}
	for tag := range byte(waitingQuanta + 4) {
		s.repay(channel.Tag{1, tag}, q)
	}
	if d := s.debtor(); d.Unpaid+d.Forgiven+d.Beyond != 0 || d.Paid != (waitingQuanta+5)*q {
		t.Errorf("%+v when all is paid", d)
	}
	if s.repay(channel.Tag{1}, q); s.debtor().Paid != (waitingQuanta+5)*q {
		t.Error("what nobody owed is history")
	}
}

// cheapAndOwing has a buyer that left a quantum unpaid in each of n torrents, and as
// many bytes to pay on the lane of a connection that bought at another price.
func cheapAndOwing(t *testing.T, other amount.Price, n, q int64) (buyer, seller *node) {
	t.Helper()
	m := ledgertest.New()
	buyer = newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller = newNode(t, m, "seller", 0, nil)
	cheap := newWire(t, buyer.book, seller.book, 99, q)
	trade(t, buyer, seller, cheap, other, 1<<40)
	cheap.serve(t, q, q)
	cheap.paid(t)
	for _, w := range torrents(t, buyer, seller, 1, int(n), q) {
		w.drain()
		w.cut()
	}
	cheap.requester.Owe(n * q)
	cheap.cut()
	eventually(t, "the debts", func() bool { owed, _ := seller.unpaid(); return owed == n*q })
	return buyer, seller
}

// TestCheapPaysNoDear: what is paid on the lane of a connection that ended makes good what
// was not paid there, and nothing else: paid ahead at a low price it would buy off debts at
// a high one.
func TestCheapPaysNoDear(t *testing.T) {
	const q, n = 64 << 10, waitingQuanta + 4
	buyer, seller := cheapAndOwing(t, price/8, n, q)
	torrents(t, buyer, seller, 100, 1, q)
	if owed, forgiven := seller.unpaid(); owed+forgiven != n*q {
		t.Errorf("%d bytes owed and %d written off of %d: the rest is paid at a low price", owed, forgiven, n*q)
	}
	if seller.book.Strikes(buyer.purse.Account()) == 0 {
		t.Error("no failure")
	}
}

// TestCheapPaysNoDearAfterRestart: so it is with debts of an earlier process, which knew what
// its lanes are owed: a payment makes good what it is worth of them.
func TestCheapPaysNoDearAfterRestart(t *testing.T) {
	const q, n = 64 << 10, 8
	for _, part := range []int64{1, 8} { // of the price, by which lanes pay
		buyer, seller := cheapAndOwing(t, price/amount.Price(part), n, q)
		list := seller.book.Debtors()
		seller.kill()
		seller.open()
		seller.book.SetDebtors(list)
		torrents(t, buyer, seller, 100, 1, q)
		left := n*q - n*q/part
		if owed, forgiven := seller.unpaid(); owed+forgiven < left || owed+forgiven > left+q/8 {
			t.Errorf("at 1/%d of the price: %d bytes owed and %d written off of %d, want about %d", part, owed, forgiven, n*q, left)
		}
	}
}
