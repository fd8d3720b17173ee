package ledger

import (
	"maps"
	"testing"

	"github.com/bttnet/btt/amount"
)

// game is an explicit-state search over the real state machine: every order of
// payments, refund, settlement and clock steps that a payer and a block
// proposer working together can choose, against a payee that follows LR8.
//
// After each block the payee looks at the ledger. It takes a payment while
// ledger time is under L-M and no refund is parked; otherwise it hands in its
// newest settlement. The proposer may leave that out of the next D blocks.
type game struct {
	*testing.T
	w        *world
	lock     uint64 // L
	margin   uint64 // M
	delay    int    // D
	payments int    // most payments
	steps    []int64
	greedy   bool   // the payee takes payments without regard to L-M (wrong)
	park     uint64 // lock time of a checkpoint parked instead of closing; 0: none
	refund   *Tx
	settled  []*Tx // by number of payments
	seen     map[gameKey]bool
	lost     bool
	late     bool // a parked refund did not mature at L
}

// gameState is one node of the search.
type gameState struct {
	s       *State
	clock   uint64
	paid    int // payments taken
	closing int // settlement handed in after this many payments; 0: none
	waited  int // blocks that left it out
}

type gameKey struct {
	time                  uint64
	paid, closing, waited int
	parked                TxID
}

func newGame(t *testing.T, lockIn, margin uint64, delay int, steps ...int64) *game {
	return newGameOf(t, testGenesis(), lockIn, margin, delay, steps...)
}

func newGameOf(t *testing.T, g Genesis, lockIn, margin uint64, delay int, steps ...int64) *game {
	w := newWorldOf(t, g)
	w.s.SetVerifier(func([]SignatureCheck) []int { return nil }) // signed once, checked elsewhere
	lock := w.s.Head().LedgerTime + lockIn
	return &game{T: t, w: w, lock: lock, margin: margin, delay: delay, payments: 2, steps: steps,
		refund: w.refund(lock), seen: map[gameKey]bool{}}
}

// run searches and returns the number of states.
func (g *game) run() int {
	g.settled = []*Tx{nil}
	for k := 1; k <= g.payments; k++ {
		g.settled = append(g.settled, g.w.settle(uint32(k), amount.Amount(k)*amount.BTT, g.park))
	}
	g.visit(gameState{s: g.w.s, clock: g.w.clock})
	return len(g.seen)
}

func (g *game) visit(n gameState) {
	now := n.s.Head().LedgerTime
	slot, parked := n.s.Slot(g.w.joint.OutPoint)
	if _, open, _ := n.s.Coin(g.w.joint.OutPoint); !open {
		return
	}
	if parked && slot.Tx.LockTime <= now {
		g.late = true
	}
	key := gameKey{now, n.paid, n.closing, n.waited, slot.TxID}
	if g.seen[key] || now >= g.lock+60 {
		return
	}
	g.seen[key] = true
	due := now+g.margin >= g.lock || (parked && slot.TxID == g.refund.ID(g.w.net))
	if g.park != 0 {
		// Insures itself after the first payment and goes offline.
		due = n.paid > 0 || now+g.margin >= g.park
	}
	if n.paid < g.payments && n.closing == 0 && !due || g.greedy && n.paid > 0 && n.paid < g.payments {
		more := n
		more.paid++
		g.visit(more)
	}
	if due && n.closing == 0 && n.paid > 0 {
		n.closing, n.waited = n.paid, 0
	}
	for _, step := range g.steps {
		g.block(n, step, false, false, false)
		g.block(n, step, true, false, false)
		g.block(n, step, false, true, false)
		g.block(n, step, true, true, false)
		g.block(n, step, true, true, true)
	}
}

