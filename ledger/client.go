package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/bttnet/btt/amount"
)

// Limits of one client request.
const (
	// MaxUnspentPage is the most coins one Unspent call returns.
	MaxUnspentPage = 1000
	// MaxFilter is the most entries a Filter holds in all.
	MaxFilter = 10_000
)

// Client is a private ledger as wallets, channels and the gateway see it.
// Implementations are safe for concurrent use.
type Client interface {
	// Status returns the head of the ledger.
	Status(ctx context.Context) (Status, error)
	// Submit hands in an encoded transaction and returns when it is durable.
	// The same bytes always give the same answer. A refusal is a *Rejection.
	Submit(ctx context.Context, raw []byte) (Receipt, error)
	// Transaction returns a committed, parked or displaced transaction;
	// otherwise ErrNotFound.
	Transaction(ctx context.Context, id TxID) (Record, error)
	// Outpoint returns what became of an output.
	Outpoint(ctx context.Context, o OutPoint) (OutpointState, error)
	// Unspent returns unspent coins of an address lock in ascending order of
	// outpoint, those above after, at most limit (1 .. MaxUnspentPage; other
	// values mean MaxUnspentPage).
	Unspent(ctx context.Context, a Address, after OutPoint, limit int) ([]Coin, error)
	// Watch delivers events with a Cursor above from that the filter matches,
	// in order, at least once. The channel is closed when ctx ends or the
	// subscription breaks; call again with the last Cursor seen.
	Watch(ctx context.Context, f Filter, from uint64) (<-chan Event, error)
}

// Status describes the head of a ledger.
type Status struct {
	Network    Network  `json:"network"`
	Height     uint64   `json:"height"`
	LedgerTime uint64   `json:"ledger_time"` // seconds; lock times are measured on it (LR6)
	Params     Params   `json:"params"`
	Totals     Totals   `json:"totals"`
	AppHash    [32]byte `json:"-"`
	Cursor     uint64   `json:"cursor"` // of the newest event
}

// Totals are the sums that LR10 keeps equal: Unspent = Minted - Burned, at
// most amount.Supply. Minted and Burned only grow and may exceed the supply.
type Totals struct {
	Minted  amount.Amount `json:"minted"`
	Burned  amount.Amount `json:"burned"`
	Unspent amount.Amount `json:"unspent"`
}

// UnmarshalJSON reads the decimal numbers that the fields are written as, also
// those above the supply.
func (t *Totals) UnmarshalJSON(raw []byte) error {
	var text struct{ Minted, Burned, Unspent string }
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("read ledger totals: %w", err)
	}
	var v Totals
	for _, f := range []struct {
		to   *amount.Amount
		text string
	}{{&v.Minted, text.Minted}, {&v.Burned, text.Burned}, {&v.Unspent, text.Unspent}} {
		var err error
		if *f.to, err = amount.ParseUpTo(f.text, math.MaxInt64); err != nil {
			return fmt.Errorf("read ledger totals: %w", err)
		}
	}
	*t = v
	return nil
}

// TxState says where a transaction is.
type TxState uint8

const (
	// Committed: applied for ever.
	Committed TxState = 1
	// Parked: waits in the slot of its 2-of-2 output until its lock time.
	Parked TxState = 2
	// Displaced: was parked, then replaced or beaten; it can come back only by
	// being submitted anew.
	Displaced TxState = 3
)

// String names the state.
func (s TxState) String() string {
	return [...]string{"unknown", "committed", "parked", "displaced"}[min(s, 3)]
}

// Receipt is the durable answer to Submit. Height and Index are where the
// transaction was committed or parked.
type Receipt struct {
	TxID   TxID    `json:"txid"`
	State  TxState `json:"state"`
	Height uint64  `json:"height"`
	Index  uint32  `json:"index"`
}

// Record is a stored transaction.
type Record struct {
	Receipt
	Raw        []byte `json:"raw"`
	LedgerTime uint64 `json:"ledger_time"` // of that block
}

