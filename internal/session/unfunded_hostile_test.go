package session

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// asksFunds has a seed ask for its bidders' money.
func asksFunds(c *traderConfig) {
	c.session.Choker = slots(1)
	c.payments.MinDeposit = 2 * ledger.DefaultMinOutput
	c.market = func(n *market.Node) { n.Funds = n.Book.Funds }
}

// bluffs connects a peer whose account can pay no more than sum, and bids; the
// seed knows.
func (h *hostileSeed) bluffs(t *testing.T, name string, sum amount.Amount, bid amount.Price) *raw {
	t.Helper()
	account := ledgertest.Key(name).Address()
	if _, err := h.ledger.Fund(account, sum+ledger.DefaultMinOutput); err != nil {
		t.Fatal(err)
	}
	until(t, "the ledger's answer", func() bool {
		got, known := h.book.Funds(account, amount.Supply)
		return known && got == sum
	})
	c := dialRaw(t, h.Addr(), h.torrent, ledgertest.Key(name), h.net)
	c.bids(bid)
	return c
}

// TestUnfundedBid: a bid of an account that cannot pay one piece wins no slot,
// however high it is, and sets no price for who can.
func TestUnfundedBid(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), asksFunds)
	bluffs := []*raw{
		h.bluffs(t, "bluff high", owed(t, perGiB(200), piece)-1, perGiB(900)),
		h.bluffs(t, "bluff below", owed(t, perGiB(100), piece), perGiB(400)),
	}
	x := h.newPayer(t, "honest") // has the one paid slot, at the reserve price
	for _, c := range bluffs {
		c.silent(quiet, "price for who cannot pay", func(*wire.Message) bool { return len(c.prices) > 0 })
	}
	x.silent(quiet, "other price", func(*wire.Message) bool { return len(x.prices) > 1 })
}

// TestBidCountsAsFarAsFunded: a bid above what its account can pay for one piece
// counts as what it can pay: it loses to less, and that is the price it sets.
func TestBidCountsAsFarAsFunded(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), asksFunds)
	sum := owed(t, perGiB(300), piece)
	c := h.bluffs(t, "half a purse", sum, perGiB(900))
	c.sold(perGiB(200)) // alone it pays the reserve price, for which it has enough
	x := &rawPayer{h: h, key: ledgertest.Key("honest"), k1: ledgertest.Key("honest K1"), sum: 2 * rawDeposit}
	if _, err := h.ledger.Fund(x.key.Address(), x.sum); err != nil {
		t.Fatal(err)
	}
	x.raw = dialRaw(t, h.Addr(), h.torrent, x.key, h.net)
	x.bids(perGiB(500))
	x.sold(amount.HighestPrice(sum, piece)) // 300 BTT/GiB, but for the rounding of the sum
	c.untilID(wire.Choke)
}

// TestExhaustedChannel: who has less than a piece's price left in its channel, and
// no coins, loses the slot at the next round to a lower bid. Nobody is blamed.
func TestExhaustedChannel(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) {
		asksFunds(c)
		c.payments.PaymentTimeout = 10 * time.Second
	})
	x := &rawPayer{h: h, key: ledgertest.Key("last coins"), k1: ledgertest.Key("last coins K1")}
	x.sum = owed(t, perGiB(200), pieces(3)) - 1 + ledger.DefaultMinOutput
	coin, err := h.ledger.Fund(x.key.Address(), x.sum)
	if err != nil {
		t.Fatal(err)
	}
	x.coin = coin
	x.raw = h.customer(t, x.key)
	x.opensWith(x.sum)
	rich := ledgertest.Key("rich")
	if _, err := h.ledger.Fund(rich.Address(), amount.BTT); err != nil {
		t.Fatal(err)
	}
	next := dialRaw(t, h.Addr(), h.torrent, rich, h.net)
	next.bids(perGiB(200)) // as low as may be
	x.asks(0, 64)
	x.takes(piece)
	x.pays(pieces(1))
	x.takes(pieces(2))
	next.silent(quiet, "slot of who can pay", func(m *wire.Message) bool { return m.ID == wire.Unchoke })
	x.pays(pieces(2))
	x.untilID(wire.Choke)
	next.sold(perGiB(200))
	if eligible, _ := h.market.Standing(x.key.Address(), elsewhere, time.Now()); !eligible {
		t.Error("who spent all it had is blamed")
	}
	x.nc.Close()
	next.nc.Close()
	h.settled(t, owed(t, perGiB(200), pieces(2)))
}

// TestPromisedTwice: one coin backs the bids of an account at several sellers, for each
// sees it on the ledger and none knows of the others. The first channel spends it. Each
// other seller loses no more than the quantum that it serves before a channel is open: the
// ledger refuses the second T1, and the slot is lost as soon as the coin is seen to be
// spent or the payment is late. Then the account's bid buys nothing, it is served like those that do not bid. Honest peers are served.
func TestPromisedTwice(t *testing.T) {
	l := ledgertest.New()
	key := ledgertest.Key("everywhere")
	deposit := owed(t, perGiB(200), piece) + ledger.DefaultMinOutput
	coin, err := l.Fund(key.Address(), deposit+ledger.DefaultMinOutput)
	if err != nil {
		t.Fatal(err)
	}
	var seeds []*hostileSeed
	var payers []*rawPayer
	for range 4 {
		h := newHostileSeed(t, l, func(c *traderConfig) {
			asksFunds(c)
			c.payments.PaymentTimeout = 10 * time.Second // the first payer is not late on a busy machine
		})
		x := &rawPayer{h: h, key: key, k1: ledgertest.Key("everywhere K1"), coin: coin}
		x.raw = dialRaw(t, h.Addr(), h.torrent, key, h.net)
		seeds, payers = append(seeds, h), append(payers, x)
	}
	for _, x := range payers {
		x.bids(perGiB(500))
		x.sold(perGiB(200)) // each takes it for one that can pay
		x.asks(0, 32)
		x.takes(piece)
	}
	payers[0].opensWith(deposit)
	payers[0].pays(piece)
	until(t, "the payment", func() bool { _, bytes, _ := seeds[0].seen(payments.EventEarned); return bytes == piece })
	for i, x := range payers[1:] {
		h := seeds[1+i]
		x.propose(x.fund(deposit))
		x.flush()
		x.hear(channel.TypeRefundSig)
		x.flush()
		x.hear(channel.TypeRefuse) // the ledger's word
		until(t, "the news that the coin is spent", func() bool {
			sum, known := h.book.Funds(key.Address(), amount.Supply)
			return known && sum < owed(t, perGiB(200), piece)
		})
		x.silent(quiet, "end", func(*wire.Message) bool { return false }) // what was sold before the news
		if x.got > piece {
			t.Errorf("seller %d served %d bytes", 1+i, x.got)
		}
		sold := len(x.prices)
		x.silent(quiet, "slot sold to who cannot pay", func(*wire.Message) bool { return len(x.prices) > sold })
	}
	for i, h := range seeds {
		payers[i].nc.Close()
		h.serves(t)
		want := owed(t, perGiB(200), h.torrent.Info.TotalLength)
		if i == 0 {
			want += owed(t, perGiB(200), piece)
		}
		h.settled(t, want)
	}
}
