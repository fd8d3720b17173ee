package payments

import (
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestGuardInAQuantum: a buyer that comes to be guarded while it is served, before its
// channel is open, gets the rest of the quantum that it began at the next price too, and
// pays it when its channel is open: nothing is lost, and no payment is late. What a buyer
// without a channel gets is a quantum of the connection in all, at however many prices,
// and nothing on a connection that is guarded from the beginning.
func TestGuardInAQuantum(t *testing.T) {
	const q = 4 * blockSize
	clock := &late{}
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 10_000*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.Credit, c.Now = 1, clock.now })
	w := newWire(t, buyer.book, seller.book, 1, q)
	w.nodes = []*node{buyer, seller}
	sell := func(w *wire, p amount.Price, room int64) {
		t.Helper()
		w.provider.Guard(true)
		if err := w.provider.Sell(p); err != nil {
			t.Fatal(err)
		}
		if got := max(0, w.room()); got != room {
			t.Fatalf("%d bytes may be served, want %d", got, room)
		}
	}
	if err := w.provider.Sell(price); err != nil {
		t.Fatal(err)
	}
	w.provider.Served(blockSize)
	sell(w, 2*price, q-blockSize)
	w.provider.Served(blockSize)
	sell(w, 0, unlimited-2*blockSize)
	w.provider.Served(blockSize) // free
	sell(w, price, q-3*blockSize)

	terms, err := seller.book.Terms()
	if err != nil {
		t.Fatal(err)
	}
	w.requester.Buy(terms, 2*price, 1<<40)
	w.provider.Served(blockSize)
	w.requester.Verified(q)
	w.paid(t)
	eventually(t, "a window to open", func() bool { return w.room() == q })
	if n := seller.count(EventOverdue) + seller.book.Strikes(buyer.purse.Account()); n != 0 {
		t.Errorf("%d failures of an honest buyer", n)
	}

	thief := newWire(t, buyer.book, seller.book, 2, q)
	sell(thief, price, 0)
	sell(thief, 0, unlimited)
	thief.provider.Served(blockSize)
	sell(thief, price, 0)

	taken := newWire(t, buyer.book, seller.book, 3, q)
	if err := taken.provider.Sell(price); err != nil {
		t.Fatal(err)
	}
	for n := range int64(6) {
		if taken.room() >= blockSize {
			taken.provider.Served(blockSize)
		}
		sell(taken, price+amount.Price(n%2), max(0, q-(n+1)*blockSize))
	}
}
