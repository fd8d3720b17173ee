package ledgerdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bttnet/btt/ledger"
)

// Defaults of Config.
const (
	DefaultCacheBytes  = 32 << 20
	DefaultEventsKept  = 1 << 18
	DefaultFlushSize   = 1 << 17 // changes in a layer; one transfer makes 3 to 5
	DefaultFlushPeriod = 15 * time.Second
)

// Limits.
const (
	memTableBytes = 4 << 20 // of the store; a full layer is written past it
	maxOpenFiles  = 256     // of the store
	maxLayers     = 2       // a live layer of so many FlushSizes waits for the disk
	maxIdleBlocks = 1 << 10 // blocks without transactions that a layer gathers
	AuditInline   = 2 << 20 // coins that Open adds up before it returns; of more the owner calls Audit
)

var (
	// ErrClosed says that a DB was closed or has failed.
	ErrClosed = errors.New("the ledger's database is closed")
	// errStale says that a directory holds nothing of use; it is made anew.
	errStale = errors.New("rebuilding from the block log")
)

// suspectFile marks a store in which damage was found while it ran.
const suspectFile = "suspect"

// Config says where a DB lives and how it runs.
type Config struct {
	Dir         string         // its own; anything in it may be deleted
	FS          vfs.FS         // nil = the operating system's
	Genesis     ledger.Genesis // the state before the first block
	CacheBytes  int64          // of blocks of the store; 0 = DefaultCacheBytes
	EventsKept  uint64         // newest events; 0 = DefaultEventsKept
	FlushSize   int            // 0 = DefaultFlushSize
	FlushPeriod time.Duration  // 0 = DefaultFlushPeriod; negative = only by size and at Close
	// Fatal is called once, from any goroutine, when the disk failed or the
	// store is damaged. The program must end; the log has everything.
	Fatal func(error)
}

// DB is an open database.
type DB struct {
	cfg     Config
	gate    sync.RWMutex // readers of store hold it; Close takes it
	store   *pebble.DB
	closed  atomic.Bool // set before gate is taken
	rebuilt error

	mu       sync.RWMutex
	position Position
	live     *layer
	frozen   *layer // being written, or nil
	slots    map[ledger.OutPoint]*ledger.Pending
	changed  chan struct{} // closed by the next Publish
	drained  chan struct{} // closed when frozen has become nil

	height atomic.Uint64 // of position
	pruned uint64        // events up to here are deleted; the flusher's
	wake   chan struct{}
	index  chan struct{}
	quit   chan struct{}
	ended  sync.WaitGroup
	failed chan struct{}
	failer sync.Once
	cause  error // set before failed closes
}

// Open opens or makes the database in cfg.Dir. A store that is damaged, of
// another network, or whose coins do not add up is thrown away (see Rebuilt); a
// disk that does not work is an error.
func Open(cfg Config) (*DB, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCacheBytes
	}
	if cfg.EventsKept == 0 {
		cfg.EventsKept = DefaultEventsKept
	}
	if cfg.FlushSize == 0 {
		cfg.FlushSize = DefaultFlushSize
	}
	if cfg.FlushPeriod == 0 {
		cfg.FlushPeriod = DefaultFlushPeriod
	}
	db, err := open(cfg)
	if errors.Is(err, errStale) {
		why := err
		if err := cfg.FS.RemoveAll(cfg.Dir); err != nil {
			return nil, fmt.Errorf("remove the ledger's stale database: %w", err)
		}
		if db, err = open(cfg); db != nil {
			db.rebuilt = why
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger's database %s (delete it to have it rebuilt): %w", cfg.Dir, err)
	}
	db.ended.Add(2)
	go db.flushLoop()
	go db.indexLoop()
	return db, nil
}

// open loads the store without starting anything.
func open(cfg Config) (*DB, error) {
	if _, err := cfg.FS.Stat(cfg.FS.PathJoin(cfg.Dir, suspectFile)); err == nil {
		return nil, fmt.Errorf("%w: damage was found in the database", errStale)
	}
	db := &DB{
		cfg: cfg, slots: map[ledger.OutPoint]*ledger.Pending{}, changed: make(chan struct{}), drained: make(chan struct{}),
		wake: make(chan struct{}, 1), index: make(chan struct{}, 1), quit: make(chan struct{}), failed: make(chan struct{}),
	}
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	err := db.guard(func() (err error) {
		db.store, err = pebble.Open(cfg.Dir, db.options())
		return err
	})
	if err != nil {
		return nil, unusable(err)
	}
	if err := db.load(); err != nil {
		if e := db.guard(db.store.Close); e != nil && !errors.Is(err, errStale) {
			return nil, errors.Join(err, e)
		}
		return nil, err
	}
	return db, nil
}

