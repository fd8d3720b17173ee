package payments

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// handClock stands still until it is moved on.
type handClock struct{ past atomic.Int64 }

func (c *handClock) now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(c.past.Load()))
}

// tap sees what a requester says about one channel, and keeps its payments back.
type tap struct {
	mu    sync.Mutex
	of    channel.ID
	keeps bool
	kept  []channel.Message
	ends  int // Close messages
}

func (x *tap) pass(m channel.Message) channel.Message {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.Channel() != x.of {
		return m
	}
	switch m.Type() {
	case channel.TypeClose:
		x.ends++
	case channel.TypePay:
		if x.keeps {
			x.kept = append(x.kept, m)
			return nil
		}
	}
	return m
}

func (x *tap) closes() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ends
}

// TestCloseWaitsForOthersPayments: a channel is full for one connection while another
// one's payment in it is still on its way. The Close does not overtake that: the
// payment counts, nobody refuses anything, and the channel is settled with all of it.
func TestCloseWaitsForOthersPayments(t *testing.T) {
	m := ledgertest.New()
	var clock handClock
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.DepositBytes, c.Now = 2<<20, clock.now })
	seller := newNode(t, m, "seller", 0, nil)
	a := newWire(t, buyer.book, seller.book, 1, 0)
	b := newWire(t, buyer.book, seller.book, 2, 0)
	trade(t, buyer, seller, a, price, 64<<20)
	trade(t, buyer, seller, b, price, 64<<20)
	a.serve(t, 1<<19, 1<<18)
	a.paid(t)
	b.serve(t, 1<<19, 1<<18) // both pay in the first channel
	b.paid(t)
	first := buyer.await("payment", func(e Event) bool { return e.Kind == EventPaid && e.Tag == [20]byte{2} }).Channel
	xa, xb := &tap{of: first}, &tap{of: first, keeps: true}
	pa, pb := xa.pass, xb.pass
	a.tamper.Store(&pa)
	b.tamper.Store(&pb)
	b.serve(t, 1<<18, 1<<18)
	buyer.await("kept payment", func(e Event) bool {
		return e.Kind == EventPaid && e.Tag == [20]byte{2} && e.Channel == first && b.requester.reached.Load() == 1<<19+1<<18
	})
	next := func(e Event) bool { return e.Kind == EventPaid && e.Channel != first }
	for seen := false; !seen; {
		a.serve(t, 1<<18, 1<<18)
		a.paid(t)
		buyer.mu.Lock()
		for _, e := range buyer.seen {
			seen = seen || next(e)
		}
		buyer.mu.Unlock()
	}
	if n := xa.closes() + xb.closes(); n != 0 {
		t.Fatalf("%d Close of the full channel before the other connection's payment", n)
	}
	xb.mu.Lock()
	kept := xb.kept
	xb.keeps = false
	xb.mu.Unlock()
	if len(kept) == 0 {
		t.Fatal("no payment was kept back")
	}
	for _, m := range kept {
		if err := b.provider.Receive(channel.Encode(m)); err != nil {
			t.Fatal(err)
		}
	}
	b.paid(t)
	clock.past.Store(int64(retireAfter))
	mine := func(e Event) bool { return e.Kind == EventSettled && e.Channel == first }
	got, want := seller.await("settlement", mine).Amount, buyer.await("settlement", mine).Amount
	if got != want || xa.closes()+xb.closes() == 0 {
		t.Errorf("settled with %v, the payer says %v, after %d Close", got, want, xa.closes()+xb.closes())
	}
	if n := buyer.count(EventRefused) + seller.count(EventRefused); n != 0 {
		t.Errorf("%d refusals", n)
	}
}

// TestTermsThatStrand: a provider that never settles keeps a deposit until its lock is
// over. So none is made for one that wants it large, or locked for long.
func TestTermsThatStrand(t *testing.T) {
	most := owed(price, DefaultDepositBytes) + ledger.DefaultMinOutput
	for _, tt := range []struct {
		lock    time.Duration
		deposit amount.Amount
		refused channel.Code // 0 = it is not
	}{
		{maxLockAsked, 0, 0},
		{maxLockAsked + time.Second, 0, channel.CodeLock},
		{math.MaxUint32 * time.Second, 0, channel.CodeLock},
		{0, most, 0},
		{0, most + 1, channel.CodeDeposit},
		{0, amount.Supply, channel.CodeDeposit},
	} {
		m := ledgertest.New()
		buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
		seller := newNode(t, m, "seller", 0, func(c *Config) {
			c.MinLock, c.MaxLock, c.MinDeposit = tt.lock, math.MaxUint32*time.Second, tt.deposit
		})
		w := newWire(t, buyer.book, seller.book, 1, 0)
		trade(t, buyer, seller, w, price, 16<<20)
		if tt.refused == 0 {
			w.serve(t, 1<<20, 1<<20)
			w.paid(t)
			continue
		}
		if e := buyer.awaitKind(EventRefused); e.Code != tt.refused {
			t.Errorf("%+v: refused for %v: %s", tt, e.Code, e.Reason)
		}
		if n := len(buyer.book.Summary()); n != 0 {
			t.Errorf("%+v: %d channels", tt, n)
		}
	}
	m := ledgertest.New() // what the dearest order explains is none too much for the others
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.MinDeposit = most })
	for i := range byte(8) {
		w := newWire(t, buyer.book, seller.book, 1+i, 0)
		trade(t, buyer, seller, w, price/amount.Price(1+i), 16<<20)
		if i == 7 {
			w.serve(t, 1<<20, 1<<20)
			w.paid(t)
		}
	}
	if n := buyer.count(EventRefused); n != 0 {
		t.Errorf("terms are refused %d times for a cheap torrent", n)
	}
}

// TestStrandsNoMoreThanEarned: nor can a provider have deposits as large as what it was
// paid stranded one after the other, by ending each channel and settling none: what it
// holds counts against the next one.
func TestStrandsNoMoreThanEarned(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.DepositBytes = 1 << 20 })
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	const price = 10 * price // so that nothing is under the least deposit
	silent := func(m channel.Message) channel.Message {
		if m.Type() == channel.TypeClose {
			return nil
		}
		return m
	}
	trade(t, buyer, seller, w, price, 1<<40)
	w.serve(t, 6<<20, 1<<18)
	w.paid(t)
	w.tamper.Store(&silent)
	for {
		var locked, paid amount.Amount
		var open []channel.ID
		live := 0
		for _, s := range buyer.book.Summary() {
			if paid += s.Paid; s.Stage.Final() {
				continue
			}
			locked += s.Deposit - ledger.DefaultMinOutput - s.Paid
			if live++; s.Stage == channel.Opened {
				open = append(open, s.Channel)
			}
		}
		if least := owed(price, 1<<20); locked > paid+amount.Amount(live)*least {
			t.Fatalf("%d channels hold %v where %v was paid and the least is %v each", live, locked, paid, least)
		}
		if live >= MaxChannels {
			break
		}
		for _, id := range open {
			if err := w.requester.Receive(channel.Encode(&channel.Refuse{ID: id, Code: channel.CodeUnavailable})); err != nil {
				t.Fatal(err)
			}
		}
		w.serve(t, 1<<18, 1<<18)
		w.paid(t)
	}
}
