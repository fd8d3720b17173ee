package session

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// TestOpenAndNeverPay: the channel is open, one piece is taken, nothing paid.
func TestOpenAndNeverPay(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	x := h.newPayer(t, "miser")
	x.opens()
	x.asks(0, 32)
	x.starves(piece)
	n, _, _ := h.seen(payments.EventOverdue)
	if n == 0 {
		t.Error("no overdue payment was noticed")
	}
	h.settled(t, 0)
	if got := x.left(); got != x.sum {
		t.Errorf("the miser has %v of its %v", got, x.sum)
	}
}

// TestOldState: repeated and falling payments buy nothing; the provider keeps
// the newest, to the last unit.
func TestOldState(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	x := h.newPayer(t, "forger")
	x.opens()
	x.asks(0, 64)
	x.takes(piece)
	first := x.pays(pieces(1))
	x.takes(pieces(2))
	second := x.pays(pieces(2))
	x.takes(pieces(3))
	x.say(first) // an old payment
	x.say(second)
	falling := *second // a newer number over a smaller sum
	falling.Payment.Sequence++
	falling.Payment.Amount = first.Payment.Amount
	falling.Bytes = pieces(3)
	x.say(&falling)
	if r := x.hear(channel.TypeRefuse).(*channel.Refuse); r.Code != channel.CodeStale && r.Code != channel.CodeAmount {
		t.Errorf("refused with %v", r.Code)
	}
	unsigned := *second // a right sum without a signature
	unsigned.Payment.Sequence += 2
	unsigned.Bytes, unsigned.Payment.Amount = pieces(3), owed(t, perGiB(200), pieces(3))
	x.say(&unsigned)
	if r := x.hear(channel.TypeRefuse).(*channel.Refuse); r.Code != channel.CodeSignature {
		t.Errorf("refused with %v", r.Code)
	}
	x.starves(pieces(3))
	h.settled(t, owed(t, perGiB(200), pieces(2)))
	if got := x.left(); got != x.sum-owed(t, perGiB(200), pieces(2)) {
		t.Errorf("the forger has %v", got)
	}
}

// TestUnderfunded: T1 does not hold what was promised, or its coin is spent.
func TestUnderfunded(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil)
	x := h.newPayer(t, "pauper")
	t1, terms := x.fund(rawDeposit)
	x.propose(t1, terms)
	x.flush()
	x.hear(channel.TypeRefundSig)
	for _, m := range x.p.Ready().Messages {
		if f, ok := m.(*channel.Fund); ok {
			less, _ := x.fund(rawDeposit / 2)
			f.T1 = less.Encode()
			x.say(f)
		}
	}
	if r := x.hear(channel.TypeRefuse).(*channel.Refuse); r.Code != channel.CodeFunding {
		t.Errorf("refused with %v", r.Code)
	}
	x.asks(0, 32)
	x.starves(piece)
	x.nc.Close()

	y := h.newPayer(t, "spender") // its coin is gone when T1 comes
	t1, terms = y.fund(rawDeposit)
	y.propose(t1, terms)
	y.flush()
	y.hear(channel.TypeRefundSig)
	gone := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{y.coin.OutPoint},
		Outputs: []ledger.Output{{Amount: y.coin.Amount, Lock: ledger.PayTo(y.key.Address())}}}
	if err := ledger.SignInputs(gone, h.net, []ledger.Coin{y.coin}, y.key); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Submit(context.Background(), gone.Encode()); err != nil {
		t.Fatal(err)
	}
	y.flush()
	if r := y.hear(channel.TypeRefuse).(*channel.Refuse); r.Code != channel.CodeLedger && r.Code != channel.CodeFunding {
		t.Errorf("refused with %v", r.Code)
	}
	y.asks(0, 32)
	y.starves(piece)
	h.settled(t, 0)
}

// TestEarlyRefund: T2 goes to the ledger long before its lock. It is parked,
// the provider sees it and settles with the newest payment (R11.17, R11.18).
func TestEarlyRefund(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil)
	x := h.newPayer(t, "thief")
	x.opens()
	x.asks(0, 64)
	for n := int64(1); n <= 3; n++ {
		x.takes(pieces(n))
		x.pays(pieces(n))
	}
	x.takes(pieces(4))
	c := x.p.Contract()
	t2 := c.Refund()
	snap := x.p.Snapshot()
	mine, err := x.k1.Sign(t2.Digest(c.Network, c.Lock()))
	if err != nil {
		t.Fatal(err)
	}
	t2.Witnesses = []ledger.Witness{ledger.JointWitness(mine, snap.Refund)}
	r, err := l.Submit(context.Background(), t2.Encode())
	if err != nil || r.State != ledger.Parked {
		t.Fatalf("early refund: %v, %v", r.State, err)
	}
	want := owed(t, perGiB(200), pieces(3))
	until(t, "the settlement", func() bool { return h.gained() == int64(want) })
	l.Advance(2 * uint64((time.Hour+2*time.Minute)/time.Second)) // beyond the lock
	x.nc.Close()
	h.settled(t, want)
	if got := x.left(); got != x.sum-want {
		t.Errorf("the thief has %v, want %v", got, x.sum-want)
	}
}

