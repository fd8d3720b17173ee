package purse

import (
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wallet"
)

var free = wallet.Budget{PerDay: wallet.Unlimited, PerTorrent: wallet.Unlimited, PerChannel: wallet.Unlimited}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a ledger in memory and a purse on it.
type bench struct {
	*testing.T
	ledger *ledgertest.Memory
	clock  *clock
	cfg    Config
	purse  *Purse
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, ledger: ledgertest.New(), clock: &clock{now: time.Unix(1_700_000_000, 0)}}
	b.cfg = Config{Dir: t.TempDir(), Phrase: phrase, Ledger: b.ledger, Now: b.clock.Now, Budget: &free}
	b.open()
	return b
}

func (b *bench) open() {
	b.Helper()
	p, err := Open(b.cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.purse = p
	b.Cleanup(func() { p.Close() })
}

func (b *bench) reopen() {
	b.Helper()
	b.purse.Close()
	b.open()
}

func (b *bench) gift(sums ...amount.Amount) {
	b.Helper()
	for _, sum := range sums {
		if _, err := b.ledger.Fund(b.purse.Address(), sum); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bench) balance() Balance {
	b.Helper()
	v, err := b.purse.Balance(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return v
}

func (b *bench) submit(tx *ledger.Tx) {
	b.Helper()
	if _, err := b.ledger.Submit(b.Context(), tx.Encode()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) history() []Entry {
	b.Helper()
	var list []Entry
	for e, err := range b.purse.History() {
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// channelLock is the 2-of-2 lock of a fresh channel key and a peer.
func (b *bench) channelLock() ledger.Lock {
	b.Helper()
	_, key, err := b.purse.NewChannelKey()
	if err != nil {
		b.Fatal(err)
	}
	return ledger.Joint(key.PublicKey(), ledgertest.Key("peer").PublicKey())
}
