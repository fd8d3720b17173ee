package swarm

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wire"
)

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
				s.market.Credit(m.trade, 5, 0, 0)
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
