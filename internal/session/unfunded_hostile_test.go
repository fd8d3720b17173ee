package session

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// TestUnfundedBid: a bid of an account that cannot pay one piece of it wins no
// slot, however high it is, and sets no price for who does.
func TestUnfundedBid(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, func(c *traderConfig) {
		c.session.Choker = slots(1)
		c.market = func(n *market.Node) { n.Affords = n.Book.Affords }
	})
	var bluffs []*raw
	for name, bid := range map[string]int64{"bluff high": 900, "bluff below": 400} {
		poor, sum := ledgertest.Key(name).Address(), owed(t, perGiB(bid), piece)
		if _, err := l.Fund(poor, sum-1); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); h.book.Affords(poor, sum); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the seed does not see how poor the account is")
			}
		}
		c := dialRaw(t, h.Addr(), h.torrent, poor, h.net)
		c.bids(perGiB(bid))
		bluffs = append(bluffs, c)
	}
	x := h.newPayer(t, "honest") // has the one paid slot, at the reserve price
	x.nc.Close()
	for _, c := range bluffs {
		c.silent(quiet, "price for who cannot pay", func(*wire.Message) bool { return len(c.prices) > 0 })
	}
}
