package purse

import (
	"context"
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Follow writes payments from others to the own address into the journal, also
// those that came while nobody followed, until ctx ends or the ledger's stream
// breaks; call it again then. It runs in the caller's goroutine. What comes out
// of channels is left to those who run the channels (Unlock, Earn).
func (p *Purse) Follow(ctx context.Context) error {
	status, err := p.cfg.Ledger.Status(ctx)
	if err != nil {
		return fmt.Errorf("purse: follow ledger: %w", err)
	}
	events, err := p.cfg.Ledger.Watch(ctx, ledger.Filter{Addresses: []ledger.Address{p.Address()}}, status.Cursor)
	if err != nil {
		return fmt.Errorf("purse: follow ledger: %w", err)
	}
	coins, err := p.list(ctx)
	if err != nil {
		return err
	}
	for _, c := range coins {
		if err := p.received(ctx, c.OutPoint.TxID); err != nil {
			return err
		}
	}
	for e := range events {
		if e.Kind != ledger.EventCommitted {
			continue
		}
		if err := p.received(ctx, e.TxID); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("purse: follow ledger: %w", context.Cause(ctx))
	}
	return errors.New("purse: follow ledger: the stream ended; call again")
}

// received journals what a transaction brought in, once.
func (p *Purse) received(ctx context.Context, txid ledger.TxID) error {
	id := "receive:" + txid.String()
	p.mu.Lock()
	known := p.known[id]
	p.mu.Unlock()
	if known {
		return nil
	}
	record, err := p.cfg.Ledger.Transaction(ctx, txid)
	if errors.Is(err, ledger.ErrNotFound) {
		// A share of the genesis: the ledger knows no transaction for it.
		return nil
	}
	if err != nil {
		return fmt.Errorf("purse: read payment: %w", err)
	}
	tx, err := ledger.DecodeTx(record.Raw)
	if err != nil {
		return fmt.Errorf("purse: read payment %s: %w", txid, err)
	}
	from, foreign := p.sender(tx)
	if !foreign {
		return nil
	}
	var sum amount.Amount
	for _, out := range tx.Outputs {
		if out.Lock == ledger.PayTo(p.Address()) {
			if sum, err = sum.Add(out.Amount); err != nil {
				return fmt.Errorf("purse: read payment %s: %w", txid, err)
			}
		}
	}
	if sum == 0 {
		return nil
	}
	return p.Record(Entry{Kind: Receive, Amount: sum, Counterparty: from, Transaction: txid.String(), ID: id, Reason: "received"})
}

// sender names who paid; false when it was this wallet or a channel.
func (p *Purse) sender(tx *ledger.Tx) (string, bool) {
	if tx.Kind == ledger.Mint {
		return "deposit from TRON", true
	}
	for i := range tx.Witnesses {
		keys := tx.Witnesses[i].Keys
		if len(keys) == 0 || keys[0] == p.Account() {
			return "", false
		}
	}
	if len(tx.Witnesses) == 0 {
		return "", false
	}
	return tx.Witnesses[0].Keys[0].Address().String(), true
}
