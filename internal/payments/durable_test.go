package payments

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/chanlog"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// gatedDisk syncs only while it is open.
type gatedDisk struct {
	mu    sync.Mutex
	gate  chan struct{} // nil = open
	waits atomic.Int64
}

func (d *gatedDisk) sync(f *os.File) error {
	d.mu.Lock()
	gate := d.gate
	d.mu.Unlock()
	if gate != nil {
		d.waits.Add(1)
		<-gate
	}
	return f.Sync()
}

func (d *gatedDisk) hang() {
	d.mu.Lock()
	d.gate = make(chan struct{})
	d.mu.Unlock()
}

func (d *gatedDisk) answer() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gate != nil {
		close(d.gate)
		d.gate = nil
	}
}

// provided is how far the provider counts the stream as paid.
func (w *wire) provided() int64 {
	w.provider.mu.Lock()
	defer w.provider.mu.Unlock()
	return w.provider.sale.paid
}

// TestHungSellerDisk: while the seller's disk hangs, one payment counts and the
// next waits; nothing is told as earned, and whoever hands payments over does not
// wait. When the disk answers all of them count. What counted before is in the file,
// as the end of the process leaves it.
func TestHungSellerDisk(t *testing.T) {
	var disk gatedDisk
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.datasync, c.Credit = disk.sync, 1 })
	t.Cleanup(disk.answer)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<20)
	seller.await("four pieces", earned(owed(price, 4<<20)))
	disk.hang()
	w.serve(t, 1<<20, 1<<20)
	eventually(t, "the payment to count", func() bool { return w.provided() == 5<<20 })
	eventually(t, "a sync that hangs", func() bool { return disk.waits.Load() > 0 })
	// Verified is called by the goroutine that calls Receive: both are the swarm's.
	w.serve(t, 1<<20, 1<<20)
	eventually(t, "the next payment", func() bool { return w.provider.arrived.Load() == 1 })
	done := make(chan error)
	go func() {
		for range 10 * MaxMailbox { // repetitions: they say nothing new
			if err := w.provider.Receive(channel.Encode(&channel.Pay{ID: seller.book.Summary()[0].Channel})); err != nil {
				done <- err
				return
			}
		}
		done <- w.provider.Sell(price)
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Receive waits for the disk")
	}
	if got := w.provided(); got != 5<<20 {
		t.Errorf("paid up to %d while nothing is durable, want one payment: %d", got, 5<<20)
	}
	if n := seller.count(EventEarned); n != 4 {
		t.Errorf("%d payments told as earned, 4 are durable", n)
	}
	if s := seller.book.Summary(); s[0].Paid != owed(price, 4<<20) {
		t.Errorf("%v told as earned, %v are durable", s[0].Paid, owed(price, 4<<20))
	}
	list, _, err := chanlog.Read(seller.cfg.Dir) // what a killed process leaves
	if err != nil || len(list) != 1 || list[0].Best.Amount < owed(price, 5<<20) {
		t.Errorf("the file holds %+v, %v", list, err)
	}
	disk.answer()
	seller.await("all", earned(owed(price, 6<<20)))
	w.serve(t, 2<<20, 1<<20)
	w.paid(t)
}

// TestHungDiskWindow: while the disk of a seller hangs that lends four quanta, payments for
// four count one by one, and the fifth waits; each is told when it is durable, with the
// sum that was paid until then.
func TestHungDiskWindow(t *testing.T) {
	var disk gatedDisk
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.datasync, c.Credit = disk.sync, 4*q })
	t.Cleanup(disk.answer)
	w := newWire(t, buyer.book, seller.book, 1, q)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 200*q, q)
	w.paid(t)
	seller.await("what came before", earned(owed(price, 200*q)))
	disk.hang()
	told := seller.count(EventEarned)
	for i := int64(201); i <= 204; i++ {
		w.serve(t, q, q)
		eventually(t, "the payment to count", func() bool { return w.provided() == i*q })
	}
	w.serve(t, q, q)
	eventually(t, "the next payment", func() bool { return w.provider.arrived.Load() == 1 })
	if w.provided() != 204*q || seller.count(EventEarned) != told {
		t.Errorf("paid up to %d, %d payments told while nothing is durable", w.provided(), seller.count(EventEarned)-told)
	}
	if s := seller.book.Summary(); s[0].Paid != owed(price, 200*q) || s[0].Bytes != 200*q {
		t.Errorf("%v for %d bytes told as earned, %v are durable", s[0].Paid, s[0].Bytes, owed(price, 200*q))
	}
	disk.answer()
	seller.await("all", earned(owed(price, 205*q)))
	eventually(t, "the statement", func() bool {
		s := seller.book.Summary()
		return s[0].Paid == owed(price, 205*q) && s[0].Bytes == 205*q
	})
	w.serve(t, 2*q, q)
	w.paid(t)
}

