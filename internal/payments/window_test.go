package payments

import (
	"sync/atomic"
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

// dealing is a buyer and a seller that trade on a wire with quanta of q bytes.
func dealing(t *testing.T, q int64) (buyer, seller *node, w *wire) {
	t.Helper()
	m := ledgertest.New()
	buyer = newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller = newNode(t, m, "seller", 0, nil)
	w = newWire(t, buyer.book, seller.book, 1, q)
	trade(t, buyer, seller, w, price, 1<<40)
	return buyer, seller, w
}

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
		seller := newNode(t, m, "seller", 0, func(c *Config) { c.Credit, c.PaymentTimeout = 16*q, patience })
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
				d.owe(channel.Tag{byte(i), byte(i >> 8), 1}, 1, 1, waitingQuanta*q, time.Now())
			}
			p.mu.Unlock()
		}
		w.drain()
		w.cut()
	}
	eventually(t, "failures", func() bool { return seller.book.Strikes(buyer.purse.Account()) > 0 })
}

// TestManyTorrents: a payer that takes its window in one torrent after the other, pays as
// much in each and never comes back to it takes a quantum, a 64th of what it paid, and what
// may wait for its torrents; all else is failed payments, told where the payer is then.
func TestManyTorrents(t *testing.T) {
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	var paid, taken, failed, told int64
	const last = waitingQuanta + 16
	for tag := range byte(last + 1) {
		w := newWire(t, buyer.book, seller.book, 1+tag, q)
		var heard atomic.Int64
		w.provider.cfg.Notify = func(e LinkEvent) {
			if e.Kind == EventOverdue {
				heard.Add(e.Bytes)
			}
		}
		trade(t, buyer, seller, w, price, 1<<40)
		w.serve(t, q, q)
		w.paid(t)
		paid += q
		if tag < last {
			taken += w.drain()
		}
		w.cut()
		told += heard.Load()
	}
	seller.mu.Lock()
	for _, e := range seller.seen {
		if e.Kind == EventOverdue {
			failed += e.Bytes
		}
	}
	seller.mu.Unlock()
	if most := q + paid/share + (waitingQuanta+1)*q; taken-failed > most {
		t.Errorf("%d bytes taken for %d paid, %d of them counted as failed payments, want at most %d beside them", taken, paid, failed, most)
	}
	if told != failed {
		t.Errorf("%d bytes are told as failed where the payer is, of %d", told, failed)
	}
}

// TestDebtAtPriceZero: what was served at a price stays owed when the price falls to 0, by
// a payer and by one that never showed a channel.
func TestDebtAtPriceZero(t *testing.T) {
	const q = 64 << 10
	buyer, seller, w := dealing(t, q)
	w.serve(t, q, q)
	w.paid(t)
	stranger := newWire(t, buyer.book, seller.book, 2, q)
	if err := stranger.provider.Sell(price); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*wire{w, stranger} {
		x.drain()
		if err := x.provider.Sell(0); err != nil {
			t.Fatal(err)
		}
		x.provider.Served(5 * q) // free
		if due := x.provider.Due(); due != q {
			t.Errorf("%d bytes are due, want a quantum", due)
		}
	}
	if n := stranger.provider.Unclaimed(); n != q {
		t.Errorf("%d bytes are unclaimed, want a quantum", n)
	}
	w.cut()
	eventually(t, "the debt", func() bool { d := seller.book.Debtors(); return len(d) == 1 && d[0].Unpaid == q })
}

// TestUntrusted: a payer is not trusted that leaves with more unpaid than its account ever
// paid.
func TestUntrusted(t *testing.T) {
	const q = 64 << 10
	_, _, w := dealing(t, q)
	w.serve(t, q/2, q/2)
	w.paid(t)
	if w.provider.Untrusted() {
		t.Error("it owes nothing")
	}
	w.drain()
	if !w.provider.Untrusted() {
		t.Error("it paid half of what it owes")
	}
	w.requester.Verified(q / 2)
	eventually(t, "a payment", func() bool { return w.provided() == q })
	if w.provider.Untrusted() {
		t.Error("it paid more than it owes")
	}
}

// TestPaysAndLeaves: who pays for all and leaves at once is judged when its payment was
// looked at, however late that is.
func TestPaysAndLeaves(t *testing.T) {
	const q = 64 << 10
	_, _, w := dealing(t, q)
	w.serve(t, q/4, q/4)
	w.paid(t)
	w.drain()
	judged := make(chan bool, 1)
	judge := func() { judged <- w.provider.Untrusted() }
	if w.provider.Booked(judge); !<-judged {
		t.Error("it owes more than it paid")
	}
	w.provider.mu.Lock()
	p := w.provider.sale.pair
	w.provider.mu.Unlock()
	p.mu.Lock() // the node is busy
	w.requester.Verified(q)
	eventually(t, "a payment", func() bool {
		p.mailbox.mu.Lock()
		defer p.mailbox.mu.Unlock()
		return w.provider.arrived.Load() > 0 && len(p.mailbox.waiting) > 0
	})
	w.provider.Booked(judge)
	w.provider.Close()
	early := len(judged)
	p.mu.Unlock()
	if early > 0 || <-judged {
		t.Error("it is judged before its payment is looked at")
	}
}

// TestShowsAndTakes: a payer that shows its channel on each connection, takes a quantum and
// goes before it pays anything there fails, though it never comes to have a lane.
func TestShowsAndTakes(t *testing.T) {
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	var taken, told int64
	const rounds = 6
	for n := range byte(rounds + 1) {
		w := newWire(t, buyer.book, seller.book, 1+n%2, q)
		var heard atomic.Int64
		w.provider.cfg.Notify = func(e LinkEvent) {
			if e.Kind == EventOverdue {
				heard.Add(e.Bytes)
			}
		}
		trade(t, buyer, seller, w, price, 1<<40)
		eventually(t, "the channel to be shown", func() bool {
			w.provider.mu.Lock()
			defer w.provider.mu.Unlock()
			return w.provider.sale.proven
		})
		eventually(t, "what comes with that", func() bool {
			p := w.provider.sale.pair
			defer p.mu.Unlock()
			p.mu.Lock() // its step is over
			return p.posted.Load() == 0
		})
		if n < rounds {
			taken += w.drain()
		}
		w.cut()
		told += heard.Load()
	}
	if most := int64(2 * q); taken-told > most {
		t.Errorf("%d bytes taken and none paid, %d of them told as failed payments, want all but %d", taken, told, most)
	}
	if n := seller.book.Strikes(buyer.purse.Account()); n < BanAfter {
		t.Errorf("%d failures", n)
	}
}
