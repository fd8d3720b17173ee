package swarm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wire"
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
	return &market.Node{Book: book, Account: free.Address(), Net: st.Network, Bid: autobid.Default(), Sell: true, Buy: true,
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

// stranger is a hand-driven peer of a swarm: it keeps what it is told.
type stranger struct {
	w       *world
	net     net.Conn
	session *speed.Session
	left    chan struct{} // closed when the connection has ended

	mu       sync.Mutex
	reserves []speed.Reserve
	proofs   []speed.Proof
	bids     []speed.Bid
	hello    []byte // the extension handshake
	speeds   int    // messages of the extension
	pieces   int
	ended    error
}

// visit connects a stranger without any pieces that is interested.
func (w *world) visit(s *Swarm) *stranger { return w.visitAs(s, wire.HaveNone, true) }

// visitAs connects a stranger that has all pieces or none; we may have called
// it.
func (w *world) visitAs(s *Swarm, have wire.ID, outgoing bool) *stranger {
	w.t.Helper()
	st, _ := w.ledger.Status(context.Background())
	id := speed.NetworkID(st.Network)
	return w.visitWith(s, wire.ExtendedHandshake{Speed: wire.SubSpeed, SpeedVersion: speed.Version, SpeedNetwork: id[:], Port: 6881}, have, outgoing)
}

// visitWith connects a stranger with an extension handshake of its own.
func (w *world) visitWith(s *Swarm, ext wire.ExtendedHandshake, have wire.ID, outgoing bool) *stranger {
	w.t.Helper()
	x, y := net.Pipe()
	w.nodes++
	h := wire.Handshake{Reserved: wire.OurReserved(), InfoHash: w.torrent.InfoHash}
	copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012d", w.nodes))
	p := &stranger{w: w, net: y, left: make(chan struct{}), session: speed.NewSession(speed.Config{Account: ledger.Address{byte(w.nodes)},
		Nonce: [speed.NonceLen]byte{byte(w.nodes)}})}
	go p.read()
	in := &Incoming{Net: x, Handshake: h, Addr: w.address(w.nodes), Outgoing: outgoing}
	if !outgoing {
		in.Addr = netip.AddrPortFrom(in.Addr.Addr(), 50_000)
	}
	s.Accept(in)
	out := wire.AppendExtended(nil, wire.SubHandshake, ext.Append(nil))
	out = wire.AppendEmpty(out, have)
	p.write(wire.AppendEmpty(out, wire.Interested))
	go p.stay()
	return p
}

// stay sends the keep-alives that a peer owes; it ends with the connection.
func (p *stranger) stay() {
	for {
		select {
		case <-p.left:
			return
		case <-time.After(keepAlive):
			_, _ = p.net.Write(wire.AppendKeepAlive(nil))
		}
	}
}

func (p *stranger) write(b []byte) {
	_, _ = p.net.Write(b) // a closed connection shows in ended
	synctest.Wait()
}

func (p *stranger) send(m speed.Message) {
	f, err := speed.Append(nil, m)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.write(wire.AppendExtended(nil, wire.SubSpeed, f))
}

// read ends with the connection.
func (p *stranger) read() {
	defer close(p.left)
	for {
		var head [4]byte
		if _, err := io.ReadFull(p.net, head[:]); err != nil {
			p.mu.Lock()
			p.ended = err
			p.mu.Unlock()
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(p.net, body); err == nil && len(body) > 0 {
			p.take(body)
		}
	}
}

func (p *stranger) take(body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case wire.ID(body[0]) == wire.Piece:
		p.pieces++
	case wire.ID(body[0]) == wire.Extended && body[1] == wire.SubHandshake:
		p.hello = body[2:]
	case wire.ID(body[0]) == wire.Extended && body[1] == wire.SubSpeed:
		p.speeds++
		m, err := p.session.Step(body[2:], time.Now())
		if err != nil {
			p.ended = err
		}
		switch m := m.(type) {
		case speed.Reserve:
			p.reserves = append(p.reserves, m)
		case speed.Proof:
			p.proofs = append(p.proofs, m)
		case speed.Bid:
			p.bids = append(p.bids, m)
		}
	}
}

// asked returns the last reserve price that the peer was told.
func (p *stranger) asked() speed.Reserve {
	p.w.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.reserves) == 0 {
		p.w.t.Fatal("no reserve price was told")
	}
	return p.reserves[len(p.reserves)-1]
}

