// Package heads keeps a ledger's operator honest for its users (A31): a Client is
// a ledger.Client that remembers the signed heads it has seen, checks that each
// new one continues them, asks for a proof of every transaction it submitted, and
// turns two histories into a file of evidence.
//
// cmd/btt puts it between the network and everything that spends, and embedders
// may (FollowLedger of the root package). Checks run
// behind the calls, so they cost no latency. When the history does not hold,
// Report hears of it, and Submit refuses what opens new risks; closes of channels
// and reads still pass, since they bring money home.
//
// A Client has one goroutine, started by Open and ended by Close. The operator's
// key is pinned at the first contact, unless it is given.
package heads

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// Limits of a client.
const (
	MaxKept      = 64      // heads in the file; older ones follow from the newest
	MaxFileBytes = 2 << 20 // of that file: whatever may be written can be read
	maxPending   = 4096    // transactions that wait for their proof
)

// Times of a client.
const (
	DefaultEvery = time.Minute      // between two looks at the head
	retryEvery   = 5 * time.Second  // for a proof that could not be asked for
	checkTimeout = 15 * time.Second // of one question
	closeTimeout = 5 * time.Second  // of all that are left at Close
)

var (
	// ErrOperator means heads signed by another key than the one known.
	ErrOperator = errors.New("the ledger is signed by another operator than the one known; if its operator published a new key, remove the file of its heads")
	// ErrHidden means a transaction that the ledger accepted and does not prove.
	ErrHidden = errors.New("the ledger accepted a transaction and does not prove that it holds it")
	// ErrUnproved means transactions whose proof could not be asked for in time.
	ErrUnproved = errors.New("accepted by the ledger, but it could not be asked for the proof yet")
	// ErrUnsafe wraps the reason for which Submit refuses.
	ErrUnsafe = errors.New("the ledger's history does not hold, so nothing new is paid through it")
)

// Config says what to follow and where to remember it.
type Config struct {
	Dir      string // made if it does not exist
	Ledger   ledger.Client
	Operator ledger.PublicKey // zero: whoever signs first
	Every    time.Duration    // 0 = DefaultEvery
	// Report is called from the Client's goroutine, and from Open, with each thing
	// that does not hold. A *books.ForkError among them means that evidence was
	// written; Client.Evidence names the file.
	Report func(error)
}

// Client is a ledger.Client that checks. Safe for concurrent use.
type Client struct {
	ledger.Client
	cfg     Config
	source  books.Source // nil: the ledger proves nothing
	network ledger.Network
	queue   chan ledger.TxID
	quit    chan struct{}
	ended   chan struct{}
	closing sync.Once

	mu       sync.Mutex
	follower *books.Follower // nil before the first head
	kept     []string        // newest last
	dealt    string          // the newest head that is stored, or need not be
	failing  bool            // to store one; run's alone
	other    string          // of another process with the folder, to be compared; "" = none
	pending  []ledger.TxID
	broken   error
	evidence string
}

// Open asks the ledger for its head and compares it with those seen before. What
// does not hold is reported and leaves a client that refuses to pay (Err); Open
// itself fails only when the ledger does not answer or the files cannot be used.
// A ledger that proves nothing and never did is used as it is.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	status, err := cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, err
	}
	c := &Client{
		Client: cfg.Ledger, cfg: cfg, network: status.Network,
		queue: make(chan ledger.TxID, maxPending), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	c.source, _ = cfg.Ledger.(books.Source)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open heads of the ledger: %w", err)
	}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("open heads of the ledger: %w", err)
	}
	switch err := c.advance(ctx); {
	case errors.Is(err, books.ErrNoProofs) && c.follower == nil:
		c.source = nil
	case err != nil && !serious(err):
		return nil, err
	case err != nil:
		c.breakOff(err)
	}
	go c.run()
	return c, nil
}

// run checks behind the calls. It ends after Close, when what waits was tried
// once more.
func (c *Client) run() {
	defer close(c.ended)
	every := time.NewTicker(c.cfg.Every)
	defer every.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	ctx := context.Background()
	for {
		select {
		case id := <-c.queue:
			c.check(ctx, id)
		case <-every.C:
			c.look()
		case <-retry.C:
			c.again(ctx)
			c.remember()
		case <-c.quit:
			c.finish()
			return
		}
	}
}

// finish asks for what is left.
func (c *Client) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for {
		select {
		case id := <-c.queue:
			c.check(ctx, id)
			continue
		default:
		}
		c.again(ctx)
		c.remember()
		return
	}
}

// Submit implements ledger.Client. A transaction that was accepted is proved
// later, behind the call.
func (c *Client) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	if err := c.Err(); err != nil {
		if tx, e := ledger.DecodeTx(raw); e != nil || !tx.Closes() {
			return ledger.Receipt{}, fmt.Errorf("%w: %w", ErrUnsafe, err)
		}
	}
	r, err := c.Client.Submit(ctx, raw)
	if err == nil && c.source != nil {
		select {
		case c.queue <- r.TxID:
		default: // the head is still followed, so it cannot be taken out again unseen
		}
	}
	return r, err
}