// TestFailedDiskStopsSales: a journal that cannot be synced, or not be written,
// ends all sales at once: no connection gets a byte more at a price, no terms are
// offered, and nobody is blamed for the payments that were not kept.
func TestFailedDiskStopsSales(t *testing.T) {
	for name, fail := range map[string]func(*os.File) error{
		"sync":  func(*os.File) error { return errors.New("input/output error") },
		"write": func(f *os.File) error { return f.Close() }, // the next write fails
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := ledgertest.New()
				buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
				seller := newNode(t, m, "seller", 0, func(c *Config) { c.PaymentTimeout = 50 * time.Millisecond })
				w, other := newWire(t, buyer.book, seller.book, 1, 0), newWire(t, buyer.book, seller.book, 2, 0)
				for _, x := range []*wire{w, other} {
					trade(t, buyer, seller, x, price, 64<<20)
					x.serve(t, 2<<20, 1<<20)
					x.paid(t)
				}
				seller.book.journal.SetSync(fail)
				eventually(t, "a fault", func() bool {
					if w.provider.served.Load()+1<<20 <= w.provider.Allowance().Load() {
						w.provider.Served(1 << 20)
						w.requester.Verified(1 << 20)
					}
					return seller.count(EventFault) > 0
				})
				eventually(t, "the end of sales", func() bool {
					return other.provider.Allowance().Load() <= other.provider.served.Load() && w.provider.Allowance().Load() <= w.provider.served.Load()
				})
				if _, err := seller.book.Terms(); !errors.Is(err, chanlog.ErrBroken) {
					t.Errorf("terms are offered: %v", err)
				}
				if err := other.provider.Sell(2 * price); err != nil {
					t.Error(err)
				}
				if served, may := other.provider.served.Load(), other.provider.Allowance().Load(); may > served {
					t.Errorf("%d bytes are sold", may-served)
				}
				time.Sleep(4 * seller.cfg.PaymentTimeout) // a look at the deadlines may be under way
				before := seller.count(EventOverdue)      // of a busy machine
				time.Sleep(4 * seller.cfg.PaymentTimeout)
				if n := seller.count(EventOverdue) - before; n != 0 {
					t.Errorf("%d failures of a payer whose payments could not be kept", n)
				}
			})
		})
	}
}

// losingDisk remembers what was in the file at the newest sync that ended.
type losingDisk struct {
	mu     sync.Mutex
	stable []byte
	slow   time.Duration
}

func (d *losingDisk) sync(f *os.File) error {
	raw := make([]byte, 256<<10) // more than all payments of the test
	if _, err := f.ReadAt(raw, 0); err != nil {
		return err
	}
	time.Sleep(d.slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stable = raw
	return f.Sync()
}

// cut is the file after a loss of power.
func (d *losingDisk) cut() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.stable)
}

// TestPowerCut takes the power from the seller at random moments of a sale, with a
// disk that forgets what was not synced. What it told as earned is there. Beyond that
// it loses one payment at most, besides the window that any payer may leave, and
// nothing once the payer pays again.
func TestPowerCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 42))
	for round := range 3 {
		for _, back := range []bool{false, true} {
			powerCut(t, rng, round%3, back)
		}
	}
}

func powerCut(t *testing.T, rng *rand.Rand, slow int, back bool) {
	t.Helper()
	disk := losingDisk{slow: []time.Duration{0, time.Millisecond, 5 * time.Millisecond}[slow]}
	m := ledgertest.New()
	const q = 64 << 10
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.datasync, c.Credit = disk.sync, 4*q })
	w := newWire(t, buyer.book, seller.book, 1, q)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, (70+rng.Int64N(200))*q, q)
	if rng.IntN(2) == 0 {
		time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
	}
	told := seller.told() // until then: a sync may end behind each of these steps
	w.provider.mu.Lock()  // the moment: what counts and what the disk holds
	counted := w.provider.sale.paid
	raw := disk.cut()
	w.provider.mu.Unlock()
	served := w.provider.served.Load()
	w.cut()
	seller.kill()
	signed := buyer.book.Summary()[0].Paid // what came of the rest was not verified
	if err := os.WriteFile(filepath.Join(seller.cfg.Dir, chanlog.FileName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	list, _, err := chanlog.Read(seller.cfg.Dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d channels after the loss of power, %v", len(list), err)
	}
	held := list[0].Best.Amount
	const round = 2 // micro-BTT
	if lost := owed(price, counted) - held; lost > owed(price, 4*q)+round {
		t.Errorf("%v of payments that counted are lost, more than a window", lost)
	}
	if lost := owed(price, served) - held; lost > owed(price, 8*q)+round {
		t.Errorf("%v lost in all, more than a window and a payment", lost)
	}
	if held < told {
		t.Errorf("%v were told as earned, %v are left", told, held)
	}
	seller.cfg.datasync = nil
	seller.open()
	if back {
		w = newWire(t, buyer.book, seller.book, 1, q)
		trade(t, buyer, seller, w, price, 64<<20)
		w.serve(t, 2*q, q)
		w.paid(t)
		closeBook(t, seller)
		if got, most := seller.purse.balance(t), owed(price, served+2*q); got < signed+owed(price, 2*q)-round || got > most {
			t.Errorf("seller holds %v, want %v and two pieces, at most %v", got, signed, most)
		}
		return
	}
	closeBook(t, seller)
	if got := seller.purse.balance(t); got < held-1 {
		t.Errorf("seller holds %v of %v", got, held)
	}
}

// told is the sum that the node reported as earned.
func (n *node) told() (sum amount.Amount) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.seen {
		if e.Kind == EventEarned {
			sum += e.Sum
		}
	}
	return sum
}

// TestRestartedPayerOfTwoTorrents: a payer that was killed asks at each of its lanes
// how far that is paid, not at the first one only: its memory of all of them is old.
func TestRestartedPayerOfTwoTorrents(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, nil)
	for range 3 {
		for tag := range byte(3) {
			w := newWire(t, buyer.book, seller.book, 1+tag, 0)
			trade(t, buyer, seller, w, price, 64<<20)
			w.serve(t, 3<<20, 1<<20)
			w.paid(t)
			w.cut()
		}
		buyer.kill()
		buyer.open()
	}
	closeBook(t, seller)
	got, want := seller.purse.balance(t), owed(price, 27<<20)
	if got > want || got < want-9 { // nine lanes round down
		t.Errorf("seller holds %v, want %v", got, want)
	}
}
