package payments

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestHungJournal: while the buyer's disk hangs, whoever tells that something was
// verified does not wait; payments that need no disk go on, and the others when it
// answers.
func TestHungJournal(t *testing.T) {
	gate := make(chan struct{})
	var hung, waits atomic.Bool
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) {
		c.datasync = func(f *os.File) error {
			if hung.Load() {
				waits.Store(true)
				<-gate
			}
			return f.Sync()
		}
	})
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 1<<20, 1<<20)
	w.paid(t)
	hung.Store(true)
	done := make(chan struct{})
	go func() {
		for range 60 { // most of the deposit, so that ceilings have to be written
			w.provider.Served(1 << 20)
			w.requester.Verified(1 << 20)
			time.Sleep(time.Millisecond)
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("Verified waits for the disk")
	}
	eventually(t, "a sync that hangs", waits.Load)
	hung.Store(false)
	close(gate)
	<-done
	w.paid(t)
}
