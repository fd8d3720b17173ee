package ledgerdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// get reads one value of the store and hands it to f; false when there is none.
func (db *DB) get(key []byte, f func(value []byte) error) (bool, error) {
	db.gate.RLock()
	defer db.gate.RUnlock()
	if db.closed.Load() {
		return false, ErrClosed
	}
	value, closer, err := db.store.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, db.fault("read the ledger's database", err)
	}
	if f != nil {
		err = f(value)
	}
	if e := closer.Close(); err == nil {
		err = e
	}
	if err != nil {
		return false, db.fault("read the ledger's database", err)
	}
	return true, nil
}

// Row returns a transaction; false when it is unknown.
func (db *DB) Row(id ledger.TxID) (Row, bool, error) {
	db.mu.RLock()
	r, ok := db.live.rows[id]
	if !ok && db.frozen != nil {
		r, ok = db.frozen.rows[id]
	}
	db.mu.RUnlock()
	if ok {
		return r, true, nil
	}
	ok, err := db.get(rowKey(id), func(v []byte) (err error) {
		r, err = decodeRow(v)
		return err
	})
	return r, ok, err
}

// Receipt returns the answer for a transaction that is committed or parked.
func (db *DB) Receipt(id ledger.TxID) (ledger.Receipt, bool, error) {
	r, ok, err := db.Row(id)
	if !ok || err != nil || r.State == ledger.Displaced {
		return ledger.Receipt{}, false, err
	}
	return r.Receipt(id), true, nil
}

// Coin returns an unspent coin; false when there is none.
func (db *DB) Coin(o ledger.OutPoint) (ledger.Coin, bool, error) {
	db.mu.RLock()
	c, here, gone := db.live.coin(o)
	if !here && !gone && db.frozen != nil {
		c, here, gone = db.frozen.coin(o)
	}
	db.mu.RUnlock()
	if here || gone {
		return c.coin(o), here, nil
	}
	ok, err := db.get(outPointKey(keyCoin, o), func(v []byte) (err error) {
		c, err = decodeCell(v)
		return err
	})
	if !ok || err != nil {
		return ledger.Coin{}, false, err
	}
	return c.coin(o), true, nil
}

func (l *layer) coin(o ledger.OutPoint) (c cell, here, gone bool) {
	if c, here = l.coins[o]; !here {
		_, gone = l.spent[o]
	}
	return c, here, gone
}

// spender returns who spent an output.
func (db *DB) spender(o ledger.OutPoint) (by ledger.TxID, ok bool, err error) {
	db.mu.RLock()
	s, ok := db.live.spent[o]
	if !ok && db.frozen != nil {
		s, ok = db.frozen.spent[o]
	}
	db.mu.RUnlock()
	if ok {
		return s.by, true, nil
	}
	ok, err = db.get(outPointKey(keySpent, o), func(v []byte) error {
		if len(v) != len(by) {
			return errDecode
		}
		copy(by[:], v)
		return nil
	})
	return by, ok, err
}

// Outpoint says what became of an output.
func (db *DB) Outpoint(o ledger.OutPoint) (ledger.OutpointState, error) {
	// The coin first: one that is gone by then has a spender by then.
	c, ok, err := db.Coin(o)
	if err != nil {
		return ledger.OutpointState{}, err
	}
	if !ok {
		by, spent, err := db.spender(o)
		if !spent || err != nil {
			return ledger.OutpointState{}, err
		}
		return ledger.OutpointState{Status: ledger.OutpointSpent, By: by}, nil
	}
	db.mu.RLock()
	p := db.slots[o]
	db.mu.RUnlock()
	if p != nil {
		return ledger.OutpointState{Status: ledger.OutpointParked, Coin: c, By: p.TxID, Sequence: p.Tx.Sequence, LockTime: p.Tx.LockTime}, nil
	}
	return ledger.OutpointState{Status: ledger.OutpointUnspent, Coin: c}, nil
}

// Used reports whether a mint has used a deposit.
func (db *DB) Used(d ledger.Deposit) (bool, error) {
	db.mu.RLock()
	_, ok := db.live.deposits[d]
	if !ok && db.frozen != nil {
		_, ok = db.frozen.deposits[d]
	}
	db.mu.RUnlock()
	if ok {
		return true, nil
	}
	return db.get(depositKey(d), nil)
}

// Block returns where a block is; false when there is none of this height.
func (db *DB) Block(height uint64) (Place, bool, error) {
	db.mu.RLock()
	for _, l := range [...]*layer{db.frozen, db.live} {
		if l != nil && height >= l.first && height-l.first < uint64(len(l.places)) {
			p := l.places[height-l.first]
			db.mu.RUnlock()
			return p, true, nil
		}
	}
	db.mu.RUnlock()
	var p Place
	ok, err := db.get(numberKey(keyBlock, height), func(v []byte) error {
		s := scanner{rest: v}
		p = s.place()
		return s.end("block")
	})
	return p, ok, err
}

// Audit adds up the coins in the store and compares sum and count with its
// totals (LR10), and each parked transaction with its coin. It sees one moment
// of the store, whatever goes on. A mismatch ends the DB and makes the next Open
// rebuild it.
func (db *DB) Audit(ctx context.Context) error {
	db.gate.RLock()
	defer db.gate.RUnlock()
	if db.closed.Load() {
		return ErrClosed
	}
	err := db.guard(func() error { return db.audit(ctx) })
	if err != nil && ctx.Err() == nil {
		return db.fault("audit coins", err)
	}
	return err
}

func (db *DB) audit(ctx context.Context) error {
	snap := db.store.NewSnapshot()
	defer snap.Close()
	raw, closer, err := snap.Get([]byte{keyMeta})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil // nothing is written yet
	}
	if err != nil {
		return err
	}
	at, err := decodePosition(raw)
	if e := closer.Close(); err != nil || e != nil {
		return errors.Join(err, e)
	}
	sum, count, err := sumCoins(ctx, snap)
	if err != nil {
		return err
	}
	if sum != at.Head.Totals.Unspent || count != at.Coins {
		return fmt.Errorf("%w: %d coins hold %s, totals say %d and %s", errDecode, count, sum, at.Coins, at.Head.Totals.Unspent)
	}
	return auditSlots(snap)
}

func sumCoins(ctx context.Context, r pebble.Reader) (sum amount.Amount, count uint64, err error) {
	it, err := r.NewIter(bounds([]byte{keyCoin}, keyEnd(keyCoin)))
	if err != nil {
		return 0, 0, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, n := binary.Uvarint(it.Value()) // the rest of a coin is read when it is spent
		if n <= 0 {
			return 0, 0, errDecode
		}
		if sum, err = sum.Add(amount.Amount(v)); err != nil {
			return 0, 0, fmt.Errorf("%w: %w", errDecode, err)
		}
		if count++; count%4096 == 0 && ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
	}
	return sum, count, it.Error()
}

// auditSlots looks for parked transactions whose coin is not there.
func auditSlots(r pebble.Reader) error {
	it, err := r.NewIter(bounds([]byte{keyParked}, keyEnd(keyParked)))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		_, closer, err := r.Get(append([]byte{keyCoin}, it.Key()[1:]...))
		if errors.Is(err, pebble.ErrNotFound) {
			return fmt.Errorf("a parked transaction has lost its coin: %w", errDecode)
		}
		if err != nil {
			return err
		}
		if err := closer.Close(); err != nil {
			return err
		}
	}
	return it.Error()
}
