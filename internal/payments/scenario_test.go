package payments

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

func earned(sum amount.Amount) func(Event) bool {
	return func(e Event) bool { return e.Kind == EventEarned && e.Amount == sum }
}

// shop is a ledger, a buyer with 100 BTT, a seller, and the connection between
// them.
func shop(t *testing.T) (*ledgertest.Memory, *node, *node, *wire) {
	t.Helper()
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	return m, buyer, seller, newWire(t, buyer.book, seller.book, 1, 0)
}

// With BTT_STRESS set it makes 1,027 payments of 4 KiB before the first change.
func TestPriceChangeInsideALane(t *testing.T) {
	unit := int64(1 << 16)
	if os.Getenv("BTT_STRESS") != "" {
		unit = 4096
	}
	_, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, unit)
	w.serve(t, 4096*3, 4096)
	trade(t, buyer, seller, w, 3*price, 64<<20)
	w.serve(t, 4<<20, 1<<18)
	trade(t, buyer, seller, w, price/2, 64<<20)
	w.serve(t, 2<<20, 1<<18)
	trade(t, buyer, seller, w, 0, 64<<20)
	w.serve(t, 8<<20, 1<<20) // free
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 1<<20, 1<<20)
	seller.await("sum of segments", earned(owed(price, 4<<20+4096*3)+owed(3*price, 4<<20)+owed(price/2, 2<<20)+owed(price, 1<<20)))
}

// TestQuoteBeforeVerified: bytes behind a price change are verified after the
// pair looked for quotes and before it pays. They are not paid at the old price.
func TestQuoteBeforeVerified(t *testing.T) {
	_, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<19)
	w.paid(t)
	l := w.requester
	p := l.buyer.Load()
	p.mu.Lock()
	s := requesterOf(p)
	o := s.orders[l]
	s.read(o)
	if err := l.Receive(channel.Encode(&channel.Quote{From: 4 << 20, Price: price / 2})); err != nil {
		t.Error(err)
	}
	l.verified.Add(1 << 20)
	s.settle(o)
	if o.pos != 4<<20 {
		t.Errorf("paid up to %d with an unread price from %d on", o.pos, 4<<20)
	}
	s.read(o)
	s.settle(o)
	if o.pos != 5<<20 || o.ch.m.Paid() != owed(price, 4<<20)+owed(price/2, 1<<20) {
		t.Errorf("paid %v up to %d", o.ch.m.Paid(), o.pos)
	}
	p.mu.Unlock()
}

// TestLostPayment: a payment that was damaged on the way ends its channel. What
// it did not pay is paid again through the next one, and the stream goes on.
func TestLostPayment(t *testing.T) {
	_, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<19)
	w.paid(t)
	first := buyer.book.Summary()[0].Channel
	damage := func(m channel.Message) channel.Message {
		if p, ok := m.(*channel.Pay); ok && p.ID == first {
			p.Payment.Signature[5] ^= 1
		}
		return m
	}
	w.tamper.Store(&damage)
	w.serve(t, 8<<20, 1<<19)
	w.paid(t)
	seller.awaitKind(EventRefused)
	buyer.awaitKind(EventSettled)
	closeBook(t, seller)
	if got, want := seller.purse.balance(t), owed(price, 12<<20); got < want-2 || got > want {
		t.Errorf("seller holds %v, want %v", got, want)
	}
}

// deny has a provider settle all that it was paid, and say that it was less.
func (w *wire) deny(t *testing.T, buyer, seller *node) *pair {
	t.Helper()
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<19)
	w.paid(t)
	w.provider.mu.Lock()
	w.provider.sale.paid = 2 << 20 // the lie
	w.provider.mu.Unlock()
	p := w.requester.buyer.Load()
	p.mu.Lock()
	s := requesterOf(p)
	s.close(s.channels[0])
	p.mu.Unlock()
	buyer.awaitKind(EventSettled)
	w.requester.Verified(1 << 19)
	return p
}

// TestDeniedPayment: a provider that settles all and says that it was paid less
// is not paid twice.
func TestDeniedPayment(t *testing.T) {
	_, buyer, seller, w := shop(t)
	w.deny(t, buyer, seller)
	e := buyer.awaitKind(EventRefused)
	if e.Code != channel.CodeAmount {
		t.Errorf("refused with %v: %s", e.Code, e.Reason)
	}
}

func TestFreeFirstThenPaid(t *testing.T) {
	_, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, 0, 64<<20)
	w.serve(t, 3<<20, 1<<20)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 2<<20, 1<<19)
	seller.await("paid part", earned(owed(price, 2<<20)))
}