// block takes one choice of the proposer.
func (g *game) block(n gameState, step int64, refund, settle, refundFirst bool) {
	if settle && n.closing == 0 || !settle && n.closing > 0 && n.waited == g.delay {
		return
	}
	var txs []*Tx
	if settle {
		txs = append(txs, g.settled[n.closing])
	}
	if refund {
		if txs = append(txs, g.refund); refundFirst && settle {
			txs[0], txs[1] = txs[1], txs[0]
		}
	}
	next := n
	next.clock = uint64(int64(n.clock) + step)
	next.s = fork(n.s)
	d, _, err := next.s.Prepare(Block{Height: n.s.Head().Height + 1, Time: next.clock, Txs: txs})
	if err != nil {
		g.Fatal(err)
	}
	if err := next.s.Commit(d); err != nil {
		g.Fatal(err)
	}
	if n.closing > 0 && !settle {
		next.waited++
	}
	for _, s := range d.Spent {
		if s.Coin.OutPoint == g.w.joint.OutPoint && n.paid > 0 && s.By != g.settled[n.paid].ID(g.w.net) {
			g.lost = true
		}
	}
	if settle && g.park != 0 {
		next.waited = -1 << 20 // parked: nothing more to hand in
	}
	g.visit(next)
}

// fork copies a state over a store in memory.
func fork(s *State) *State {
	c := *s
	old := s.coins.(*MemoryCoins)
	c.coins = &MemoryCoins{coins: maps.Clone(old.coins), deposits: maps.Clone(old.deposits)}
	c.slots, c.due = map[OutPoint]*Pending{}, nil
	for o, p := range s.slots {
		q := *p
		c.slots[o] = &q
		c.due.Push(&q) // at most one here, so the heap needs no sifting
	}
	return &c
}

// TestSearchMargin finds the exact margin of LR8. With D blocks of censorship
// the settlement comes D+1 blocks after the payee saw L-M, and that block may
// itself have come a clamp late: M must be at least (D+2) clamps.
func TestSearchMargin(t *testing.T) {
	const clamp = DefaultClamp
	for delay := range 3 {
		d := uint64(delay)
		lockIn := (d+3)*clamp + 1 // every second up to the lock is reachable
		for _, c := range []struct {
			margin uint64
			lost   bool
		}{
			{(d + 1) * clamp, true}, {(d+2)*clamp - 1, true}, {(d + 2) * clamp, false},
		} {
			g := newGame(t, lockIn, c.margin, delay, 1, 1_000_000)
			states := g.run()
			if g.lost != c.lost || g.late {
				t.Errorf("D = %d, M = %d s: lost %v, want %v; refund late: %v", delay, c.margin, g.lost, c.lost, g.late)
			}
			if states < 20 {
				t.Errorf("D = %d, M = %d s: only %d states", delay, c.margin, states)
			}
			t.Logf("D = %d, M = %d s: lost %v in %d states", delay, c.margin, g.lost, states)
		}
	}
}

// TestSearchWithoutClamp shows why LR6 exists: with a clamp as long as the
// lock, the margin that is safe for 30 s protects nobody.
func TestSearchWithoutClamp(t *testing.T) {
	wide := testGenesis()
	wide.Params.Clamp = 3600
	g := newGameOf(t, wide, 300, 290, 0, 1, 3600)
	g.run()
	if !g.lost {
		t.Error("a free clock did no harm")
	}
}

// TestSearchGreedyPayee shows that a payee that goes on taking payments after
// L-M loses whatever the margin.
func TestSearchGreedyPayee(t *testing.T) {
	g := newGame(t, 91, 90, 1, 1, 30)
	g.payments = 3
	g.greedy = true
	g.run()
	if !g.lost {
		t.Error("taking payments while closing did no harm")
	}
}

// TestSearchCheckpoint checks the insurance of LR5 for a payee that parks its
// newest settlement and then vanishes. With the refund's own lock time L it
// can lose: in the first block at L the refund is final and comes before what
// is parked. One clamp earlier it never loses.
func TestSearchCheckpoint(t *testing.T) {
	for _, c := range []struct {
		before uint64
		lost   bool
	}{{0, true}, {DefaultClamp - 1, true}, {DefaultClamp, false}} {
		g := newGame(t, 121, 60, 0, 1, 30)
		g.payments = 1
		g.park = g.lock - c.before
		g.run()
		if g.lost != c.lost {
			t.Errorf("checkpoint %d s before L: lost %v, want %v", c.before, g.lost, c.lost)
		}
	}
}

// TestSearchRefund checks that a payer whose payee vanished has everything
// back by the first block at L, for every clock.
func TestSearchRefund(t *testing.T) {
	g := newGame(t, 91, 0, 0, -50, 1, 29, 30, 1_000_000)
	g.payments = 0
	g.run()
	if g.late {
		t.Error("a parked refund did not mature in the first block at its lock time")
	}
}
