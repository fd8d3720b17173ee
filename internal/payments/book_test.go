package payments

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// testPurse is a wallet in memory that survives restarts of a Book.
type testPurse struct {
	name     string
	client   ledger.Client
	mu       sync.Mutex
	keys     uint32
	reserved map[ledger.OutPoint]bool
}

func newPurse(t testing.TB, m *ledgertest.Memory, name string, sum amount.Amount) *testPurse {
	t.Helper()
	p := &testPurse{name: name, client: m, reserved: make(map[ledger.OutPoint]bool)}
	if sum > 0 {
		if _, err := m.Fund(p.Address(), sum); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *testPurse) key() *ledger.PrivateKey   { return ledgertest.Key(p.name) }
func (p *testPurse) Address() ledger.Address   { return p.key().Address() }
func (p *testPurse) Account() ledger.PublicKey { return p.key().PublicKey() }

func (p *testPurse) NewChannelKey() (uint32, ledger.Signer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys++
	s, err := p.ChannelKey(p.keys)
	return p.keys, s, err
}

func (p *testPurse) ChannelKey(i uint32) (ledger.Signer, error) {
	return ledgertest.Key(fmt.Sprintf("%s channel %d", p.name, i)), nil
}

func (p *testPurse) Fund(ctx context.Context, sum amount.Amount, lock ledger.Lock, _ string) (*ledger.Tx, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	coins, err := p.client.Unspent(ctx, p.Address(), ledger.OutPoint{}, 0)
	if err != nil {
		return nil, err
	}
	status, err := p.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	var take []ledger.Coin
	var have amount.Amount
	for _, c := range coins {
		if !p.reserved[c.OutPoint] && (have < sum || have > sum && have < sum+2000) {
			take, have = append(take, c), have+c.Amount
		}
	}
	if have < sum && len(take) < len(coins) {
		return nil, purse.ErrReserved
	}
	if have < sum {
		return nil, fmt.Errorf("only %v free, %v needed", have, sum)
	}
	t1, err := ledger.FundingTx(take, sum, lock.K1, lock.K2, p.Address())
	if err != nil {
		return nil, err
	}
	for _, c := range take {
		p.reserved[c.OutPoint] = true
	}
	return t1, ledger.SignInputs(t1, status.Network, take, p.key())
}

func (p *testPurse) Release(t1 *ledger.Tx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, in := range t1.Inputs {
		delete(p.reserved, in)
	}
}

// balance is what the purse's address holds unspent.
func (p *testPurse) balance(t testing.TB) (sum amount.Amount) {
	t.Helper()
	coins, err := p.client.Unspent(context.Background(), p.Address(), ledger.OutPoint{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range coins {
		sum += c.Amount
	}
	return sum
}

// node is a Book and what it reported.
type node struct {
	t     testing.TB
	purse *testPurse
	cfg   Config
	book  *Book
	mu    sync.Mutex
	seen  []Event
	more  chan struct{}
}

func newNode(t testing.TB, m *ledgertest.Memory, name string, sum amount.Amount, change func(*Config)) *node {
	t.Helper()
	n := &node{t: t, purse: newPurse(t, m, name, sum), more: make(chan struct{}, 1)}
	n.cfg = Config{Dir: t.TempDir(), Purse: n.purse, Ledger: m, Notify: n.notify}
	if change != nil {
		change(&n.cfg)
	}
	n.open()
	t.Cleanup(func() { n.kill() })
	return n
}

func (n *node) open() {
	n.t.Helper()
	book, err := Open(context.Background(), n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.book = book
}

// kill ends the Book without settling anything, as a crash does.
func (n *node) kill() {
	if n.book != nil && !n.book.closing.Load() {
		n.book.cancel()
		n.book.running.Wait()
		n.book.journal.Close()
	}
	n.book = nil
}

func (n *node) notify(e Event) {
	n.mu.Lock()
	n.seen = append(n.seen, e)
	n.mu.Unlock()
	select {
	case n.more <- struct{}{}:
	default:
	}
}

// await returns the first event that f accepts, waiting for it.
func (n *node) await(what string, f func(Event) bool) Event {
	n.t.Helper()
	deadline := time.After(patience)
	for {
		n.mu.Lock()
		seen := slices.Clone(n.seen)
		n.mu.Unlock()
		for _, e := range seen {
			if f(e) {
				return e
			}
		}
		select {
		case <-n.more:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			n.mu.Lock()
			defer n.mu.Unlock()
			n.t.Fatalf("no %s; seen %+v", what, n.seen)
		}
	}
}

func (n *node) count(k EventKind) (sum int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.seen {
		if e.Kind == k {
			sum++
		}
	}
	return sum
}

func (n *node) awaitKind(k EventKind) Event {
	n.t.Helper()
	return n.await(k.String(), func(e Event) bool { return e.Kind == k })
}

// wire joins two links by queues, as two peer connections would be.
type wire struct {
	requester, provider *Link
	wakes               chan struct{}
	queues              [2]chan []byte
	stop                chan struct{}
	done                sync.WaitGroup
	nodes               []*node // told when the test stalls
	// tamper changes what the requester says to the provider; nil drops it.
	tamper atomic.Pointer[func(channel.Message) channel.Message]
}

func newWire(t testing.TB, requester, provider *Book, tag byte, quantum int64) *wire {
	t.Helper()
	w := &wire{wakes: make(chan struct{}, 1), stop: make(chan struct{})}
	send := func(q chan []byte) func([]byte) {
		return func(b []byte) {
			select {
			case q <- b:
			default:
				t.Error("queue is full")
			}
		}
	}
	for i := range w.queues {
		w.queues[i] = make(chan []byte, 4096)
	}
	w.requester = requester.Link(LinkConfig{Account: provider.cfg.Purse.Account(), Infohash: [20]byte{tag}, Quantum: quantum, Send: send(w.queues[0])})
	w.provider = provider.Link(LinkConfig{Account: requester.cfg.Purse.Account(), Infohash: [20]byte{tag}, Quantum: quantum, Send: send(w.queues[1]), Wake: func() {
		select {
		case w.wakes <- struct{}{}:
		default:
		}
	}})
	for i, to := range [...]*Link{w.provider, w.requester} {
		w.done.Add(1)
		go func() { // ends when cut stops it and the queue is empty
			defer w.done.Done()
			for {
				var b []byte
				select {
				case b = <-w.queues[i]:
				case <-w.stop:
					select {
					case b = <-w.queues[i]:
					default:
						return
					}
				}
				if len(b) == 9 && b[0] == 0 { // data, in order with the messages
					to.Verified(int64(binary.BigEndian.Uint64(b[1:])))
					continue
				}
				if f := w.tamper.Load(); f != nil && i == 0 {
					m, err := channel.Decode(b)
					if err != nil {
						t.Error(err)
					} else if m = (*f)(m); m == nil {
						continue
					}
					b = channel.Encode(m)
				}
				if err := to.Receive(b); err != nil && err != ErrClosed {
					t.Errorf("receive: %v", err)
				}
			}
		}()
	}
	t.Cleanup(w.cut)
	return w
}

func (w *wire) cut() {
	if w.requester.closed.Load() {
		return
	}
	w.requester.Close()
	w.provider.Close()
	close(w.stop)
	w.done.Wait()
}

// serve moves n bytes in units of the given size, stopping at the allowance
// as a peer's writer does; each unit is verified at once.
func (w *wire) serve(t testing.TB, n, unit int64) {
	t.Helper()
	deadline := time.After(patience)
	for sent := int64(0); sent < n; {
		for w.provider.served.Load()+unit > w.provider.Allowance().Load() {
			select {
			case <-w.wakes:
			case <-time.After(50 * time.Millisecond):
			case <-deadline:
				stalled(t, w, w.nodes, "stuck at %d of %d: served %d, allowance %d, verified %d", sent, n, w.provider.served.Load(),
					w.provider.Allowance().Load(), w.requester.verified.Load())
			}
		}
		w.provider.Served(unit)
		w.queues[1] <- binary.BigEndian.AppendUint64([]byte{0}, uint64(unit))
		sent += unit
	}
}

// patience is how long a test waits for what must come; a busy machine may take
// seconds for a sync.
const patience = 3 * time.Minute

// patiently is for a provider whose payers are to fail for what they leave, not because a
// busy machine takes longer for a payment than DefaultPaymentTimeout.
func patiently(c *Config) { c.PaymentTimeout = patience }

// paid waits until everything served is paid.
func (w *wire) paid(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		w.provider.mu.Lock()
		paid := w.provider.sale.paid
		w.provider.mu.Unlock()
		if paid >= w.provider.served.Load() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("paid %d of %d", paid, w.provider.served.Load())
		}
	}
}

const price = amount.Price(2 * amount.BTT)

func trade(t testing.TB, buyer, seller *node, w *wire, p amount.Price, left int64) {
	t.Helper()
	terms, err := seller.book.Terms()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.provider.Sell(p); err != nil {
		t.Fatal(err)
	}
	w.nodes = []*node{buyer, seller}
	w.requester.Buy(terms, p, left)
}

func closeBook(t testing.TB, n *node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.book.Close(ctx); err != nil {
		for _, s := range n.book.Summary() {
			t.Logf("%v %v %v of %v", s.Role, s.Stage, s.Paid, s.Deposit)
		}
		t.Fatalf("%s: %v", n.purse.name, err)
	}
	n.book = nil
}

func owed(p amount.Price, n int64) amount.Amount {
	a, err := p.Owed(n)
	if err != nil {
		panic(err)
	}
	return a
}

func TestBuyAndSettle(t *testing.T) {
	m, buyer, seller, w := shop(t)
	trade(t, buyer, seller, w, price, 32<<20)
	w.serve(t, 32<<20, 1<<20)
	want := owed(price, 32<<20)
	seller.await("full payment", func(e Event) bool { return e.Kind == EventEarned && e.Amount == want })
	buyer.awaitKind(EventOpened)
	closeBook(t, seller)
	buyer.await("settlement", func(e Event) bool { return e.Kind == EventSettled && e.Amount == want })
	closeBook(t, buyer)
	if got := seller.purse.balance(t); got != want {
		t.Errorf("seller holds %v, want %v", got, want)
	}
	if got := buyer.purse.balance(t); got != 100*amount.BTT-want {
		t.Errorf("buyer holds %v, want %v", got, 100*amount.BTT-want)
	}
	if err := m.Audit(); err != nil {
		t.Error(err)
	}
}
