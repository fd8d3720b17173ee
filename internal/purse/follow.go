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
		if c.Height == 0 {
			err = p.Record(granted(&c))
		} else {
			err = p.received(ctx, c.OutPoint.TxID)
		}
		if err != nil {
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

// Await waits for the next payment from somebody else and returns it, without
// writing it down: the node that owns the wallet does. It runs beside that node.
func (p *Purse) Await(ctx context.Context) (Entry, error) {
	status, err := p.cfg.Ledger.Status(ctx)
	if err != nil {
		return Entry{}, fmt.Errorf("purse: wait for a payment: %w", err)
	}
	events, err := p.cfg.Ledger.Watch(ctx, ledger.Filter{Addresses: []ledger.Address{p.Address()}}, status.Cursor)
	if err != nil {
		return Entry{}, fmt.Errorf("purse: wait for a payment: %w", err)
	}
	for e := range events {
		if e.Kind != ledger.EventCommitted {
			continue
		}
		in, err := p.incoming(ctx, e.TxID)
		if err != nil || in.Amount > 0 {
			return in, err
		}
	}
	if ctx.Err() != nil {
		return Entry{}, fmt.Errorf("purse: wait for a payment: %w", context.Cause(ctx))
	}
	return Entry{}, errors.New("purse: wait for a payment: the ledger's stream ended; call again")
}

// received journals what a transaction brought in, once.
func (p *Purse) received(ctx context.Context, txid ledger.TxID) error {
	p.mu.Lock()
	known := p.known[receiveID(txid)]
	p.mu.Unlock()
	if known {
		return nil
	}
	e, err := p.incoming(ctx, txid)
	if err != nil || e.Amount == 0 {
		return err
	}
	return p.Record(e)
}

// granted is the movement of a coin that the ledger began with: no transaction
// made it.
func granted(c *ledger.Coin) Entry {
	return Entry{Kind: Receive, Amount: c.Amount, Counterparty: "the genesis", ID: "receive:" + c.OutPoint.String(),
		Reason: "yours since the ledger began"}
}

func receiveID(txid ledger.TxID) string { return "receive:" + txid.String() }

// incoming reads what a transaction brought in from somebody else; the amount
// is 0 if nothing.
func (p *Purse) incoming(ctx context.Context, txid ledger.TxID) (Entry, error) {
	record, err := p.cfg.Ledger.Transaction(ctx, txid)
	if errors.Is(err, ledger.ErrNotFound) {
		// A share of the genesis: see granted.
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, fmt.Errorf("purse: read payment: %w", err)
	}
	tx, err := ledger.DecodeTx(record.Raw)
	if err != nil {
		return Entry{}, fmt.Errorf("purse: read payment %s: %w", txid, err)
	}
	from, foreign := senderOf(tx, p.Account())
	if !foreign {
		return Entry{}, nil
	}
	var sum amount.Amount
	for _, out := range tx.Outputs {
		if out.Lock == ledger.PayTo(p.Address()) {
			if sum, err = sum.Add(out.Amount); err != nil {
				return Entry{}, fmt.Errorf("purse: read payment %s: %w", txid, err)
			}
		}
	}
	return Entry{Kind: Receive, Amount: sum, Counterparty: from, Transaction: txid.String(), ID: receiveID(txid), Reason: "received from " + from}, nil
}

// senderOf names who paid; false when it was the account itself or a channel.
func senderOf(tx *ledger.Tx, account ledger.PublicKey) (string, bool) {
	if tx.Kind == ledger.Mint {
		return "deposit from TRON", true
	}
	for i := range tx.Witnesses {
		keys := tx.Witnesses[i].Keys
		if len(keys) == 0 || keys[0] == account {
			return "", false
		}
	}
	if len(tx.Witnesses) == 0 {
		return "", false
	}
	return tx.Witnesses[0].Keys[0].Address().String(), true
}
