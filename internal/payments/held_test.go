package payments

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// held is a buyer with one coin and a clock of the test, and a seller that it bought from
// first and that answers nothing: the coin is held for the channel to it.
func held(t *testing.T) (clock *handClock, buyer, honest *node, mute *wire) {
	t.Helper()
	m := ledgertest.New()
	clock = new(handClock)
	buyer = newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.Now = clock.now })
	honest = newNode(t, m, "honest", 0, func(c *Config) { c.Now = clock.now })
	silent := newNode(t, m, "silent", 0, nil)
	mute = newWire(t, buyer.book, silent.book, 1, 0)
	drop := func(channel.Message) channel.Message { return nil }
	mute.tamper.Store(&drop)
	trade(t, buyer, silent, mute, price, 64<<20)
	eventually(t, "a proposal", func() bool { return len(buyer.proposals()) == 1 })
	return clock, buyer, honest, mute
}

// holds says whether coins are set aside for a channel that is not on the ledger.
func (n *node) holds() bool {
	n.purse.mu.Lock()
	defer n.purse.mu.Unlock()
	return len(n.purse.reserved) > 0
}

// proposals are the channels that nobody answered yet.
func (n *node) proposals() []Summary {
	return slices.DeleteFunc(n.book.Summary(), func(s Summary) bool { return s.Stage != channel.Proposed })
}

// tries waits for so many tries to fund a channel that failed.
func (n *node) tries(want int) {
	n.t.Helper()
	for end := time.Now().Add(patience); n.count(EventNoFunds) < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatal("waited too long for another try")
		}
	}
}

// TestGoneSellerHoldsNoCoins: what was proposed to a seller that leaves without an answer
// is given up at once, and its coins pay another.
func TestGoneSellerHoldsNoCoins(t *testing.T) {
	_, buyer, honest, mute := held(t)
	mute.cut()
	eventually(t, "the proposal to end", func() bool { return !buyer.holds() })
	w := newWire(t, buyer.book, honest.book, 2, 0)
	trade(t, buyer, honest, w, price, 64<<20)
	w.serve(t, 2<<20, 1<<20)
	w.paid(t)
	if n := buyer.count(EventNoFunds); n != 0 {
		t.Errorf("%d times there were no funds", n)
	}
}

// TestMuteSellerHoldsNoCoins: a seller that stays and answers nothing holds coins as long
// as nobody needs them; when another one is owed something, it is paid with them long
// before that is late.
func TestMuteSellerHoldsNoCoins(t *testing.T) {
	clock, buyer, honest, mute := held(t)
	w := newWire(t, buyer.book, honest.book, 2, 0)
	trade(t, buyer, honest, w, price, 64<<20)
	buyer.tries(1)
	clock.past.Store(int64(answerWait + heldRetry))
	buyer.tries(2)
	if len(buyer.proposals()) != 1 {
		t.Error("the proposal ended though nothing was owed")
	}
	w.serve(t, 1<<20, 1<<20)
	eventually(t, "the data", func() bool { return w.requester.verified.Load() == 1<<20 })
	clock.past.Add(int64(heldRetry))
	buyer.tries(3)
	eventually(t, "the proposal to end", func() bool { return !buyer.holds() })
	clock.past.Add(int64(heldRetry))
	w.paid(t)
	if past := time.Duration(clock.past.Load()); past >= DefaultPaymentTimeout {
		t.Errorf("the payment took %v", past)
	}
	if n := honest.count(EventOverdue); n != 0 {
		t.Errorf("%d payments were late", n)
	}
	mute.cut()
}

// TestTalkHoldsNoCoins: a seller cannot keep a proposal by messages that are no answer.
func TestTalkHoldsNoCoins(t *testing.T) {
	clock, buyer, _, mute := held(t)
	id := buyer.proposals()[0].Channel
	clock.past.Store(int64(openTimeout) * 2 / 3)
	if err := mute.requester.Receive(channel.Encode(&channel.Confirm{ID: id})); err != nil {
		t.Fatal(err)
	}
	p := mute.requester.buyer.Load()
	eventually(t, "the message", func() bool { return p.posted.Load() == 0 })
	clock.past.Store(int64(openTimeout) * 4 / 3)
	eventually(t, "the proposal to end", func() bool { return !buyer.holds() })
}

// TestOpeningGoesOn: the connection over which a channel is proposed breaks, and what was
// said on it is lost. The channel opens over another one of the same peer, at once.
func TestOpeningGoesOn(t *testing.T) {
	m := ledgertest.New()
	var clock handClock
	still := func(c *Config) { c.Now = clock.now }
	buyer := newNode(t, m, "buyer", 100*amount.BTT, still)
	seller := newNode(t, m, "seller", 0, still)
	var lost atomic.Pointer[wire] // over which the proposal went
	for i := range 2 {
		w := newWire(t, buyer.book, seller.book, byte(1+i), 0)
		drop := func(m channel.Message) channel.Message {
			if lost.CompareAndSwap(nil, w); lost.Load() == w {
				return nil
			}
			return m
		}
		w.tamper.Store(&drop)
		trade(t, buyer, seller, w, amount.Price(i)*price, 64<<20) // the first is known before, and costs nothing
	}
	eventually(t, "a proposal", func() bool { return lost.Load() != nil && len(buyer.proposals()) == 1 })
	lost.Load().cut()
	buyer.awaitKind(EventOpened)
}

