package purse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// Limits of coin handling.
const (
	maxPages     = 100 // pages of coins read for one decision: 100,000 coins
	maxJoin      = 200 // inputs of one transaction
	splitParts   = 8   // coins that one split makes, so that channels open side by side
	wantCoins    = 4   // fewer free coins than this are split
	maxOwnCoins  = 32  // never split when there are as many coins
	splitMinimum = 64  // smallest coin worth a split, in multiples of the smallest output
	fundRetry    = 20 * time.Millisecond
)

// FundPatience is how long [Purse.Fund] waits for coins that other openings hold.
const FundPatience = 2 * time.Second

// coinBook knows which coins are set aside. turn serializes decisions, so that no
// decision is made on a list of coins that is older than the one before it; the
// fields below it are guarded by Purse.mu.
type coinBook struct {
	turn   chan struct{}
	held   map[ledger.OutPoint]*ledger.Tx
	values map[*ledger.Tx]fundingTx // fundings under way, until the ledger shows them

	network sync.Mutex // guards status
	status  *ledger.Status
}

// fundingTx is a Fund under way.
type fundingTx struct {
	value   amount.Amount
	torrent string
	id      ledger.TxID // zero until it is signed and in the journal
}

func (c *coinBook) init() {
	c.turn = make(chan struct{}, 1)
	c.held = map[ledger.OutPoint]*ledger.Tx{}
	c.values = map[*ledger.Tx]fundingTx{}
}

// Fund builds and signs a transaction whose output 0 pays value to lock; the rest
// comes back to the own address. The coins it spends are set aside until the
// ledger shows them spent or Release gives them back; the caller submits it. All
// limits of the budget hold, that per torrent for the torrent (its info-hash in
// hexadecimal; "" = none in particular) that the channel is opened for. The
// movement is in the journal when Fund returns.
//
// Errors: *wallet.LimitError, ErrFunds, ErrReserved (after a short wait),
// ErrLocked, what the ledger says, or a journal failure.
func (p *Purse) Fund(ctx context.Context, value amount.Amount, lock ledger.Lock, torrent string) (*ledger.Tx, error) {
	deadline := time.NewTimer(FundPatience)
	defer deadline.Stop()
	for {
		tx, err := p.tryFund(ctx, value, lock, torrent)
		if !errors.Is(err, ErrReserved) {
			return tx, err
		}
		retry := time.NewTimer(fundRetry)
		select {
		case <-retry.C:
		case <-deadline.C:
			retry.Stop()
			return nil, err
		case <-ctx.Done():
			retry.Stop()
			return nil, fmt.Errorf("purse: fund channel: %w", context.Cause(ctx))
		}
	}
}

func (p *Purse) tryFund(ctx context.Context, value amount.Amount, lock ledger.Lock, torrent string) (*ledger.Tx, error) {
	tx, err := p.prepare(ctx, value, lock, &limited{torrent})
	if err != nil {
		return nil, err
	}
	status, err := p.ledgerStatus(ctx)
	if err == nil {
		err = p.sign(tx, status.Network)
	}
	if err == nil {
		id := tx.ID(status.Network)
		err = p.keep(tx, id, Entry{
			Kind: Lock, Amount: value, Transaction: id.String(), Counterparty: lockName(lock), Torrent: torrent,
			Channel: channel.MakeID(id).String(), Reason: "set aside in a payment channel",
		})
	}
	if err != nil {
		p.drop(tx)
		return nil, err
	}
	return tx, nil
}

// lockName names who else can spend a lock.
func lockName(l ledger.Lock) string {
	if l.Kind == ledger.JointLock {
		return l.K2.String()
	}
	return l.Address.String()
}

