package session

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// elsewhere is an address that no test peer has.
var elsewhere = netip.MustParseAddr("192.0.2.77")

// TestIdleBuyer: who wins the only paid slot, accepts its price and asks for
// nothing loses it after a time, and the next bidder has it. Nobody failed.
func TestIdleBuyer(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) {
		c.session.Choker = slots(1)
		c.market = func(n *market.Node) { n.IdleTime = 300 * time.Millisecond }
	})
	idler, next := ledgertest.Key("idler").Address(), ledgertest.Key("next").Address()
	x := dialRaw(t, h.Addr(), h.torrent, idler, h.net)
	x.bids(perGiB(500))
	x.sold(perGiB(200))
	y := dialRaw(t, h.Addr(), h.torrent, next, h.net)
	y.bids(perGiB(200))
	x.untilID(wire.Choke)
	y.sold(perGiB(200))
	y.asks(0, 2)
	y.until("blocks", func(*wire.Message) bool { return y.got == 2*wire.BlockSize })
	if eligible, _ := h.market.Standing(idler, x.local(), time.Now()); !eligible {
		t.Error("the idle buyer is penalised")
	}
	x.silent(quiet, "slot for a buyer that did not use it", func(m *wire.Message) bool { return m.ID == wire.Unchoke })
	y.nc.Close()
	h.settled(t, 0)
}

func (c *raw) local() netip.Addr { return netip.MustParseAddrPort(c.nc.LocalAddr().String()).Addr() }

// TestFalseClaim: a stranger bids in the name of an account. It takes neither the
// slot of the connection that proved to be the account's, nor, when it does not
// pay, the account's good name anywhere but at the stranger's own address.
func TestFalseClaim(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) {
		c.session.Choker = slots(1)
		c.payments.PaymentTimeout = 3 * time.Second
	})
	x := h.newPayer(t, "victim")
	x.opens()
	x.asks(0, 64)
	x.takes(piece)
	x.pays(piece)
	x.takes(pieces(2))
	account := x.key.Address()
	thief := dialRaw(t, h.Addr(), h.torrent, account, h.net)
	thief.bids(perGiB(900))
	unchoke := func(m *wire.Message) bool { return m.ID == wire.Unchoke }
	thief.silent(2*quiet, "slot for a false claim", unchoke)
	for n := int64(2); n <= 4; n++ {
		x.pays(pieces(n))
		x.takes(min(pieces(n+1), h.torrent.Info.TotalLength))
	}
	x.pays(x.got / piece * piece)
	x.nc.Close()
	thief.sold(perGiB(200))
	thief.asks(0, 32)
	thief.untilID(wire.Choke)
	until(t, "the failure", func() bool {
		eligible, _ := h.market.Standing(account, thief.local(), time.Now())
		return !eligible
	})
	if eligible, _ := h.market.Standing(account, elsewhere, time.Now()); !eligible {
		t.Error("the account is blamed for what a stranger did")
	}
	if n := h.book.Strikes(x.key.PublicKey()); n != 0 {
		t.Errorf("%d failures of the account", n)
	}
	if n, _, _ := h.seen(payments.EventProven); n != 1 {
		t.Errorf("%d connections proved to be an account's, want one", n)
	}
}
