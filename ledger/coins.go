package ledger

import (
	"maps"
	"slices"

	"github.com/bttnet/btt/amount"
)

// Deposit names a deposit on the chain; a mint uses it up for ever (LR9).
type Deposit struct {
	Chain [32]byte // TRON transaction id
	Index uint32   // log index inside it
}

// Coins is the store of unspent outputs and used deposits behind a State. A
// State calls it from its own goroutine only. Errors are faults of the store,
// never "not there".
type Coins interface {
	// Get returns an unspent coin; false when there is none.
	Get(OutPoint) (Coin, bool, error)
	// Used reports whether a mint has used the deposit.
	Used(Deposit) (bool, error)
	// Apply adds d.Created, removes d.Spent and adds d.Deposits, all or
	// nothing. It need not be durable: the block log is.
	Apply(d *Delta) error
}

// CoinScanner lists a store in ascending order, for snapshots and audits.
type CoinScanner interface {
	// Coins calls f for every unspent coin, ordered by OutPoint.
	Coins(f func(Coin) error) error
	// Deposits calls f for every used deposit, ordered by Chain, Index.
	Deposits(f func(Deposit) error) error
}

// Spend is a coin and the transaction that spent it.
type Spend struct {
	Coin Coin
	By   TxID
}

// Pending is a parked transaction in the slot of its 2-of-2 input.
type Pending struct {
	OutPoint     OutPoint
	Tx           *Tx
	TxID         TxID
	Height       uint64 // block that parked it
	Index        uint32 // its place in that block
	Replacements uint32 // how often the slot was rewritten (LR5)

	heapAt int // position in the due index; owned by State
}

// MemoryCoins is a Coins and CoinScanner in memory. The zero value is not
// ready; use NewMemoryCoins. Not safe for concurrent use.
type MemoryCoins struct {
	coins    map[OutPoint]Coin
	deposits map[Deposit]struct{}
}

// NewMemoryCoins returns an empty store.
func NewMemoryCoins() *MemoryCoins {
	return &MemoryCoins{coins: map[OutPoint]Coin{}, deposits: map[Deposit]struct{}{}}
}

// Get implements Coins.
func (m *MemoryCoins) Get(o OutPoint) (Coin, bool, error) {
	c, ok := m.coins[o]
	return c, ok, nil
}

// Used implements Coins.
func (m *MemoryCoins) Used(d Deposit) (bool, error) {
	_, ok := m.deposits[d]
	return ok, nil
}

// Apply implements Coins.
func (m *MemoryCoins) Apply(d *Delta) error {
	for i := range d.Created {
		m.coins[d.Created[i].OutPoint] = d.Created[i]
	}
	for i := range d.Spent {
		delete(m.coins, d.Spent[i].Coin.OutPoint)
	}
	for _, p := range d.Deposits {
		m.deposits[p] = struct{}{}
	}
	return nil
}

// Len returns the number of unspent coins.
func (m *MemoryCoins) Len() int { return len(m.coins) }

// Coins implements CoinScanner.
func (m *MemoryCoins) Coins(f func(Coin) error) error {
	for _, o := range slices.SortedFunc(maps.Keys(m.coins), OutPoint.Compare) {
		if err := f(m.coins[o]); err != nil {
			return err
		}
	}
	return nil
}

// Deposits implements CoinScanner.
func (m *MemoryCoins) Deposits(f func(Deposit) error) error {
	for _, d := range slices.SortedFunc(maps.Keys(m.deposits), compareDeposits) {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

// SumCoins adds up every coin of a store: the full audit of LR10.
func SumCoins(s CoinScanner) (amount.Amount, error) {
	var total amount.Amount
	err := s.Coins(func(c Coin) (err error) {
		total, err = total.Add(c.Amount)
		return err
	})
	return total, err
}
