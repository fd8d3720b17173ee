package ledgerdb

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/bttnet/btt/ledger"
)

// Publish takes in the next block, which the log holds durably, and shows it to
// readers. The delta must not change afterwards. An error ends the DB.
func (db *DB) Publish(b Block) error {
	deep, err := db.older(b.Delta)
	if err != nil {
		return err
	}
	db.mu.Lock()
	if got, want := b.Delta.Head.Height, db.position.Head.Height+1; got != want {
		db.mu.Unlock()
		return fmt.Errorf("publish block %d: the next is %d", got, want)
	}
	db.live.absorb(&b, deep)
	for _, o := range b.Delta.Freed {
		delete(db.slots, o)
	}
	for _, p := range b.Delta.Parked {
		db.slots[p.OutPoint] = p
	}
	db.position = db.live.position
	db.height.Store(db.position.Head.Height)
	close(db.changed)
	db.changed = make(chan struct{})
	size := db.live.size()
	db.mu.Unlock()
	signal(db.index)
	if size >= db.cfg.FlushSize {
		return db.makeRoom(size)
	}
	return nil
}

// older returns the rows of transactions that d displaces or matures and that
// are not in the live layer.
func (db *DB) older(d *ledger.Delta) (map[ledger.TxID]Row, error) {
	if len(d.Displaced)+len(d.Matured) == 0 {
		return nil, nil
	}
	deep := map[ledger.TxID]Row{}
	add := func(id ledger.TxID) error {
		r, ok, err := db.Row(id)
		if ok {
			deep[id] = r
		}
		return err
	}
	for _, x := range d.Displaced {
		if err := add(x.TxID); err != nil {
			return nil, err
		}
	}
	for _, p := range d.Matured {
		if err := add(p.TxID); err != nil {
			return nil, err
		}
	}
	return deep, nil
}

// signal wakes a goroutine that may be awake already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// makeRoom starts a flush; when the disk is far behind, it waits.
func (db *DB) makeRoom(size int) error {
	for {
		frozen, drained := db.freeze(false)
		if frozen {
			signal(db.wake)
			return nil
		}
		if size < maxLayers*db.cfg.FlushSize {
			return db.Err()
		}
		select {
		case <-drained:
		case <-db.failed:
			return db.Err()
		}
	}
}

// freeze hands the live layer to the flusher unless that is busy; then drained
// closes when it is free. Both are of one moment: a channel that is read later
// may be the next one, and nothing closes that. idle counts blocks without
// transactions as something to write.
func (db *DB) freeze(idle bool) (done bool, drained <-chan struct{}) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.frozen != nil || !db.live.active() && (!idle || len(db.live.places) == 0) {
		return false, db.drained
	}
	db.frozen, db.live = db.live, newLayer(db.position)
	return true, nil
}

// flushLoop writes layers when they are large, or old. It ends with Close or
// the first failure.
func (db *DB) flushLoop() {
	defer db.ended.Done()
	var tick <-chan time.Time
	if db.cfg.FlushPeriod > 0 {
		t := time.NewTicker(db.cfg.FlushPeriod)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-db.wake:
		case <-tick:
			db.mu.RLock()
			idle := len(db.live.places) >= maxIdleBlocks
			db.mu.RUnlock()
			db.freeze(idle)
		case <-db.quit:
			return
		case <-db.failed:
			return
		}
		if err := db.flush(); err != nil {
			db.fail(err)
			return
		}
	}
}

// flush writes the frozen layer, shows it in the store, and waits for the disk.
func (db *DB) flush() error {
	db.mu.RLock()
	l := db.frozen
	db.mu.RUnlock()
	if l == nil {
		return nil
	}
	batch := db.store.NewBatchWithSize(l.size()*96 + 4096)
	l.write(batch)
	if err := db.prune(batch, l.position.Head.Cursor); err != nil {
		return err
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("write the ledger's database: %w", err)
	}
	db.mu.Lock()
	db.frozen = nil
	close(db.drained)
	db.drained = make(chan struct{})
	db.mu.Unlock()
	done, err := db.store.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush the ledger's database: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-db.failed:
		return db.Err()
	}
}

// write puts a layer into one batch, the position with it: the store holds all
// of a layer or nothing. Errors of a batch in memory come back at its commit.
func (l *layer) write(b *pebble.Batch) {
	var value []byte
	for o, c := range l.coins {
		value = c.encode(value[:0])
		_ = b.Set(outPointKey(keyCoin, o), value, nil)
		if c.lock.Kind == ledger.AddressLock {
			value = encodeOwned(value[:0], &c)
			_ = b.Set(addressKey(c.lock.Address, o), value, nil)
		}
	}
	for o, s := range l.spent {
		_ = b.Set(outPointKey(keySpent, o), s.by[:], nil)
		if !s.deeper {
			continue
		}
		_ = b.Delete(outPointKey(keyCoin, o), nil)
		if s.address != (ledger.Address{}) {
			_ = b.Delete(addressKey(s.address, o), nil)
		}
	}
	for id, r := range l.rows {
		value = r.encode(value[:0])
		_ = b.Set(rowKey(id), value, nil)
	}
	for d := range l.deposits {
		_ = b.Set(depositKey(d), nil, nil)
	}
	for o, p := range l.slots {
		if p == nil {
			_ = b.Delete(outPointKey(keyParked, o), nil)
			continue
		}
		value = encodeParked(value[:0], p)
		_ = b.Set(outPointKey(keyParked, o), value, nil)
	}
	for _, list := range l.events {
		value = encodeEvents(value[:0], list)
		_ = b.Set(numberKey(keyEvents, list[0].Cursor), value, nil)
	}
	for i := range l.places {
		value = l.places[i].encode(value[:0])
		_ = b.Set(numberKey(keyBlock, l.first+uint64(i)), value, nil)
	}
	_ = b.Set([]byte{keyMeta}, l.position.encode(value[:0]), nil)
}

// prune deletes events that are too old, an eighth of what is kept at a time.
func (db *DB) prune(b *pebble.Batch, last uint64) error {
	keep := db.cfg.EventsKept
	if last < keep+db.pruned+keep/8+1 {
		return nil
	}
	it, err := db.store.NewIter(bounds([]byte{keyEvents}, keyEnd(keyEvents)))
	if err != nil {
		return db.fault("prune events", err)
	}
	defer it.Close()
	// The newest block that begins at or before the first event to keep stays.
	if it.SeekLT(numberKey(keyEvents, last-keep+2)) {
		_ = b.DeleteRange(numberKey(keyEvents, 0), it.Key(), nil)
		db.pruned = last - keep
	}
	if err := it.Error(); err != nil {
		return db.fault("prune events", err)
	}
	return nil
}

// indexLoop keeps the index by address near the commits. It ends with Close or
// the first failure.
func (db *DB) indexLoop() {
	defer db.ended.Done()
	for {
		select {
		case <-db.index:
		case <-db.quit:
			return
		case <-db.failed:
			return
		}
		db.mu.RLock()
		live := db.live.owned
		db.mu.RUnlock()
		for live.step() {
		}
	}
}