func TestSuccessorChannelNeverStalls(t *testing.T) {
	m := ledgertest.New()
	small := func(c *Config) { c.DepositBytes = 4 << 20 }
	buyer := newNode(t, m, "buyer", 100*amount.BTT, small)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	const price = 10 * price // so that nothing is under the least deposit
	trade(t, buyer, seller, w, price, 32<<20)
	w.serve(t, 32<<20, 1<<20)
	w.paid(t)
	book, theirs := buyer.book, seller.book
	closeBook(t, seller)
	for _, c := range theirs.Summary() { // the buyer hears of it a moment later
		if c.Stage == channel.Settled {
			buyer.await("settlement", func(e Event) bool { return e.Kind == EventSettled && e.Channel == c.Channel })
		}
	}
	closeBook(t, buyer)
	opened, paid, most := 0, amount.Amount(0), owed(price, 4<<20)
	for _, s := range seller.seen {
		switch s.Kind {
		case EventOpened:
			opened++
			if locked := s.Amount - ledger.DefaultMinOutput; locked > max(most, paid) {
				t.Errorf("channel %d locks %v where %v was paid", opened, locked, paid)
			}
		case EventEarned:
			paid += s.Sum
		}
	}
	if opened < 4 || opened > 6 { // of 4 MiB, as much, and then twice as much each time, about
		t.Errorf("%d channels opened for what the first covers an eighth of, want 4 to 6", opened)
	}
	got, want := seller.purse.balance(t), owed(price, 32<<20)
	if got > want || got < want-amount.Amount(opened)-1 {
		t.Errorf("seller holds %v, want %v less at most a rounding for each channel", got, want)
	}
	// A successor that was being opened when the seller left waits for its refund.
	var locked amount.Amount
	for _, c := range book.Summary() {
		if c.Stage == channel.Funded || c.Stage == channel.Opened || c.Stage == channel.Closing {
			locked += c.Deposit
		}
	}
	if sum := got + buyer.purse.balance(t); sum != 100*amount.BTT && sum+locked != 100*amount.BTT {
		t.Errorf("both hold %v, and %v is locked", sum, locked)
	}
}

func TestReconnectGoesOn(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	for round := range int64(4) {
		w := newWire(t, buyer.book, seller.book, 1, 0)
		trade(t, buyer, seller, w, price+amount.Price(round), 64<<20)
		w.serve(t, 5<<20, 1<<19)
		w.paid(t)
		// The last quarter quantum breaks off: served, never verified.
		w.provider.Served(1 << 18)
		w.cut()
	}
	want := owed(price, 5<<20) + owed(price+1, 5<<20) + owed(price+2, 5<<20) + owed(price+3, 5<<20)
	seller.await("four rounds", func(e Event) bool { return e.Kind == EventEarned && e.Amount >= want-8 && e.Amount <= want })
	if n := len(seller.book.Summary()); n != 1 {
		t.Errorf("%d channels, want the one reused", n)
	}
}

func TestVerifiedAfterCutIsPaidNextTime(t *testing.T) {
	_, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 3<<20, 1<<20)
	seller.await("first part", earned(owed(price, 3<<20)))
	w.provider.Served(1 << 20)
	w.provider.Close() // the payment finds nobody
	w.queues[1] <- binary.BigEndian.AppendUint64([]byte{0}, 1<<20)
	buyer.await("payment", func(e Event) bool { return e.Kind == EventPaid && e.Amount == owed(price, 4<<20) })
	w.cut()
	w = newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	seller.await("late payment", earned(owed(price, 4<<20)))
	w.serve(t, 1<<20, 1<<20)
	seller.await("new part", earned(owed(price, 5<<20)))
}

func TestTwoTorrentsShareAChannel(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.DepositBytes = 1 << 30 })
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.MinDeposit = amount.BTT })
	a := newWire(t, buyer.book, seller.book, 1, 0)
	b := newWire(t, buyer.book, seller.book, 2, 4<<20)
	trade(t, buyer, seller, a, price, 16<<20)
	trade(t, buyer, seller, b, 2*price, 16<<20)
	done := make(chan struct{})
	go func() { a.serve(t, 8<<20, 1<<19); close(done) }()
	b.serve(t, 8<<20, 4<<20)
	<-done
	seller.await("both", earned(owed(price, 8<<20)+owed(2*price, 8<<20)))
	if n := len(seller.book.Summary()); n != 1 {
		t.Errorf("%d channels, want one with two lanes", n)
	}
}

