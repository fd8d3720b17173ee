package session

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/wallet"
)

// perGiB is a price of n BTT/GiB.
func perGiB(n int64) amount.Price { return amount.Price(n) * amount.Price(amount.BTT) }

// piece is the piece length of the market tests, so the quantum of exposure.
const piece = 64 << 10

// trader is a session with a wallet of its own.
type trader struct {
	*Session
	t      testing.TB
	ledger *ledgertest.Memory
	purse  *purse.Purse
	book   *payments.Book
	market *market.Node
	funds  amount.Amount
	closed bool

	mu     sync.Mutex
	events []payments.Event
}

// traderConfig is what tests change of a trader.
type traderConfig struct {
	session  Config
	payments payments.Config
	funds    amount.Amount
	cap      amount.Price // every bid is this, for the balances are large
	reserve  amount.Price
	market   func(*market.Node)
}

// slots is a choker without optimistic slots, so that whoever bids pays.
func slots(n int) choker.Config {
	c := choker.Default(n)
	c.Optimistic = 0
	return c
}

func newTrader(t testing.TB, l *ledgertest.Memory, cfg traderConfig) *trader {
	t.Helper()
	x := &trader{t: t, ledger: l, funds: cfg.funds}
	dir := t.TempDir()
	free := wallet.Budget{PerDay: wallet.Unlimited, PerTorrent: wallet.Unlimited, PerChannel: wallet.Unlimited}
	var err error
	if x.purse, err = purse.Open(purse.Config{Dir: filepath.Join(dir, "wallet"), Ledger: l, Budget: &free}); err != nil {
		t.Fatal(err)
	}
	if cfg.funds > 0 {
		if _, err := l.Fund(x.purse.Address(), cfg.funds); err != nil {
			t.Fatal(err)
		}
	}
	p := cfg.payments
	p.Dir, p.Purse, p.Notify = filepath.Join(dir, "channels"), x.purse, x.note
	if p.Ledger == nil {
		p.Ledger = l
	}
	if x.book, err = payments.Open(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	st, err := l.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	bid := autobid.Default()
	bid.Cap = cfg.cap
	x.market = &market.Node{Book: x.book, Account: x.purse.Address(), Key: x.purse.AccountKey(), Net: st.Network, Bid: bid,
		Balance: func() amount.Amount { return cfg.funds }, Buy: cfg.cap > 0, Sell: true, Reserve: market.Reserve{Fixed: cfg.reserve}}
	if cfg.market != nil {
		cfg.market(x.market)
	}
	s := cfg.session
	s.Listen, s.Market = "127.0.0.1:0", x.market
	if s.Choker.Slots == 0 {
		s.Choker = slots(4)
	}
	if s.ChokeEvery == 0 {
		s.ChokeEvery = 50 * time.Millisecond
	}
	s.Log = testLog()
	if x.Session, err = Open(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.leave(5 * time.Second) // nobody looks at the sums any more
		if t.Failed() {
			x.dump()
		}
	})
	return x
}

// dump shows what the trader's channels did, runs of payments as one line.
func (x *trader) dump() {
	x.t.Logf("%v:", x.purse.Address())
	for i := 0; i < len(x.events); {
		e, n := x.events[i], 0
		for ; i < len(x.events) && x.events[i].Kind == e.Kind && x.events[i].Channel == e.Channel; i++ {
			n++
		}
		x.t.Logf("  %d x %v %v %.4x to %v %v %s", n, e.Role, e.Kind, e.Channel, x.events[i-1].Amount, e.Code, e.Reason)
	}
}

func (x *trader) note(e payments.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, e)
}

// seen counts the events of a kind and adds up their bytes and sums.
func (x *trader) seen(k payments.EventKind) (n int, bytes int64, sum amount.Amount) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Kind == k {
			n, bytes, sum = n+1, bytes+e.Bytes, sum+e.Sum
		}
	}
	return n, bytes, sum
}

// settle leaves as a node does: what is verified is paid and the channels are closed
// while peers are still connected, then the rest.
func (x *trader) settle() { x.leave(patience) }

// leave is settle within a limit.
func (x *trader) leave(limit time.Duration) {
	if x.closed {
		return
	}
	x.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := x.Settle(ctx); err != nil {
		x.t.Logf("leave: %v", err)
	}
	if err := x.book.Close(ctx); err != nil {
		x.t.Logf("close book: %v", err)
	}
	x.Session.Close()
	x.purse.Close()
}

// settleAll ends the traders at once, as a whole economy would.
func settleAll(all ...*trader) {
	var wg sync.WaitGroup
	for _, x := range all {
		wg.Go(x.settle)
	}
	wg.Wait()
}

