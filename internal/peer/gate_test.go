package peer

import (
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/wire"
)

// testGate is a gate that counts.
type testGate struct{ allowance, served atomic.Int64 }

func (g *testGate) Allowance() *atomic.Int64 { return &g.allowance }
func (g *testGate) Served(n int64)           { g.served.Add(n) }

// TestGate: never a byte beyond the allowance leaves; bytes served without a
// gate do not count.
func TestGate(t *testing.T) {
	r := newRig(t, fast)
	for p := range uint32(11) {
		r.have.Set(p)
	}
	r.c.Unchoke()
	r.expectID(wire.Unchoke)
	r.ask(reqs(0, 2)...)
	r.expect(wire.Piece, reqs(0, 2)...)
	g := &testGate{}
	g.allowance.Store(3*block - 1)
	r.c.SetGate(g)
	r.ask(reqs(0, 8)...)
	r.expect(wire.Piece, reqs(0, 2)...)
	r.silent()
	g.allowance.Store(5 * block)
	r.c.Wake()
	r.expect(wire.Piece, reqs(2, 3)...)
	r.silent()
	if got := g.served.Load(); got != 5*block {
		t.Errorf("gate saw %d bytes", got)
	}
	r.c.SetGate(nil)
	r.expect(wire.Piece, reqs(5, 3)...)
	r.c.SetGate(g)
	g.allowance.Store(6 * block)
	r.ask(reqs(0, 2)...)
	r.expect(wire.Piece, req(0))
	r.silent()
	if got := g.served.Load(); got != 6*block {
		t.Errorf("gate saw %d bytes", got)
	}
}
