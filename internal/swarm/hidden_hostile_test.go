package swarm

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wire"
)

// TestHiddenCopy: a peer that takes back piece after piece, on one connection and
// on new ones, moves a downloader's availability by its own copy and no more, and
// the reserve price of a seed not at all: who has the chunk and says nothing of it
// can prove it, and what a peer says that it has lowers no price either.
func TestHiddenCopy(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := growing(w)
		s := w.seed(k, nil)
		g := w.node(nil, t.TempDir(), nil)
		honest := w.source(g, 61, blocks(nil, ignoreIt))
		half := w.knock(g) // an honest peer with half of it
		half.write(wire.AppendBitfield(nil, []byte{0xf8, 0}))
		const real = 1.5
		if a := g.Status().Availability; a != real {
			t.Fatalf("availability %v by one seed and a half", a)
		}
		hides := func(to *Swarm, first []byte) {
			v := w.knock(to)
			v.write(first)
			if a := g.Status().Availability; to == g && first[4] == byte(wire.HaveAll) && a != real+1 {
				t.Errorf("availability %v with one more seed", a)
			}
			for range 2 { // the second time it never had them
				for i := range uint32(10) {
					v.write(wire.AppendExtended(nil, wire.SubDontHave, wire.AppendDontHave(nil, i)))
					if a := to.Status().Availability; to == g && (a < real || a > real+1) {
						t.Errorf("availability %v with one that hides", a)
					}
				}
				if a := to.Status().Availability; to == g && a != real {
					t.Errorf("availability %v when it took all back", a)
				}
			}
			v.net.Close()
			after(time.Second)
		}
		for _, first := range [][]byte{
			wire.AppendEmpty(nil, wire.HaveAll),
			wire.AppendBitfield(nil, []byte{0xff, 0xc0}),
			wire.AppendBitfield(nil, []byte{0x0f, 0x00}),
			wire.AppendBitfield(nil, []byte{0x01, 0x00}),
			wire.AppendEmpty(nil, wire.HaveNone),
		} {
			hides(g, first)
			hides(s, first)
			if a := g.Status().Availability; a != real {
				t.Errorf("availability %v after it left", a)
			}
		}
		if honest.gone() || half.gone() {
			t.Error("an honest peer was disconnected")
		}
		began := time.Now()
		hider := w.visitAs(s, wire.HaveAll, true)
		for i := range uint32(10) {
			hider.write(wire.AppendExtended(nil, wire.SubDontHave, wire.AppendDontHave(nil, i)))
		}
		after(24*time.Hour - time.Since(began))
		if st := s.Status(); st.Reserve != btt || st.Proofs != 0 {
			t.Errorf("after a day beside one that hides: %v, %d proofs", st.Reserve, st.Proofs)
		}
		quietOne := w.visit(s) // it has the data, and told of none
		quietOne.send(w.proof(quietOne.asked()))
		if st := s.Status(); st.Reserve != 0 || st.Proofs != 1 {
			t.Errorf("after a proof: %v, %d proofs", st.Reserve, st.Proofs)
		}
	})
}

// TestRing: accounts that pay each other move neither the prices that a node
// observes nor its reserve price, for only deals that it paid or was paid for
// count; bids without a payment do not. Its reserve price falls by a proof, and a
// member of the ring without the data has none: not by a friend's answer to a
// question of its own, nor by what can be had without the chunk.
func TestRing(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := growing(w)
		k.Reserve = market.Reserve{Growth: k.Reserve.Growth, Follow: true}
		s := w.seed(k, nil)
		payee, payer := w.market(), w.buyer()
		one, other := w.seed(payee, nil), w.node(payer, t.TempDir(), nil)
		w.join(one, other)
		after(time.Second)
		one.sells(t, 5*btt)
		after(time.Minute)
		if got, ok := payer.Observed(time.Now()); other.Status().State != Seeding || !ok || got.Cap != 5*btt {
			t.Fatalf("the ring did not trade: %v, %+v", other.Status().State, got)
		}
		loud, mute := w.visit(s), w.visit(s)
		loud.send(speed.Bid{Price: 900 * btt, Account: loud.account})
		loud.send(speed.BidResponse{Price: 900 * btt, Terms: []byte{1}})
		mute.send(speed.Bid{Price: 800 * btt, Account: mute.account})
		after(24 * time.Hour)
		if got, ok := k.Observed(time.Now()); ok {
			t.Errorf("a node that dealt with nobody observed %+v", got)
		}
		price := s.Status().Reserve
		if price < btt || price > 101*btt/100 { // a day and the minute before
			t.Errorf("reserve price %v, by its own growth it is 1 BTT/GiB", price)
		}
		friend := w.visit(s) // has the data
		answers := map[string]func(q speed.Reserve) [32]byte{
			"a friend's answer": func(speed.Reserve) [32]byte { return w.proof(friend.asked()).Hash },
			"no data": func(q speed.Reserve) [32]byte {
				return reserve.Hash(q.Nonce, w.torrent.InfoHash, q.Piece, q.Chunk, nil)
			},
			"zeros": func(q speed.Reserve) [32]byte {
				return reserve.Hash(q.Nonce, w.torrent.InfoHash, q.Piece, q.Chunk, make([]byte, reserve.ChunkSize))
			},
			"the hash of the chunk": func(q speed.Reserve) [32]byte { return sha256.Sum256(w.chunk(q.Piece, q.Chunk)) },
		}
		for name, answer := range answers {
			member := w.visit(s)
			q := member.asked()
			member.send(speed.Proof{Piece: q.Piece, Chunk: q.Chunk, Hash: answer(q)})
			if st := s.Status(); st.Proofs != 0 || st.Reserve != price || !member.gone() {
				t.Errorf("%s: %d proofs, reserve %v, disconnected %v", name, st.Proofs, st.Reserve, member.gone())
			}
		}
		friend.send(w.proof(friend.asked()))
		if st := s.Status(); st.Proofs != 1 || st.Reserve != 0 {
			t.Errorf("with the data: %d proofs, reserve %v", st.Proofs, st.Reserve)
		}
	})
}