// Release gives back the coins of a funding transaction that will not be
// submitted; it is known by its id, so a decoded copy does as well. Unknown or nil
// transactions are ignored.
func (p *Purse) Release(tx *ledger.Tx) {
	if tx == nil {
		return
	}
	p.coins.network.Lock()
	status := p.coins.status
	p.coins.network.Unlock()
	if status == nil {
		return // nothing was funded yet
	}
	id := tx.ID(status.Network)
	p.mu.Lock()
	defer p.mu.Unlock()
	for held, f := range p.coins.values {
		if f.id != id {
			continue
		}
		p.dropHeld(held)
		name := channel.MakeID(id).String()
		// A failure stays in journal.err and stops all further spending. The id is
		// that of the entry a node writes for a channel that ended.
		_ = p.record(Entry{Kind: Unlock, Amount: f.value, Transaction: id.String(), Channel: name, ID: "unlock:" + name,
			Reason: "came back: the channel was not opened"})
		return
	}
}

// keep turns the hold on coins into a reservation with its journal entry.
func (p *Purse) keep(tx *ledger.Tx, id ledger.TxID, e Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.record(e); err != nil {
		return err
	}
	p.coins.values[tx] = fundingTx{value: e.Amount, torrent: e.Torrent, id: id}
	return nil
}

// drop ends a hold that never became a reservation.
func (p *Purse) drop(tx *ledger.Tx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropHeld(tx)
}

// dropHeld forgets all that is held for tx, with p.mu held.
func (p *Purse) dropHeld(tx *ledger.Tx) {
	for _, in := range tx.Inputs {
		if p.coins.held[in] == tx {
			delete(p.coins.held, in)
		}
	}
	delete(p.coins.values, tx)
}