// TestFundsOfAllConnections: when no channel can be funded, each connection to a provider
// hears that, and when one is, that too: one that only heard the first would ask for
// nothing any more.
func TestFundsOfAllConnections(t *testing.T) {
	clock, buyer, honest, mute := held(t)
	var heard [2]struct{ short, opened atomic.Bool }
	var wires [2]*wire
	for i := range wires {
		wires[i] = newWire(t, buyer.book, honest.book, byte(2+i), 0)
		wires[i].requester.cfg.Notify = func(e LinkEvent) {
			switch e.Kind {
			case EventNoFunds:
				heard[i].short.Store(true)
			case EventOpened:
				heard[i].opened.Store(heard[i].short.Load())
			}
		}
		trade(t, buyer, honest, wires[i], price, 64<<20)
	}
	for n := 1; !heard[0].short.Load() || !heard[1].short.Load(); n++ { // nothing is owed: the coin stays held
		buyer.tries(n)
		clock.past.Store(int64(n) * int64(heldRetry))
	}
	mute.cut()
	eventually(t, "the good news", func() bool {
		if !buyer.holds() {
			clock.past.Add(int64(heldRetry) / 100)
		}
		return heard[0].opened.Load() && heard[1].opened.Load()
	})
}

// TestEachHearsOfNoFunds: every try that fails for want of coins is told on each paid
// connection to the provider, not on one of them.
func TestEachHearsOfNoFunds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.New()
		buyer, seller := newNode(t, m, "buyer", 0, nil), newNode(t, m, "seller", 0, nil)
		var heard [3]atomic.Int64
		for i := range heard {
			w := newWire(t, buyer.book, seller.book, byte(1+i), 0)
			w.requester.cfg.Notify = func(e LinkEvent) {
				if e.Kind == EventNoFunds && e.Role == channel.RolePayer {
					heard[i].Add(1)
				}
			}
			trade(t, buyer, seller, w, price*amount.Price(min(i, 1)), 64<<20) // the first costs nothing
		}
		synctest.Wait()
		before := [...]int64{heard[0].Load(), heard[1].Load(), heard[2].Load()}
		tries := buyer.count(EventNoFunds)
		time.Sleep(2 * fundRetry)
		synctest.Wait()
		tries = buyer.count(EventNoFunds) - tries
		if tries == 0 {
			t.Fatal("no other try")
		}
		for i := range heard[1:] {
			if got := heard[1+i].Load() - before[1+i]; got != int64(tries) {
				t.Errorf("paid connection %d heard of %d of %d tries", i, got, tries)
			}
		}
	})
}

// patientPurse has its coins held by other openings: each Fund waits for them, and in vain.
type patientPurse struct {
	*testPurse
	wait time.Duration
}

func (p patientPurse) Fund(ctx context.Context, _ amount.Amount, _ ledger.Lock, _ string) (*ledger.Tx, error) {
	select {
	case <-time.After(p.wait):
		return nil, purse.ErrReserved
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tightPurse has all but so much held by other openings.
type tightPurse struct {
	*testPurse
	free amount.Amount
}

func (p tightPurse) Fund(ctx context.Context, sum amount.Amount, lock ledger.Lock, torrent string) (*ledger.Tx, error) {
	if sum > p.free {
		return nil, purse.ErrReserved
	}
	return p.testPurse.Fund(ctx, sum, lock, torrent)
}

// TestNoGrownDepositWaitsForCoins: a provider that was paid before goes on being paid from
// small deposits when the coins for a large one are held, without a wait for those.
func TestNoGrownDepositWaitsForCoins(t *testing.T) {
	m := ledgertest.New()
	var clock handClock // stands still: no try is made again
	least := owed(10*price, 1<<20)
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) {
		c.DepositBytes, c.Now, c.Purse = 1<<20, clock.now, tightPurse{c.Purse.(*testPurse), least + ledger.DefaultMinOutput}
	})
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, 10*price, 1<<40)
	w.serve(t, 8<<20, 1<<18)
	w.paid(t)
	if n := buyer.count(EventNoFunds); n != 0 {
		t.Errorf("%d times there were no funds", n)
	}
}

