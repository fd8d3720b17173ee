package btt

import (
	"context"
	"fmt"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
)

// maxEnded is the number of ended channels whose journal entry may wait.
const maxEnded = 4096

// keepJournal writes the wallet's journal: every channel that ended, with what
// it moved (R15.2). Entries carry the channel's id, so writing one twice does
// nothing; the passes at the start and the end catch what no event told.
func (m *money) keepJournal() {
	m.recordEnded(func(payments.Summary) bool { return true })
	for e := range m.ended {
		m.recordEnded(func(c payments.Summary) bool { return c.Channel == e.Channel })
	}
	m.recordEnded(func(payments.Summary) bool { return true })
}

func (m *money) recordEnded(which func(payments.Summary) bool) {
	for _, c := range m.book.Summary() {
		if !c.Stage.Final() || !which(c) {
			continue
		}
		m.bookEnded(&c)
		for _, e := range entriesOf(&c) {
			if e.Amount == 0 {
				continue
			}
			if err := m.purse.Record(e); err != nil {
				m.log.Error("write wallet journal", "err", err)
			}
		}
	}
}

// entriesOf are the movements of a channel that ended, in plain sentences. The
// purse adds which torrents a payment was for.
func entriesOf(c *payments.Summary) []purse.Entry {
	id := c.Channel.String()
	e := purse.Entry{Counterparty: c.Account.Address().String(), Channel: id}
	if c.Role == channel.RolePayee {
		if c.Stage != channel.Settled {
			return nil
		}
		e.Kind, e.ID, e.Amount, e.Reason = purse.Earn, "earn:"+id, c.Paid, "earned by serving verified data"
		return []purse.Entry{e}
	}
	back := e
	back.Kind, back.ID, back.Amount, back.Reason = purse.Unlock, "unlock:"+id, c.Deposit, "deposit came back: nothing was paid from it"
	if c.Stage != channel.Settled {
		return []purse.Entry{back}
	}
	back.Amount, back.Reason = c.Deposit-c.Paid, fmt.Sprintf("what was left of a deposit of %s came back", c.Deposit)
	e.Kind, e.ID, e.Amount, e.Reason = purse.Pay, "pay:"+id, c.Paid, "paid a provider for data that was verified"
	return []purse.Entry{e, back}
}

// settled queues the journal entry of a channel that just ended. What does not
// fit is recorded from the channels' own journal at the next start.
func (m *money) settled(e payments.Event) {
	if e.Kind != payments.EventSettled && e.Kind != payments.EventRefunded {
		return
	}
	select {
	case m.ended <- e:
	default:
	}
}

// followAgain is how long to wait after the ledger's stream broke.
const followAgain = 5 * time.Second

// follow records money that comes in from others, until ctx ends.
func (m *money) follow(ctx context.Context) {
	for {
		err := m.purse.Follow(ctx)
		if ctx.Err() != nil {
			return
		}
		m.log.Warn("watch incoming payments", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(followAgain):
		}
	}
}