// stale tells damage from a disk that does not work.
func stale(err error) error {
	if damaged(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

func damaged(err error) bool {
	return err != nil && (pebble.IsCorruptionError(err) || errors.Is(err, errDecode))
}

// unusable judges an error of opening the store: what is not the disk's is the
// store's, such as a file of another version.
func unusable(err error) error {
	_, disk := errors.AsType[syscall.Errno](err)
	if disk && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: %w", errStale, err)
}

func (db *DB) options() *pebble.Options {
	o := &pebble.Options{
		FS: diskFS{db.cfg.FS, db}, DisableWAL: true, CacheSize: db.cfg.CacheBytes, MemTableSize: memTableBytes, MaxOpenFiles: maxOpenFiles,
		FormatMajorVersion: pebble.FormatNewest, Logger: storeLog{db},
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				db.suspect(err)
				db.fail(fmt.Errorf("write the ledger's database: %w", err))
			},
			DataCorruption: func(pebble.DataCorruptionInfo) {}, // who reads gets the error
		},
	}
	for i := range o.Levels {
		// Identifiers are random: there is nothing to compress.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// load reads position and slots, and checks the sums.
func (db *DB) load() error {
	network := db.cfg.Genesis.Hash()
	raw, closer, err := db.store.Get([]byte{keyMeta})
	if errors.Is(err, pebble.ErrNotFound) {
		db.position = Position{Network: network, Head: ledger.GenesisHead(db.cfg.Genesis), Place: Place{Hash: network}}
		db.live = newLayer(db.position)
		db.live.plant(db.cfg.Genesis.Coins())
		db.position = db.live.position
		return nil
	}
	if err != nil {
		return stale(err)
	}
	db.position, err = decodePosition(raw)
	if e := closer.Close(); err != nil || e != nil {
		return stale(errors.Join(err, e))
	}
	if db.position.Network != network {
		return fmt.Errorf("%w: the database is of another network", errStale)
	}
	if err := db.loadSlots(); err != nil {
		return err
	}
	if db.position.Coins <= AuditInline {
		if err := db.audit(context.Background()); err != nil {
			return stale(err)
		}
	}
	db.height.Store(db.position.Head.Height)
	db.live = newLayer(db.position)
	return nil
}

func (db *DB) loadSlots() error {
	it, err := db.store.NewIter(bounds([]byte{keyParked}, keyEnd(keyParked)))
	if err != nil {
		return stale(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		k := scanner{rest: it.Key()[1:]}
		o := k.outPoint()
		p, err := decodeParked(o, it.Value())
		if err != nil {
			return stale(err)
		}
		db.slots[o] = p
	}
	return stale(it.Error())
}

// Rebuilt says why Open threw the former store away, or nil.
func (db *DB) Rebuilt() error { return db.rebuilt }

// Position returns the newest block that was published.
func (db *DB) Position() Position {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.position
}

// Meta returns what ledger.Resume needs beside the coins. The caller must not
// change the parked transactions.
func (db *DB) Meta() ledger.Meta {
	db.mu.RLock()
	defer db.mu.RUnlock()
	m := ledger.Meta{Head: db.position.Head}
	for _, p := range db.slots {
		m.Pending = append(m.Pending, ledger.Pending{OutPoint: p.OutPoint, Tx: p.Tx, TxID: p.TxID, Height: p.Height, Index: p.Index, Replacements: p.Replacements})
	}
	return m
}

// fail records the first failure and tells Config.Fatal.
func (db *DB) fail(err error) {
	db.failer.Do(func() {
		db.cause = err
		close(db.failed)
		if db.cfg.Fatal != nil {
			go db.cfg.Fatal(err) // on its own: the store may hold locks here
		}
	})
}

// Err returns the failure that ended the DB, or nil.
func (db *DB) Err() error {
	select {
	case <-db.failed:
		return db.cause
	default:
		return nil
	}
}

// fault judges an error of a read: damage ends the DB and makes the next Open
// rebuild it.
func (db *DB) fault(doing string, err error) error {
	if !errors.Is(err, ErrClosed) && db.suspect(err) {
		db.fail(fmt.Errorf("%s: %w", doing, err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// suspect marks the store for the next Open if err is damage.
func (db *DB) suspect(err error) bool {
	if !damaged(err) {
		return false
	}
	f, e := db.cfg.FS.Create(db.cfg.FS.PathJoin(db.cfg.Dir, suspectFile), vfs.WriteCategoryUnspecified)
	if e == nil {
		_ = errors.Join(f.Sync(), f.Close()) // without the mark the same damage is found again
	}
	return true
}

// Close writes what is not written yet and closes the store. It returns the
// failure that ended the DB, if one did. Reads that come later get ErrClosed.
func (db *DB) Close() error { return db.close(true) }

// Abandon is Close without writing: what was published since the last flush must
// not count.
func (db *DB) Abandon() { _ = db.close(false) }

func (db *DB) close(write bool) error {
	close(db.quit)
	idle := make(chan struct{})
	go func() { // ends with the goroutines of the DB
		db.ended.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-db.failed:
	}
	for write && db.Err() == nil {
		if err := db.guard(db.flush); err != nil {
			db.fail(err)
		}
		if frozen, _ := db.freeze(true); !frozen {
			break
		}
	}
	db.closed.Store(true)
	if db.Err() != nil {
		// A store that cannot write may hold its locks for ever or wait for a
		// flush that never comes; the process ends.
		return db.Err()
	}
	db.gate.Lock()
	defer db.gate.Unlock()
	return db.guard(db.store.Close)
}

// guard runs a call into the store that may never come back (disk.go).
func (db *DB) guard(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }() // ends with f, or with the process
	select {
	case err := <-done:
		return err
	case <-db.failed:
		return db.cause
	}
}

func bounds(from, to []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: from, UpperBound: to}
}
