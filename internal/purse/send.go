package purse

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Send pays sum to an address. id is the caller's name for this payment: a repeat
// with the same id pays nothing again but makes sure that the first is on the
// ledger, also after a crash, and returns its transaction. Only the balance
// limits it: this is the user's own act, not the node's.
//
// Errors: ErrFunds, ErrReserved, ErrIDReused, a *ledger.Rejection, or a failure
// to reach the ledger; after the last, call again with the same id.
func (p *Purse) Send(ctx context.Context, to ledger.Address, sum amount.Amount, id string) (ledger.TxID, error) {
	if id == "" || len(id) > MaxEntryText {
		return ledger.TxID{}, fmt.Errorf("purse: send: give an id of 1 to %d bytes", MaxEntryText)
	}
	p.mu.Lock()
	s, known := p.sends[id]
	taken := p.known[id]
	p.mu.Unlock()
	if known && s.to == to.String() && s.sum == sum {
		return p.handIn(ctx, id, s.raw)
	}
	if known || taken {
		return ledger.TxID{}, ErrIDReused
	}
	raw, err := p.build(ctx, to, sum, id)
	if err != nil {
		return ledger.TxID{}, err
	}
	return p.handIn(ctx, id, raw)
}

// Resume hands in again the payments that are in the journal but whose coins are
// not yet seen as spent. A node calls it once after Open, when the ledger is in
// reach; payments that can never succeed are cancelled.
func (p *Purse) Resume(ctx context.Context) error {
	coins, err := p.list(ctx)
	if err != nil {
		return err
	}
	p.settle(coins)
	p.mu.Lock()
	pending := map[string][]byte{}
	for id, s := range p.sends {
		tx, err := ledger.DecodeTx(s.raw)
		if err == nil && slices.ContainsFunc(tx.Inputs, func(o ledger.OutPoint) bool { return p.coins.held[o] != nil }) {
			pending[id] = s.raw
		}
	}
	p.mu.Unlock()
	for id, raw := range pending {
		if _, err := p.handIn(ctx, id, raw); err != nil && ledger.CodeOf(err) == "" {
			return err
		}
	}
	return nil
}

// holdSends sets aside the coins of all payments in the journal; those that the
// ledger shows as spent are let go when coins are next listed.
func (p *Purse) holdSends() {
	for _, s := range p.sends {
		tx, err := ledger.DecodeTx(s.raw)
		if err != nil {
			continue // the checksum fits, so an old version wrote it: nothing to hold
		}
		for _, in := range tx.Inputs {
			p.coins.held[in] = tx
		}
	}
}

// build chooses coins, signs, and writes the payment to the journal before
// anyone else sees it.
func (p *Purse) build(ctx context.Context, to ledger.Address, sum amount.Amount, id string) ([]byte, error) {
	tx, err := p.prepare(ctx, sum, ledger.PayTo(to), nil)
	if err != nil {
		return nil, err
	}
	status, err := p.ledgerStatus(ctx)
	if err == nil {
		err = p.sign(tx, status.Network)
	}
	if err != nil {
		p.drop(tx)
		return nil, err
	}
	raw := tx.Encode()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[id] {
		p.dropHeld(tx)
		return nil, ErrIDReused
	}
	err = p.record(Entry{Kind: Send, Amount: sum, Counterparty: to.String(), Transaction: tx.ID(status.Network).String(), ID: id, Raw: raw, Reason: "sent by you"})
	if err != nil {
		p.dropHeld(tx)
		return nil, err
	}
	return raw, nil
}

// handIn submits a payment that is in the journal. A refusal that is final
// cancels it, so that the id and the coins are free again.
func (p *Purse) handIn(ctx context.Context, id string, raw []byte) (ledger.TxID, error) {
	receipt, err := p.cfg.Ledger.Submit(ctx, raw)
	if err == nil {
		return receipt.TxID, nil
	}
	switch ledger.CodeOf(err) {
	case ledger.CodeConflict, ledger.CodeMissing:
		p.mu.Lock()
		defer p.mu.Unlock()
		tx, decodeErr := ledger.DecodeTx(raw)
		if decodeErr == nil {
			for _, in := range tx.Inputs {
				delete(p.coins.held, in)
			}
		}
		s := p.sends[id]
		cancel := p.record(Entry{Kind: Cancel, Amount: s.sum, Counterparty: s.to, Reason: id})
		return ledger.TxID{}, errors.Join(fmt.Errorf("purse: send: %w", err), cancel)
	}
	return ledger.TxID{}, fmt.Errorf("purse: send: %w", err)
}

// Consolidate joins the smallest free coins, at most 200 of them, into one when
// the wallet has more than most coins. It returns how many coins were joined.
func (p *Purse) Consolidate(ctx context.Context, most int) (int, error) {
	status, err := p.ledgerStatus(ctx)
	if err != nil {
		return 0, err
	}
	if err := p.takeTurn(ctx); err != nil {
		return 0, err
	}
	defer func() { <-p.coins.turn }()
	coins, err := p.list(ctx)
	if err != nil {
		return 0, err
	}
	free := p.settle(coins)
	if len(coins) <= most || len(free) < 2 {
		return 0, nil
	}
	choose(free, amount.Supply, 0) // sorts by amount
	free = free[:min(len(free), maxJoin, len(coins)-most+1)]
	if err := p.tidy(ctx, free, 1, status); err != nil {
		return 0, err
	}
	return len(free), nil
}

// split turns few large coins into more, so that several channels can be funded
// before the change of the first is back. It returns the free coins after it.
func (p *Purse) split(ctx context.Context, free []ledger.Coin, status *ledger.Status) ([]ledger.Coin, error) {
	var sum amount.Amount
	for _, c := range free {
		sum += c.Amount
	}
	if len(free) == 0 || len(free) > maxJoin || sum < splitMinimum*status.Params.MinOutput {
		return free, nil
	}
	if err := p.tidy(ctx, free, splitParts, status); err != nil {
		return nil, err
	}
	coins, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	return p.settle(coins), nil
}

// tidy turns coins into parts coins of nearly equal size and waits until that is
// durable. The turn is held, so nobody else chooses these coins meanwhile.
func (p *Purse) tidy(ctx context.Context, coins []ledger.Coin, parts int, status *ledger.Status) error {
	var sum amount.Amount
	tx := &ledger.Tx{Kind: ledger.Transfer}
	for _, c := range coins {
		tx.Inputs = append(tx.Inputs, c.OutPoint)
		sum += c.Amount
	}
	own := ledger.PayTo(p.Address())
	for i := range amount.Amount(parts) {
		part := sum/amount.Amount(parts) + min(1, max(0, sum%amount.Amount(parts)-i))
		tx.Outputs = append(tx.Outputs, ledger.Output{Amount: part, Lock: own})
	}
	if err := p.sign(tx, status.Network); err != nil {
		return err
	}
	err := p.Record(Entry{Kind: Tidy, Amount: sum, Transaction: tx.ID(status.Network).String(), Reason: tidyReason(len(coins), parts)})
	if err != nil {
		return err
	}
	if _, err := p.cfg.Ledger.Submit(ctx, tx.Encode()); err != nil {
		return fmt.Errorf("purse: tidy coins: %w", err)
	}
	return nil
}

// tidyReason says in plain words what became of own coins.
func tidyReason(coins, parts int) string {
	if parts == 1 {
		return fmt.Sprintf("%d small coins joined into one", coins)
	}
	return fmt.Sprintf("own coins split into %d, so that channels can open side by side", parts)
}
