package btt

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestNodeJoinsSmallCoins lets a node tidy its wallet in a quiet hour, and only
// then.
func TestNodeJoinsSmallCoins(t *testing.T) {
	l := ledgertest.New()
	p, err := purse.Open(purse.Config{Dir: filepath.Join(t.TempDir(), "wallet"), Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	gift := func(n int) {
		t.Helper()
		for range n {
			if _, err := l.Fund(p.Address(), amount.BTT); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := &money{speed: SpeedConfig{Ledger: l}, log: slog.New(slog.DiscardHandler), purse: p}
	gift(tidyCoins + 1)
	var i idle
	if got := n.tidyOnce(t.Context(), &i); got != 0 {
		t.Errorf("joined %d coins at the first look: nobody knows whether the ledger is idle", got)
	}
	i.last -= tidyEvents // as if much had happened since
	if got := n.tidyOnce(t.Context(), &i); got != 0 {
		t.Errorf("joined %d coins at a busy ledger", got)
	}
	if got := n.tidyOnce(t.Context(), &i); got != tidyCoins+2-tidyKeep {
		t.Errorf("joined %d coins, want %d", got, tidyCoins+2-tidyKeep)
	}
	b, err := p.Balance(t.Context())
	if err != nil || b.Coins != tidyKeep || b.Free != (tidyCoins+1)*amount.BTT {
		t.Errorf("%+v, %v", b, err)
	}
	gift(tidyCoins - tidyKeep)
	if got := n.tidyOnce(t.Context(), &i); got != 0 {
		t.Errorf("joined %d of few coins", got)
	}
}