// Source returns where heads and proofs come from; nil for a ledger that proves
// nothing.
func (c *Client) Source() books.Source { return c.source }

// Err returns what does not hold, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// Note returns the newest signed head seen, "" when there is none.
func (c *Client) Note() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.follower == nil {
		return ""
	}
	return c.follower.Note()
}

// Evidence returns the file that shows a fork to anybody, "" when there is none.
func (c *Client) Evidence() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evidence
}

// Close checks what still waits, once, and ends the client. It returns what does
// not hold, else ErrUnproved for transactions that could not be proved in time.
func (c *Client) Close() error {
	c.closing.Do(func() { close(c.quit) })
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil && len(c.pending) > 0 {
		return fmt.Errorf("%w: %s and %d more", ErrUnproved, c.pending[0], len(c.pending)-1)
	}
	return c.broken
}

// look follows the head.
func (c *Client) look() {
	if c.source == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	if err := c.advance(ctx); err != nil && serious(err) {
		c.breakOff(err)
	} else if err == nil {
		c.mend()
	}
}

// advance takes the newest head. It is called by Open and then by run alone.
func (c *Client) advance(ctx context.Context) error {
	if c.source == nil {
		return books.ErrNoProofs
	}
	x, err := c.source.Head(ctx, c.size())
	if err != nil {
		return err
	}
	if err := c.meet(&x); err != nil {
		return err
	}
	c.mu.Lock()
	err = c.follower.Extend(&x)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.keep(); err != nil {
		return err
	}
	return c.compare(ctx)
}

// size returns how many blocks the newest head has.
func (c *Client) size() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.follower == nil {
		return 0
	}
	return c.follower.Head().Size
}

// meet makes the follower at the first contact, and compares the key.
func (c *Client) meet(x *books.Extension) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.follower == nil {
		key := c.cfg.Operator
		if key.IsZero() {
			key = x.Operator
		}
		f, err := books.NewFollower(c.network, key, "")
		if err != nil {
			return err
		}
		c.follower = f
	}
	if x.Operator != c.follower.Operator() {
		return fmt.Errorf("%w: %s, before %s", ErrOperator, x.Operator, c.follower.Operator())
	}
	return nil
}

// check asks for the proof of a transaction; when the ledger does not answer it
// is asked again later.
func (c *Client) check(ctx context.Context, id ledger.TxID) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	p, err := c.source.Proof(ctx, id, c.size())
	if errors.Is(err, ledger.ErrNotFound) {
		err = fmt.Errorf("%w: %s", ErrHidden, id)
	}
	if err == nil {
		if err = c.meet(&p.Extension); err == nil {
			c.mu.Lock()
			_, err = c.follower.Include(&p, id)
			c.mu.Unlock()
		}
	}
	switch {
	case err == nil: // kept with the next look, so that a busy node does not write each head
	case serious(err):
		c.breakOff(fmt.Errorf("transaction %s: %w", id, err))
	default:
		c.mu.Lock()
		if len(c.pending) < maxPending {
			c.pending = append(c.pending, id)
		}
		c.mu.Unlock()
	}
}

// again asks for the proofs that could not be had.
func (c *Client) again(ctx context.Context) {
	c.mu.Lock()
	list := c.pending
	c.pending = nil
	c.mu.Unlock()
	for i, id := range list {
		c.check(ctx, id)
		c.mu.Lock()
		failed := len(c.pending) > 0
		if failed { // no answer: the others wait too
			c.pending = append(c.pending, list[i+1:]...)
		}
		c.mu.Unlock()
		if failed {
			return
		}
	}
}

// breakOff notes what does not hold and writes evidence when there is some.
func (c *Client) breakOff(err error) {
	if fork, ok := errors.AsType[*books.ForkError](err); ok {
		name := fmt.Sprintf("fork-%x.json", c.network[:4])
		text, e := fork.Evidence.Encode()
		if e == nil {
			e = durable.Write(c.cfg.Dir, name, text)
		}
		if e == nil {
			path := filepath.Join(c.cfg.Dir, name)
			c.mu.Lock()
			c.evidence = path
			c.mu.Unlock()
			err = fmt.Errorf("%w; it is in %s, and anybody can check it: btt ledger check %s", err, path, path)
		} else {
			err = fmt.Errorf("%w (which could not be written: %w)", err, e)
		}
	}
	c.mu.Lock()
	known := c.broken != nil && weight(c.broken) >= weight(err)
	if w := weight(c.broken); w == 0 || w < weight(err) { // what never holds again is not forgotten for less
		c.broken = err
	}
	c.mu.Unlock()
	if !known {
		c.report(err)
	}
}

// mend takes payments up again when the history holds after all.
func (c *Client) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if weight(c.broken) == 0 {
		c.broken = nil
	}
}

func (c *Client) report(err error) {
	if c.cfg.Report != nil {
		c.cfg.Report(err)
	}
}