// prepare chooses coins for value, holds them, and returns the unsigned
// transaction. limit applies the budget; nil = the user's own act.
func (p *Purse) prepare(ctx context.Context, value amount.Amount, lock ledger.Lock, limit *limited) (*ledger.Tx, error) {
	if _, err := p.keys(); err != nil {
		return nil, err
	}
	status, err := p.ledgerStatus(ctx)
	if err != nil {
		return nil, err
	}
	smallest := status.Params.MinOutput
	if value < smallest {
		return nil, fmt.Errorf("purse: set aside %s: the ledger takes no output under %s", value, smallest)
	}
	locked := p.locked()
	if err := p.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.coins.turn }()
	coins, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	free := p.settle(coins)
	if limit != nil {
		if err := p.allow(value, coins, locked, limit.torrent); err != nil {
			return nil, err
		}
		if len(free) < wantCoins && len(coins) < maxOwnCoins {
			if free, err = p.split(ctx, free, status); err != nil {
				return nil, err
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.journal.err != nil {
		return nil, p.journal.err
	}
	chosen, sum := choose(free, value, smallest)
	if chosen == nil {
		return nil, p.lacking(coins, value)
	}
	tx := &ledger.Tx{Kind: ledger.Transfer, Outputs: []ledger.Output{{Amount: value, Lock: lock}}}
	if sum > value {
		tx.Outputs = append(tx.Outputs, ledger.Output{Amount: sum - value, Lock: ledger.PayTo(p.Address())})
	}
	for _, c := range chosen {
		tx.Inputs = append(tx.Inputs, c.OutPoint)
		p.coins.held[c.OutPoint] = tx
	}
	if limit != nil { // it counts before it is in the journal: another Fund may come first
		p.coins.values[tx] = fundingTx{value: value, torrent: limit.torrent}
	}
	return tx, nil
}

func (p *Purse) takeTurn(ctx context.Context) error {
	select {
	case p.coins.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("purse: choose coins: %w", context.Cause(ctx))
	}
}

// limited says that the budget holds, and for which torrent.
type limited struct {
	torrent string
}

// allow checks the budget.
func (p *Purse) allow(value amount.Amount, coins []ledger.Coin, locked amount.Amount, torrent string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := Balance{Locked: locked}
	for _, c := range coins {
		if p.coins.held[c.OutPoint] != nil {
			b.Reserved += c.Amount
		} else {
			b.Free += c.Amount
		}
	}
	s, err := p.spending(b, torrent)
	if err != nil {
		return err
	}
	if s.Free < value && s.Free+b.Reserved >= value {
		return ErrReserved
	}
	if s.Free < value {
		return ErrFunds
	}
	return p.limitsFor(torrent).Allow(value, s)
}

// lacking tells a balance that is too small from one that is only held.
func (p *Purse) lacking(coins []ledger.Coin, value amount.Amount) error {
	var sum amount.Amount
	held := false
	for _, c := range coins {
		sum += c.Amount
		held = held || p.coins.held[c.OutPoint] != nil
	}
	if held && sum >= value {
		return ErrReserved
	}
	return ErrFunds
}

// settle forgets holds on coins that the ledger no longer lists and returns the
// coins that are free.
func (p *Purse) settle(coins []ledger.Coin) []ledger.Coin {
	p.mu.Lock()
	defer p.mu.Unlock()
	present := make(map[ledger.OutPoint]bool, len(coins))
	free := make([]ledger.Coin, 0, len(coins))
	for _, c := range coins {
		present[c.OutPoint] = true
		if p.coins.held[c.OutPoint] == nil {
			free = append(free, c)
		}
	}
	for o, tx := range p.coins.held {
		if !present[o] {
			p.dropHeld(tx)
		}
	}
	return free
}

// choose picks coins that cover value without leaving change under smallest: the
// smallest single coin that does, or else the largest ones together.
func choose(free []ledger.Coin, value, smallest amount.Amount) ([]ledger.Coin, amount.Amount) {
	fits := func(sum amount.Amount) bool { return sum == value || sum >= value+smallest }
	slices.SortFunc(free, func(a, b ledger.Coin) int {
		return cmp.Or(cmp.Compare(a.Amount, b.Amount), a.OutPoint.Compare(b.OutPoint))
	})
	for i, c := range free {
		if fits(c.Amount) {
			return free[i : i+1], c.Amount
		}
	}
	var sum amount.Amount
	for n := 1; n <= min(len(free), maxJoin); n++ {
		sum += free[len(free)-n].Amount
		if fits(sum) {
			return free[len(free)-n:], sum
		}
	}
	return nil, 0
}

// list reads the own coins.
func (p *Purse) list(ctx context.Context) ([]ledger.Coin, error) {
	return listCoins(ctx, p.cfg.Ledger, p.Address())
}

// listCoins reads the coins of an address, at most maxPages pages.
func listCoins(ctx context.Context, client ledger.Client, address ledger.Address) ([]ledger.Coin, error) {
	var all []ledger.Coin
	var after ledger.OutPoint
	for range maxPages {
		page, err := client.Unspent(ctx, address, after, ledger.MaxUnspentPage)
		if err != nil {
			return nil, fmt.Errorf("purse: list coins: %w", err)
		}
		all = append(all, page...)
		if len(page) < ledger.MaxUnspentPage {
			break
		}
		after = page[len(page)-1].OutPoint
	}
	return released(ctx, client, all)
}

// released leaves out the coins of the genesis whose time has not come (R14.14).
func released(ctx context.Context, client ledger.Client, coins []ledger.Coin) ([]ledger.Coin, error) {
	if !slices.ContainsFunc(coins, func(c ledger.Coin) bool { return c.NotBefore > 0 }) {
		return coins, nil
	}
	status, err := client.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("purse: ask ledger: %w", err)
	}
	return slices.DeleteFunc(coins, func(c ledger.Coin) bool { return c.NotBefore > status.LedgerTime }), nil
}

// ledgerStatus returns the ledger's fixed facts (network, parameters), asked once.
func (p *Purse) ledgerStatus(ctx context.Context) (*ledger.Status, error) {
	p.coins.network.Lock()
	known := p.coins.status
	p.coins.network.Unlock()
	if known != nil {
		return known, nil
	}
	status, err := p.cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("purse: ask ledger: %w", err)
	}
	p.coins.network.Lock()
	defer p.coins.network.Unlock()
	p.coins.status = &status
	return &status, nil
}
