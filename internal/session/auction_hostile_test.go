package session

import (
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// TestFalseNames: a buyer that bids under a second account gains nothing: without
// money behind it the second bid counts for nothing, and with money it sets the
// price that the first one pays.
func TestFalseNames(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), asksFunds)
	x := h.newPayer(t, "first name") // at the reserve price
	h.bluffs(t, "empty name", owed(t, perGiB(100), piece), perGiB(400)).silent(quiet, "slot for a name", func(m *wire.Message) bool { return m.ID == wire.Unchoke })
	second := ledgertest.Key("second name")
	if _, err := h.ledger.Fund(second.Address(), amount.BTT); err != nil {
		t.Fatal(err)
	}
	alias := dialRaw(t, h.Addr(), h.torrent, second, h.net)
	alias.bids(perGiB(400))
	x.until("its own price", func(*wire.Message) bool { return len(x.prices) > 1 })
	if got := x.prices[len(x.prices)-1]; got != perGiB(400) {
		t.Errorf("the buyer pays %v against its own second bid of 400 BTT/GiB", got)
	}
}
