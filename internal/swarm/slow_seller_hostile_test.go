package swarm

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/market"
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
	sold, in := net.Pipe()
	out, bought := net.Pipe()
	passed := new(atomic.Int64)
	pass := func(to, from net.Conn, may func(id wire.ID) bool) { // ends with the connections
		defer to.Close()
		defer from.Close()
		for {
			m := make([]byte, 4, 64<<10)
			if _, err := io.ReadFull(from, m); err != nil {
				return
			}
			n := binary.BigEndian.Uint32(m)
			m = append(m, make([]byte, n)...)
			if _, err := io.ReadFull(from, m[4:]); err != nil {
				return
			}
			if n > 0 && !may(wire.ID(m[4])) {
				continue
			}
			if _, err := to.Write(m); err != nil {
				return
			}
		}
	}
	go pass(out, in, func(id wire.ID) bool {
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
	go pass(in, out, func(wire.ID) bool { return true })
	w.nodes++
	at := w.address(w.nodes)
	seller.Accept(&Incoming{Net: sold, Handshake: buyer.handshake(), Addr: at, Outgoing: true})
	w.nodes++
	buyer.Accept(&Incoming{Net: bought, Handshake: seller.handshake(), Addr: w.address(w.nodes)})
	synctest.Wait()
	return passed
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