// TestVanish: a payer that goes away at any step costs the provider at most a
// piece, and leaves nothing that hinders honest peers.
func TestVanish(t *testing.T) {
	l := ledgertest.New()
	// Nobody here is late, and a busy machine must not make anybody so.
	h := newHostileSeed(t, l, func(c *traderConfig) { c.payments.PaymentTimeout = 10 * time.Second })
	steps := []struct {
		name string
		do   func(x *rawPayer)
		paid int64
	}{
		{"after the bid response", func(*rawPayer) {}, 0},
		{"after open", func(x *rawPayer) { x.propose(x.fund(rawDeposit)); x.flush() }, 0},
		{"after the refund's signature", func(x *rawPayer) {
			x.propose(x.fund(rawDeposit))
			x.flush()
			x.hear(channel.TypeRefundSig)
		}, 0},
		{"after funding", func(x *rawPayer) {
			x.propose(x.fund(rawDeposit))
			x.flush()
			x.hear(channel.TypeRefundSig)
			x.flush()
		}, 0},
		{"after confirm", func(x *rawPayer) {
			x.propose(x.fund(rawDeposit))
			x.flush()
			x.hear(channel.TypeRefundSig)
			x.flush()
			x.hear(channel.TypeConfirm)
		}, 0},
		{"after attach", func(x *rawPayer) { x.opens() }, 0},
		{"after a payment", func(x *rawPayer) {
			x.opens()
			x.asks(0, 64)
			x.takes(piece)
			x.pays(piece)
			x.takes(pieces(2))
		}, 1},
	}
	var want amount.Amount
	for _, s := range steps {
		x := h.newPayer(t, "ghost "+s.name)
		x.asks(0, 4)
		s.do(x)
		x.nc.Close()
		if most := pieces(s.paid + 1); x.got > most {
			t.Errorf("%s: %d bytes served", s.name, x.got)
		}
		want += owed(t, perGiB(200), pieces(s.paid))
		h.later.Add(int64(time.Hour)) // penalties of one do not meet the next
	}
	h.serves(t)
	h.settled(t, want+owed(t, perGiB(200), h.torrent.Info.TotalLength))
}

// TestTakeAndLeave: who takes a block of a piece, so that no timeout runs, and
// leaves without opening a channel gets no other piece by a new connection (A25),
// unless it opens a channel first: it may be honest and have been killed, and buys on at
// once then. Who opens none loses its slot. A payment does not bring the free piece back.
func TestTakeAndLeave(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) { c.market = func(k *market.Node) { k.IdleTime = time.Second } })
	x := h.newPayer(t, "guest")
	alone := func() {
		t.Helper()
		x.nc.Close()
		until(t, "the end of the connection", func() bool { return len(h.Torrents()[0].Status().Peers) == 0 })
	}
	again := func() {
		t.Helper()
		alone()
		x.raw = h.customer(t, x.key)
		x.asks(0, 2)
		x.silent(quiet, "data for a peer that left without paying", func(m *wire.Message) bool { return m.ID == wire.Piece })
	}
	x.asks(0, 2)
	x.takes(2 * wire.BlockSize)
	again()
	x.opens()
	x.takes(2 * wire.BlockSize) // at once
	x.asks(2, 2)
	x.takes(piece)
	x.pays(piece)
	until(t, "the payment", func() bool { _, bytes, _ := h.seen(payments.EventEarned); return bytes == piece })
	again()
	x.untilID(wire.Choke) // it shows no channel
	if eligible, _ := h.market.Standing(x.key.Address(), netip.Addr{}, time.Now()); !eligible {
		t.Error("it is taken for one that did not pay")
	}
	alone()
	h.serves(t)
	h.settled(t, owed(t, perGiB(200), piece+h.torrent.Info.TotalLength))
}

// TestLeaveWithLedgerOut: a buyer that says that it cannot reach the ledger and leaves
// with a piece unpaid waits a minute, like a thief, but is not counted as one: the
// second time it is. A payment clears all of it.
func TestLeaveWithLedgerOut(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	x := h.newPayer(t, "cut off")
	account := x.key.Address()
	leaves := func() {
		t.Helper()
		x.say(&channel.Refuse{Code: channel.CodeLedger, Reason: "the requester cannot reach the ledger"})
		before := x.got
		x.asks(0, 2)
		x.takes(before + 2*wire.BlockSize)
		x.nc.Close()
		until(t, "the end of the connection", func() bool { return len(h.Torrents()[0].Status().Peers) == 0 })
		if eligible, _ := h.market.Standing(account, netip.MustParseAddr("127.0.0.1"), time.Now()); eligible {
			t.Error("another piece for nothing at once")
		}
	}
	comes := func() *raw {
		t.Helper()
		h.later.Add(int64(speed.PenaltyBase))
		return h.customer(t, x.key)
	}
	leaves()
	x.raw = comes() // after one minute each time: the excuse was no failure
	leaves()
	x.raw = comes() // nor has the first failure doubled anything
	x.opens()
	x.asks(0, 4)
	x.takes(piece)
	x.pays(piece)
	until(t, "the payment", func() bool { _, _, sum := h.seen(payments.EventEarned); return sum > 0 })
	x.nc.Close()
	until(t, "the end of the connection", func() bool { return len(h.Torrents()[0].Status().Peers) == 0 })
	x.raw = h.customer(t, x.key) // cleared
	leaves()                     // and its excuse is good again
	x.raw = comes()
	x.nc.Close()
	h.settled(t, owed(t, perGiB(200), piece))
}
