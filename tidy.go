package btt

import (
	"context"
	"time"

	"github.com/bttnet/btt/ledger"
)

// How a node joins small coins by itself: when it has more than tidyCoins, and
// the ledger had fewer than tidyEvents events since the last look (a transfer
// makes about three). A payment can use 200 coins, so this is in time.
const (
	tidyEvery  = 5 * time.Minute
	tidyCoins  = 64
	tidyKeep   = 16
	tidyEvents = 3000 // about three transfers a second
)

// idle tells quiet times of a ledger from busy ones.
type idle struct {
	known bool
	last  uint64 // cursor at the last look
}

// look reports whether the ledger was quiet since the last look.
func (i *idle) look(s *ledger.Status) bool {
	quiet := i.known && s.Cursor-i.last < tidyEvents
	i.known, i.last = true, s.Cursor
	return quiet
}

// tidy joins small coins while the ledger is idle, until ctx ends.
func (m *money) tidy(ctx context.Context) {
	t := time.NewTicker(tidyEvery)
	defer t.Stop()
	var i idle
	for {
		m.tidyOnce(ctx, &i)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// tidyOnce looks once and returns how many coins it joined.
func (m *money) tidyOnce(ctx context.Context, i *idle) int {
	status, err := m.speed.Ledger.Status(ctx)
	if err != nil || !i.look(&status) {
		return 0
	}
	b, err := m.purse.Balance(ctx)
	if err != nil || b.Coins <= tidyCoins || b.Reserved > 0 {
		return 0
	}
	joined, err := m.purse.Consolidate(ctx, tidyKeep)
	if err != nil {
		m.log.Warn("join small coins", "err", err)
	}
	return joined
}
