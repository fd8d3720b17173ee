package session

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// served is a message that gives a peer something.
func served(m *wire.Message) bool { return m.ID == wire.Unchoke || m.ID == wire.Piece }

// TestUnpaidElsewhere: who did not pay on one connection gets nothing on another one
// of the same account either, though it bid there before it failed, until its
// penalty is over; a ban ends all its connections (R12.1, R12.3).
func TestUnpaidElsewhere(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) { c.session.Choker = slots(1) })
	dir, other := content(t, map[string]int{"b.bin": 1 << 20}, piece)
	h.seeds(dir, other)
	thief := ledgertest.Key("thief")
	a := h.customer(t, thief)
	b := dialRaw(t, h.Addr(), other, thief, h.net)
	b.bids(perGiB(500))
	b.silent(quiet, "second slot of one account", served)
	a.asks(0, 32)
	a.untilID(wire.Choke)
	b.silent(quiet, "data for an account that did not pay elsewhere", served)
	a.nc.Close()
	h.later.Add(int64(speed.PenaltyBase))
	b.sold(perGiB(200))
	b.asks(0, 2)
	b.until("blocks", func(*wire.Message) bool { return b.got == 2*wire.BlockSize })
	for range speed.BanAfter {
		h.market.Fail(thief.Address(), netip.Addr{}, time.Now())
	}
	b.ends()
	h.settled(t, 0)
}

// TestBannedSpeaksOn: a banned account that says more in the same breath as its
// identity is disconnected, and nothing else happens.
func TestBannedSpeaksOn(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	thief := ledgertest.Key("thief")
	for range speed.BanAfter {
		h.market.Fail(thief.Address(), netip.Addr{}, time.Now())
	}
	for _, more := range []speed.Message{
		speed.Channel{Payload: channel.Encode(&channel.Close{})},
		speed.Bid{Price: perGiB(500), Account: thief.Address()},
		speed.Units{Size: speed.MinUnit},
	} {
		c := dialMute(t, h.Addr(), h.torrent, h.net)
		proof, err := c.bound.Identify(thief)
		if err != nil {
			t.Fatal(err)
		}
		f, err := speed.Append(nil, more)
		if err != nil {
			t.Fatal(err)
		}
		c.send(append(ext(wire.SubSpeed, proof), ext(wire.SubSpeed, f)...))
		c.ends()
	}
	h.serves(t)
}

// TestLeaveBesideMute: a node leaves, though a peer that takes part never said who it
// is, as one does whose wallet is locked.
func TestLeaveBesideMute(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	c := dialMute(t, h.Addr(), h.torrent, h.net)
	c.until("identity", func(m *wire.Message) bool { _, ok := speedOf(m).(speed.Identity); return ok })
	h.settled(t, 0)
}

// TestLatePayer: one payment that comes late costs an honest payer a minute, and no
// more: then it buys on, on the same connection and channel (R12.1).
func TestLatePayer(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	x := h.newPayer(t, "late")
	x.opens()
	x.asks(0, 64)
	x.starves(piece)
	x.takes(piece)
	x.pays(piece)
	until(t, "the payment", func() bool { _, bytes, _ := h.seen(payments.EventEarned); return bytes == piece })
	x.silent(quiet, "data before the minute is over", served)
	told := len(x.prices)
	h.later.Add(int64(speed.PenaltyBase))
	x.until("another bid response", func(*wire.Message) bool { return len(x.prices) > told })
	x.untilID(wire.Unchoke)
	x.speed(speed.Accept{Price: perGiB(200)})
	x.asks(4, 60)
	for n := int64(2); n <= 4; n++ {
		x.takes(pieces(n))
		x.pays(pieces(n))
	}
	until(t, "the payments", func() bool { _, bytes, _ := h.seen(payments.EventEarned); return bytes == pieces(4) })
	x.nc.Close()
	h.settled(t, owed(t, perGiB(200), pieces(4)))
}
