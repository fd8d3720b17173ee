package payments

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// proposer is a stranger that proposes channels and funds none.
type proposer struct {
	t       *testing.T
	seller  *node
	link    *Link
	account ledger.PublicKey
	said    chan channel.Message
	now     uint64
}

func newProposer(t *testing.T) *proposer {
	m := ledgertest.New()
	p := &proposer{t: t, account: ledgertest.Key("stranger").PublicKey(), said: make(chan channel.Message, 64)}
	p.seller = newNode(t, m, "seller", 0, func(c *Config) { c.datasync = func(*os.File) error { return nil } })
	p.link = p.seller.book.Link(LinkConfig{Account: p.account, Infohash: [20]byte{1}, Send: func(b []byte) {
		m, err := channel.Decode(b)
		if err != nil {
			t.Error(err)
		}
		p.said <- m
	}})
	t.Cleanup(p.link.Close)
	status, err := m.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p.now = status.LedgerTime
	return p
}

// offered is the K2 of the next bid response.
func (p *proposer) offered() ledger.PublicKey {
	p.t.Helper()
	terms, err := p.seller.book.Terms()
	if err != nil {
		p.t.Fatal(err)
	}
	return terms.K2
}

// open proposes a channel over the n-th T1 and returns the answer.
func (p *proposer) open(k2 ledger.PublicKey, n int, lock time.Duration) (id channel.ID, answer channel.Message) {
	p.t.Helper()
	t1 := ledger.OutPoint{TxID: ledger.TxID{1, byte(n >> 16), byte(n >> 8), byte(n)}}
	p.say(&channel.Open{Payer: p.account, K1: ledgertest.Key("K1").PublicKey(), K2: k2, Funding: t1, Deposit: amount.BTT, LockTime: p.now + uint64(lock/time.Second)})
	select {
	case answer = <-p.said:
	case <-time.After(patience):
		p.t.Fatal("no answer")
	}
	return answer.Channel(), answer
}

func (p *proposer) say(m channel.Message) {
	p.t.Helper()
	if err := p.link.Receive(channel.Encode(m)); err != nil {
		p.t.Fatal(err)
	}
}

// TestProposalsBurnNoKeys: proposals of which nothing comes, by whatever end, cost a
// provider no key each.
func TestProposalsBurnNoKeys(t *testing.T) {
	p := newProposer(t)
	ends := map[string]func(id channel.ID) channel.Message{
		"refused": func(id channel.ID) channel.Message {
			return &channel.Refuse{ID: id, Code: channel.CodeSignature, Reason: "no"}
		},
		"closed": func(id channel.ID) channel.Message { return &channel.Close{ID: id} },
		"never":  nil, // its terms are refused
	}
	n := 0
	for range 100 {
		for name, end := range ends {
			n++
			lock := 2 * time.Hour
			if end == nil {
				lock = time.Second
			}
			id, answer := p.open(p.offered(), n, lock)
			if _, ok := answer.(*channel.RefundSig); ok == (end == nil) {
				t.Fatalf("%s: the answer is %v", name, answer.Type())
			}
			if end != nil {
				p.say(end(id))
			}
		}
	}
	p.seller.purse.mu.Lock()
	defer p.seller.purse.mu.Unlock()
	if keys := p.seller.purse.keys; keys > maxOffers+2 {
		t.Errorf("%d keys were made for %d proposals", keys, n)
	}
}

// TestKeyNeverSignsTwiceForAnOutput: a key that came back signs no second T2 of one T1: by
// one with an earlier lock the payer would take back what it paid. Nor does it serve for ever.
func TestKeyNeverSignsTwiceForAnOutput(t *testing.T) {
	p := newProposer(t)
	signed := map[ledger.PublicKey]bool{}
	again := 0
	for i := range 4 * maxOffers {
		k2 := p.offered()
		id, answer := p.open(k2, 7, time.Duration(2+i)*time.Hour) // one T1, many locks
		switch answer.(type) {
		case *channel.RefundSig:
			if signed[k2] {
				t.Fatal("a key signed twice for an output")
			}
			signed[k2] = true
			p.say(&channel.Close{ID: id})
		default:
			if again++; !signed[k2] {
				t.Fatalf("a fresh key is refused: %+v", answer)
			}
		}
	}
	if again == 0 {
		t.Error("no key came back: the test shows nothing")
	}
	b := p.seller.book
	b.mu.Lock()
	b.spare = nil
	b.mu.Unlock()
	for i := range uint64(maxSigned) {
		b.giveBack(offer{signed: make([]uint64, i)}, i)
	}
	if n := len(b.spare); n != maxSigned-1 {
		t.Errorf("%d of %d keys came back", n, maxSigned)
	}
	for range 2 * MaxPairs {
		b.giveBack(offer{})
	}
	if n := len(b.spare); n != MaxPairs {
		t.Errorf("%d keys are kept", n)
	}
}

