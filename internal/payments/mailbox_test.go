package payments

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"pgregory.net/rapid"
)

func mailPay(id byte, lane uint32, n int64) *channel.Pay {
	return &channel.Pay{ID: channel.ID{id}, Lane: lane, Bytes: n, Payment: channel.Payment{Sequence: uint32(n), Amount: amount.Amount(n)}}
}

// TestMailbox compares the mailbox with a plain list of all that was posted: whatever
// is left out was a payment that a later one of the same connection, channel and lane
// supersedes, with no other message of the connection between them.
func TestMailbox(t *testing.T) {
	links := []*Link{new(Link), new(Link)}
	rapid.Check(t, func(t *rapid.T) {
		var b mailbox
		var all []op
		n := int64(0)
		for range rapid.IntRange(0, 60).Draw(t, "posts") {
			o := op{kind: opMessage, link: rapid.SampledFrom(links).Draw(t, "link")}
			switch n++; rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				o.message = &channel.Close{ID: channel.ID{byte(n)}}
			case 1:
				o = op{kind: opReprice, link: o.link, number: n}
			default:
				pay := mailPay(byte(rapid.IntRange(0, 1).Draw(t, "channel")), uint32(rapid.IntRange(0, 1).Draw(t, "lane")), n)
				if rapid.IntRange(0, 9).Draw(t, "falls") == 0 {
					pay.Payment.Amount = 0
				}
				o.message = pay
			}
			all = append(all, o)
			fresh, err := b.put(o, true)
			if err != nil {
				t.Fatal(err)
			}
			if last := b.waiting[len(b.waiting)-1]; fresh && last != o {
				t.Fatalf("%v was not appended", o)
			}
		}
		got := b.take(nil)
		for _, l := range links {
			var want []op // of the connection
			for _, o := range all {
				if o.link == l {
					want = mailAppend(want, o)
				}
			}
			var have []op
			for _, o := range got {
				if o.link == l {
					have = append(have, o)
				}
			}
			if len(have) != len(want) {
				t.Fatalf("%d wait, want %d", len(have), len(want))
			}
			for i := range want {
				if have[i] != want[i] {
					t.Fatalf("place %d: %+v, want %+v", i, have[i], want[i])
				}
			}
		}
		if list := b.take(got); len(list) != 0 {
			t.Fatalf("%d left", len(list))
		}
	})
}

// mailAppend is what the mailbox does, the plain way.
func mailAppend(list []op, o op) []op {
	if pay, ok := o.message.(*channel.Pay); ok {
		for i := len(list) - 1; i >= 0; i-- {
			old, ok := list[i].message.(*channel.Pay)
			if !ok {
				break
			}
			if old.ID != pay.ID || old.Lane != pay.Lane {
				continue
			}
			if supersedes(pay, old) {
				list[i].message = pay
				return list
			}
			break
		}
	}
	return append(list, o)
}

// TestMailboxEvents: the same ledger event waits once.
func TestMailboxEvents(t *testing.T) {
	var b mailbox
	for range 1000 {
		for id := range byte(3) {
			_, _ = b.put(op{kind: opLedger, id: channel.ID{id}}, false)
			_, _ = b.put(op{kind: opLedger, id: channel.ID{id}, parked: true}, false)
		}
	}
	if n := len(b.take(nil)); n != 6 {
		t.Errorf("%d events wait", n)
	}
	if _, _ = b.put(op{kind: opLedger}, false); len(b.take(nil)) != 1 {
		t.Error("a later event was lost")
	}
}

// gateSyncs holds syncs of a journal back while it is closed, and makes the disk too
// slow for connections to wait for.
func gateSyncs(n *Config, open chan struct{}) {
	n.datasync = func(f *os.File) error {
		<-open
		time.Sleep(20 * time.Millisecond)
		return f.Sync()
	}
}

