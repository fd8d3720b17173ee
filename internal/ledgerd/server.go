// Package ledgerd is the ledger as a service: the state machine of package
// ledger behind a durable block log, with an interface in process and over HTTP
// (R3.7, R3.8, R3.10, R3.13; one operator who cannot forge, hide or count twice:
// A31). cmd/btt, programs that embed one (OpenLedger of the root package) and the
// tests run it; everyone else sees a ledger.Client.
//
// # Life of a transaction
//
// Submit decodes and queues it. The executor goroutine takes all that waits,
// verifies the signatures in one batch and executes them as one block. The writer
// goroutine signs the block, appends it to the log, waits for the disk,
// publishes the block to readers, and only then answers. The two work on
// neighbouring blocks at the same time; the length of the queue makes the blocks
// as large as the load needs. An empty block every few seconds carries the
// ledger time on (LR6).
//
// # Failure
//
// A write or sync that fails ends the server: nothing is retried, since after a
// failed sync nobody knows what the disk holds. Config.Fatal hears of it and
// should end the process. The next Open replays the log, cuts an unfinished last
// record and refuses to start on anything else that is damaged.
//
// The state itself, and all that clients ask for, is in internal/ledgerdb: a
// cache that is behind the log, never ahead of it, and may be deleted.
//
// # Files
//
// The directory holds genesis.json, blocks.log, tree.* (built from the log when
// they are missing), operator.key (unless the key is given), lock and the directory
// cache; all are readable by their owner alone.
//
// Open starts the two goroutines of a Server, and one that audits a long history;
// Close ends them.
package ledgerd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
)

// DefaultHeartbeat is the longest time between two blocks (LR6).
const DefaultHeartbeat = 5 * time.Second

// queueLength is how many transactions wait for the executor before Submit
// itself waits: so many closes of channels, and so many others.
const queueLength = 2 * MaxBlockTransactions

var (
	// ErrLocked says that another server uses the directory.
	ErrLocked = errors.New("another server runs on this directory; stop it first")
	// ErrClosed says that the server was closed.
	ErrClosed = errors.New("the ledger server is closed")
	// ErrFailed says that the server stopped itself; what it last wrote is
	// decided by the log at the next start.
	ErrFailed = errors.New("the ledger server stopped after a failure; start it again")
	// ErrAnchor says that the log ends before, or differs at, a block that is
	// known to exist: an old copy was put back.
	ErrAnchor = errors.New("the block log is older than a block known to exist; restore the newest copy")
	// ErrOperator says that blocks are signed by a key that is not the operator's.
	ErrOperator = errors.New("the block log is signed by another operator")
)

// Config says where a server lives and how it runs.
type Config struct {
	Dir         string
	Genesis     ledger.Genesis   // needed for a new directory; else zero or the same
	OperatorKey ledger.Signer    // signs blocks; nil = operator.key in Dir, made when missing
	Now         func() time.Time // nil = time.Now
	Heartbeat   time.Duration    // 0 = DefaultHeartbeat; negative = none, blocks come from Submit and Beat only
	Entropy     io.Reader        // for batch verification and a new key; nil = the operating system's
	EventsKept  int              // 0 = DefaultEventsKept
	Anchor      Anchor           // the newest block known from outside
	// Fatal is called once, from a goroutine of the server, when it stops after
	// a failure. A program should log the error and exit.
	Fatal func(error)

	openLog  func(dir string) (logFile, error) // tests inject failures here
	database func(*ledgerdb.Config)            // and here
}

// Anchor is a block known from outside the directory, such as a signed header a
// client kept. A server refuses to start below it. The zero Anchor is none.
type Anchor struct {
	Height uint64
	Hash   [32]byte
}

// Server is a running ledger. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	lock    *durable.Lock
	log     logFile
	db      *ledgerdb.DB
	network ledger.Network
	params  ledger.Params
	// releases says when coins of the genesis may be spent; never changed.
	releases map[ledger.OutPoint]uint64

	queue    chan *request
	closes   chan *request // of channels: taken before queue
	turns    atomic.Uint64 // requests so far
	quit     chan struct{} // closed by Close
	stopped  chan struct{} // closed when both goroutines have ended
	closing  sync.Once
	failed   atomic.Pointer[error]
	serving  atomic.Bool        // Open has succeeded
	behind   *ledgerdb.Position // audited while the server runs
	audits   sync.WaitGroup
	executor executor
	writer   writer
	prover   prover
}

