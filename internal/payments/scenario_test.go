package payments

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync/atomic"
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

// With BTT_STRESS set it makes 1,027 payments of 4 KiB before the first change.
func TestPriceChangeInsideALane(t *testing.T) {
	unit := int64(1 << 16)
	if os.Getenv("BTT_STRESS") != "" {
		unit = 4096
	}
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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

// TestDeniedPayment: a provider that settles all and says that it was paid less
// is not paid twice.
func TestDeniedPayment(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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
	e := buyer.awaitKind(EventRefused)
	if e.Code != channel.CodeAmount {
		t.Errorf("refused with %v: %s", e.Code, e.Reason)
	}
}

func TestFreeFirstThenPaid(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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
	trade(t, buyer, seller, w, price, 32<<20)
	w.serve(t, 32<<20, 1<<20)
	w.paid(t)
	book := buyer.book
	closeBook(t, seller)
	closeBook(t, buyer)
	opened := 0
	for _, s := range seller.seen {
		if s.Kind == EventOpened {
			opened++
		}
	}
	if opened < 6 {
		t.Errorf("%d channels opened, want at least 6", opened)
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
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
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

func TestPayerNeverPays(t *testing.T) {
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
	seller.await("second report", func(Event) bool { return seller.count(EventOverdue) == 2 })
	if n := seller.book.Strikes(e.Account); n != 1 {
		t.Errorf("%d failures for one piece and two slots", n)
	}
	for tag := byte(2); tag <= BanAfter; tag++ {
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
}

// TestDebtsOfBrokenConnections: a payer that breaks off inside a piece again and
// again is served a whole piece each time, so it can go on; what it takes beyond a
// piece and a share of what it paid counts as failures, until it paid for long.
func TestDebtsOfBrokenConnections(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
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

// TestStrangerAtAChannel: the id of a channel is public. Who knows no more can
// neither take its payments, nor close it, nor get its account blamed.
func TestStrangerAtAChannel(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.PaymentTimeout = 50 * time.Millisecond })
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<19)
	w.paid(t)
	id := seller.book.Summary()[0].Channel
	var said []channel.Message
	stranger := seller.book.Link(LinkConfig{Infohash: [20]byte{1}, Send: func(b []byte) {
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
	if got, want := seller.purse.balance(t), owed(price, 18<<20); got != want {
		t.Errorf("seller holds %v, want %v", got, want)
	}
}

// TestOutageWhileAChannelOpens: the ledger is gone before the channel is open, for
// both sides or one. Nobody is blamed, and the payment comes when the ledger does.
func TestOutageWhileAChannelOpens(t *testing.T) {
	for _, who := range []string{"both", "buyer", "seller"} {
		t.Run(who, func(t *testing.T) {
			m := ledgertest.New()
			gates := map[string]*gate{"buyer": {Client: m}, "seller": {Client: m}}
			quick := func(name string) func(*Config) {
				return func(c *Config) { c.Ledger, c.PaymentTimeout = gates[name], 300*time.Millisecond }
			}
			buyer := newNode(t, m, "buyer", 100*amount.BTT, quick("buyer"))
			seller := newNode(t, m, "seller", 0, quick("seller"))
			buyer.purse.client, seller.purse.client = gates["buyer"], gates["seller"]
			for name, g := range gates {
				g.shut.Store(who == "both" || who == name)
			}
			w := newWire(t, buyer.book, seller.book, 1, 0)
			trade(t, buyer, seller, w, price, 64<<20)
			w.serve(t, 1<<20, 1<<18)
			e := seller.awaitKind(EventOverdue)
			if e.Code != channel.CodeLedger || seller.book.Strikes(buyer.purse.Account()) != 0 {
				t.Errorf("overdue with %v", e.Code)
			}
			for _, g := range gates {
				g.shut.Store(false)
			}
			w.paid(t)
			w.serve(t, 4<<20, 1<<18)
			w.paid(t)
			if n := seller.book.Strikes(buyer.purse.Account()); n != 0 {
				t.Errorf("%d failures", n)
			}
		})
	}
}

// gate is a ledger behind a line that can be cut.
type gate struct {
	ledger.Client
	shut atomic.Bool
}

var errCut = errors.New("no line to the ledger")

func (g *gate) Status(ctx context.Context) (ledger.Status, error) {
	if g.shut.Load() {
		return ledger.Status{}, errCut
	}
	return g.Client.Status(ctx)
}

func (g *gate) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	if g.shut.Load() {
		return ledger.Receipt{}, errCut
	}
	return g.Client.Submit(ctx, raw)
}

func (g *gate) Outpoint(ctx context.Context, o ledger.OutPoint) (ledger.OutpointState, error) {
	if g.shut.Load() {
		return ledger.OutpointState{}, errCut
	}
	return g.Client.Outpoint(ctx, o)
}

func (g *gate) Unspent(ctx context.Context, a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	if g.shut.Load() {
		return nil, errCut
	}
	return g.Client.Unspent(ctx, a, after, limit)
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

func TestOutageDoesNotStopPayments(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 2<<20, 1<<20)
	m.SetOutage(errors.New("the ledger is down"))
	w.serve(t, 8<<20, 1<<20)
	seller.await("payment", earned(owed(price, 10<<20)))
	m.SetOutage(nil)
	closeBook(t, seller)
	if got := seller.purse.balance(t); got != owed(price, 10<<20) {
		t.Errorf("seller holds %v", got)
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
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
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
