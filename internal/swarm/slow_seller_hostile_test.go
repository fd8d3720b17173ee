package swarm

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/wire"
)

// buyer is a node's part in the market that bids 5 BTT/GiB.
func (w *world) buyer() *market.Node {
	w.t.Helper()
	k := w.market()
	const funds = 100 * amount.BTT
	if _, err := w.ledger.Fund(k.Account, funds); err != nil {
		w.t.Fatal(err)
	}
	k.Bid.Cap, k.Balance = 5*btt, func() amount.Amount { return funds }
	return k
}

// joinSlow connects a seller to a buyer by a line on which only the first blocks
// of data arrive, while all else does. It returns the count of them.
func (w *world) joinSlow(seller, buyer *Swarm, blocks int64, every time.Duration) *atomic.Int64 {
	passed := new(atomic.Int64)
	w.joinBy(seller, buyer, func(id wire.ID) bool {
		if id != wire.Piece {
			return id != wire.Choke && id != wire.Reject
		}
		if passed.Load() >= blocks {
			if every == 0 {
				return false
			}
			time.Sleep(every)
		}
		passed.Add(1)
		return true
	})
	return passed
}

// joinBy connects a seller to a buyer by a line that lets pass what it may of what
// the seller says, and all that the buyer says.
func (w *world) joinBy(seller, buyer *Swarm, may func(id wire.ID) bool) {
	w.joinLine(seller, buyer, func(buyer net.Conn, m []byte) error {
		if len(m) > 4 && !may(wire.ID(m[4])) {
			return nil
		}
		_, err := buyer.Write(m)
		return err
	})
}

// joinLine connects a seller to a buyer. What the seller says goes through pass, one
// message at a time, on the way to the buyer's end, which is returned; what the buyer
// says arrives as it is.
func (w *world) joinLine(seller, buyer *Swarm, pass func(buyer net.Conn, m []byte) error) net.Conn {
	sold, in := net.Pipe()
	out, bought := net.Pipe()
	go func() { // ends with the connections
		defer out.Close()
		defer in.Close()
		for {
			m := make([]byte, 4, 64<<10)
			if _, err := io.ReadFull(in, m); err != nil {
				return
			}
			m = append(m, make([]byte, binary.BigEndian.Uint32(m))...)
			if _, err := io.ReadFull(in, m[4:]); err != nil || pass(out, m) != nil {
				return
			}
		}
	}()
	go func() { // ends with the connections
		defer out.Close()
		defer in.Close()
		_, _ = io.Copy(in, out)
	}()
	w.nodes++
	at := w.address(w.nodes)
	seller.Accept(&Incoming{Net: sold, Handshake: buyer.handshake(), Addr: at, Outgoing: true})
	w.nodes++
	buyer.Accept(&Incoming{Net: bought, Handshake: seller.handshake(), Addr: w.address(w.nodes)})
	synctest.Wait()
	return out
}

// sells gives its only peer a slot at a price, as soon as it may have one.
func (s *Swarm) sells(t *testing.T, price amount.Price) {
	t.Helper()
	c := s.Candidates(nil, true)
	if len(c) != 1 {
		t.Fatalf("candidates %+v", c)
	}
	if !c[0].Speed {
		return // it is paused
	}
	s.Decide([]choker.Decision{{ID: c[0].ID, Unchoke: true, Paid: true, Price: price}}, choker.Weights{})
	synctest.Wait()
}

// TestSlowSeller: a provider that sells its slot, serves a little and then nothing,
// or next to nothing, is paid for no byte that did not arrive and prove right, and
// the download ends from an honest seller.
func TestSlowSeller(t *testing.T) {
	const pieces, per = 40, testPiece / wire.BlockSize
	for name, c := range map[string]struct {
		blocks int64
		every  time.Duration
	}{
		"nothing":                   {0, 0},
		"a block":                   {1, 0},
		"a piece and a block":       {per + 1, 0},
		"a block in half a minute":  {1, 30 * time.Second},
		"a block in twenty seconds": {per + 1, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				k := w.buyer()
				g := w.node(k, t.TempDir(), nil)
				crook := w.seed(w.market(), nil)
				passed := w.joinSlow(crook, g, c.blocks, c.every)
				after(time.Second)
				crook.sells(t, btt)
				after(5 * time.Second)
				if c.blocks > 0 && passed.Load() < c.blocks {
					t.Fatalf("%d blocks were served", passed.Load())
				}
				h := w.market()
				honest := w.seed(h, nil)
				w.join(honest, g)
				after(time.Second)
				began := time.Now()
				for g.Status().State == Downloading && time.Since(began) < 10*time.Minute {
					honest.sells(t, btt) // again, when the buyer lost it for asking nothing
					after(5 * time.Second)
				}
				st := g.Status()
				t.Logf("%v after %v, %d blocks of the slow one", st.State, time.Since(began), passed.Load())
				if st.State != Seeding {
					t.Errorf("%d bytes are left", st.Left)
				}
				after(30 * time.Second)
				most, err := btt.Owed(passed.Load() * wire.BlockSize)
				if err != nil {
					t.Fatal(err)
				}
				whole, _ := btt.Owed(pieces * testPiece)
				slow, all := crook.Status().Earned, g.Status().Paid
				t.Logf("slow earned %v of %v, all paid %v of %v, honest earned %v", slow, most, all, whole, honest.Status().Earned)
				if slow > most {
					t.Errorf("the slow one earned %v, what it served is worth %v", slow, most)
				}
				if all > whole {
					t.Errorf("%v were paid for what costs %v", all, whole)
				}
				if err := w.ledger.Audit(); err != nil {
					t.Error(err)
				}
				crook.Close()
				after(c.every + time.Second)
			})
		})
	}
}

