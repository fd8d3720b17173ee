package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

// Options of a demonstration. The zero value of a field means its default.
type Options struct {
	Dir       string        // where the files go; "" = a folder that is removed at the end
	Size      int64         // bytes of the file that is shared
	Upload    int64         // the seed's upload limit in bytes per second
	Slots     int           // upload slots the seed sells
	Peers     int           // peers that download; 0 = those of the scenario
	Scenario  string        // see Scenarios; "" = the first
	Timeout   time.Duration // the demonstration fails after this time; 0 = by its size
	ChokeEach time.Duration // time between choke rounds, shorter than the real 15 s
	Log       *slog.Logger

	announce string // the tracker, once it runs
	scenario *scenario
	client   func(actor string, c ledger.Client) ledger.Client // changes what an actor hears of the ledger, for tests
}

// Defaults: done in well under a minute on two cores.
const (
	DefaultSize    = 32 << 20
	DefaultUpload  = 5 << 20
	DefaultSlots   = 2
	DefaultTimeout = 55 * time.Second
	defaultChoke   = 2 * time.Second
	pieceLength    = 256 << 10
	chunk          = 1 << 20 // of the content, written at once
	fileName       = "film.bin"
)

func (o *Options) defaults() error {
	s, err := scenarioOf(o.Scenario)
	if err != nil {
		return err
	}
	if o.Peers < 0 || o.Peers > MaxPeers {
		return fmt.Errorf("%w: %d peers, at most %d are possible", ErrOptions, o.Peers, MaxPeers)
	}
	o.scenario = s
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	if o.Upload <= 0 {
		o.Upload = DefaultUpload
	}
	if o.Slots <= 0 {
		o.Slots = DefaultSlots
	}
	if o.Timeout <= 0 {
		o.Timeout = o.patience()
	}
	if o.ChokeEach <= 0 {
		o.ChokeEach = defaultChoke
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// eachPeer is what a peer more may add to a demonstration on a busy machine, besides
// the data.
const eachPeer = 3 * time.Second

// patience is when a demonstration of this size is given up: it only ends a hang.
func (o *Options) patience() time.Duration {
	if o.Peers == 0 && o.Size <= DefaultSize && o.Upload >= DefaultUpload {
		return DefaultTimeout
	}
	peers := int64(max(o.Peers, 1))
	data := min(o.Size/o.Upload, int64(time.Hour/time.Second)) * peers // if the seed alone sends all of it
	return DefaultTimeout + time.Duration(peers)*eachPeer + 2*time.Duration(data)*time.Second
}

// Errors of Run.
var (
	// ErrOptions says that an option makes no sense.
	ErrOptions = errors.New("demonstration cannot be run like that")
	// ErrUnreconciled says that the books do not add up, or that the scenario
	// did not happen: a bug.
	ErrUnreconciled = errors.New("the sums do not reconcile")
)

type role uint8

const (
	provider role = iota
	requester
	plain
)

func (r role) String() string { return [...]string{"provider", "requester", "plain"}[r] }

// Run runs the demonstration and returns its closing statement. The error is
// not nil if a file or a sum was wrong, or time ran out.
func Run(ctx context.Context, o Options, r *terminal.Reporter) (*Statement, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	dir := o.Dir
	if dir == "" {
		tmp, err := os.MkdirTemp("", "btt-demo-")
		if err != nil {
			return nil, fmt.Errorf("make folder for the demonstration: %w", err)
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	st, err := run(ctx, dir, o, r)
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("demonstration not finished in %s (is the machine very busy?): %w", o.Timeout, err)
	case ctx.Err() != nil:
		err = fmt.Errorf("demonstration interrupted: %w", ctx.Err())
	}
	return st, err
}

func run(ctx context.Context, dir string, o Options, r *terminal.Reporter) (*Statement, error) {
	e, err := newEconomy(ctx, dir, o, r)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.watch(ctx); err != nil {
		return nil, err
	}
	return e.settle(ctx)
}

// makeFile writes the content that is shared, until the context ends, and returns its SHA-256.
func makeFile(ctx context.Context, path string, size int64) (sum [32]byte, err error) {
	f, err := os.Create(path)
	if err != nil {
		return sum, fmt.Errorf("make content: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	src := rand.NewChaCha8([32]byte{1})
	for left := size; left > 0; left -= min(left, chunk) {
		if ctx.Err() != nil {
			return sum, fmt.Errorf("make content: %w", ctx.Err())
		}
		if _, err := io.CopyN(io.MultiWriter(f, h), src, min(left, chunk)); err != nil {
			return sum, fmt.Errorf("make content: %w", err)
		}
	}
	h.Sum(sum[:0])
	return sum, f.Sync()
}

func fileSum(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, fmt.Errorf("read content: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("read content: %w", err)
	}
	h.Sum(sum[:0])
	return sum, nil
}

// torrentOptions of the shared file.
func torrentOptions(announce string) create.Options {
	return create.Options{PieceLength: pieceLength, Trackers: [][]string{{announce}}}
}

func home(dir, name string) string { return filepath.Join(dir, name) }