// Coin is an unspent output.
type Coin struct {
	OutPoint OutPoint      `json:"outpoint"`
	Amount   amount.Amount `json:"amount"`
	Lock     Lock          `json:"lock"`
	Height   uint64        `json:"height"` // of the block that made it
	// NotBefore is the ledger time from which a coin of the genesis may be spent;
	// 0 for all others.
	NotBefore uint64 `json:"not_before,omitempty"`
}

// OutpointStatus says what became of an output.
type OutpointStatus uint8

const (
	OutpointUnknown OutpointStatus = 0 // never made (or forgotten)
	OutpointUnspent OutpointStatus = 1 // may be spent
	OutpointParked  OutpointStatus = 2 // unspent, and a close waits in its slot
	OutpointSpent   OutpointStatus = 3 // a committed transaction took it
)

// String names the status.
func (s OutpointStatus) String() string {
	return [...]string{"unknown", "unspent", "parked", "spent"}[min(s, 3)]
}

// OutpointState is the answer to Outpoint.
type OutpointState struct {
	Status   OutpointStatus `json:"status"`
	Coin     Coin           `json:"coin,omitzero"`      // unspent, parked
	By       TxID           `json:"by,omitzero"`        // parked or spent: by this transaction
	Sequence uint32         `json:"sequence,omitempty"` // parked: its sequence
	LockTime uint64         `json:"lock_time,omitempty"`
}

// EventKind says what happened.
type EventKind uint8

const (
	// EventCommitted: TxID was applied in a block.
	EventCommitted EventKind = 1
	// EventParked: TxID waits in the slot of OutPoint until LockTime.
	EventParked EventKind = 2
	// EventDisplaced: TxID left the slot of OutPoint because of By.
	EventDisplaced EventKind = 3
	// EventMatured: TxID left its slot at its lock time and was applied.
	EventMatured EventKind = 4
	// EventSpent: OutPoint was spent by TxID.
	EventSpent EventKind = 5
)

// String names the kind.
func (k EventKind) String() string {
	return [...]string{"none", "committed", "parked", "displaced", "matured", "spent"}[min(k, 5)]
}

// Event is one entry of the ledger's event stream. Cursors start at 1 and grow
// by one; they are part of the state and equal on all nodes.
type Event struct {
	Cursor     uint64    `json:"cursor"`
	Kind       EventKind `json:"kind"`
	Height     uint64    `json:"height"`
	Index      uint32    `json:"index"` // of the transaction in its block
	LedgerTime uint64    `json:"ledger_time"`
	TxID       TxID      `json:"txid"`
	OutPoint   OutPoint  `json:"outpoint,omitzero"`
	By         TxID      `json:"by,omitzero"`
	Sequence   uint32    `json:"sequence,omitempty"`
	LockTime   uint64    `json:"lock_time,omitempty"`
	// Addresses are the address locks that the transaction spends from and
	// pays to (committed, matured) or would pay (parked, displaced), each once;
	// for spent, the address lock of the coin.
	Addresses []Address `json:"addresses,omitempty"`
}

// Filter selects events that touch any of its entries; an empty filter selects
// all. Holders of a 2-of-2 output watch its outpoint.
type Filter struct {
	Addresses []Address  `json:"addresses,omitempty"`
	Outpoints []OutPoint `json:"outpoints,omitempty"`
	TxIDs     []TxID     `json:"txids,omitempty"`
}

// Size returns the number of entries, at most MaxFilter in a valid filter.
func (f *Filter) Size() int { return len(f.Addresses) + len(f.Outpoints) + len(f.TxIDs) }

// Match reports whether the filter selects e.
func (f *Filter) Match(e *Event) bool {
	if f.Size() == 0 || slices.Contains(f.TxIDs, e.TxID) ||
		(!e.By.IsZero() && slices.Contains(f.TxIDs, e.By)) ||
		(!e.OutPoint.IsZero() && slices.Contains(f.Outpoints, e.OutPoint)) {
		return true
	}
	for _, a := range e.Addresses {
		if slices.Contains(f.Addresses, a) {
			return true
		}
	}
	return false
}
