package swarm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/speed/reserve"
)

const testPiece = 4 * reserve.ChunkSize

// world is what the swarms of a test share. It lives inside a synctest bubble,
// so its clock moves only when all of it waits.
type world struct {
	t       *testing.T
	ledger  *ledgertest.Memory
	torrent *metainfo.Torrent
	dir     string // where the torrent's files are
	data    []byte
	pool    *disk.Pool
	books   []*payments.Book
	purses  []*purse.Purse
	swarms  []*Swarm
	nodes   int
}

func newWorld(t *testing.T, size int) *world {
	t.Helper()
	w := &world{t: t, ledger: ledgertest.New(), dir: t.TempDir(), data: make([]byte, size)}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(w.data)
	path := filepath.Join(w.dir, "film")
	if err := os.WriteFile(path, w.data, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.torrent, err = create.Torrent(t.Context(), path, create.Options{PieceLength: testPiece}); err != nil {
		t.Fatal(err)
	}
	w.pool = disk.NewPool(disk.PoolConfig{})
	return w
}

// close ends every goroutine of the world.
func (w *world) close() {
	for _, b := range w.books {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = b.Close(ctx)
		cancel()
	}
	for _, s := range w.swarms {
		s.Close()
	}
	for _, p := range w.purses {
		p.Close()
	}
	w.pool.Close()
	synctest.Wait()
}

// market is a node's part in the market that sells and bids nothing.
func (w *world) market() *market.Node {
	w.t.Helper()
	free, err := purse.Open(purse.Config{Dir: filepath.Join(w.t.TempDir(), "wallet"), Ledger: w.ledger})
	if err != nil {
		w.t.Fatal(err)
	}
	w.purses = append(w.purses, free)
	book, err := payments.Open(context.Background(), payments.Config{Dir: filepath.Join(w.t.TempDir(), "channels"),
		Purse: free, Ledger: w.ledger})
	if err != nil {
		w.t.Fatal(err)
	}
	w.books = append(w.books, book)
	st, err := w.ledger.Status(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return &market.Node{Book: book, Account: free.Address(), Key: free.AccountKey(), Net: st.Network, Bid: autobid.Default(), Sell: true, Buy: true,
		Balance: func() amount.Amount { return 0 }}
}

// node starts a swarm and waits until its files are checked.
func (w *world) node(k *market.Node, dir string, f func(*Config)) *Swarm {
	w.t.Helper()
	w.nodes++
	checked := make(chan struct{}, 1)
	cfg := Config{Index: uint32(w.nodes), InfoHash: w.torrent.InfoHash, Torrent: w.torrent, Dir: dir, Pool: w.pool, Market: k,
		FreeSlot: func() {}, Log: slog.New(slog.DiscardHandler), Notify: func(e Event) {
			if e.Kind == Checked {
				checked <- struct{}{}
			}
		}}
	copy(cfg.PeerID[:], fmt.Sprintf("-BT0100-%012d", w.nodes))
	if f != nil {
		f(&cfg)
	}
	s := New(cfg)
	w.swarms = append(w.swarms, s)
	<-checked
	return s
}

func (w *world) seed(k *market.Node, f func(*Config)) *Swarm {
	w.t.Helper()
	s := w.node(k, w.dir, f)
	if st := s.Status(); st.State != Seeding {
		w.t.Fatalf("seed is %v: %v", st.State, st.Err)
	}
	return s
}

func (w *world) chunk(piece, chunk uint32) []byte {
	at := int(piece)*testPiece + int(chunk)*reserve.ChunkSize
	return w.data[at:min(at+reserve.ChunkSize, int(piece+1)*testPiece, len(w.data))]
}

// address is where the n-th node or stranger listens.
func (w *world) address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 6881)
}

// join connects two swarms.
func (w *world) join(a, b *Swarm) {
	x, y := net.Pipe()
	w.nodes++
	at := w.address(w.nodes)
	a.Accept(&Incoming{Net: x, Handshake: b.handshake(), Addr: at, Outgoing: true})
	b.Accept(&Incoming{Net: y, Handshake: a.handshake(), Addr: at})
}

// proof is the right answer to a question.
func (w *world) proof(r speed.Reserve) speed.Proof {
	return speed.Proof{Piece: r.Piece, Chunk: r.Chunk,
		Hash: reserve.Hash(r.Nonce, w.torrent.InfoHash, r.Piece, r.Chunk, w.chunk(r.Piece, r.Chunk))}
}

const btt = amount.Price(amount.BTT)

// growing asks 1 BTT/GiB more each day, in a hundred steps, at most 3.
func growing(w *world) *market.Node {
	k := w.market()
	k.Reserve.Growth = reserve.Growth{Slope: btt, Cap: 3 * btt}
	return k
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func bubble(t *testing.T, size int, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, size)
		defer w.close()
		f(t, w)
	})
}