// TestRefusalsBurnFewKeys: a provider that refuses each proposal and sends other terms gets
// a few at once, and then one now and then.
func TestRefusalsBurnFewKeys(t *testing.T) {
	m := ledgertest.New()
	clock := &late{start: time.Now()}
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.Now = clock.now })
	seller := newNode(t, m, "seller", 0, nil)
	var opens atomic.Int64
	terms := func() *channel.Terms {
		terms, err := seller.book.Terms()
		if err != nil {
			t.Error(err)
		}
		return &terms
	}
	answers := make(chan *channel.Refuse, 64)
	link := buyer.book.Link(LinkConfig{Account: seller.purse.Account(), Infohash: [20]byte{1}, Send: func(b []byte) {
		if m, err := channel.Decode(b); err == nil && m.Type() == channel.TypeOpen {
			opens.Add(1)
			answers <- &channel.Refuse{ID: m.Channel(), Code: channel.CodeKeyUsed, Terms: terms()}
		}
	}})
	go func() { // ends with the test
		for m := range answers {
			if err := link.Receive(channel.Encode(m)); err != nil {
				t.Error(err)
			}
		}
	}()
	if err := link.Receive(channel.Encode(&channel.Quote{Price: price})); err != nil {
		t.Error(err)
	}
	link.Buy(*terms(), price, 1<<30)
	eventually(t, "the first tries", func() bool { return opens.Load() > freeTries })
	time.Sleep(3 * time.Second / 2) // it looks each second
	if n := opens.Load(); n != freeTries+1 {
		t.Errorf("%d proposals at once", n)
	}
	clock.by.Add(int64(fundRetry))
	eventually(t, "another", func() bool { return opens.Load() > freeTries+1 })
	buyer.kill()
	close(answers)
	if n, keys := opens.Load(), buyer.purse.keys; int64(keys) != n {
		t.Errorf("%d proposals, %d keys", n, keys)
	}
	waits := newBuyer(nil)
	waits.vain = freeTries
	for _, want := range []time.Duration{1, 2, 4, 8, 12, 12} {
		if wait := waits.again(); wait != want*fundRetry {
			t.Errorf("the next one waits %v, want %v", wait, want*fundRetry)
		}
	}
}

// TestKeyOfferedAgain: a key of which nothing came may be in the next bid response again; a
// channel is proposed with it, once, or the buyer would not pay until it is told another.
func TestKeyOfferedAgain(t *testing.T) {
	m := ledgertest.New()
	clock := &late{start: time.Now()}
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.Now = clock.now })
	seller := newNode(t, m, "seller", 0, nil)
	opens := make(chan *channel.Open, 64)
	link := buyer.book.Link(LinkConfig{Account: seller.purse.Account(), Infohash: [20]byte{1}, Send: func(b []byte) {
		m, err := channel.Decode(b)
		if err != nil {
			t.Error(err)
		}
		if open, ok := m.(*channel.Open); ok {
			opens <- open
		}
	}})
	terms, err := seller.book.Terms()
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Receive(channel.Encode(&channel.Quote{Price: price})); err != nil {
		t.Error(err)
	}
	for range 3 {
		link.Buy(terms, price, 1<<30)
		select {
		case open := <-opens:
			if err := link.Receive(channel.Encode(&channel.Refuse{ID: open.Channel(), Code: channel.CodeLimit})); err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("no channel is proposed with the key")
		}
		eventually(t, "the end of it", func() bool {
			return !slices.ContainsFunc(buyer.book.Summary(), func(s Summary) bool { return !s.Stage.Final() })
		})
		clock.by.Add(int64(2 * fundRetry))
		time.Sleep(3 * time.Second / 2) // it looks each second
		if len(opens) > 0 {
			t.Fatal("proposed again with nothing new told")
		}
	}
}

// TestNoFundsBurnNoKeys: who cannot fund a channel makes one key, however often it tries.
func TestNoFundsBurnNoKeys(t *testing.T) {
	m := ledgertest.New()
	clock := &late{start: time.Now()}
	buyer := newNode(t, m, "buyer", 0, func(c *Config) { c.Now = clock.now })
	seller := newNode(t, m, "seller", 0, nil)
	trade(t, buyer, seller, newWire(t, buyer.book, seller.book, 1, 0), price, 1<<30)
	eventually(t, "tries", func() bool {
		clock.by.Add(int64(fundRetry))
		return buyer.count(EventNoFunds) > 2
	})
	buyer.kill()
	if keys := buyer.purse.keys; keys != 1 {
		t.Errorf("%d keys were made", keys)
	}
}
