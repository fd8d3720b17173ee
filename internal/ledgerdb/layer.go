package ledgerdb

import (
	"cmp"
	"slices"

	"github.com/bttnet/btt/ledger"
)

// layer is what some blocks in a row changed. DB.mu guards the live one; a
// frozen one does not change.
type layer struct {
	coins    map[ledger.OutPoint]cell // made here and not spent here
	spent    map[ledger.OutPoint]spend
	rows     map[ledger.TxID]Row
	deposits map[ledger.Deposit]struct{}
	slots    map[ledger.OutPoint]*ledger.Pending // nil: emptied
	events   [][]ledger.Event                    // by block, without the blocks that have none
	places   []Place
	first    uint64 // height of places[0]
	position Position
	owned    *addressIndex
}

// spend is a coin that is gone.
type spend struct {
	by      ledger.TxID
	address ledger.Address // of an address lock, else zero
	deeper  bool           // the coin was made in a layer below
}

func newLayer(p Position) *layer {
	return &layer{
		coins: map[ledger.OutPoint]cell{}, spent: map[ledger.OutPoint]spend{}, rows: map[ledger.TxID]Row{},
		deposits: map[ledger.Deposit]struct{}{}, slots: map[ledger.OutPoint]*ledger.Pending{},
		first: p.Head.Height + 1, position: p, owned: newAddressIndex(),
	}
}

// size counts what a flush would write.
func (l *layer) size() int { return len(l.coins) + len(l.spent) + len(l.rows) + len(l.deposits) }

// active reports whether a flush would write more than empty blocks.
func (l *layer) active() bool { return l.size() > 0 || len(l.slots) > 0 }

// Block is one durable block: what it changed, and where it is in the log.
type Block struct {
	Delta *ledger.Delta
	Place
	Offsets []int64  // of each transaction's bytes
	Sizes   []uint32 // of each transaction
}

// absorb takes in a block. deep holds the rows of older transactions whose state
// the block changes.
func (l *layer) absorb(b *Block, deep map[ledger.TxID]Row) {
	d := b.Delta
	for id, r := range deep {
		if _, here := l.rows[id]; !here {
			l.rows[id] = r
		}
	}
	for i, id := range d.TxIDs {
		l.rows[id] = Row{
			Offset: b.Offsets[i], Size: b.Sizes[i], Height: d.Head.Height, LedgerTime: d.Head.LedgerTime,
			Index: uint32(i), State: ledger.Committed,
		}
	}
	for i := range d.Events {
		l.note(&d.Events[i])
	}
	for _, o := range d.Freed {
		l.slots[o] = nil
	}
	for _, p := range d.Parked {
		l.slots[p.OutPoint] = p
	}
	for i := range d.Created {
		c := &d.Created[i]
		l.coins[c.OutPoint] = cell{c.Amount, c.Height, c.Lock}
	}
	for i := range d.Spent {
		o := d.Spent[i].Coin.OutPoint
		_, here := l.coins[o]
		delete(l.coins, o)
		l.spent[o] = spend{by: d.Spent[i].By, address: d.Spent[i].Coin.Lock.Address, deeper: !here}
	}
	for i := range d.Passed {
		l.spent[d.Passed[i].Coin.OutPoint] = spend{by: d.Passed[i].By}
	}
	for _, x := range d.Deposits {
		l.deposits[x] = struct{}{}
	}
	if len(d.Events) > 0 {
		l.events = append(l.events, d.Events)
	}
	l.places = append(l.places, b.Place)
	l.owned.queue(d)
	p := &l.position
	p.Head, p.Place = d.Head, b.Place
	p.Coins += uint64(len(d.Created)) - uint64(len(d.Spent))
	p.Transactions += uint64(len(d.TxIDs))
}

// note keeps a row in step with an event.
func (l *layer) note(e *ledger.Event) {
	state := ledger.Committed
	switch e.Kind {
	case ledger.EventParked:
		state = ledger.Parked
	case ledger.EventDisplaced:
		state = ledger.Displaced
	case ledger.EventMatured:
	default:
		return
	}
	r := l.rows[e.TxID]
	if r.State = state; e.Kind == ledger.EventMatured {
		r.Height, r.Index, r.LedgerTime = e.Height, e.Index, e.LedgerTime
	}
	l.rows[e.TxID] = r
}

// plant puts the coins of a genesis into an empty layer.
func (l *layer) plant(coins []ledger.Coin) {
	for _, c := range coins {
		l.coins[c.OutPoint] = cell{c.Amount, c.Height, c.Lock}
	}
	l.position.Coins = uint64(len(coins))
	l.owned.queue(&ledger.Delta{Created: coins})
}

func (l *layer) eventsAfter(from uint64, limit int) []ledger.Event {
	last := func(list []ledger.Event) uint64 { return list[len(list)-1].Cursor }
	at, _ := slices.BinarySearchFunc(l.events, from+1, func(list []ledger.Event, c uint64) int { return cmp.Compare(last(list), c) })
	var out []ledger.Event
	for _, list := range l.events[at:] {
		if first := list[0].Cursor; first <= from {
			list = list[from+1-first:]
		}
		if room := limit - len(out); len(list) >= room {
			return append(out, list[:room]...)
		}
		out = append(out, list...)
	}
	return out
}
