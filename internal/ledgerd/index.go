package ledgerd

import (
	"slices"
	"sync"

	"github.com/bttnet/btt/ledger"
)

// index is what clients see: the durable part of the ledger, by transaction, by
// output, by address and by event. The writer publishes a block into it after the
// block is durable and before anyone is answered, so it never shows what a crash
// could take back and always shows what was acknowledged. It is a leaf: one lock,
// no calls out.
type index struct {
	mu        sync.RWMutex
	status    ledger.Status
	rows      []row
	byID      map[ledger.TxID]uint32
	coins     map[coinKey]*ledger.Coin
	spentBy   map[coinKey]uint32
	byAddress map[ledger.Address][]*ledger.Coin // ascending by outpoint
	slots     map[coinKey]slot
	events    eventRing
	changed   chan struct{} // closed when something was published
}

// row is one transaction: where its bytes are and what became of it. Row 0
// stands for the genesis, which is no transaction.
type row struct {
	id         ledger.TxID
	offset     int64
	height     uint64
	ledgerTime uint64
	size       uint32
	index      uint32
	state      ledger.TxState
}

// coinKey is an outpoint with its transaction as a row: a quarter of the size.
// Rows are 32-bit numbers: memory ends long before they do.
type coinKey struct {
	row   uint32
	index uint16
}

// slot is the parked transaction of an output.
type slot struct {
	by       ledger.TxID
	sequence uint32
	lockTime uint64
}

// newIndex returns the index of a genesis.
func newIndex(g ledger.Genesis, s ledger.Status, keep int) *index {
	x := &index{
		status: s, byID: map[ledger.TxID]uint32{}, coins: map[coinKey]*ledger.Coin{}, spentBy: map[coinKey]uint32{},
		byAddress: map[ledger.Address][]*ledger.Coin{}, slots: map[coinKey]slot{},
		events: newEventRing(keep), changed: make(chan struct{}),
	}
	x.rows = []row{{}}
	for _, c := range g.Coins() {
		x.rows[0].id = c.OutPoint.TxID
		x.byID[c.OutPoint.TxID] = 0
		x.create(c)
	}
	return x
}

// publish takes in one durable block: d as executed, its raw transactions at
// offsets of the log.
func (x *index) publish(d *ledger.Delta, s ledger.Status, offsets []int64, sizes []uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, id := range d.TxIDs {
		r := row{id: id, offset: offsets[i], size: sizes[i], height: d.Head.Height, ledgerTime: d.Head.LedgerTime, index: uint32(i)}
		if at, known := x.byID[id]; known {
			x.rows[at] = r // displaced once, submitted again
			continue
		}
		x.byID[id] = uint32(len(x.rows))
		x.rows = append(x.rows, r)
	}
	for i := range d.Events {
		e := &d.Events[i]
		r := &x.rows[x.byID[e.TxID]]
		switch e.Kind {
		case ledger.EventCommitted:
			r.state = ledger.Committed
		case ledger.EventParked:
			r.state = ledger.Parked
		case ledger.EventDisplaced:
			r.state = ledger.Displaced
		case ledger.EventMatured:
			r.state, r.height, r.index, r.ledgerTime = ledger.Committed, e.Height, e.Index, e.LedgerTime
		}
	}
	for _, o := range d.Freed {
		delete(x.slots, x.key(o))
	}
	for _, p := range d.Parked {
		x.slots[x.key(p.OutPoint)] = slot{by: p.TxID, sequence: p.Tx.Sequence, lockTime: p.Tx.LockTime}
	}
	for i := range d.Created {
		x.create(d.Created[i])
	}
	for i := range d.Spent {
		x.spend(&d.Spent[i])
	}
	for i := range d.Passed {
		x.spentBy[x.key(d.Passed[i].Coin.OutPoint)] = x.byID[d.Passed[i].By]
	}
	x.status = s
	x.events.append(d.Events)
	close(x.changed)
	x.changed = make(chan struct{})
}

