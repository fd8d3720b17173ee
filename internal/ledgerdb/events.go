package ledgerdb

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/bttnet/btt/ledger"
)

// Marks of what an encoded event carries.
const (
	eventTxID = 1 << iota // its transaction is not that of the event before
	eventOutPoint
	eventBy
	eventSequence // and lock time
)

// maxEventAddresses is more than a transaction can touch.
const maxEventAddresses = ledger.MaxInputs + ledger.MaxOutputs

// encodeEvents packs the events of one block, which share height and time and
// have cursors in a row.
func encodeEvents(b []byte, list []ledger.Event) []byte {
	b = binary.AppendUvarint(b, list[0].Cursor)
	b = binary.AppendUvarint(b, list[0].Height)
	b = binary.AppendUvarint(b, list[0].LedgerTime)
	b = binary.AppendUvarint(b, uint64(len(list)))
	var last ledger.TxID
	for i := range list {
		e := &list[i]
		var marks byte
		if e.TxID != last {
			marks |= eventTxID
		}
		if !e.OutPoint.IsZero() {
			marks |= eventOutPoint
		}
		if !e.By.IsZero() {
			marks |= eventBy
		}
		if e.Sequence != 0 || e.LockTime != 0 {
			marks |= eventSequence
		}
		b = append(b, byte(e.Kind), marks)
		b = binary.AppendUvarint(b, uint64(e.Index))
		if marks&eventTxID != 0 {
			b, last = append(b, e.TxID[:]...), e.TxID
		}
		if marks&eventOutPoint != 0 {
			b = appendOutPoint(b, e.OutPoint)
		}
		if marks&eventBy != 0 {
			b = append(b, e.By[:]...)
		}
		if marks&eventSequence != 0 {
			b = binary.AppendUvarint(b, uint64(e.Sequence))
			b = binary.AppendUvarint(b, e.LockTime)
		}
		b = binary.AppendUvarint(b, uint64(len(e.Addresses)))
		for _, a := range e.Addresses {
			b = append(b, a[:]...)
		}
	}
	return b
}

func decodeEvents(raw []byte) ([]ledger.Event, error) {
	s := scanner{rest: raw}
	cursor, height, clock, count := s.uint(), s.uint(), s.uint(), s.uint()
	if count > uint64(len(raw)) {
		return nil, fmt.Errorf("events: %w", errDecode)
	}
	list := make([]ledger.Event, 0, count)
	var last ledger.TxID
	for i := range count {
		e := ledger.Event{Cursor: cursor + i, Height: height, LedgerTime: clock}
		e.Kind = ledger.EventKind(s.take(1)[0])
		marks := s.take(1)[0]
		e.Index = uint32(s.uint())
		if marks&eventTxID != 0 {
			copy(last[:], s.take(32))
		}
		e.TxID = last
		if marks&eventOutPoint != 0 {
			e.OutPoint = s.outPoint()
		}
		if marks&eventBy != 0 {
			copy(e.By[:], s.take(32))
		}
		if marks&eventSequence != 0 {
			e.Sequence, e.LockTime = uint32(s.uint()), s.uint()
		}
		n := s.uint()
		if s.bad || n > maxEventAddresses || n*20 > uint64(len(s.rest)) {
			return nil, fmt.Errorf("events: %w", errDecode)
		}
		for range n {
			e.Addresses = append(e.Addresses, ledger.Address(s.take(20)))
		}
		list = append(list, e)
	}
	return list, s.end("events")
}

// Events returns up to limit events with cursors above from, in order, and a
// channel that closes at the next Publish. When events above from are gone it
// fails with ledger.ErrCursorGone. Fewer than limit do not mean the end, none do.
func (db *DB) Events(from uint64, limit int) ([]ledger.Event, <-chan struct{}, error) {
	db.mu.RLock()
	last, changed := db.position.Head.Cursor, db.changed
	var list []ledger.Event
	for _, l := range [...]*layer{db.frozen, db.live} {
		if l != nil && len(list) == 0 {
			list = l.eventsAfter(from, limit)
		}
	}
	db.mu.RUnlock()
	switch {
	case from >= last:
		return nil, changed, nil
	case last-from > db.cfg.EventsKept:
		return nil, changed, ledger.ErrCursorGone
	case len(list) > 0 && list[0].Cursor == from+1:
		return list, changed, nil
	}
	list, err := db.storedEvents(from, limit)
	return list, changed, err
}

// storedEvents reads one block's events from the store.
func (db *DB) storedEvents(from uint64, limit int) ([]ledger.Event, error) {
	db.gate.RLock()
	defer db.gate.RUnlock()
	if db.closed.Load() {
		return nil, ErrClosed
	}
	it, err := db.store.NewIter(bounds([]byte{keyEvents}, keyEnd(keyEvents)))
	if err != nil {
		return nil, db.fault("read events", err)
	}
	defer it.Close()
	if !it.SeekLT(numberKey(keyEvents, from+2)) {
		if err := it.Error(); err != nil {
			return nil, db.fault("read events", err)
		}
		return nil, ledger.ErrCursorGone
	}
	raw, err := it.ValueAndErr()
	if err != nil {
		return nil, db.fault("read events", err)
	}
	list, err := decodeEvents(raw)
	if err != nil {
		return nil, db.fault("read events", err)
	}
	at, found := slices.BinarySearchFunc(list, from+1, func(e ledger.Event, c uint64) int { return int(int64(e.Cursor) - int64(c)) })
	if !found {
		return nil, ledger.ErrCursorGone
	}
	return list[at:min(len(list), at+limit)], nil
}