func (p *stranger) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended != nil
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

// TestFalseProofs: what does not prove possession now, to us, ends the
// connection or is dropped, and the price stays.
func TestFalseProofs(t *testing.T) {
	bare := func(w *world, r speed.Reserve) speed.Proof {
		return speed.Proof{Piece: r.Piece, Chunk: r.Chunk, Hash: sha256.Sum256(w.chunk(r.Piece, r.Chunk))}
	}
	tests := []struct {
		name  string
		forge func(w *world, mine, other speed.Reserve) speed.Proof
		gone  bool
	}{
		{"noise", func(w *world, mine, _ speed.Reserve) speed.Proof {
			return speed.Proof{Piece: mine.Piece, Chunk: mine.Chunk, Hash: [32]byte{1}}
		}, true},
		{"the bare hash of the chunk", func(w *world, mine, _ speed.Reserve) speed.Proof { return bare(w, mine) }, true},
		{"replayed from another connection", func(w *world, _, other speed.Reserve) speed.Proof { return w.proof(other) }, true},
		{"another chunk than asked", func(w *world, mine, _ speed.Reserve) speed.Proof {
			mine.Piece = (mine.Piece + 1) % 10
			return w.proof(mine)
		}, false},
		{"a chunk outside the torrent", func(w *world, mine, _ speed.Reserve) speed.Proof {
			return speed.Proof{Piece: 1 << 31, Chunk: 1 << 31}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 10*testPiece, func(t *testing.T, w *world) {
				s := w.seed(growing(w), nil)
				liar, other := w.visit(s), w.visit(s)
				after(6 * time.Hour)
				if liar.asked().Piece != other.asked().Piece || liar.asked().Chunk != other.asked().Chunk {
					t.Fatal("peers are asked for different chunks")
				}
				before := s.Status()
				liar.send(tt.forge(w, liar.asked(), other.asked()))
				if st := s.Status(); st.Reserve != before.Reserve || before.Reserve == 0 || st.Proofs != 0 {
					t.Errorf("the price went from %v to %v by %d proofs", before.Reserve, st.Reserve, st.Proofs)
				}
				if liar.gone() != tt.gone {
					t.Errorf("the liar was disconnected: %v, want %v", liar.gone(), tt.gone)
				}
				if other.gone() {
					t.Error("the honest peer was disconnected")
				}
			})
		})
	}
}

// TestReplayedProof: a proof that counted is worth nothing a second time.
func TestReplayedProof(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		s := w.seed(growing(w), nil)
		p := w.visit(s)
		after(6 * time.Hour)
		proof := w.proof(p.asked())
		p.send(proof)
		after(time.Hour)
		p.send(proof)
		if st := s.Status(); st.Proofs != 1 || st.Reserve != 4*btt/100 || p.gone() {
			t.Errorf("%d proofs, reserve %v, disconnected %v", st.Proofs, st.Reserve, p.gone())
		}
	})
}

