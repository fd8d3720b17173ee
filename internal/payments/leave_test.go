package payments

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// slow is a ledger that takes transactions when it is let go.
type slow struct {
	ledger.Client
	let atomic.Pointer[chan struct{}] // nil = at once
}

func (s *slow) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	if let := s.let.Load(); let != nil {
		select {
		case <-*let:
		case <-ctx.Done():
			return ledger.Receipt{}, ctx.Err()
		}
	}
	return s.Client.Submit(ctx, raw)
}

// deaf is a ledger that tells of no events, and counts what it is asked.
type deaf struct {
	ledger.Client
	looks atomic.Int64
}

func (d *deaf) Watch(ctx context.Context, _ ledger.Filter, _ uint64) (<-chan ledger.Event, error) {
	events := make(chan ledger.Event)
	context.AfterFunc(ctx, func() { close(events) })
	return events, nil
}

func (d *deaf) Outpoint(ctx context.Context, o ledger.OutPoint) (ledger.OutpointState, error) {
	defer d.looks.Add(1)
	return d.Client.Outpoint(ctx, o)
}

// closes ends a Book within minutes.
func closes(t *testing.T, b *Book) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestBothLeaveAtOnce: payer and payee end at the same time, and the settlement takes
// longer than the payer's look at the ledger. Both books and the ledger say the same of
// what was paid: all of it, nothing of a sum that is under the ledger's least output,
// and not the payment that came too late.
func TestBothLeaveAtOnce(t *testing.T) {
	tiny := amount.Price(46 << 12) // 46 µBTT for each 256 KiB
	for name, x := range map[string]struct {
		price      amount.Price
		late       bool // the last payment is lost
		paid, most amount.Amount
	}{
		"all":     {price: price, paid: owed(price, 1<<20), most: owed(price, 1<<20)},
		"dust":    {price: tiny, paid: 0, most: 4 * 46},
		"late":    {price: price, late: true, paid: owed(price, 1<<20), most: owed(price, 1<<20+1<<18)},
		"nothing": {price: tiny, late: true, paid: 0, most: 5 * 46},
	} {
		t.Run(name, func(t *testing.T) {
			m := ledgertest.New()
			theirs, ours := &slow{Client: m}, &deaf{Client: m}
			buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.Ledger, c.closeWait = ours, patience })
			seller := newNode(t, m, "seller", 0, func(c *Config) { c.Ledger = theirs })
			w := newWire(t, buyer.book, seller.book, 1, 0)
			trade(t, buyer, seller, w, x.price, 64<<20)
			w.serve(t, 1<<20, 1<<18)
			w.paid(t)
			if x.late {
				drop := func(m channel.Message) channel.Message {
					if m.Type() == channel.TypePay {
						return nil
					}
					return m
				}
				w.tamper.Store(&drop)
				w.serve(t, 1<<18, 1<<18)
			}
			buyer.await("last payment", func(e Event) bool { return e.Kind == EventPaid && e.Amount == x.most })
			let := make(chan struct{})
			theirs.let.Store(&let)
			books := [2]*Book{buyer.book, seller.book}
			left := make(chan struct{}, 2)
			go func() { closes(t, books[1]); left <- struct{}{} }()
			buyer.awaitKind(EventClosing)
			go func() { closes(t, books[0]); left <- struct{}{} }()
			for deadline := time.Now().Add(patience); ours.looks.Load() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the payer does not look at the ledger")
				}
			}
			time.Sleep(100 * time.Millisecond) // so that a payer that does not wait is gone
			close(let)
			<-left
			<-left
			agree(t, books[0], books[1], buyer, seller, x.paid)
			buyer.book, seller.book = nil, nil
		})
	}
}

// agree checks that both books call one channel settled with what the ledger moved. A
// successor may have been proposed to a payee that leaves; it is nothing.
func agree(t *testing.T, payer, payee *Book, buyer, seller *node, paid amount.Amount) {
	t.Helper()
	for role, b := range map[string]*Book{"payer": payer, "payee": payee} {
		list := slices.DeleteFunc(b.Summary(), func(s Summary) bool { return s.Stage == channel.Abandoned })
		if len(list) != 1 || list[0].Stage != channel.Settled || list[0].Paid != paid {
			t.Errorf("%s: %+v, want one channel settled with %v", role, list, paid)
		}
	}
	if got := seller.purse.balance(t); got != paid {
		t.Errorf("seller holds %v, want %v", got, paid)
	}
	if got := buyer.purse.balance(t); got != 100*amount.BTT-paid {
		t.Errorf("buyer holds %v", got)
	}
}

// TestLeaveAfterPayee: the payee is gone when the payer ends, it settled meanwhile, and
// no event told so. The payer's last look does.
func TestLeaveAfterPayee(t *testing.T) {
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.Ledger, c.closeWait = &deaf{Client: m}, patience })
	seller := newNode(t, m, "seller", 0, nil)
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, 46<<12, 64<<20)
	w.serve(t, 1<<20, 1<<18)
	w.paid(t)
	w.cut()
	books := [2]*Book{buyer.book, seller.book}
	closes(t, books[1])
	if list := books[0].Summary(); len(list) != 1 || list[0].Stage != channel.Opened || list[0].Paid != 4*46 {
		t.Errorf("before it left: %+v", list)
	}
	closes(t, books[0])
	agree(t, books[0], books[1], buyer, seller, 0)
	buyer.book, seller.book = nil, nil
}