// Open opens or makes the ledger in cfg.Dir, replays its log, and starts serving.
func Open(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Entropy == nil {
		cfg.Entropy = rand.Reader
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.openLog == nil {
		cfg.openLog = openLogFile
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	lock, err := durable.Acquire(cfg.Dir, lockFile)
	if errors.Is(err, durable.ErrLocked) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", cfg.Dir, err)
	}
	s, err := open(cfg)
	if err != nil {
		lock.Release()
		return nil, fmt.Errorf("open ledger %s: %w", cfg.Dir, err)
	}
	s.lock = lock
	s.startAudits()
	go s.execute()
	go s.write()
	return s, nil
}

// open loads the directory, whose lock is held.
func open(cfg Config) (*Server, error) {
	g, err := placeGenesis(cfg.Dir, cfg.Genesis)
	if err != nil {
		return nil, err
	}
	if cfg.OperatorKey == nil {
		if cfg.OperatorKey, err = placeKey(cfg.Dir, cfg.Entropy); err != nil {
			return nil, err
		}
	}
	cfg.OperatorKey = &serialSigner{Signer: cfg.OperatorKey}
	log, err := cfg.openLog(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: log, network: g.Hash(), params: g.Params, releases: g.Releases(),
		queue: make(chan *request, queueLength), closes: make(chan *request, queueLength),
		quit: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := s.load(g); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return s, nil
}

// load opens the database, audits what lies behind it and replays what it lacks.
func (s *Server) load(g ledger.Genesis) error {
	config := ledgerdb.Config{
		Dir: filepath.Join(s.cfg.Dir, cacheDir), Genesis: g, EventsKept: uint64(max(s.cfg.EventsKept, 0)),
		Fatal: func(err error) {
			if s.serving.Load() { // else Open looks for it
				s.fail(err)
			}
		},
	}
	if s.cfg.database != nil {
		s.cfg.database(&config)
	}
	var err error
	if s.db, err = ledgerdb.Open(config); err != nil {
		return err
	}
	err = s.restore(g)
	if err == nil {
		err = s.openTree(s.head().Height, s.writer.size)
	}
	s.serving.Store(err == nil)
	if err == nil {
		err = s.db.Err()
	}
	if err != nil {
		s.db.Abandon()
	}
	return err
}

// restore makes the state machine go on where the log ends.
func (s *Server) restore(g ledger.Genesis) error {
	at := s.db.Position()
	end, err := s.log.Size()
	if err != nil {
		return fmt.Errorf("read block log: %w", err)
	}
	if err := s.attach(at, end); err != nil {
		return err
	}
	whole, err := s.walk(pointOf(at), end, nil)
	if errors.Is(err, errTorn) {
		err = s.cut(whole.offset)
	}
	if err != nil {
		return err
	}
	state, err := ledger.Resume(g, s.db.Ahead(), s.db.Meta())
	if err != nil {
		return err
	}
	state.SetVerifier(parallelVerifier(s.cfg.Entropy))
	s.executor = executor{state: state, sealed: make(chan *sealed, 1)}
	s.writer = writer{previous: at.Hash, size: at.End}
	if at.End <= auditInline {
		if err := s.auditHistory(at, nil); err != nil {
			return err
		}
	} else {
		s.behind = &at
	}
	return s.replay(whole.offset)
}

// startAudits checks, while the server runs, what Open had no time for. Its
// goroutines end with their work or with Close.
func (s *Server) startAudits() {
	if at := s.behind; at != nil {
		s.audits.Go(func() {
			if err := s.auditHistory(*at, s.quit); err != nil {
				s.fail(err)
			}
		})
	}
	if s.db.Position().Coins > ledgerdb.AuditInline {
		ctx, stop := context.WithCancel(context.Background())
		s.audits.Go(func() {
			<-s.quit
			stop()
		})
		s.audits.Go(func() { _ = s.db.Audit(ctx) }) // the database ends itself on a mismatch
	}
}

// operatorKeyFile holds the block signing key of a server that was given none.
const operatorKeyFile = "operator.key"

// placeKey reads the operator's key, or makes one.
func placeKey(dir string, entropy io.Reader) (*ledger.PrivateKey, error) {
	text, err := os.ReadFile(filepath.Join(dir, operatorKeyFile))
	var scalar [32]byte
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := io.ReadFull(entropy, scalar[:]); err != nil {
			return nil, fmt.Errorf("read entropy for operator key: %w", err)
		}
		if err := durable.Write(dir, operatorKeyFile, []byte(hex.EncodeToString(scalar[:])+"\n")); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("read operator key: %w", err)
	default:
		if len(text) < 64 {
			return nil, errors.New("read operator key: the file is cut short; restore it from a copy")
		}
		if _, err := hex.Decode(scalar[:], text[:64]); err != nil {
			return nil, fmt.Errorf("read operator key: %w", err)
		}
	}
	return ledger.NewPrivateKey(scalar)
}

// Close stops taking transactions, answers those that are durable, and releases
// the directory. It returns the failure that stopped the server earlier, if any.
func (s *Server) Close() error {
	s.closing.Do(func() { close(s.quit) })
	<-s.stopped
	if err := s.failure(); err != nil {
		return err
	}
	return nil
}

// Network returns the genesis hash.
func (s *Server) Network() ledger.Network { return s.network }

// Operator returns the key that signs blocks.
func (s *Server) Operator() ledger.PublicKey { return s.cfg.OperatorKey.PublicKey() }

// failure returns why the server stopped by itself, or nil.
func (s *Server) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fail poisons the server. The first call wins and tells Config.Fatal.
func (s *Server) fail(err error) {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	if !s.failed.CompareAndSwap(nil, &err) {
		return
	}
	s.closing.Do(func() { close(s.quit) })
	if s.cfg.Fatal != nil {
		s.cfg.Fatal(err)
	}
}
