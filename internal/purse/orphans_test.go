package purse

import (
	"errors"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/wallet"
)

// TestRecall: a deposit that was set aside just before the process was killed, of which
// no channel knows, does not count for ever; one that a channel has, or the ledger, does.
func TestRecall(t *testing.T) {
	b := newBench(t)
	b.gift(1000 * amount.BTT)
	b.cfg.Budget = &wallet.Budget{PerDay: wallet.Unlimited, PerTorrent: 50 * amount.BTT, PerChannel: wallet.Unlimited}
	b.reopen()
	_, _ = b.fund(20*amount.BTT, "lost")
	kept, _ := b.fund(20*amount.BTT, "kept")
	_, tx := b.fund(20*amount.BTT, "sent")
	b.submit(tx)
	b.reopen()
	for _, torrent := range []string{"lost", "kept", "sent"} {
		b.refusedBy(31*amount.BTT, torrent, wallet.LimitTorrent)
	}
	known := func(channel string) bool { return channel == kept }
	outage := errors.New("away")
	b.ledger.SetOutage(outage)
	if err := b.purse.Recall(t.Context(), known); !errors.Is(err, outage) {
		t.Errorf("without a ledger: %v", err)
	}
	b.ledger.SetOutage(nil)
	b.refusedBy(31*amount.BTT, "lost", wallet.LimitTorrent)
	for range 2 {
		if err := b.purse.Recall(t.Context(), known); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // and after a restart
		for _, torrent := range []string{"kept", "sent"} {
			b.refusedBy(31*amount.BTT, torrent, wallet.LimitTorrent)
		}
		tx, err := b.purse.Fund(t.Context(), 50*amount.BTT, b.channelLock(), "lost")
		if err != nil {
			t.Fatal(err)
		}
		b.purse.Release(tx)
		b.reopen()
	}
	n := 0
	for _, e := range b.history() {
		if e.Kind == Unlock && e.Amount == 20*amount.BTT {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d entries for one return", n)
	}
}