// TestBoundReserve: after a proof the lower price binds at once, though peers
// hear of it later; a price that grew binds when it was told.
func TestBoundReserve(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := growing(w)
		k.Reserve.Growth.Slope, k.Reserve.Growth.Cap = 86_400*btt, 0 // 1 BTT/GiB a second, in steps of 864
		s := w.seed(k, nil)
		after(1000 * time.Second)
		early := w.visit(s)
		bound := func() amount.Price {
			c := s.Candidates(nil, false)
			if len(c) != 1 {
				t.Fatalf("%d candidates", len(c))
			}
			return c[0].Reserve
		}
		if got := bound(); got != 864*btt {
			t.Fatalf("told price does not bind: %v", got)
		}
		early.send(w.proof(early.asked()))
		if early.asked().Price != 864*btt {
			t.Fatal("the fall was told within the interval")
		}
		if got := bound(); got != 0 {
			t.Errorf("after the proof %v binds", got)
		}
		after(time.Second * 40)
		if early.asked().Price != 0 || bound() != 0 {
			t.Errorf("told %v, bound %v", early.asked().Price, bound())
		}
	})
}

// TestChallengeUploaded: a chunk that we sent is no challenge any more.
func TestChallengeUploaded(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		s := w.seed(growing(w), nil)
		p := w.visit(s)
		first := p.asked()
		var ids []uint64
		for _, c := range s.Candidates(nil, false) {
			ids = append(ids, c.ID)
		}
		_ = s.do(func() { s.serveFree(s.peers[uint32(ids[0])]) })
		p.write(wire.AppendBlock(nil, wire.Request, first.Piece, first.Chunk*reserve.ChunkSize, 100))
		if p.pieces != 1 {
			t.Fatalf("%d blocks came", p.pieces)
		}
		// The proof is refused even before the next announcement.
		p.send(w.proof(first))
		if n := s.Status().Proofs; n != 0 {
			t.Errorf("%d proofs of a chunk that we sent", n)
		}
		after(31 * time.Second)
		if next := p.asked(); next.Piece == first.Piece && next.Chunk == first.Chunk {
			t.Error("the challenge is a chunk that we sent")
		}
	})
}

// TestProver: a node answers a challenge once, not with chunks it has of the
// asking peer, not for chunks that do not exist, and not its own question.
func TestProver(t *testing.T) {
	bubble(t, 10*testPiece+100, func(t *testing.T, w *world) {
		s := w.seed(growing(w), nil)
		p := w.visit(s)
		answers := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.proofs)
		}
		price := amount.Price(0)
		ask := func(piece, chunk uint32, nonce [16]byte) int {
			before := answers()
			price++
			// The sender's own checks want the answer to fit what it asked.
			if f := p.session.SetReserve(price, piece, chunk, time.Now()); f == nil {
				t.Fatal("asked too fast")
			}
			p.send(speed.Reserve{Price: price, Piece: piece, Chunk: chunk, Nonce: nonce})
			after(31 * time.Second)
			return answers() - before
		}
		mine := [16]byte{7}
		if n := ask(3, 2, mine); n != 1 || p.proofs[0] != w.proof(speed.Reserve{Piece: 3, Chunk: 2, Nonce: mine}) {
			t.Fatalf("%d answers, %+v", n, p.proofs)
		}
		if n := ask(3, 2, mine); n != 0 {
			t.Errorf("%d answers to a new price", n)
		}
		if n := ask(10, 0, mine); n != 1 || p.proofs[1] != w.proof(speed.Reserve{Piece: 10, Nonce: mine}) {
			t.Errorf("%d answers to the short last chunk", n)
		}
		for _, c := range [][2]uint32{{10, 1}, {11, 0}, {1 << 31, 0}, {0, 4}, {0, 1 << 31}} {
			if n := ask(c[0], c[1], mine); n != 0 {
				t.Errorf("%d answers for chunk %d of piece %d", n, c[1], c[0])
			}
		}
		_ = s.do(func() {
			for _, m := range s.peers {
				s.market.Credit(m.trade, 5, 0)
			}
		})
		if n := ask(5, 0, mine); n != 0 {
			t.Errorf("%d answers for a piece that came from the peer", n)
		}
		if n := ask(p.asked().Piece, p.asked().Chunk, w.visit(s).asked().Nonce); n != 0 {
			t.Errorf("%d answers to our own question", n)
		}
		if p.gone() {
			t.Errorf("disconnected: %v", p.ended)
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
