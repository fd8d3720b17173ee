package payments

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// late is a seller's clock that stands still until a test lets payments be late.
type late struct {
	start time.Time
	by    atomic.Int64
}

func (c *late) now() time.Time { return c.start.Add(time.Duration(c.by.Load())) }
func (c *late) pass()          { c.by.Add(int64(time.Second / 2)) }

// lossy is a buyer and a seller whose clock is the test's and whose windows are strict.
func lossy(t *testing.T, q int64, links int) (clock *late, buyer, seller *node, wires []*wire) {
	t.Helper()
	m := ledgertest.New()
	clock = &late{start: time.Now()}
	buyer = newNode(t, m, "buyer", 10_000*amount.BTT, nil)
	seller = newNode(t, m, "seller", 0, func(c *Config) { c.Credit, c.PaymentTimeout, c.Now = 1, 20*time.Millisecond, clock.now })
	for tag := range links {
		w := newWire(t, buyer.book, seller.book, byte(1+tag), q)
		trade(t, buyer, seller, w, price, 1<<40)
		wires = append(wires, w)
	}
	return clock, buyer, seller, wires
}

func (w *wire) room() int64 { return w.provider.Allowance().Load() - w.provider.served.Load() }

// piece serves an honest buyer a quantum of which it lost some blocks before, and
// has it paid. Where the window is spent first, time passes.
func (w *wire) piece(t *testing.T, q int64, clock *late) {
	t.Helper()
	paid := w.provided()
	for n := int64(0); n < q; n += blockSize {
		if w.room() < blockSize {
			clock.pass()
			eventually(t, "the window to open", func() bool { return w.room() >= blockSize })
		}
		w.provider.Served(blockSize)
	}
	w.requester.Verified(q)
	eventually(t, "a payment", func() bool { return w.provided() == paid+q })
}

// TestLossesAreBorne: a buyer that drops blocks now and then, for they came twice or
// with others' bad ones, pays what it has and goes on, as long as it dropped no more
// than a quantum and a 64th of what it paid. It never fails.
func TestLossesAreBorne(t *testing.T) {
	const q = 4 * blockSize
	clock, buyer, seller, wires := lossy(t, q, 1)
	w := wires[0]
	w.serve(t, cleanQuanta*q, q)
	w.paid(t)
	paid, lost := int64(cleanQuanta*q), int64(0)
	for range 12 {
		for lost+blockSize <= q+paid/share && w.room() >= blockSize {
			w.provider.Served(blockSize)
			lost += blockSize
			w.piece(t, q, clock)
			paid += q
		}
		for range share / 8 {
			w.piece(t, q, clock)
			paid += q
		}
	}
	if lost < q+paid/share-2*blockSize {
		t.Errorf("%d bytes lost of %d paid: the test loses too little", lost, paid)
	}
	if n := seller.count(EventOverdue) + seller.book.Strikes(buyer.purse.Account()); n != 0 {
		t.Errorf("%d failures with %d bytes lost of %d paid", n, lost, paid)
	}
	eventually(t, "who pays nothing more to fail", func() bool {
		w.drain()
		clock.pass()
		time.Sleep(10 * time.Millisecond)
		return seller.count(EventOverdue) > 0
	})
}

// TestClaimsLosses: a payer that pays for a part of what it is served, claiming that it
// lost the rest, on one connection or several, gains a quantum and a 64th of what it
// paid, and the quantum of each connection that is at risk anyway; then it has failed.
func TestClaimsLosses(t *testing.T) {
	const q = 4 * blockSize
	for _, links := range []int{1, 3} {
		for _, part := range []int64{0, blockSize, q - blockSize} { // paid of each quantum
			clock, buyer, seller, wires := lossy(t, q, links)
			account, paid := buyer.purse.Account(), int64(0)
			for _, w := range wires {
				w.serve(t, 2*cleanQuanta*q, q)
				w.paid(t)
				paid += 2 * cleanQuanta * q
			}
			for seller.book.Strikes(account) == 0 {
				for _, w := range wires {
					for w.room() >= blockSize {
						n := w.drain()
						if due := n * part / q / blockSize * blockSize; due > 0 {
							at := w.provided()
							w.requester.Verified(due)
							paid += due
							eventually(t, "a payment", func() bool { return w.provided() == at+due })
						}
					}
				}
				clock.pass()
				eventually(t, "grace or a failure", func() bool {
					open := false
					for _, w := range wires {
						open = open || w.room() >= blockSize
					}
					return open || seller.book.Strikes(account) > 0
				})
			}
			taken := int64(0)
			for _, w := range wires {
				w.drain()
				taken += w.provider.served.Load() - w.provided()
			}
			if most := q + paid/share + int64(links)*q; taken > most {
				t.Errorf("%d links, %d of %d paid: %d bytes taken for %d, want at most %d", links, part, q, taken, paid, most)
			}
			for _, w := range wires {
				w.cut()
			}
			w := newWire(t, buyer.book, seller.book, 1, q)
			trade(t, buyer, seller, w, price, 1<<40)
			w.serve(t, q, q)
			w.paid(t)
			if seller.book.Strikes(account) == 0 {
				t.Error("a new connection forgives it all")
			}
			d := seller.book.accounts[account]
			d.mu.Lock()
			if d.spared != 0 {
				t.Errorf("%d bytes are borne for connections that are closed", d.spared)
			}
			d.mu.Unlock()
		}
	}
}

// TestCrumbsAreNoPayment: a payer that pays a byte whenever its payment is nearly late has
// not paid: the slot is not its own for nothing.
func TestCrumbsAreNoPayment(t *testing.T) {
	const q = 4 * blockSize
	clock, _, seller, wires := lossy(t, q, 1)
	w := wires[0]
	w.serve(t, q, q)
	w.paid(t)
	w.drain()
	sweeps := func(n int) {
		for range n {
			w.provider.sweep(clock.now())
		}
	}
	for n := int64(1); n <= 4; n++ {
		sweeps(2)
		clock.by.Add(int64(15 * time.Millisecond)) // of the timeout of 20
		w.requester.Verified(1)
		eventually(t, "the byte to be paid", func() bool { return w.provided() == q+n })
	}
	sweeps(2)
	seller.awaitKind(EventOverdue) // the Book's own look may have found it, and is about to tell
	if n := seller.count(EventOverdue); n != 1 {
		t.Errorf("%d payments are late after 4 bytes, want one", n)
	}
	w.requester.Verified(q - 4)
	eventually(t, "the rest to be paid", func() bool { return w.provided() == 2*q && w.room() >= q })
}

// TestSmallPieces: a payer of pieces that are smaller than a block, which pays each of them,
// is never late, though its window is spent again at once.
func TestSmallPieces(t *testing.T) {
	const q = blockSize / 4
	m := ledgertest.New()
	clock := &late{start: time.Now()}
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.PaymentTimeout, c.Now = 20*time.Millisecond, clock.now })
	w := newWire(t, buyer.book, seller.book, 1, q)
	trade(t, buyer, seller, w, price, 1<<40)
	w.serve(t, 8*share*q, q)
	w.paid(t)
	for range 8 {
		for w.room() >= q {
			w.provider.Served(q)
		}
		w.provider.sweep(clock.now())
		clock.by.Add(int64(15 * time.Millisecond)) // of the timeout of 20
		paid := w.provided()
		w.requester.Verified(q)
		eventually(t, "a payment", func() bool { return w.provided() == paid+q })
	}
	w.provider.sweep(clock.now())
	if n := seller.count(EventOverdue); n != 0 {
		t.Errorf("%d payments are late", n)
	}
}
