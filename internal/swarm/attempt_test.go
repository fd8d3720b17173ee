package swarm

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wire"
)

// lineOfBlocks carries what a seller says to a buyer. Its blocks it keeps until the
// test lets them go, and says no word of rejected requests.
type lineOfBlocks struct {
	buyer net.Conn
	mu    sync.Mutex // also one message at a time
	kept  [][]byte
	open  bool
}

// joinKept connects a seller to a buyer by such a line.
func (w *world) joinKept(seller, buyer *Swarm) *lineOfBlocks {
	l := &lineOfBlocks{}
	l.buyer = w.joinLine(seller, buyer, l.pass)
	return l
}

func (l *lineOfBlocks) pass(buyer net.Conn, m []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(m) > 4 && wire.ID(m[4]) == wire.Reject:
		return nil
	case len(m) > 4 && wire.ID(m[4]) == wire.Piece && !l.open:
		l.kept = append(l.kept, bytes.Clone(m))
		return nil
	}
	_, err := buyer.Write(m)
	return err
}

// let sends n of the blocks that are kept; spoil has them bad. With all it sends the
// rest too, and whatever comes from now on.
func (l *lineOfBlocks) let(n int, spoil, all bool) {
	l.mu.Lock()
	if l.open = all; all {
		n = len(l.kept)
	}
	for _, m := range l.kept[:n] {
		if spoil {
			m[len(m)-1] ^= 1
		}
		_, _ = l.buyer.Write(m)
	}
	l.kept = l.kept[n:]
	l.mu.Unlock()
	synctest.Wait()
}

func (l *lineOfBlocks) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.kept)
}

// TestBlocksAskedOnce: a seller that took its slot back sends what it was asked for all
// the same, and bad, while another one is paid for the same piece. Whatever of the
// honest one's came before and after, it is asked for nothing twice: it is paid for all
// that it served, and its window stays whole.
func TestBlocksAskedOnce(t *testing.T) {
	const pieces, per = 12, testPiece / wire.BlockSize
	for early := range per + 1 {
		for later := range per + 1 - early {
			t.Run(fmt.Sprintf("%d before the bad ones, %d after", early, later), func(t *testing.T) {
				bubble(t, pieces*testPiece, func(t *testing.T, w *world) {
					k := w.buyer()
					g := w.node(k, t.TempDir(), func(c *Config) { c.Sequential = true })
					crook, honest := w.seed(w.market(), nil), w.seed(w.market(), nil)
					bad := w.joinKept(crook, g)
					after(time.Second)
					crook.sells(t, btt)
					after(time.Second)
					if bad.waiting() != per {
						t.Fatalf("the crook served %d blocks", bad.waiting())
					}
					crook.Decide([]choker.Decision{{ID: crook.Candidates(nil, false)[0].ID}}, choker.Weights{})
					good := w.joinKept(honest, g)
					after(time.Second)
					honest.sells(t, btt)
					after(time.Second)
					if good.waiting() != per {
						t.Fatalf("the honest seller served %d blocks", good.waiting())
					}
					good.let(early, false, false)
					news := make(chan struct{})
					g.post(func() { <-news })
					bad.let(per, true, false)
					good.let(later, false, false)
					close(news)
					synctest.Wait()
					good.let(0, false, true)
					began := time.Now()
					for g.Status().State == Downloading && time.Since(began) < 10*time.Minute {
						honest.sells(t, btt)
						after(time.Second)
					}
					after(5 * time.Second)
					st, sold := g.Status(), honest.Status()
					earned, _ := btt.Owed(pieces * testPiece)
					if st.State != Seeding || st.Left != 0 {
						t.Errorf("%v after %v, %d bytes are left", st.State, time.Since(began), st.Left)
					}
					if sold.Totals.Uploaded > pieces*testPiece || sold.Earned != earned {
						t.Errorf("%d bytes of %d served, %v of %v earned", sold.Totals.Uploaded, pieces*testPiece, sold.Earned, amount.Amount(earned))
					}
					if eligible, _ := honest.cfg.Market.Standing(k.Account, netip.Addr{}, time.Now()); !eligible {
						t.Error("the seller holds something against the buyer")
					}
				})
			})
		}
	}
}