// TestWaitForCoinsIsNoOutage: that a purse waits for its own coins is not taken for a
// ledger that is away, and the provider is not told so; that it takes longer than that, and
// than a ledger may take, is.
func TestWaitForCoinsIsNoOutage(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait time.Duration
		out  bool
	}{
		{"coins", purse.FundPatience + slowLedger/2, false},
		{"ledger", purse.FundPatience + 3*slowLedger, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := ledgertest.New()
				buyer := newNode(t, m, "buyer", 0, func(c *Config) { c.Purse = patientPurse{c.Purse.(*testPurse), tt.wait} })
				seller := newNode(t, m, "seller", 0, nil)
				w := newWire(t, buyer.book, seller.book, 1, 0)
				trade(t, buyer, seller, w, price, 64<<20)
				out := false
				for range 30 {
					time.Sleep(time.Second / 4)
					synctest.Wait()
					out = out || buyer.book.head.out(time.Now())
				}
				if out != tt.out || w.provider.Excused() != tt.out {
					t.Errorf("after a wait of %v: out of reach %v, the provider heard so %v, want %v", tt.wait, out, w.provider.Excused(), tt.out)
				}
			})
		})
	}
}

// TestKeptFundingHoldsNoCoins: a seller that takes T1 and keeps it to itself holds the
// whole coin, change included, until the buyer submits T1 itself: when another one is
// owed something, in time to pay that, and not before.
func TestKeptFundingHoldsNoCoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.New()
		buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
		keeps, honest := newNode(t, m, "keeps", 0, nil), newNode(t, m, "honest", 0, nil)
		mute := newWire(t, buyer.book, keeps.book, 1, 0)
		drop := func(m channel.Message) channel.Message {
			if m.Type() == channel.TypeFund {
				return nil
			}
			return m
		}
		mute.tamper.Store(&drop)
		trade(t, buyer, keeps, mute, price, 64<<20)
		w := newWire(t, buyer.book, honest.book, 2, 0)
		time.Sleep(2 * answerWait)
		trade(t, buyer, honest, w, price, 64<<20)
		time.Sleep(answerWait)
		synctest.Wait()
		if n := buyer.count(EventOpened); n != 0 || !buyer.holds() {
			t.Fatalf("%d channels are open though nothing was owed", n)
		}
		owing := time.Now()
		w.serve(t, 1<<20, 1<<20)
		w.paid(t)
		if took := time.Since(owing); took >= DefaultPaymentTimeout {
			t.Errorf("the payment took %v", took)
		}
		if n := honest.count(EventOverdue); n != 0 {
			t.Errorf("%d payments were late", n)
		}
	})
}

// TestBackWhileFunding: the only connection to a provider ends while the channel for it is
// being funded. The next one does not wait: nothing was shown, and nothing failed.
func TestBackWhileFunding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.New()
		line := &slow{Client: m}
		buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
		seller := newNode(t, m, "seller", 0, nil)
		buyer.purse.client = slowPurse{line}
		let := make(chan struct{})
		line.let.Store(&let)
		first := newWire(t, buyer.book, seller.book, 1, 0)
		trade(t, buyer, seller, first, price, 64<<20)
		synctest.Wait()
		first.cut()
		synctest.Wait()
		close(let)
		line.let.Store(nil)
		synctest.Wait()
		if buyer.holds() {
			t.Error("coins are held for nobody")
		}
		began := time.Now()
		w := newWire(t, buyer.book, seller.book, 1, 0)
		trade(t, buyer, seller, w, price, 64<<20)
		w.serve(t, 1<<20, 1<<20)
		w.paid(t)
		if took := time.Since(began); took >= time.Second {
			t.Errorf("the first payment took %v", took)
		}
	})
}

// slowPurse is the ledger as a purse sees it that waits for its coins.
type slowPurse struct{ *slow }

func (s slowPurse) Unspent(ctx context.Context, a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	if let := s.let.Load(); let != nil {
		<-*let
	}
	return s.Client.Unspent(ctx, a, after, limit)
}

// TestOutageWordHoldsNoCoins: a provider that is owed something, and says without end that
// it cannot reach the ledger, keeps the coins from another one no longer than one that says
// nothing.
func TestOutageWordHoldsNoCoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.New()
		buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
		talks, honest := newNode(t, m, "talks", 0, nil), newNode(t, m, "honest", 0, nil)
		owed := func(seller *node, tag byte, drop bool) *wire {
			w := newWire(t, buyer.book, seller.book, tag, 0)
			if drop {
				f := func(channel.Message) channel.Message { return nil }
				w.tamper.Store(&f)
			}
			trade(t, buyer, seller, w, price, 64<<20)
			w.serve(t, 1<<20, 1<<20)
			time.Sleep(time.Second)
			return w
		}
		mute := owed(talks, 1, true)
		owed(honest, 2, false)
		for range 2 * openTimeout / (10 * time.Second) {
			if err := mute.requester.Receive(channel.Encode(outage("it is away"))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if n := honest.count(EventEarned); n != 1 {
			t.Errorf("%d payments after %v", n, 2*openTimeout)
		}
	})
}
