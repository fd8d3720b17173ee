package payments

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// drain serves a buyer as much as it may be served without another payment.
func (w *wire) drain() (taken int64) {
	for w.provider.served.Load()+blockSize <= w.provider.Allowance().Load() {
		w.provider.Served(blockSize)
		taken += blockSize
	}
	return taken
}

func (w *wire) window() int64 { return w.provider.Allowance().Load() - w.provided() }

// TestWindowGrows: everyone begins with a quantum, and may owe one more for each 64
// that it paid, up to the user's limit; with a limit of a quantum, or a longer one
// than the limit, never more than one.
func TestWindowGrows(t *testing.T) {
	for _, c := range []struct {
		name           string
		credit, q, end int64
	}{
		{"default", 0, 4 << 20, 16 << 20},
		{"small", 256 << 10, 64 << 10, 256 << 10},
		{"strict", 64 << 10, 64 << 10, 64 << 10},
		{"less than strict", 1, 64 << 10, 64 << 10},
		{"long pieces", 0, 32 << 20, 32 << 20},
		{"uneven", 100 << 10, 64 << 10, 64 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := ledgertest.New()
			buyer := newNode(t, m, "buyer", 10_000*amount.BTT, nil)
			seller := newNode(t, m, "seller", 0, func(x *Config) { x.Credit = c.credit })
			w := newWire(t, buyer.book, seller.book, 1, c.q)
			trade(t, buyer, seller, w, price, 1<<40)
			for n := range int64(5) {
				for range share {
					want := min(max(c.credit, c.end), c.q*(1+n))
					if got := w.window(); got > want {
						t.Fatalf("a window of %d after %d quanta, want at most %d", got, w.provided()/c.q, want)
					}
					w.serve(t, c.q, c.q)
					w.paid(t)
				}
			}
			if got := w.window(); got != c.end {
				t.Errorf("a window of %d at the end, want %d", got, c.end)
			}
		})
	}
}

// TestPaysAndVanishes: a payer that pays 64 quanta, takes all that it is lent and
// goes, again and again, takes one quantum and a 64th of what it paid; whether it
// ends its connection, its process or both, and on however many connections at once.
func TestPaysAndVanishes(t *testing.T) {
	const q = 64 << 10
	for _, links := range []int{1, 3} {
		m := ledgertest.New()
		buyer := newNode(t, m, "buyer", 10_000*amount.BTT, nil)
		seller := newNode(t, m, "seller", 0, func(c *Config) { c.Credit = 16 * q })
		var paid, taken int64
		for round := range 6 {
			var wires []*wire
			for tag := range links {
				w := newWire(t, buyer.book, seller.book, byte(1+tag), q)
				trade(t, buyer, seller, w, price, 1<<40)
				wires = append(wires, w)
			}
			for _, w := range wires {
				w.serve(t, share*q, q)
				w.paid(t)
				paid += share * q
			}
			for _, w := range wires {
				taken += w.drain()
				w.cut()
			}
			if most := int64(links)*q + paid/share; taken > most && links == 1 {
				t.Errorf("round %d: %d bytes taken for %d paid, want at most %d", round, taken, paid, most)
			}
			if round%2 == 1 {
				buyer.kill()
				buyer.open()
			}
		}
		if links == 1 && seller.book.Strikes(buyer.purse.Account()) != 0 {
			t.Error("what was lent counts as a failure")
		}
		// A quantum on each connection is today's least; beyond the first each is a failure.
		failed := int64(0)
		seller.mu.Lock()
		for _, e := range seller.seen {
			if e.Kind == EventOverdue {
				failed += e.Bytes
			}
		}
		seller.mu.Unlock()
		if most := q + paid/share + int64(links)*q; taken-failed > most {
			t.Errorf("%d links: %d bytes taken for %d paid, %d of them counted as failed payments", links, taken, paid, failed)
		}
	}
}

// TestWindowsShareTheirCredit: all connections of an account together are lent one
// 64th of what it paid.
func TestWindowsShareTheirCredit(t *testing.T) {
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 10_000*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.Credit = 16 * q })
	var wires []*wire
	for tag := range byte(4) {
		w := newWire(t, buyer.book, seller.book, 1+tag, q)
		trade(t, buyer, seller, w, price, 1<<40)
		wires = append(wires, w)
	}
	paid := int64(0)
	for range 5 {
		for _, w := range wires {
			w.serve(t, share/2*q, q)
			w.paid(t)
			paid += share / 2 * q
			sum := int64(0)
			for _, x := range wires {
				sum += x.window() - q
			}
			if sum > paid/share {
				t.Fatalf("%d bytes lent beyond a quantum each, of %d paid", sum, paid)
			}
		}
	}
	for _, i := range []int{0, 2, 3} {
		wires[i].cut()
	}
	paid += q
	eventually(t, "what closed connections were lent", func() bool {
		wires[1].serve(t, q, q)
		wires[1].paid(t)
		return wires[1].window() == q+(paid/share)/q*q
	})
}

// TestPaidAheadLendsNothing: bytes that are paid and were not served are no history:
// at a low price they would buy credit at a high one. They are once they are served.
func TestPaidAheadLendsNothing(t *testing.T) {
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.Credit = 16 * q })
	w := newWire(t, buyer.book, seller.book, 1, q)
	trade(t, buyer, seller, w, price, 1<<40)
	w.serve(t, 2*q, q)
	w.paid(t)
	const ahead = 8 * share * q
	w.requester.Verified(ahead) // a payer may say so
	eventually(t, "the payment", func() bool { return w.provided() == 2*q+ahead })
	if got := w.window(); got != q {
		t.Errorf("a window of %d for %d bytes served and %d paid ahead, want a quantum", got, 2*q, ahead)
	}
	w.provider.Served(ahead)
	w.serve(t, q, q)
	w.paid(t)
	if got := w.window(); got != 9*q {
		t.Errorf("a window of %d when all is served, want %d", got, 9*q)
	}
}

// TestMoreDebtsThanRemembered: a payer that left debts in so many torrents that no more
// are remembered is judged for the next at once: they are not free.
func TestMoreDebtsThanRemembered(t *testing.T) {
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	for tag := range byte(4) {
		w := newWire(t, buyer.book, seller.book, 1+tag, q)
		trade(t, buyer, seller, w, price, 1<<40)
		w.serve(t, q, q)
		w.paid(t)
		w.provider.mu.Lock()
		p := w.provider.sale.pair
		w.provider.mu.Unlock()
		if tag == 0 {
			p.mu.Lock()
			d := seller.book.accounts[buyer.purse.Account()]
			for i := range MaxDebts {
				d.owe(channel.Tag{byte(i), byte(i >> 8), 1}, 1, time.Now())
			}
			p.mu.Unlock()
		}
		w.drain()
		w.cut()
	}
	eventually(t, "failures", func() bool { return seller.book.Strikes(buyer.purse.Account()) > 0 })
}
