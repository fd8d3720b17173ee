package swarm

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/wire"
)

// TestCompleteWhenBooked: the disk is faster than the news that the last block came.
// The torrent is not complete before that piece is booked for payment: whoever hears of
// the end may leave at once. News that never comes hold it up for a moment only.
func TestCompleteWhenBooked(t *testing.T) {
	for _, lost := range []bool{false, true} {
		bubble(t, 2*testPiece+5, func(t *testing.T, w *world) {
			s := w.node(nil, t.TempDir(), nil)
			for piece := range 3 {
				result := disk.Stored
				for begin := 0; begin < testPiece && piece*testPiece+begin < len(w.data); begin += wire.BlockSize {
					at := piece*testPiece + begin
					r, err := s.store.Block(uint32(piece), uint32(begin), w.data[at:min(at+wire.BlockSize, (piece+1)*testPiece, len(w.data))])
					if err != nil {
						t.Fatal(err)
					}
					result = r
				}
				if result != disk.Verified {
					t.Fatalf("piece %d is %v", piece, result)
				}
				if piece < 2 {
					_ = s.do(func() { s.onVerified(uint32(piece)) })
				}
			}
			s.store.Flush()
			synctest.Wait()
			if st := s.Status(); st.Left != 0 || st.State != Downloading {
				t.Fatalf("%v with %d bytes left before the last piece is booked", st.State, st.Left)
			}
			if lost {
				time.Sleep(2 * bookingWait)
			} else {
				_ = s.do(func() { s.onVerified(2) })
			}
			if st := s.Status(); st.State != Seeding {
				t.Errorf("%v after the last piece is booked", st.State)
			}
			_ = s.do(func() {
				if len(s.booked)+len(s.unbooked) > 0 {
					t.Errorf("%d and %d pieces are still waited for", len(s.booked), len(s.unbooked))
				}
			})
		})
	}
}

// joinLate connects a seller to a buyer by a line on which what the buyer says
// takes a while.
func (w *world) joinLate(seller, buyer *Swarm, delay time.Duration) {
	sold, in := net.Pipe()
	out, bought := net.Pipe()
	type said struct {
		m  []byte
		at time.Time
	}
	words := make(chan said, 1000)
	go func() { // ends with the buyer's connection
		defer close(words)
		defer out.Close()
		for {
			m := make([]byte, 4)
			if _, err := io.ReadFull(out, m); err != nil {
				return
			}
			m = append(m, make([]byte, binary.BigEndian.Uint32(m))...)
			if _, err := io.ReadFull(out, m[4:]); err != nil {
				return
			}
			words <- said{m, time.Now()}
		}
	}()
	go func() { // ends when all that was said is delivered
		for s := range words {
			time.Sleep(time.Until(s.at.Add(delay)))
			_, _ = in.Write(s.m)
		}
		in.Close()
	}()
	go func() { // ends with the seller's connection
		_, _ = io.Copy(out, in)
		out.Close()
	}()
	w.nodes++
	seller.Accept(&Incoming{Net: sold, Handshake: buyer.handshake(), Addr: w.address(w.nodes), Outgoing: true})
	w.nodes++
	buyer.Accept(&Incoming{Net: bought, Handshake: seller.handshake(), Addr: w.address(w.nodes)})
	after(2 * delay)
}

// TestLeavingProvider: a provider that leaves serves its buyers no more, and waits for
// the payment that is under way, but no longer than LastEarningWait; one that served
// nobody for money, or was paid, leaves at once.
func TestLeavingProvider(t *testing.T) {
	const pieces = 4
	for name, c := range map[string]struct {
		delay time.Duration
		price bool
		after time.Duration // from the last block on
		all   bool          // it is paid
		waits time.Duration // at most
	}{
		"payment under way":  {200 * time.Millisecond, true, 0, true, 250 * time.Millisecond},
		"payment comes late": {2 * time.Second, true, 0, false, payments.LastEarningWait + 10*time.Millisecond},
		"paid":               {200 * time.Millisecond, true, time.Second, true, 0},
		"nobody buys":        {200 * time.Millisecond, false, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				seed := w.seed(w.market(), nil)
				g := w.node(w.buyer(), t.TempDir(), nil)
				w.joinLate(seed, g, c.delay)
				after(time.Second)
				if c.price {
					seed.sells(t, btt)
				} else {
					seed.Decide([]choker.Decision{{ID: seed.Candidates(nil, false)[0].ID, Unchoke: true}}, choker.Weights{})
				}
				for g.Status().State == Downloading {
					after(time.Millisecond)
				}
				after(c.after)
				began := time.Now()
				if err := seed.Settle(context.Background()); err != nil {
					t.Error(err)
				}
				if waited := time.Since(began); waited > c.waits {
					t.Errorf("it waited for %v, at most %v", waited, c.waits)
				}
				whole, _ := btt.Owed(pieces * testPiece)
				if !c.price {
					whole = 0
				}
				earned := seed.Status().Earned
				if c.all && earned != whole || earned > whole || c.price && !c.all && earned == whole {
					t.Errorf("it earned %v of %v", earned, whole)
				}
				if d := seed.Candidates(nil, false); len(d) != 1 || d[0].Unchoked && c.price || d[0].Interested {
					t.Errorf("it still serves: %+v", d)
				}
				if seed.Decide([]choker.Decision{{ID: seed.Candidates(nil, false)[0].ID, Unchoke: true, Paid: true, Price: btt}}, choker.Weights{}); seed.Candidates(nil, false)[0].Paid {
					t.Error("it still sells")
				}
				g.Close()
				seed.Close()
				after(3 * c.delay) // the line is empty
			})
		})
	}
}
