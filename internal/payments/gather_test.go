package payments

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// gathering is a link's gather, with a count of payments made late.
type gathering struct {
	*gather
	late *atomic.Int32
}

// come has pieces of a MiB arrive and be verified, each so long after the one before,
// and returns the numbers of those behind which a payment is made.
func (g gathering) come(n int, apart time.Duration) (paid []int) {
	for i := range n {
		time.Sleep(apart)
		g.under.Add(1 << 20)
		if off, _ := g.puts(1<<20, 1<<40, func() { g.late.Add(1) }); !off {
			paid = append(paid, i)
		}
	}
	return paid
}

func (g gathering) unpaid() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

func gathers(t *testing.T, f func(g gathering)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { f(gathering{new(gather), new(atomic.Int32)}) })
}

// TestGather: each payment says twice as much as the one before, from a quantum to half of
// what is lent by default, and that for all that come later. Who is about to be complete pays
// at once.
func TestGather(t *testing.T) {
	gathers(t, func(g gathering) {
		if got, want := g.come(15, time.Millisecond), []int{0, 2, 6, 14}; !slices.Equal(got, want) {
			t.Errorf("payments behind pieces %v, want %v", got, want)
		}
		if !g.wide.Load() {
			t.Error("a provider that lends half of the default is not wide")
		}
		if n := len(g.come(800, time.Millisecond)); n != 100 {
			t.Errorf("%d payments for 800 quanta, want one for 8", n)
		}
		g.come(3, time.Millisecond)
		if off, next := g.puts(1<<20, 2<<20-1, nil); off || next != 8<<20 || g.off.Load() {
			t.Errorf("the last but one is put off: %v, the next is for %d", off, next)
		}
		if time.Sleep(time.Second); g.late.Load() != 0 {
			t.Errorf("%d payments were late that nothing held up", g.late.Load())
		}
	})
}

// TestGatherLongQuanta: a quantum of half of what is gathered at most, or more, is paid by
// itself, and says nothing of a wide window.
func TestGatherLongQuanta(t *testing.T) {
	for _, n := range []int64{gatherMax/2 + 1, gatherMax, 4 * gatherMax} {
		gathers(t, func(g gathering) {
			for range 100 {
				g.under.Add(n)
				if off, next := g.puts(n, 1<<40, nil); off || next != n || g.wide.Load() {
					t.Fatalf("a quantum of %d is put off: %v, the next is for %d, the window is wide: %v", n, off, next, g.wide.Load())
				}
			}
		})
	}
}

// TestGatherWaits: a payment waits for gatherWait in silence, and for gatherLong and that
// at most while data come on.
func TestGatherWaits(t *testing.T) {
	gathers(t, func(g gathering) {
		g.come(3000, time.Millisecond)
		if n := len(g.come(10, 4*time.Millisecond)); n != 1 && n != 2 {
			t.Errorf("%d payments in 40 ms of 4 ms each", n)
		}
		for g.off.Load() {
			g.come(1, time.Millisecond)
		}
		g.come(1, time.Millisecond)
		for range 40 { // blocks come, no piece is whole
			time.Sleep(time.Millisecond)
			g.under.Add(16 << 10)
			if synctest.Wait(); g.late.Load() == 1 {
				break
			}
		}
		if waited := time.Since(g.since); g.late.Load() != 1 || waited < gatherLong || waited > gatherLong+gatherWait || g.rests != 0 {
			t.Errorf("%d payments after %v of a slow piece, %d of less", g.late.Load(), waited, g.rests)
		}
	})
}

// TestGatherStops: a provider that lends two quanta only, and sends nothing before it is
// paid, gets one quantum at a time for 64 payments, then for 128, and so on, and between
// them at most a quantum and two at once to try. A silence at
// which less is unpaid than before changes nothing, until it comes again and again; and
// more data than those at which it seemed to stop end it.
func TestGatherStops(t *testing.T) {
	stop := func(g gathering, pieces int64) {
		for g.off.Load() {
			g.come(1, time.Millisecond)
		}
		for g.unpaid() < pieces<<20 { // it sends on while less is
			g.come(1, time.Millisecond)
		}
		g.late.Store(0)
		time.Sleep(gatherWait - 1)
		if synctest.Wait(); g.late.Load() != 0 {
			t.Error("nothing was waited for")
		}
		time.Sleep(time.Nanosecond)
		if synctest.Wait(); g.late.Load() != 1 || g.off.Load() {
			t.Error("a payment that nothing followed is not made")
		}
	}
	gathers(t, func(g gathering) {
		for rest := gatherRest; rest <= 2*gatherMost; rest *= 2 {
			stop(g, 2)
			most := min(rest, gatherMost)
			if n := len(g.come(most, time.Millisecond)); n != most || g.wide.Load() {
				t.Fatalf("%d payments for %d quanta of a provider that stopped", n, most)
			}
		}
		g.come(8, time.Millisecond)
		if g.rest != 0 {
			t.Error("a provider that sends on counts as one that stops")
		}
		stop(g, 2)
		if g.rests != 0 {
			t.Error("a silence with less unpaid than before counts as a stop")
		}
		for i := 0; i < 5 && g.rests == 0; i++ {
			stop(g, 2)
		}
		if g.rests == 0 {
			t.Error("silences with two quanta unpaid each time never count as stops")
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
			w.requester.gather.limit = gatherMax
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