// TestSlowSellerFastBuyer: while the provider's disk stands still a requester pays
// for thousands of pieces, as a credit window allows. What waits is bounded by lanes,
// and all of it counts when the disk goes on.
func TestSlowSellerFastBuyer(t *testing.T) {
	m := ledgertest.New()
	open := make(chan struct{}, 1000)
	for range 100 {
		open <- struct{}{}
	}
	buyer := newNode(t, m, "buyer", 100*amount.BTT, func(c *Config) { c.DepositBytes = 1 << 30 })
	seller := newNode(t, m, "seller", 0, func(c *Config) { gateSyncs(c, open) })
	t.Cleanup(func() { close(open) })
	const unit, rounds = 16 << 10, 10 * MaxMailbox
	var wires []*wire
	for tag := range byte(3) {
		w := newWire(t, buyer.book, seller.book, tag+1, unit)
		trade(t, buyer, seller, w, price, 1<<30)
		w.serve(t, 4*unit, unit)
		w.paid(t)
		wires = append(wires, w)
	}
	for len(open) > 0 {
		<-open
	}
	p := wires[0].provider.sale.pair
	for range rounds {
		for _, w := range wires {
			w.provider.Served(unit)
			w.requester.Verified(unit)
		}
	}
	buyer.await("payments", func(e Event) bool { return e.Amount == owed(price, 3*unit*(rounds+4)) })
	for _, w := range wires {
		for len(w.queues[0]) > 0 { // the wire hands them over
			time.Sleep(time.Millisecond)
		}
	}
	p.mailbox.mu.Lock()
	if n := len(p.mailbox.waiting); n > 3*2*len(wires) {
		t.Errorf("%d messages wait of %d lanes", n, len(wires))
	}
	p.mailbox.mu.Unlock()
	for range 900 {
		open <- struct{}{}
	}
	for _, w := range wires {
		w.paid(t)
	}
	seller.await("all", earned(owed(price, 3*unit*(rounds+4))))
}

// TestFloodedMailbox: a connection that floods its account's channel is
// disconnected; another one of the same account is not, and what a stranger says of
// the channel, whose id anyone can read on the ledger, never waits at all.
func TestFloodedMailbox(t *testing.T) {
	m := ledgertest.New()
	open := make(chan struct{}, 1000)
	for range 100 {
		open <- struct{}{}
	}
	buyer := newNode(t, m, "buyer", 100*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { gateSyncs(c, open) })
	t.Cleanup(func() { close(open) })
	w := newWire(t, buyer.book, seller.book, 1, 0)
	trade(t, buyer, seller, w, price, 64<<20)
	w.serve(t, 4<<20, 1<<20)
	seller.await("what is durable", earned(owed(price, 4<<20)))
	for len(open) > 0 {
		<-open
	}
	w.serve(t, 1<<20, 1<<20) // counts, and is not durable
	eventually(t, "the payment to count", func() bool { return w.provided() == 5<<20 })
	w.serve(t, 1<<20, 1<<20) // keeps the pair busy with its disk
	eventually(t, "the next payment", func() bool { return w.provider.arrived.Load() == 1 })
	id := seller.book.Summary()[0].Channel
	flood := func(account ledger.PublicKey) (l *Link, taken int, err error) {
		l = seller.book.Link(LinkConfig{Account: account, Infohash: [20]byte{1}, Send: func([]byte) {}})
		for ; err == nil && taken < 10*MaxMailbox; taken++ {
			pay := mailPay(0, uint32(taken), 1)
			pay.ID = id
			err = l.Receive(channel.Encode(pay))
		}
		return l, taken, err
	}
	stranger, _, err := flood(ledgertest.Key("stranger").PublicKey())
	if err != nil || stranger.sale.pair != nil {
		t.Errorf("a stranger's messages reach the channel: %v", err)
	}
	stranger.Close()
	flooder, taken, err := flood(buyer.purse.Account())
	if !errors.Is(err, ErrOverflow) {
		t.Errorf("%d messages of a flooder are taken: %v", taken, err)
	}
	flooder.Close()
	for range 9 {
		w.provider.Served(1 << 20)
		w.requester.Verified(1 << 20)
	}
	for range 900 {
		open <- struct{}{}
	}
	seller.await("all", earned(owed(price, 15<<20)))
	w.paid(t)
}
