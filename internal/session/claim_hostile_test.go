package session

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
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
	idler, next := ledgertest.Key("idler"), ledgertest.Key("next")
	x := h.customer(t, idler)
	y := dialRaw(t, h.Addr(), h.torrent, next, h.net)
	y.bids(perGiB(200))
	x.untilID(wire.Choke)
	y.sold(perGiB(200))
	y.asks(0, 2)
	y.until("blocks", func(*wire.Message) bool { return y.got == 2*wire.BlockSize })
	if eligible, _ := h.market.Standing(idler.Address(), x.local(), time.Now()); !eligible {
		t.Error("the idle buyer is penalised")
	}
	x.silent(quiet, "slot for a buyer that did not use it", func(m *wire.Message) bool { return m.ID == wire.Unchoke })
	y.nc.Close()
	h.settled(t, 0)
}

func (c *raw) local() netip.Addr { return netip.MustParseAddrPort(c.nc.LocalAddr().String()).Addr() }

// TestReplayedIdentity: a stranger that reads a connection in the clear cannot be
// its payer on a connection of its own: neither with the payer's proof, nor with
// the signatures of its channel, nor in its name with a proof of another account.
// The payer keeps its slot and its channel, and is blamed for nothing.
func TestReplayedIdentity(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) {
		c.session.Choker = slots(1)
		c.payments.PaymentTimeout = 3 * time.Second
	})
	x := h.newPayer(t, "victim")
	x.opens()
	x.asks(0, 64)
	x.takes(piece)
	newest := x.pays(piece)
	x.takes(pieces(2))
	proof, err := x.bound.Identify(x.key) // signatures are deterministic: as it was sent
	if err != nil {
		t.Fatal(err)
	}
	for name, say := range map[string]func(c *raw){
		"the proof":               func(c *raw) { c.send(ext(wire.SubSpeed, proof)) },
		"no proof and a bid":      func(c *raw) { c.account = x.key.Address(); c.bids(perGiB(900)) },
		"no proof and a payment":  func(c *raw) { c.speed(speed.Channel{Payload: channel.Encode(newest)}) },
		"another's name in a bid": func(c *raw) { c.proves("thief"); c.account = x.key.Address(); c.bids(perGiB(900)) },
	} {
		c := dialMute(t, h.Addr(), h.torrent, h.net)
		say(c)
		c.ends()
		t.Logf("%s: disconnected", name)
	}
	// With a proof of its own it may speak, but not of the payer's channel.
	thief := dialRaw(t, h.Addr(), h.torrent, ledgertest.Key("thief"), h.net)
	for _, m := range []channel.Message{newest, &channel.Close{ID: x.p.ID()}} {
		thief.speed(speed.Channel{Payload: channel.Encode(m)})
		thief.until("refusal", func(m *wire.Message) bool {
			c, ok := speedOf(m).(speed.Channel)
			if !ok {
				return false
			}
			r, err := channel.Decode(c.Payload)
			refused, is := r.(*channel.Refuse)
			return err == nil && is && refused.Code == channel.CodeUnknown
		})
	}
	for n := int64(2); n <= 4; n++ {
		x.pays(pieces(n))
		x.takes(min(pieces(n+1), h.torrent.Info.TotalLength))
	}
	account := x.key.Address()
	if eligible, _ := h.market.Standing(account, x.local(), time.Now()); !eligible {
		t.Error("the payer is blamed")
	}
	if n := h.book.Strikes(x.key.PublicKey()); n != 0 {
		t.Errorf("%d failures of the account", n)
	}
	if n, _, _ := h.seen(payments.EventProven); n != 1 {
		t.Errorf("%d connections proved to have a channel, want one", n)
	}
	x.nc.Close()
	thief.nc.Close()
	h.settled(t, owed(t, perGiB(200), pieces(4)))
}

// proves proves to be the account of a named key.
func (c *raw) proves(name string) {
	c.t.Helper()
	f, err := c.bound.Identify(ledgertest.Key(name))
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(ext(wire.SubSpeed, f))
}

// TestSellerOfAnotherName: a provider whose bid response names an account that it
// did not prove to be is left, before a channel could be opened to it, and nothing
// can be done to the channels with that account.
func TestSellerOfAnotherName(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil)
	x := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)})
	g, _ := x.gets(h.torrent)
	until(t, "the check", func() bool { return g.Status().State == swarm.Downloading })
	c := dialRaw(t, x.Addr(), h.torrent, ledgertest.Key("impostor"), h.net)
	c.send(wire.AppendEmpty(nil, wire.HaveAll))
	c.until("bid", func(m *wire.Message) bool { _, ok := speedOf(m).(speed.Bid); return ok })
	c.offers(h.net, perGiB(100)) // in the name of "crook"
	c.ends()
	if n := len(x.book.Summary()); n != 0 {
		t.Errorf("%d channels were begun", n)
	}
	g.AddPeers(h.Addr())
	await(t, g)
	x.settle() // its last payment comes before its goodbye
	h.settle()
	reconcile(t, l, x, h.trader)
}

// TestMagnetWindow: a buyer that came before the metadata of a magnet link did gets no
// more ahead of payment than one that came later: a piece (R12.5).
func TestMagnetWindow(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil) // for its torrent
	x := newTrader(t, l, traderConfig{reserve: perGiB(200), payments: payments.Config{PaymentTimeout: 500 * time.Millisecond}})
	g, err := x.Add(Add{InfoHash: h.torrent.InfoHash, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c := dialRaw(t, x.Addr(), h.torrent, ledgertest.Key("early"), x.market.Net)
	plain := open(t, Config{})
	if _, err := plain.Add(Add{Torrent: h.torrent, Dir: h.dir}); err != nil {
		t.Fatal(err)
	}
	g.AddPeers(plain.Addr())
	await(t, g)
	c.bids(perGiB(500))
	c.sold(perGiB(200))
	c.asks(0, 64)
	c.untilID(wire.Choke)
	if c.got != piece {
		t.Errorf("%d bytes served ahead of payment, want %d", c.got, piece)
	}
}
