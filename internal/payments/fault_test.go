package payments

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestEveryFailedSync fails the n-th sync of either side's journal, for every n of
// a short transfer. The side that cannot store says so and neither pays nor earns
// any more; after a restart the provider has all that it acknowledged, the transfer
// goes on, and every sum reconciles.
func TestEveryFailedSync(t *testing.T) {
	for _, who := range []string{"buyer", "seller"} {
		t.Run(who, func(t *testing.T) {
			n := int64(1)
			for ; failSync(t, who, n); n++ {
			}
			if n < 4 {
				t.Errorf("a transfer of the %s takes %d syncs only", who, n-1)
			}
		})
	}
}

// failSync reports whether there was an n-th sync.
func failSync(t *testing.T, who string, n int64) (failed bool) {
	t.Helper()
	m := ledgertest.New()
	var count atomic.Int64
	broken := func(f *os.File) error {
		if count.Add(1) >= n {
			return errors.New("input/output error")
		}
		return f.Sync()
	}
	faulty := func(name string) func(*Config) {
		return func(c *Config) {
			if c.DepositBytes = 8 << 20; name == who {
				c.datasync = broken
			}
		}
	}
	buyer := newNode(t, m, "buyer", 100*amount.BTT, faulty("buyer"))
	seller := newNode(t, m, "seller", 0, faulty("seller"))
	nodes := map[string]*node{"buyer": buyer, "seller": seller}
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	paid := func() int64 {
		w.provider.mu.Lock()
		defer w.provider.mu.Unlock()
		return w.provider.sale.paid
	}
	for deadline := time.Now().Add(patience); paid() < 6<<20; {
		if nodes[who].count(EventFault) > 0 {
			failed = true
			break
		}
		if time.Now().After(deadline) {
			stalled(t, w, w.nodes, "sync %d of the %s: no fault and no end", n, who)
		}
		if served := w.provider.served.Load(); served == 6<<20 || served+1<<20 > w.provider.Allowance().Load() {
			time.Sleep(time.Millisecond)
			continue
		}
		w.provider.Served(1 << 20)
		w.queues[1] <- binary.BigEndian.AppendUint64([]byte{0}, 1<<20)
	}
	if !failed {
		return false
	}
	time.Sleep(5 * time.Millisecond)
	var acknowledged amount.Amount
	seller.mu.Lock()
	for _, e := range seller.seen {
		if e.Kind == EventEarned {
			acknowledged += e.Sum
		}
	}
	seller.mu.Unlock()
	verified := w.requester.verified.Load()
	w.cut()
	for _, x := range nodes {
		x.kill()
		x.cfg.datasync = nil
		x.open()
	}
	w = newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 2<<20, 1<<20)
	w.paid(t)
	closeBook(t, seller)
	got, held := seller.purse.balance(t), buyer.purse.balance(t)
	if got < acknowledged {
		t.Errorf("sync %d: the seller has %v of %v that it acknowledged", n, got, acknowledged)
	}
	if most := owed(price, verified+2<<20); got > most {
		t.Errorf("sync %d: the seller has %v for %v", n, got, most)
	}
	var locked amount.Amount
	for _, s := range buyer.book.Summary() {
		if !s.Stage.Final() {
			locked += s.Deposit
		}
	}
	if sum := got + held; sum != 100*amount.BTT && sum+locked != 100*amount.BTT {
		t.Error(fmt.Errorf("sync %d: the seller has %v, the buyer %v, %v is locked", n, got, held, locked))
	}
	return true
}
