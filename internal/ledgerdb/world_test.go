package ledgerdb

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// world is a ledger that works, the database under test below it, and books kept
// by hand to compare with.
type world struct {
	t       *rapid.T
	genesis ledger.Genesis
	fs      *vfs.MemFS
	db      *DB
	state   *ledger.State
	log     []Block // every block ever
	keys    []*ledger.PrivateKey
	clock   uint64
	size    int

	coins  map[ledger.OutPoint]ledger.Coin
	spent  map[ledger.OutPoint]ledger.TxID
	rows   map[ledger.TxID]Row
	slots  map[ledger.OutPoint]ledger.TxID
	events []ledger.Event
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, genesis: ledgertest.Genesis(), fs: vfs.NewCrashableMem(), clock: ledgertest.StartTime, size: rapid.IntRange(1, 40).Draw(t, "flush size"),
		coins: map[ledger.OutPoint]ledger.Coin{}, spent: map[ledger.OutPoint]ledger.TxID{}, rows: map[ledger.TxID]Row{}, slots: map[ledger.OutPoint]ledger.TxID{},
	}
	w.keys = append(w.keys, ledgertest.FaucetKey())
	for i := range 3 {
		w.keys = append(w.keys, ledgertest.Key(fmt.Sprint("owner ", i)))
	}
	for _, c := range w.genesis.Coins() {
		w.coins[c.OutPoint] = c
	}
	w.open()
	return w
}

