package payments

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger/ledgertest"
)

func TestPayerNeverPays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.New()
		quick := func(c *Config) { c.PaymentTimeout = 50 * time.Millisecond }
		buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
		seller := newNode(t, m, "seller", 0, quick)
		w := newWire(t, buyer.book, seller.book, 1, 0)
		trade(t, buyer, seller, w, price, 16<<20)
		buyer.awaitKind(EventOpened)
		seller.awaitKind(EventOpened)
		for w.provider.served.Load()+blockSize <= w.provider.Allowance().Load() {
			w.provider.Served(blockSize)
		}
		if got := w.provider.served.Load(); got != 1<<20 {
			t.Errorf("served %d ahead of payment, want one quantum", got)
		}
		e := seller.awaitKind(EventOverdue)
		if e.Account != buyer.purse.Account() || e.Bytes != 1<<20 {
			t.Errorf("overdue %+v", e)
		}
		time.Sleep(20 * seller.cfg.PaymentTimeout)
		if n := seller.book.Strikes(e.Account); n != 1 {
			t.Errorf("%d failures for one piece", n)
		}
		if err := w.provider.Sell(2 * price); err != nil { // the slot is sold anew
			t.Error(err)
		}
		time.Sleep(20 * seller.cfg.PaymentTimeout)
		if n, told := seller.book.Strikes(e.Account), seller.count(EventOverdue); n != 1 || told != 1 {
			t.Errorf("%d failures, %d told, for one piece and two slots", n, told)
		}
		if got := w.drain(); got != 1<<20 {
			t.Errorf("served %d ahead of payment in the second slot, want one quantum", got)
		}
		seller.await("second report", func(Event) bool { return seller.count(EventOverdue) == 2 })
		if n := seller.book.Strikes(e.Account); n != 2 {
			t.Errorf("%d failures for two pieces", n)
		}
		for tag := byte(3); tag <= BanAfter; tag++ {
			w := newWire(t, buyer.book, seller.book, tag, 0)
			trade(t, buyer, seller, w, price, 16<<20)
			w.serve(t, 1<<20, 1<<20)
			w.paid(t) // it proves who it is
			for w.provider.served.Load()+blockSize <= w.provider.Allowance().Load() {
				w.provider.Served(blockSize)
			}
			seller.await("another failure", func(Event) bool { return seller.book.Strikes(e.Account) == int(tag) })
		}
		if until, banned := seller.book.Banned(e.Account); !banned || until.Before(time.Now().Add(BanTime/2)) {
			t.Errorf("banned %v until %v", banned, until)
		}
	})
}

// TestDebtsOfBrokenConnections: a payer that breaks off inside a piece again and
// again is served a whole piece each time, so it can go on; what it takes beyond a
// piece and a share of what it paid counts as failures, until it paid for long.
func TestDebtsOfBrokenConnections(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, patiently)
	account := buyer.purse.Account()
	for i := range 5 {
		w := newWire(t, buyer.book, seller.book, 1, 0)
		trade(t, buyer, seller, w, price, 64<<20)
		w.serve(t, 2<<20, 1<<20)
		w.paid(t)
		if got := w.provider.Allowance().Load() - w.provider.served.Load(); got < 1<<20 {
			t.Fatalf("connection %d: a window of %d bytes", i, got)
		}
		w.provider.Served(3 << 18)
		w.cut()
		buyer.kill()
		buyer.open()
	}
	if n := seller.count(EventOverdue); n == 0 || n > 3 {
		t.Errorf("%d failures for 3 MiB that nobody paid", n)
	}
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 1<<20, 1<<20)
	w.paid(t)
	if seller.book.Strikes(account) == 0 {
		t.Error("one piece made up for all failures")
	}
	w.serve(t, cleanQuanta<<20, 1<<20)
	w.paid(t)
	if n := seller.book.Strikes(account); n != 0 {
		t.Errorf("%d failures after %d pieces", n, cleanQuanta)
	}
}

// TestStrangerAtAChannel: the id of a channel is public, and who reads a connection
// in the clear knows its payer's signatures. A stranger that repeats all of that on
// a connection of its own can neither take the channel's payments, nor close it,
// nor get its account blamed.
func TestStrangerAtAChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.New()
		buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
		seller := newNode(t, m, "seller", 0, func(c *Config) { c.PaymentTimeout = 50 * time.Millisecond })
		w := newWire(t, buyer.book, seller.book, 1, 0)
		var mu sync.Mutex
		heard := map[channel.Type]channel.Message{} // the newest of each type
		listen := func(m channel.Message) channel.Message {
			mu.Lock()
			defer mu.Unlock()
			heard[m.Type()] = m
			return m
		}
		w.tamper.Store(&listen)
		trade(t, buyer, seller, w, price, 64<<20)
		w.serve(t, 4<<20, 1<<19)
		w.paid(t)
		mu.Lock()
		fund, newest, attach := heard[channel.TypeFund], heard[channel.TypePay], heard[channel.TypeAttach]
		mu.Unlock()
		id := seller.book.Summary()[0].Channel
		var said []channel.Message
		stranger := seller.book.Link(LinkConfig{Account: ledgertest.Key("stranger").PublicKey(), Infohash: [20]byte{1}, Send: func(b []byte) {
			if m, err := channel.Decode(b); err == nil {
				said = append(said, m)
			}
		}})
		defer stranger.Close()
		if err := stranger.Sell(price); err != nil {
			t.Fatal(err)
		}
		contract := contractOf(t, buyer)
		for _, x := range []channel.Message{
			&channel.Attach{ID: id, Lane: 1 << 24, Tag: channel.Tag{1}},
			&channel.Close{ID: id},
			&channel.Refuse{ID: id, Code: channel.CodeSignature, Reason: "nonsense"},
			&channel.Fund{ID: id, T1: []byte{1}},
			&channel.Pay{ID: id, Lane: 1 << 24, Bytes: 64 << 20, Payment: channel.Payment{Sequence: 1 << 20, Amount: amount.BTT / 100}},
			&channel.Pay{ID: id, Lane: 1 << 24, Bytes: 64 << 20, Payment: channel.Payment{Sequence: 2}},
			fund, newest, attach, // replayed
			&channel.Close{ID: id},
			&channel.Open{Payer: contract.Payer, K1: contract.K1, K2: contract.K2, Funding: contract.Funding, Deposit: 5},
		} {
			if err := stranger.Receive(channel.Encode(x)); err != nil {
				t.Fatal(err)
			}
			w.serve(t, 2<<20, 1<<19)
		}
		w.paid(t)
		for stranger.served.Load()+blockSize <= stranger.Allowance().Load() {
			stranger.Served(blockSize)
		}
		e := seller.awaitKind(EventOverdue)
		if !e.Account.IsZero() || seller.book.Strikes(contract.Payer) != 0 {
			t.Errorf("the stranger's failure is booked to %v", e.Account)
		}
		if stranger.served.Load() > 1<<20 {
			t.Errorf("the stranger was served %d bytes", stranger.served.Load())
		}
		if buyer.count(EventClosing)+buyer.count(EventRefused)+seller.count(EventClosing) != 0 {
			t.Error("a stranger disturbed the channel")
		}
		closeBook(t, seller)
		if got, want := seller.purse.balance(t), owed(price, 26<<20); got != want {
			t.Errorf("seller holds %v, want %v", got, want)
		}
	})
}