// TestReserveTranscript tells what a peer hears of a growing reserve price:
// steps, a fall at a proof, the quarantine, and the cap (R7.3-R7.11, A15).
func TestReserveTranscript(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		s := w.seed(growing(w), nil)
		p := w.visit(s)
		var script strings.Builder
		names := map[[2]uint32]string{}
		began := time.Now()
		told := 0
		hear := func(what string) {
			synctest.Wait()
			fmt.Fprintf(&script, "%v %s\n", time.Since(began).Truncate(time.Second), what)
			p.mu.Lock()
			defer p.mu.Unlock()
			if n := len(p.reserves) - told; n > 3 {
				fmt.Fprintf(&script, "  seed: %d reserve prices\n", n-1)
				told = len(p.reserves) - 1
			}
			for ; told < len(p.reserves); told++ {
				r := p.reserves[told]
				if names[[2]uint32{r.Piece, r.Chunk}] == "" {
					names[[2]uint32{r.Piece, r.Chunk}] = string(rune('A' + len(names)))
				}
				fmt.Fprintf(&script, "  seed: reserve %v, challenge %s\n", r.Price, names[[2]uint32{r.Piece, r.Chunk}])
			}
		}
		hear("peer connects")
		after(20 * time.Minute)
		hear("time passes")
		after(12*time.Hour - 20*time.Minute)
		hear("time passes")
		p.send(w.proof(p.asked()))
		hear("peer proves")
		after(31 * time.Second)
		hear("time passes")
		p.send(w.proof(p.asked()))
		after(31 * time.Second)
		hear("peer proves")
		after(9 * time.Minute)
		hear("quarantine ends")
		after(96 * time.Hour)
		hear("time passes")
		want := `0s peer connects
  seed: reserve 0 BTT/GiB, challenge A
20m0s time passes
  seed: reserve 0.01 BTT/GiB, challenge A
12h0m0s time passes
  seed: 48 reserve prices
  seed: reserve 0.5 BTT/GiB, challenge A
12h0m0s peer proves
12h0m31s time passes
  seed: reserve 0 BTT/GiB, challenge B
12h1m2s peer proves
12h10m2s quarantine ends
  seed: reserve 0 BTT/GiB, challenge C
108h10m2s time passes
  seed: 299 reserve prices
  seed: reserve 3 BTT/GiB, challenge C
`
		if got := script.String(); got != want {
			t.Errorf("transcript is\n%s", got)
		}
		if st := s.Status(); st.Proofs != 2 || st.Reserve != 3*btt {
			t.Errorf("%d proofs, reserve %v", st.Proofs, st.Reserve)
		}
	})
}

// TestReserveOfTwoNodes: a second source proves itself, and the price of both
// falls; a downloader that has its pieces of the seed alone proves nothing.
func TestReserveOfTwoNodes(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		a := w.seed(growing(w), nil)
		after(24 * time.Hour)
		if got := a.Status().Reserve; got != btt {
			t.Fatalf("after a day: %v", got)
		}
		c := w.node(w.market(), w.t.TempDir(), nil)
		w.join(c, a)
		synctest.Wait()
		for _, x := range a.Candidates(nil, false) {
			id := uint32(x.ID)
			_ = a.do(func() { a.serveFree(a.peers[id]) })
		}
		after(2 * time.Second)
		if st := c.Status(); st.State != Seeding {
			t.Fatalf("the downloader is %v", st.State)
		}
		if st := a.Status(); st.Proofs != 0 || st.Reserve != btt {
			t.Fatalf("what came from the seed proved something: %d proofs, %v", st.Proofs, st.Reserve)
		}
		after(time.Minute)
		b := w.seed(growing(w), nil)
		w.join(b, a)
		after(time.Second)
		if st := a.Status(); st.Proofs != 1 || st.Reserve != 0 || st.Proved.IsZero() {
			t.Errorf("the other seed proved nothing: %d proofs, %v", st.Proofs, st.Reserve)
		}
		if st := b.Status(); st.Proofs != 1 {
			t.Errorf("the first seed proved nothing to it: %d proofs", st.Proofs)
		}
	})
}

// TestReserveResumes: the price goes on where it was when the node starts
// again; without resume data it begins at 0.
func TestReserveResumes(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		folder, err := resume.Open(w.t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		keep := func(c *Config) { c.Resume = folder }
		s := w.seed(growing(w), keep)
		after(48 * time.Hour)
		s.Close()
		after(12 * time.Hour)
		s = w.seed(growing(w), keep)
		if got := s.Status().Reserve; got != 250*btt/100 {
			t.Errorf("two and a half days after completion: %v", got)
		}
		p := w.visit(s)
		p.send(w.proof(p.asked()))
		proved := time.Now()
		after(20 * time.Second)
		st, err := folder.Load(w.torrent.InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(st.Extra, binary.BigEndian.AppendUint64([]byte{1}, uint64(proved.Unix()))) {
			t.Errorf("a crash now would forget the proof: %x", st.Extra)
		}
		after(6*time.Hour - 20*time.Second)
		s.Close()
		s = w.seed(growing(w), keep)
		if got := s.Status().Reserve; got != 25*btt/100 {
			t.Errorf("six hours after a proof: %v", got)
		}
		if got := w.seed(growing(w), nil).Status().Reserve; got != 0 {
			t.Errorf("a fresh start asks %v", got)
		}
	})
}

// TestFixedReserve: a fixed price stays, and a price of 0 is not told.
func TestFixedReserve(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := w.market()
		k.Reserve.Fixed = 2 * btt
		s := w.seed(k, nil)
		p := w.visit(s)
		p.send(w.proof(p.asked()))
		after(time.Hour)
		if st := s.Status(); st.Reserve != 2*btt || st.Proofs != 1 || p.asked().Price != 2*btt {
			t.Errorf("reserve %v, told %v, %d proofs", st.Reserve, p.asked().Price, st.Proofs)
		}
		q := w.visit(w.seed(w.market(), nil))
		after(time.Minute)
		if len(q.reserves) != 0 || q.gone() {
			t.Errorf("told %v", q.reserves)
		}
		own := w.seed(k, func(c *Config) { c.Reserve = &market.Reserve{Fixed: 7 * btt} })
		if r := own.Status().Reserve; r != 7*btt { // of the torrent, before that of the node (R7.19)
			t.Errorf("its own price is %v", r)
		}
	})
}
