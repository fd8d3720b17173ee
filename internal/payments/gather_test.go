package payments

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestGather: of payments that come fast every other one is put off and said by the
// next. One that nothing follows is late by gatherWait, and then as many are made at
// once as the bounds say, twice as many each time.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, left = 1 << 20, 100 << 20
		g := gather{eager: 2}
		var late atomic.Int32
		puts := func(left int64) bool {
			off, _ := g.puts(n, left, func() { late.Add(1) })
			return off
		}
		for i, want := range []bool{false, false, true, false, true, false} {
			if got := puts(left); got != want {
				t.Fatalf("payment %d: put off is %v, want %v", i, got, want)
			}
		}
		time.Sleep(time.Second)
		if late.Load() != 0 || puts(2*n-1) {
			t.Fatalf("%d late payments where each had a successor; or the last but one was put off", late.Load())
		}
		for rest := gatherAfter / 4; rest <= 2*gatherRest; rest *= 2 {
			if late.Store(0); !puts(left) {
				t.Fatalf("after %v at once one more is not put off", rest)
			}
			time.Sleep(gatherWait - 1)
			if synctest.Wait(); late.Load() != 0 {
				t.Fatal("the next payment was not waited for")
			}
			time.Sleep(time.Nanosecond)
			if synctest.Wait(); late.Load() != 1 || g.off.Load() {
				t.Fatal("a payment that nothing followed is not made")
			}
			for i := range min(rest, gatherRest) {
				if puts(left) {
					t.Fatalf("payment %d of %d was put off after one in vain", i, rest)
				}
			}
		}
	})
}

// TestGatheredPays: what is put off is paid by itself when nothing follows, before the
// Book ends, and on the next connection when its own ends.
func TestGatheredPays(t *testing.T) {
	const q = 64 << 10
	for _, end := range []string{"nothing follows", "the book closes", "the connection ends"} {
		t.Run(end, func(t *testing.T) {
			const dear = 100 * price // more than the ledger's least output
			m := ledgertest.New()
			buyer := newNode(t, m, "buyer", 1000*amount.BTT, nil)
			seller := newNode(t, m, "seller", 0, nil)
			w := newWire(t, buyer.book, seller.book, 1, q)
			trade(t, buyer, seller, w, dear, 1<<30)
			w.serve(t, 4*q, q)
			w.paid(t)
			w.requester.gather.mu.Lock()
			w.requester.gather.eager = 0
			w.requester.gather.mu.Unlock()
			total := int64(5 * q)
			w.serve(t, q, q)
			switch end {
			case "the book closes":
				for w.requester.verified.Load() < 5*q { // it is on its way
					time.Sleep(time.Millisecond)
				}
				closes(t, buyer.book)
			case "the connection ends":
				for w.requester.verified.Load() < 5*q {
					time.Sleep(time.Millisecond)
				}
				w.cut()
				again := newWire(t, buyer.book, seller.book, 1, q)
				trade(t, buyer, seller, again, dear, 1<<30)
				again.serve(t, q, q)
				again.paid(t)
				w, total = again, total+q
			}
			w.paid(t)
			want, err := dear.Owed(total)
			if err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(patience); seller.book.Summary()[0].Paid < want; time.Sleep(time.Millisecond) { // it is told when it is durable
				if time.Now().After(end) {
					t.Fatalf("the seller has %v, want %v", seller.book.Summary()[0].Paid, want)
				}
			}
		})
	}
}
