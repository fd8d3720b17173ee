package purse

import (
	"context"
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// orphan is a deposit that the journal says is set aside.
type orphan struct {
	channel string
	tx      ledger.TxID
	sum     amount.Amount
}

// Recall writes down that deposits came back which no channel has: the process ended
// between the journal's entry and the channel's first record, so that nobody saw T1
// and its coins are free. Until then they count towards the limits, for ever. known
// says whether there are records of a channel (its id in hexadecimal); what the ledger
// has is left alone as well. Call it before the first Fund. An error of the ledger or of
// the journal leaves the rest for the next call.
func (p *Purse) Recall(ctx context.Context, known func(channel string) bool) error {
	if p.cfg.ReadOnly {
		return ErrReadOnly
	}
	for _, o := range p.torrents.orphans(known) {
		_, err := p.cfg.Ledger.Transaction(ctx, o.tx)
		if err == nil {
			continue
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			return fmt.Errorf("purse: look for the deposit of channel %s: %w", o.channel, err)
		}
		err = p.Record(Entry{Kind: Unlock, Amount: o.sum, Transaction: o.tx.String(), Channel: o.channel, ID: "unlock:" + o.channel,
			Reason: "came back: the channel was not opened"})
		if err != nil {
			return err
		}
	}
	return nil
}

// orphans returns the open deposits of channels that are not known.
func (t *torrentBook) orphans(known func(channel string) bool) []orphan {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []orphan
	for id, c := range t.open {
		if tx, err := ledger.ParseTxID(c.tx); err == nil && !known(id) {
			list = append(list, orphan{id, tx, c.deposit})
		}
	}
	return list
}