func contractOf(t *testing.T, n *node) channel.Contract {
	t.Helper()
	for _, p := range n.book.all() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if b, ok := p.side.(*buyer); ok && len(b.channels) > 0 {
			return b.channels[0].m.Contract()
		}
	}
	t.Fatal("no channel")
	return channel.Contract{}
}

func TestNoFunds(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 0, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 16<<20)
	if e := buyer.awaitKind(EventNoFunds); !strings.Contains(e.Reason, "free") {
		t.Errorf("reason %q", e.Reason)
	}
}

func TestRestartOfEitherSide(t *testing.T) {
	for _, who := range []string{"buyer", "seller", "both"} {
		t.Run(who, func(t *testing.T) {
			m := ledgertest.New()
			buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
			seller := newNode(t, m, "seller", 0, nil)
			var want amount.Amount
			for range 3 {
				w := newWire(t, buyer.book, seller.book, 1, 0)
				trade(t, buyer, seller, w, price, 64<<20)
				w.serve(t, 4<<20, 1<<20)
				want += owed(price, 4<<20)
				seller.await("payments", earned(want))
				w.cut()
				for _, n := range []*node{buyer, seller} {
					if who == "both" || n.purse.name == who {
						n.kill()
						n.open()
					}
				}
			}
			if n := len(buyer.book.Summary()); n != 1 {
				t.Errorf("%d channels, want the first one resumed: %+v", n, buyer.book.Summary())
			}
			closeBook(t, seller)
			if got := seller.purse.balance(t); got != want {
				t.Errorf("seller holds %v, want %v", got, want)
			}
			buyer.await("settlement", func(e Event) bool { return e.Kind == EventSettled && e.Amount == want })
			if sum := seller.purse.balance(t) + buyer.purse.balance(t); sum != 100*amount.BTT {
				t.Errorf("both hold %v", sum)
			}
		})
	}
}

func TestRefundWhenThePayeeVanishes(t *testing.T) {
	m := ledgertest.New()
	var clock fakeClock
	clock.at = time.Unix(1_800_000_000, 0)
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.Now = clock.now })
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<20)
	w.cut()
	seller.kill()
	var s Summary
	if list := buyer.book.Summary(); len(list) != 1 {
		t.Fatalf("%+v", list)
	} else {
		s = list[0]
	}
	status, _ := m.Status(t.Context())
	m.Advance(s.LockTime - status.LedgerTime)
	buyer.book.head.refresh(t.Context(), m)
	for _, p := range buyer.book.all() {
		p.tick.Store(true)
	}
	buyer.awaitKind(EventRefunded)
	if got := buyer.purse.balance(t); got != 100*amount.BTT {
		t.Errorf("buyer holds %v", got)
	}
	if err := m.Audit(); err != nil {
		t.Error(err)
	}
}

func TestPayeeSettlesBeforeTheLock(t *testing.T) {
	m, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<20)
	seller.await("payments", earned(owed(price, 4<<20)))
	lock := seller.book.Summary()[0].LockTime
	status, _ := m.Status(t.Context())
	m.Advance(lock - status.LedgerTime - channel.Margin(lock-status.LedgerTime))
	seller.book.head.refresh(t.Context(), m)
	for _, p := range seller.book.all() {
		p.tick.Store(true)
	}
	seller.await("settlement", func(e Event) bool { return e.Kind == EventSettled && e.Amount == owed(price, 4<<20) })
	if got := seller.purse.balance(t); got != owed(price, 4<<20) {
		t.Errorf("seller holds %v", got)
	}
}

func TestManyPeersAtOnceGetKeys(t *testing.T) {
	m := ledgertest.New()
	seller := newNode(t, m, "seller", 0, nil)
	for i := range byte(6) {
		buyer := newNode(t, m, "buyer"+string('a'+rune(i)), 10*amount.BTT, nil)
		w := newWire(t, buyer.book, seller.book, 1, 0)
		terms, err := seller.book.Terms()
		if err != nil {
			t.Fatal(err)
		}
		// All of them got the same K2: all but the first must be given another.
		if i == 0 {
			first = terms
		}
		terms.K2 = first.K2
		if err := w.provider.Sell(price); err != nil {
			t.Fatal(err)
		}
		w.requester.Buy(terms, price, 4<<20)
		w.serve(t, 2<<20, 1<<20)
	}
}

var first channel.Terms

func requesterOf(p *pair) *buyer { return p.side.(*buyer) }

type fakeClock struct{ at time.Time }

func (c *fakeClock) now() time.Time { return c.at }
