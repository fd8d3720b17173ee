package purse

import (
	"context"
	"errors"

	"github.com/bttnet/btt/ledger"
)

// ErrOffline says that a wallet was opened without a ledger.
var ErrOffline = errors.New("no ledger is named; name one to use the money (--ledger URL)")

// Offline is the ledger of a wallet that is opened only for its address,
// history or backup: every call fails with [ErrOffline].
type Offline struct{}

// Status implements [ledger.Client].
func (Offline) Status(context.Context) (ledger.Status, error) { return ledger.Status{}, ErrOffline }

// Submit implements [ledger.Client].
func (Offline) Submit(context.Context, []byte) (ledger.Receipt, error) {
	return ledger.Receipt{}, ErrOffline
}

// Transaction implements [ledger.Client].
func (Offline) Transaction(context.Context, ledger.TxID) (ledger.Record, error) {
	return ledger.Record{}, ErrOffline
}

// Outpoint implements [ledger.Client].
func (Offline) Outpoint(context.Context, ledger.OutPoint) (ledger.OutpointState, error) {
	return ledger.OutpointState{}, ErrOffline
}

// Unspent implements [ledger.Client].
func (Offline) Unspent(context.Context, ledger.Address, ledger.OutPoint, int) ([]ledger.Coin, error) {
	return nil, ErrOffline
}

// Watch implements [ledger.Client].
func (Offline) Watch(context.Context, ledger.Filter, uint64) (<-chan ledger.Event, error) {
	return nil, ErrOffline
}
