package peer

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

func TestCancel(t *testing.T) {
	r := newRig(t, fast)
	r.c.SetDepth(32)
	r.say(wire.Unchoke)
	r.await(Unchoked)
	r.c.Grant([]picker.Lease{{Piece: 0, Count: 4}, {Piece: 1, Count: 4}, {Piece: 2, Count: 4}, {Piece: 3, Count: 4},
		{Piece: 4, Count: 4}, {Piece: 5, Count: 4}, {Piece: 6, Count: 4}, {Piece: 7, Count: 4}, {Piece: 8, Count: 4}}, 0)
	r.expect(wire.Request, reqs(0, 32)...)
	r.c.Cancel(0, 2) // asked
	r.c.Cancel(8, 1) // leased only: nothing on the wire
	r.expect(wire.Cancel, req(2))
	r.answer(req(2)) // it had left already: taken all the same
	r.await(Block)
	r.answer(req(0))
	r.await(Block)
	r.expect(wire.Request, req(32), req(34), req(35))
	r.c.DropRequests()
	want := append([]request{req(1)}, reqs(3, 30)...)
	r.expect(wire.Cancel, append(want, reqs(34, 2)...)...)
	if n := r.c.Outstanding(); n != 0 {
		t.Errorf("%d outstanding", n)
	}
}

// newLeased is a rig whose peer was leased nine pieces and asked for the first blocks.
func newLeased(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, fast)
	r.say(wire.Unchoke)
	r.await(Unchoked)
	var leases []picker.Lease
	for p := range uint32(9) {
		leases = append(leases, picker.Lease{Piece: p, Count: 4})
	}
	r.c.Grant(leases, 0)
	r.expect(wire.Request, reqs(0, startDepth)...)
	return r
}

// TestWithdraw: what another peer is to send instead is cancelled, and dropped if
// it comes all the same; then the peer may be asked for it again.
func TestWithdraw(t *testing.T) {
	r := newLeased(t)
	if !r.c.Owes(0, 1) || !r.c.Owes(8, 2) || r.c.Owes(9, 0) {
		t.Error("owes the wrong blocks")
	}
	r.c.Withdraw(8, 2) // leased only: nothing on the wire
	for _, q := range reqs(0, 4) {
		r.c.Withdraw(q.piece, q.begin/block)
		r.expect(wire.Cancel, q)
	}
	if r.c.Owes(0, 1) || r.c.Owes(8, 2) {
		t.Error("still owes what was withdrawn")
	}
	r.send(wire.AppendBlock(nil, wire.Reject, 0, 0, block))
	r.answer(req(1), req(2), req(4))
	if e := r.await(Block); e.Piece != 1 || r.store.stored(req(1)) != 0 || r.store.stored(req(2)) != 0 {
		t.Errorf("event %+v, a block that was withdrawn is stored", e)
	}
	r.c.Grant([]picker.Lease{{Piece: 0, Block: 1, Count: 1}}, 0)
	r.answer(reqs(5, 27)...)
	for range 27 {
		r.await(Block)
	}
	r.answer(req(1))
	if e := r.await(Block); e.Piece != 0 || e.Begin != block || r.store.stored(req(1)) != 1 {
		t.Errorf("event %+v for a block that was asked for again", e)
	}
}

// TestShed: a peer keeps the first of what it was asked for; the rest is cancelled and
// told, and so is what it was not asked for yet. What comes all the same is taken.
func TestShed(t *testing.T) {
	r := newLeased(t)
	if a, b := r.c.Place(0, 2), r.c.Place(8, 3); a != 2 || b <= 9*4 {
		t.Errorf("places %d and %d", a, b)
	}
	gone := map[request]bool{}
	r.c.Shed(2, func(piece, b uint32) { gone[request{piece, b * block, block}] = true })
	r.expect(wire.Cancel, reqs(2, startDepth-2)...)
	if n := r.c.Outstanding(); n != 2 || len(gone) != 9*4-2 || gone[req(1)] || !gone[req(2)] || !gone[req(35)] {
		t.Errorf("%d outstanding, %d gone", n, len(gone))
	}
	r.answer(req(0), req(3), req(1))
	for range 3 {
		r.await(Block)
	}
	if r.store.stored(req(3)) != 1 || r.c.Outstanding() != 0 {
		t.Errorf("a block that was on its way is stored %d times", r.store.stored(req(3)))
	}
	r.c.Shed(0, func(piece, b uint32) { t.Errorf("block %d of piece %d is given up twice", b, piece) })
}

// TestReclaim: what was given up of a piece is due until the peer with BEP 6 answered it,
// and until the owner saw the block; what another was to send is taken again. Other pieces
// are nothing to it.
func TestReclaim(t *testing.T) {
	for _, bits := range []wire.Reserved{plain, fast} {
		r := newRig(t, bits)
		r.say(wire.Unchoke)
		r.await(Unchoked)
		r.c.Grant([]picker.Lease{{Piece: 0, Count: 4}, {Piece: 1, Count: 4}}, 0)
		r.expect(wire.Request, reqs(0, 8)...)
		if r.c.Reclaim(0) {
			t.Error("what was never given up is due")
		}
		r.c.Shed(3, func(piece, b uint32) {})
		r.c.Withdraw(0, 2)
		if fast := r.c.Fast(); r.c.Reclaim(0) != fast || r.c.Reclaim(1) != fast || r.c.Reclaim(2) {
			t.Errorf("with BEP 6 %v: due %v, %v, %v", fast, r.c.Reclaim(0), r.c.Reclaim(1), r.c.Reclaim(2))
		}
		if r.c.Fast() {
			r.send(wire.AppendBlock(nil, wire.Reject, 0, 3*block, block))
		}
		r.answer(req(2), req(4))
		for r.store.stored(req(4)) == 0 {
			time.Sleep(time.Millisecond)
		}
		if !r.c.Reclaim(0) {
			t.Error("a block that nobody has seen is not due")
		}
		r.await(Block)
		r.await(Block)
		if r.store.stored(req(2)) != 1 {
			t.Error("what another was to send is dropped though it is to be taken again")
		}
		if r.c.Reclaim(0) || r.c.Reclaim(1) != r.c.Fast() {
			t.Errorf("answered, and due: %v, %v", r.c.Reclaim(0), r.c.Reclaim(1))
		}
	}
}
