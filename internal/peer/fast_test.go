package peer

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// TestAllowed: what the peer allows is asked for while it chokes us, other leases
// wait for its unchoke; a flood of such messages is remembered up to a limit.
func TestAllowed(t *testing.T) {
	r := newRig(t, fast)
	if n := r.c.WantAllowed(); n != 0 {
		t.Errorf("wants %d blocks that nobody allows", n)
	}
	for range 3 {
		for p := range uint32(2 * MaxAllowed) {
			r.send(wire.AppendIndex(wire.AppendIndex(nil, wire.AllowedFast, p), wire.Suggest, p))
		}
	}
	for range MaxAllowed {
		r.await(AllowedFast)
		r.await(Suggested)
	}
	r.say(wire.Interested)
	r.await(Interested) // all before it was read
	for _, e := range r.o.kept {
		if e.Kind == AllowedFast || e.Kind == Suggested {
			t.Fatalf("event %+v beyond the limit", e)
		}
	}
	if n := r.c.WantAllowed(); n != allowedDepth {
		t.Errorf("wants %d", n)
	}
	r.c.Grant([]picker.Lease{{Piece: 1, Count: 2}}, 0)
	r.expect(wire.Request, reqs(4, 2)...)
	r.answer(req(4))
	if e := r.await(Block); e.Piece != 1 || r.store.stored(req(4)) != 1 {
		t.Errorf("event %+v", e)
	}
	r.say(wire.Choke)
	r.await(Choked) // a choke rejects what was asked for
	if n := r.c.Outstanding(); n != 0 {
		t.Errorf("%d outstanding", n)
	}
	r.c.Grant([]picker.Lease{{Piece: 1, Block: 1, Count: 1}}, 1)
	r.expect(wire.Request, req(5))
}

// TestNotAllowed: a lease of a piece that is not allowed waits for the unchoke.
func TestNotAllowed(t *testing.T) {
	r := newRig(t, fast)
	r.send(wire.AppendIndex(nil, wire.AllowedFast, 2))
	r.await(AllowedFast)
	r.c.Grant([]picker.Lease{{Piece: 1, Count: 1}}, 0)
	r.silent()
	r.say(wire.Unchoke)
	r.expect(wire.Request, req(4))
}

// TestAllow: a choked peer gets what it is allowed, within its credit and the
// allowance of all, and nothing while a gate or fence stands.
func TestAllow(t *testing.T) {
	r := newRig(t, fast)
	for p := range uint32(3) {
		r.have.Set(p)
	}
	all := NewAllowance(100*block, 0)
	r.c.Allow([]uint32{1, 5}, 2*block, all)
	for _, p := range []uint32{1, 5} {
		if m, err := r.next(patience); err != nil || m.ID != wire.AllowedFast || m.Index != p {
			t.Fatalf("told %+v, %v", m, err)
		}
	}
	ask := func(q request, want wire.ID) {
		t.Helper()
		r.send(wire.AppendBlock(nil, wire.Request, q.piece, q.begin, q.length))
		if m, err := r.next(patience); err != nil || m.ID != want {
			t.Errorf("%v: answer %v, %v, want %v", q, m.ID, err, want)
		}
	}
	ask(req(0), wire.Reject)               // not offered
	ask(request{5, 0, block}, wire.Reject) // offered, and not here
	r.c.Fence(func(uint8, []byte) bool { return false })
	ask(req(4), wire.Reject)
	r.c.Fence(nil)
	g := &testGate{}
	g.allowance.Store(1 << 30)
	r.c.SetGate(g)
	ask(req(4), wire.Reject) // its slot was sold: nothing is free
	r.c.SetGate(nil)
	ask(req(4), wire.Piece)
	ask(req(5), wire.Piece)
	ask(req(6), wire.Reject) // no credit left
	r.c.Allow([]uint32{1}, 2*block, NewAllowance(0, 0))
	if m, err := r.next(patience); err != nil || m.ID != wire.AllowedFast {
		t.Fatalf("told %+v, %v", m, err)
	}
	ask(req(7), wire.Reject) // others had it all
	r.c.Allow(nil, 0, nil)
	ask(req(7), wire.Reject)
}

// TestAllowance adds up small steps, and never more than its burst.
func TestAllowance(t *testing.T) {
	now := time.Unix(1e9, 0)
	a := NewAllowance(1000, 100)
	if !a.take(1000, now) || a.take(1, now) {
		t.Error("the burst is 1000 bytes")
	}
	for range 1000 { // a second, by the millisecond
		now = now.Add(time.Millisecond)
		a.take(1<<30, now)
	}
	if !a.take(90, now) || a.take(20, now) {
		t.Error("about 100 bytes come back in a second")
	}
	now = now.Add(-time.Hour) // the clock was set back
	a.take(1, now)
	if a.take(1001, now.Add(24*time.Hour)) || !a.take(1000, now.Add(48*time.Hour)) {
		t.Error("never more than the burst")
	}
	if (*Allowance)(nil).take(0, now) {
		t.Error("no allowance allows nothing")
	}
}