// TestPieceBegunAgain: what of a piece came after its hash had failed, before the swarm
// heard of that, is not asked for again; what was dropped with the bad blocks, or
// cancelled because of them, is, once.
func TestPieceBegunAgain(t *testing.T) {
	const per = testPiece / wire.BlockSize
	for early := range per {
		for later := range per + 1 - early {
			t.Run(fmt.Sprintf("%d before the bad ones, %d after", early, later), func(t *testing.T) {
				bubble(t, testPiece, func(t *testing.T, w *world) {
					g := w.node(nil, t.TempDir(), nil)
					crook := w.source(g, 200, blocks(nil, spoilIt))
					synctest.Wait()
					crook.write(wire.AppendEmpty(nil, wire.Choke))
					honest := w.source(g, 201, blocks(nil, serveIt))
					synctest.Wait()
					asked := honest.asked()
					if len(asked) != per || len(crook.asked()) != per {
						t.Fatalf("asked for %d and %d blocks", len(crook.asked()), len(asked))
					}
					for _, m := range asked[:early] {
						honest.write(w.block(m))
					}
					news := make(chan struct{})
					g.post(func() { <-news })
					crook.answer()
					for _, m := range asked[early : early+later] {
						honest.write(w.block(m))
					}
					close(news)
					synctest.Wait()
					// The bad ones came first, so that the rest was cancelled.
					again := honest.asked()[per:]
					if len(again) != per-later {
						t.Errorf("asked for %d blocks again, the store has %d of %d", len(again), later, per)
					}
					for _, m := range again {
						honest.write(w.block(m))
					}
					after(2 * unstickEvery)
					if st := g.Status(); st.State != Seeding || len(honest.asked()) != 2*per-later {
						t.Errorf("%v; %d blocks asked for, want %d", st.State, len(honest.asked()), 2*per-later)
					}
				})
			})
		}
	}
}

// asked are the requests that came so far.
func (v *source) asked() (list []wire.Message) {
	for _, m := range v.messages() {
		if m.ID == wire.Request {
			list = append(list, m)
		}
	}
	return list
}

// block is the right answer to a request.
func (w *world) block(m wire.Message) []byte {
	at := int64(m.Index)*testPiece + int64(m.Begin)
	return append(wire.AppendPieceHeader(nil, m.Index, m.Begin, m.Length), w.data[at:at+int64(m.Length)]...)
}

// TestNewAccountsAtOneAddress: a buyer with an open channel that leaves with more unpaid
// than its account ever paid is let off once, and its address is not: another account
// there is served nothing before its channel is open, and when it does the same, the
// address has failed. The accounts are judged by what they owe, when they come back.
func TestNewAccountsAtOneAddress(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		seller := w.seed(w.market(), nil)
		node := seller.cfg.Market
		for n, want := range []struct {
			served             int
			guarded, mayBuyNow bool
		}{{testPiece / wire.BlockSize, true, true}, {testPiece / wire.BlockSize, true, false}, {0, true, false}} {
			k := w.buyer()
			g := w.node(k, t.TempDir(), nil)
			w.nodes = 100 // each comes from there
			kept := w.joinKept(seller, g)
			addr := w.address(101).Addr()
			after(time.Second)
			seller.sells(t, btt)
			after(5 * time.Second)
			g.Close()
			after(time.Second)
			if got := kept.waiting(); got != want.served {
				t.Errorf("buyer %d was served %d blocks, want %d", n, got, want.served)
			}
			if node.Guarded(k.Account, netip.Addr{}, time.Now()) {
				t.Errorf("buyer %d is taken for one without a channel", n)
			}
			eligible, _ := node.Standing(ledger.Address{}, addr, time.Now())
			if guarded := node.Guarded(ledger.Address{}, addr, time.Now()); guarded != want.guarded || eligible != want.mayBuyNow {
				t.Errorf("after buyer %d the address is guarded: %v, may buy: %v", n, guarded, eligible)
			}
		}
	})
}
