package session

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// gone ends a connection and waits until the seed knows.
func (h *hostileSeed) gone(t *testing.T, c *raw) {
	t.Helper()
	c.nc.Close()
	until(t, "the end of the connection", func() bool { return len(h.Torrents()[0].Status().Peers) == 0 })
}

// TestTakeAndLoseInterest: who takes what it may ahead of payment, says that it wants
// nothing more, so that it loses its slot, and leaves without a channel, is judged like one
// that left from its slot: it is let off once, and then it has failed.
func TestTakeAndLoseInterest(t *testing.T) {
	for _, blocks := range []int{2, 32} {
		t.Run(fmt.Sprintf("%d blocks", blocks), func(t *testing.T) {
			h := newHostileSeed(t, ledgertest.New(), nil)
			thief := ledgertest.Key("thief")
			c := h.customer(t, thief)
			c.asks(0, blocks)
			c.until("blocks", func(*wire.Message) bool { return c.got >= min(int64(blocks)*wire.BlockSize, piece) })
			c.send(wire.AppendEmpty(nil, wire.NotInterested))
			c.untilID(wire.Choke)
			h.gone(t, c)
			addr := netip.MustParseAddr("127.0.0.1")
			eligible, _ := h.market.Standing(thief.Address(), addr, time.Now())
			if guarded := h.market.Guarded(thief.Address(), addr, time.Now()); eligible && !guarded {
				t.Error("another piece for nothing at once")
			}
			h.settled(t, 0)
		})
	}
}

// TestUnpaidWithoutSlot: who has a channel, takes its window and says that it wants nothing
// more, so that it loses its slot, has failed when the payment is late, as one that waits in
// its slot has: it gets nothing for a time, and that once.
func TestUnpaidWithoutSlot(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	x := h.newPayer(t, "thief")
	x.opens()
	x.asks(0, 32)
	x.takes(piece)
	x.send(wire.AppendEmpty(nil, wire.NotInterested))
	x.untilID(wire.Choke)
	until(t, "the payment to be late", func() bool { n, _, _ := h.seen(payments.EventOverdue); return n > 0 })
	x.send(wire.AppendEmpty(nil, wire.Interested))
	x.silent(quiet, "slot for one that did not pay", served)
	h.later.Add(int64(speed.PenaltyBase - time.Second))
	x.silent(quiet, "slot before the penalty is over", served)
	h.later.Add(int64(time.Second))
	x.untilID(wire.Unchoke)
	x.nc.Close()
	h.settled(t, 0)
}