// holds is what an address owns on the ledger.
func holds(t testing.TB, l *ledgertest.Memory, a ledger.Address) (sum amount.Amount) {
	t.Helper()
	coins, err := l.Unspent(context.Background(), a, ledger.OutPoint{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range coins {
		sum += c.Amount
	}
	return sum
}

// gained is what a trader owns more than at its start; it may be negative.
func (x *trader) gained() int64 {
	x.t.Helper()
	return int64(holds(x.t, x.ledger, x.purse.Address())) - int64(x.funds)
}

// seeds adds a torrent that is on disk and waits until it is checked.
func (x *trader) seeds(dir string, torrent *metainfo.Torrent) *Torrent {
	x.t.Helper()
	s, err := x.Add(Add{Torrent: torrent, Dir: dir})
	if err != nil {
		x.t.Fatal(err)
	}
	await(x.t, s)
	return s
}

// gets starts a download from the given addresses.
func (x *trader) gets(torrent *metainfo.Torrent, from ...netip.AddrPort) (*Torrent, string) {
	x.t.Helper()
	to := x.t.TempDir()
	s, err := x.Add(Add{Torrent: torrent, Dir: to, Peers: from})
	if err != nil {
		x.t.Fatal(err)
	}
	return s, to
}

func owed(t testing.TB, p amount.Price, bytes int64) amount.Amount {
	t.Helper()
	sum, err := p.Owed(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestPaidTransfer: one seed with a fixed reserve price, one requester. The
// single bidder pays the reserve (R10.21) for exactly the bytes of the file,
// and all books agree to the last unit.
func TestPaidTransfer(t *testing.T) {
	l := ledgertest.New()
	files := map[string]int{"a.bin": 3 << 20, "b.bin": 200_001}
	dir, torrent := content(t, files, piece)
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2)})
	s := seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
	tap := newTap(t, seed.Addr())
	g, to := leech.gets(torrent, tap.addr)
	await(t, g)
	sameFiles(t, dir, to, files)
	want := owed(t, perGiB(2), torrent.Info.TotalLength)
	until(t, "the last payment", func() bool { return s.Status().Earned == want })
	if got := g.Status().Paid; got != want {
		t.Errorf("requester's status says %v paid, want %v", got, want)
	}
	// The price that the requester paid is one that it saw; to the provider its
	// own reserve price is none.
	if got, ok := leech.market.Observed(time.Now()); !ok || got.Cap != perGiB(2) || got.Slope != perGiB(2)/10 {
		t.Errorf("the requester saw prices as %+v, %v", got, ok)
	}
	if got, ok := seed.market.Observed(time.Now()); ok {
		t.Errorf("the provider saw its own price: %+v", got)
	}
	tap.check(t, perGiB(5), perGiB(2))
	settleAll(leech, seed)
	reconcile(t, l, seed, leech)
	if got := seed.gained(); got != int64(want) {
		t.Errorf("the provider has %d more, want %d", got, want)
	}
}

// reconcile compares what channels, events and the ledger say, after all
// traders have settled.
func reconcile(t *testing.T, l *ledgertest.Memory, all ...*trader) {
	t.Helper()
	var total int64
	for _, x := range all {
		_, _, paid := x.seen(payments.EventPaid)
		_, _, earned := x.seen(payments.EventEarned)
		got := x.gained()
		// A channel paid less than the least output settles with nothing.
		dust := int64(ledger.DefaultMinOutput) * int64(len(x.book.Summary()))
		if off := got - (int64(earned) - int64(paid)); off < -dust || off > dust {
			t.Errorf("%v: ledger says %d, events say %d earned and %d paid", x.purse.Address(), got, earned, paid)
		}
		var sum amount.Amount
		for _, c := range x.book.Summary() {
			// A payer may leave before it saw the settlement.
			if c.Role == channel.RolePayee && c.Stage != channel.Settled && c.Stage != channel.Refunded && c.Stage != channel.Abandoned {
				t.Errorf("channel %v of %v is %v", c.Channel, c.Role, c.Stage)
			}
			if c.Role == channel.RolePayer {
				sum += c.Paid
			} else {
				sum -= c.Paid
			}
		}
		if int64(sum) != -got {
			t.Errorf("%v: statements say %d, ledger %d", x.purse.Address(), -int64(sum), got)
		}
		total += got
	}
	if total != 0 {
		t.Errorf("the traders together have %d more than before", total)
	}
	if err := l.Audit(); err != nil {
		t.Error(err)
	}
}