// limited is a seed whose user gave it a limit, in bytes a second.
func (w *world) limited(k *market.Node, rate int64) *Swarm {
	return w.seed(k, func(c *Config) { c.Up = []*ratelimit.Limiter{ratelimit.New(rate)} })
}

// fetch runs a download from sellers that sell whenever they may, and returns how
// long it took, at most an hour.
func fetch(t *testing.T, buyer *Swarm, sellers ...*Swarm) time.Duration {
	t.Helper()
	began := time.Now()
	for buyer.Status().State == Downloading && time.Since(began) < time.Hour {
		for _, s := range sellers {
			s.sells(t, btt)
		}
		after(time.Second)
	}
	return time.Since(began)
}

// TestChokingSeller: a seller that sends a block, takes its slot back now and then and
// sells it again, so that it has always just begun, holds a piece for some seconds
// only. A free seed brings the rest.
func TestChokingSeller(t *testing.T) {
	for _, every := range []time.Duration{500 * time.Millisecond, time.Second, 2900 * time.Millisecond, 5 * time.Second, 20 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			const pieces, rate = 30, 256 << 10
			bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
				g := w.node(w.buyer(), t.TempDir(), nil)
				crook, passed := w.seed(w.market(), nil), 0
				w.joinBy(crook, g, func(id wire.ID) bool {
					if id == wire.Piece {
						passed++
					}
					return id != wire.Reject && (id != wire.Piece || passed == 1)
				})
				after(time.Second)
				crook.sells(t, btt)
				after(time.Second)
				honest := w.limited(nil, rate)
				w.join(honest, g)
				after(time.Second)
				honest.Decide([]choker.Decision{{ID: honest.Candidates(nil, false)[0].ID, Unchoke: true}}, choker.Weights{})
				began := time.Now()
				for g.Status().State == Downloading && time.Since(began) < time.Hour {
					after(every)
					if c := crook.Candidates(nil, false); len(c) > 0 && c[0].Speed {
						crook.Decide([]choker.Decision{{ID: c[0].ID}}, choker.Weights{})
						synctest.Wait()
						crook.sells(t, btt)
					}
				}
				most := pieces*testPiece/rate*time.Second + 15*time.Second
				t.Logf("%v, at most %v", time.Since(began), most)
				if st := g.Status(); st.State != Seeding || time.Since(began) > most+every {
					t.Errorf("%v after %v, at most %v; %d bytes are left", st.State, time.Since(began), most, st.Left)
				}
			})
		})
	}
}

// TestFastSellerLeaves: who lost a piece to a fast seller gets it back when that one
// leaves, without a wait, and finishes it before it begins another: its window holds
// one piece. It blames nobody. What was left to it may be on its way at that moment: a
// block that is asked for again and comes twice would fill the window for good.
func TestFastSellerLeaves(t *testing.T) {
	for _, line := range []time.Duration{0, time.Second} {
		for _, later := range []time.Duration{0, 400 * time.Millisecond, 800 * time.Millisecond, 1400 * time.Millisecond} {
			t.Run(fmt.Sprint("line ", line, " later ", later), func(t *testing.T) { fastSellerLeaves(t, later, line) })
		}
	}
}

func fastSellerLeaves(t *testing.T, later, line time.Duration) {
	const pieces, slow = 8, 8 << 10
	bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
		k := w.buyer()
		g := w.node(k, t.TempDir(), nil)
		s := w.limited(w.market(), slow)
		w.joinBy(s, g, func(id wire.ID) bool {
			if id == wire.Piece {
				time.Sleep(line)
			}
			return true
		})
		after(time.Second)
		s.sells(t, btt)
		after(5 * time.Second)
		f := w.limited(w.market(), 64<<10)
		w.join(f, g)
		after(time.Second)
		lost := func() (lost bool) {
			_ = g.do(func() {
				for _, m := range g.peers {
					lost = lost || g.lags(m)
				}
			})
			return lost
		}
		began := time.Now()
		for !lost() && time.Since(began) < time.Minute {
			f.sells(t, btt)
			after(100 * time.Millisecond)
		}
		if !lost() {
			t.Fatal("no piece is lost")
		}
		after(later)
		left := g.Status().Left
		if left == 0 {
			t.Fatal("nothing is left")
		}
		f.Close()
		began = time.Now()
		for g.Status().State == Downloading && time.Since(began) < time.Hour {
			s.sells(t, btt)
			after(time.Second)
		}
		most := time.Duration(left/slow+15) * time.Second
		t.Logf("%d bytes in %v, at most %v", left, time.Since(began), most)
		if time.Since(began) > most {
			t.Errorf("%d bytes took %v, at most %v", left, time.Since(began), most)
		}
		if eligible, _ := s.cfg.Market.Standing(k.Account, netip.Addr{}, time.Now()); !eligible {
			t.Error("the slow seller holds something against the buyer")
		}
	})
}