// key names an outpoint of a transaction that is known.
func (x *index) key(o ledger.OutPoint) coinKey { return coinKey{x.byID[o.TxID], o.Index} }

func (x *index) create(c ledger.Coin) {
	kept := &c
	x.coins[x.key(c.OutPoint)] = kept
	if c.Lock.Kind == ledger.AddressLock {
		list := x.byAddress[c.Lock.Address]
		at, _ := findCoin(list, c.OutPoint)
		x.byAddress[c.Lock.Address] = slices.Insert(list, at, kept)
	}
}

func (x *index) spend(s *ledger.Spend) {
	key := x.key(s.Coin.OutPoint)
	delete(x.coins, key)
	x.spentBy[key] = x.byID[s.By]
	if s.Coin.Lock.Kind != ledger.AddressLock {
		return
	}
	list := x.byAddress[s.Coin.Lock.Address]
	at, found := findCoin(list, s.Coin.OutPoint)
	if !found {
		return
	}
	if list = slices.Delete(list, at, at+1); len(list) == 0 {
		delete(x.byAddress, s.Coin.Lock.Address)
		return
	}
	x.byAddress[s.Coin.Lock.Address] = list
}

func findCoin(list []*ledger.Coin, o ledger.OutPoint) (int, bool) {
	return slices.BinarySearchFunc(list, o, func(c *ledger.Coin, o ledger.OutPoint) int { return c.OutPoint.Compare(o) })
}

// head returns the status as of the newest durable block.
func (x *index) head() ledger.Status {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.status
}

// lookup returns the row of a transaction.
func (x *index) lookup(id ledger.TxID) (row, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, ok := x.byID[id]
	if !ok || at == 0 {
		return row{}, false
	}
	return x.rows[at], true
}

// receipt answers for a transaction that needs no second block: it is committed
// or parked already.
func (x *index) receipt(id ledger.TxID) (ledger.Receipt, bool) {
	r, ok := x.lookup(id)
	if !ok || r.state == ledger.Displaced {
		return ledger.Receipt{}, false
	}
	return r.receipt(), true
}

func (r *row) receipt() ledger.Receipt {
	return ledger.Receipt{TxID: r.id, State: r.state, Height: r.height, Index: r.index}
}

// outpoint says what became of an output.
func (x *index) outpoint(o ledger.OutPoint) ledger.OutpointState {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, ok := x.byID[o.TxID]
	if !ok || o.Shard != 0 {
		return ledger.OutpointState{}
	}
	key := coinKey{at, o.Index}
	if by, spent := x.spentBy[key]; spent {
		return ledger.OutpointState{Status: ledger.OutpointSpent, By: x.rows[by].id}
	}
	c, ok := x.coins[key]
	if !ok {
		return ledger.OutpointState{}
	}
	if s, parked := x.slots[key]; parked {
		return ledger.OutpointState{Status: ledger.OutpointParked, Coin: *c, By: s.by, Sequence: s.sequence, LockTime: s.lockTime}
	}
	return ledger.OutpointState{Status: ledger.OutpointUnspent, Coin: *c}
}

// unspent returns coins of an address above after.
func (x *index) unspent(a ledger.Address, after ledger.OutPoint, limit int) []ledger.Coin {
	if limit < 1 || limit > ledger.MaxUnspentPage {
		limit = ledger.MaxUnspentPage
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := x.byAddress[a]
	at, found := findCoin(list, after)
	if found {
		at++
	}
	list = list[at:]
	page := make([]ledger.Coin, 0, min(limit, len(list)))
	for _, c := range list[:min(limit, len(list))] {
		page = append(page, *c)
	}
	return page
}

// since copies up to limit events above from, and returns a channel that closes
// at the next publication. It fails when events above from are gone.
func (x *index) since(from uint64, limit int) ([]ledger.Event, <-chan struct{}, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list, err := x.events.since(from, limit)
	return list, x.changed, err
}
