package ledgerdb

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// addressIndex finds what a layer changed for one address. Commits only queue
// their deltas here; the indexer's goroutine, or a reader that needs it now,
// sorts them in.
type addressIndex struct {
	mu     sync.Mutex
	todo   []*ledger.Delta
	byName map[ledger.Address][]change
}

// change is a coin that came to or left an address.
type change struct {
	outPoint ledger.OutPoint
	amount   amount.Amount // 0: spent
	height   uint64
}

func newAddressIndex() *addressIndex { return &addressIndex{byName: map[ledger.Address][]change{}} }

func (x *addressIndex) queue(d *ledger.Delta) {
	if len(d.Created)+len(d.Spent) == 0 {
		return
	}
	x.mu.Lock()
	x.todo = append(x.todo, d)
	x.mu.Unlock()
}

// step sorts in one delta and reports whether there was one.
func (x *addressIndex) step() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.next()
}

func (x *addressIndex) next() bool {
	if len(x.todo) == 0 {
		x.todo = nil
		return false
	}
	d := x.todo[0]
	x.todo[0] = nil
	x.todo = x.todo[1:]
	for i := range d.Created {
		if c := &d.Created[i]; c.Lock.Kind == ledger.AddressLock {
			x.byName[c.Lock.Address] = append(x.byName[c.Lock.Address], change{c.OutPoint, c.Amount, c.Height})
		}
	}
	for i := range d.Spent {
		if c := &d.Spent[i].Coin; c.Lock.Kind == ledger.AddressLock {
			x.byName[c.Lock.Address] = append(x.byName[c.Lock.Address], change{outPoint: c.OutPoint})
		}
	}
	return true
}

// changes adds what happened to coins of a above after, newest last.
func (x *addressIndex) changes(a ledger.Address, after ledger.OutPoint, into map[ledger.OutPoint]change) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.next() {
	}
	for _, c := range x.byName[a] {
		if c.outPoint.Compare(after) > 0 {
			into[c.outPoint] = c
		}
	}
}

// Unspent returns coins of an address lock above after, in ascending order, at
// most limit (1 .. ledger.MaxUnspentPage; other values mean that). It shows every
// block that was published before the call.
func (db *DB) Unspent(a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	if limit < 1 || limit > ledger.MaxUnspentPage {
		limit = ledger.MaxUnspentPage
	}
	db.gate.RLock()
	defer db.gate.RUnlock()
	if db.closed.Load() {
		return nil, ErrClosed
	}
	changes := map[ledger.OutPoint]change{}
	db.mu.RLock()
	for _, l := range [...]*layer{db.frozen, db.live} {
		if l != nil {
			l.owned.changes(a, after, changes)
		}
	}
	from := append(addressKey(a, after), 0)
	if after.IsZero() {
		from = addressKey(a, after)
	}
	end := append(addressKey(a, ledger.OutPoint{TxID: ledger.TxID(slices.Repeat([]byte{0xff}, 32)), Index: 0xffff, Shard: 0xff}), 0)
	it, err := db.store.NewIter(bounds(from, end))
	db.mu.RUnlock()
	if err != nil {
		return nil, db.fault("read coins of an address", err)
	}
	defer it.Close()
	var fresh []change
	for _, c := range changes {
		if c.amount > 0 {
			fresh = append(fresh, c)
		}
	}
	slices.SortFunc(fresh, func(a, b change) int { return a.outPoint.Compare(b.outPoint) })
	page := make([]ledger.Coin, 0, min(limit, 16))
	add := func(c change) {
		page = append(page, ledger.Coin{OutPoint: c.outPoint, Amount: c.amount, Height: c.height, Lock: ledger.PayTo(a)})
	}
	for ok := it.First(); ok && len(page) < limit; ok = it.Next() {
		c, err := decodeOwned(it.Key(), it.Value())
		if err != nil {
			return nil, db.fault("read coins of an address", err)
		}
		if _, changed := changes[c.outPoint]; changed {
			continue
		}
		for len(fresh) > 0 && len(page) < limit && fresh[0].outPoint.Compare(c.outPoint) < 0 {
			add(fresh[0])
			fresh = fresh[1:]
		}
		if len(page) < limit {
			add(c)
		}
	}
	if err := it.Error(); err != nil {
		return nil, db.fault("read coins of an address", err)
	}
	for len(fresh) > 0 && len(page) < limit {
		add(fresh[0])
		fresh = fresh[1:]
	}
	return page, nil
}

func encodeOwned(b []byte, c *cell) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.amount)), c.height)
}

func decodeOwned(key, value []byte) (change, error) {
	k := scanner{rest: key}
	k.take(1 + 20)
	c := change{outPoint: k.outPoint()}
	s := scanner{rest: value}
	c.amount, c.height = amount.Amount(s.uint()), s.uint()
	if c.amount <= 0 || c.amount > amount.Supply || k.bad || len(k.rest) > 0 {
		s.bad = true
	}
	return c, s.end("coin of an address")
}