// open opens the database and brings it to the newest block.
func (w *world) open() {
	var err error
	w.db, err = Open(Config{Dir: "db", FS: w.fs, Genesis: w.genesis, FlushSize: w.size, FlushPeriod: -1, EventsKept: 60, CacheBytes: 1 << 20, Fatal: func(err error) { panic(err) }})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.Rebuilt(); err != nil {
		w.t.Fatalf("a good database was thrown away: %v", err)
	}
	if w.state, err = ledger.Resume(w.genesis, w.db.Ahead(), w.db.Meta()); err != nil {
		w.t.Fatal(err)
	}
	w.state.SetVerifier(func([]ledger.SignatureCheck) []int { return nil })
	for _, b := range w.log[w.db.Position().Head.Height:] {
		d, err := w.state.Replay(b.Delta.Block)
		if err == nil {
			err = w.state.Commit(d)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		b.Delta = d
		if err := w.db.Publish(b); err != nil {
			w.t.Fatal(err)
		}
	}
}

// ordered lists the keys of a map in order, so that runs repeat.
func ordered[V any](m map[ledger.OutPoint]V) []ledger.OutPoint {
	return slices.SortedFunc(maps.Keys(m), ledger.OutPoint.Compare)
}

// transaction spends a random coin, or two, in a random way.
func (w *world) transaction() *ledger.Tx {
	t := w.t
	list := ordered(w.coins)
	tx := &ledger.Tx{Kind: ledger.Transfer}
	first := w.coins[rapid.SampledFrom(list).Draw(t, "coin")]
	tx.Inputs = []ledger.OutPoint{first.OutPoint}
	sum := first.Amount
	locks := []ledger.Lock{first.Lock}
	if rapid.Bool().Draw(t, "second") && first.Lock.Kind == ledger.AddressLock {
		if c := w.coins[rapid.SampledFrom(list).Draw(t, "another")]; c.OutPoint != first.OutPoint && c.Lock.Kind == ledger.AddressLock {
			tx.Inputs, sum = append(tx.Inputs, c.OutPoint), sum+c.Amount
			if c.Lock != first.Lock {
				locks = append(locks, c.Lock)
			}
		}
	}
	if first.Lock.Kind == ledger.JointLock && rapid.Bool().Draw(t, "park") {
		tx.LockTime = w.state.Head().LedgerTime + uint64(rapid.IntRange(1, 90).Draw(t, "lock"))
	}
	tx.Sequence = uint32(rapid.IntRange(0, 5).Draw(t, "sequence"))
	for n := rapid.IntRange(1, 2).Draw(t, "outputs"); n > 0; n-- {
		part := sum
		if n > 1 {
			part = sum / 2
		}
		if sum -= part; part < 2*amount.BTT {
			break
		}
		a, b := rapid.SampledFrom(w.keys).Draw(t, "to"), rapid.SampledFrom(w.keys).Draw(t, "with")
		lock := ledger.PayTo(a.Address())
		if rapid.IntRange(0, 2).Draw(t, "joint") == 0 {
			lock = ledger.Joint(a.PublicKey(), b.PublicKey())
		}
		tx.Outputs = append(tx.Outputs, ledger.Output{Amount: part, Lock: lock})
	}
	for _, l := range locks {
		wit := ledger.Witness{Signatures: make([]ledger.Signature, 1)}
		for _, k := range w.keys {
			if l.Kind == ledger.AddressLock && k.Address() == l.Address {
				wit.Keys = []ledger.PublicKey{k.PublicKey()}
			}
		}
		if l.Kind == ledger.JointLock {
			wit.Signatures = make([]ledger.Signature, 2)
		}
		tx.Witnesses = append(tx.Witnesses, wit)
	}
	return tx
}

// block executes a block of random transactions and publishes it.
func (w *world) block() {
	w.clock += uint64(rapid.IntRange(0, 40).Draw(w.t, "seconds"))
	b := ledger.Block{Height: w.state.Head().Height + 1, Time: w.clock}
	for range rapid.IntRange(0, 5).Draw(w.t, "transactions") {
		b.Txs = append(b.Txs, w.transaction())
	}
	d, _, err := w.state.Prepare(b)
	if err == nil {
		err = w.state.Commit(d)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	n := int64(len(w.log))
	out := Block{Delta: d, Place: Place{Start: n * 100, End: n*100 + 100, Hash: [32]byte{byte(n), byte(n >> 8), 1}}}
	for i := range d.TxIDs {
		out.Offsets, out.Sizes = append(out.Offsets, n*100+int64(i)), append(out.Sizes, uint32(i+1))
	}
	if err := w.db.Publish(out); err != nil {
		w.t.Fatal(err)
	}
	w.log = append(w.log, out)
	w.book(&out)
}

// book keeps the books by hand.
func (w *world) book(b *Block) {
	d := b.Delta
	for i, id := range d.TxIDs {
		w.rows[id] = Row{Offset: b.Offsets[i], Size: b.Sizes[i], Height: d.Head.Height, LedgerTime: d.Head.LedgerTime, Index: uint32(i)}
	}
	for _, e := range d.Events {
		r := w.rows[e.TxID]
		switch e.Kind {
		case ledger.EventCommitted:
			r.State = ledger.Committed
		case ledger.EventParked:
			r.State = ledger.Parked
			w.slots[e.OutPoint] = e.TxID
		case ledger.EventDisplaced:
			r.State = ledger.Displaced
		case ledger.EventMatured:
			r.State, r.Height, r.Index, r.LedgerTime = ledger.Committed, e.Height, e.Index, e.LedgerTime
		case ledger.EventSpent:
			w.spent[e.OutPoint] = e.TxID
			delete(w.coins, e.OutPoint)
			delete(w.slots, e.OutPoint)
		}
		w.rows[e.TxID] = r
	}
	for _, c := range d.Created {
		w.coins[c.OutPoint] = c
	}
	w.events = append(w.events, d.Events...)
}

// check compares everything that can be asked.
func (w *world) check() {
	t := w.t
	for id, want := range w.rows {
		if got, ok, err := w.db.Row(id); !ok || err != nil || got != want {
			t.Fatalf("transaction %s: %+v %v %v, want %+v", id, got, ok, err, want)
		}
	}
	for o, c := range w.coins {
		got, err := w.db.Outpoint(o)
		want := ledger.OutpointState{Status: ledger.OutpointUnspent, Coin: c}
		if by, parked := w.slots[o]; parked {
			p, _ := w.state.Slot(o)
			want = ledger.OutpointState{Status: ledger.OutpointParked, Coin: c, By: by, Sequence: p.Tx.Sequence, LockTime: p.Tx.LockTime}
		}
		if err != nil || got != want {
			t.Fatalf("output %s: %+v %v, want %+v", o, got, err, want)
		}
	}
	for o, by := range w.spent {
		if got, err := w.db.Outpoint(o); err != nil || got.Status != ledger.OutpointSpent || got.By != by {
			t.Fatalf("spent output %s: %+v %v, want by %s", o, got, err, by)
		}
	}
	for i := range w.log {
		if got, ok, err := w.db.Block(uint64(i) + 1); !ok || err != nil || got != w.log[i].Place {
			t.Fatalf("block %d: %+v %v %v", i+1, got, ok, err)
		}
	}
	if got := w.db.Position(); got.Coins != uint64(len(w.coins)) || got.Head != w.state.Head() {
		t.Fatalf("position %+v with %d coins, want %+v", got, len(w.coins), w.state.Head())
	}
	w.checkAddresses()
	w.checkEvents()
	if err := w.db.Audit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) checkAddresses() {
	for _, k := range w.keys {
		var want, got []ledger.Coin
		for _, o := range ordered(w.coins) {
			if c := w.coins[o]; c.Lock == ledger.PayTo(k.Address()) {
				want = append(want, c)
			}
		}
		limit := rapid.IntRange(1, 7).Draw(w.t, "page")
		var after ledger.OutPoint
		for {
			page, err := w.db.Unspent(k.Address(), after, limit)
			if err != nil || len(page) > limit {
				w.t.Fatalf("page of %d: %v", len(page), err)
			}
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1].OutPoint
		}
		if !reflect.DeepEqual(got, want) {
			w.t.Fatalf("coins of %s: %d, want %d", k.Address(), len(got), len(want))
		}
	}
}

func (w *world) checkEvents() {
	last := uint64(len(w.events))
	for _, from := range []uint64{last, last - min(last, 1), last - min(last, 30), last - min(last, 60)} {
		var got []ledger.Event
		for at := from; ; at = got[len(got)-1].Cursor {
			list, _, err := w.db.Events(at, rapid.IntRange(1, 9).Draw(w.t, "events"))
			if err != nil {
				w.t.Fatalf("events after %d of %d: %v", at, last, err)
			}
			if len(list) == 0 {
				break
			}
			got = append(got, list...)
		}
		if !slices.EqualFunc(got, w.events[from:], sameEvent) {
			w.t.Fatalf("events after %d differ: %d, want %d", from, len(got), len(w.events[from:]))
		}
	}
	if last > 60 {
		if _, _, err := w.db.Events(last-61, 1); !errors.Is(err, ledger.ErrCursorGone) {
			w.t.Fatalf("events that are gone: %v", err)
		}
	}
}

// sameEvent compares events; no addresses may be an empty list or none.
func sameEvent(a, b ledger.Event) bool {
	same := slices.Equal(a.Addresses, b.Addresses)
	a.Addresses, b.Addresses = nil, nil
	return same && reflect.DeepEqual(a, b)
}
