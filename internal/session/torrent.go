package session

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/queue"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// Torrent is a torrent of a session, whether it runs or not. Its methods are
// safe for concurrent use. What they change holds at once, whatever the disk
// does; when the session keeps its torrents ([Config.Keep]) it is written down
// soon after, and [Torrent.Flush] waits for that and tells whether it failed.
type Torrent struct {
	s        *Session
	hash     [20]byte
	up, down *ratelimit.Limiter // of this torrent alone

	// op serialises what takes time: start, stop, move, the files' removal.
	op    turn
	write sync.Mutex // one writer: an older record never follows a newer one
	tune  sync.Mutex // order of settings that the swarm is told; not held during I/O
	// wanted is what the queue decided: the swarm is to run.
	wanted   atomic.Bool
	complete atomic.Bool // all wanted pieces are there
	broken   atomic.Bool // its swarm failed
	called   atomic.Bool // it runs though it rests when nobody pays
	removed  atomic.Bool
	place    queue.Place[*Torrent]

	mu      sync.Mutex // leaf lock over the rest
	rec     catalog.Record
	torrent *metainfo.Torrent                     // nil = unknown, or on disk while it is not running
	choose  func(*metainfo.Info) ([]uint8, error) // until the metadata is there
	swarm   *swarm.Swarm                          // nil = not running
	moving  bool
	failure error // of the last start or move
	unsaved bool  // the record is to be written
	waits   bool  // in the backlog for that
	newMeta bool  // and the metadata
}

// InfoHash returns what peers and trackers know the torrent by.
func (t *Torrent) InfoHash() [20]byte { return t.hash }

// String names the torrent for logs.
func (t *Torrent) String() string { return hex.EncodeToString(t.hash[:]) }

// Dir is the folder that its files lie in, or are to.
func (t *Torrent) Dir() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Dir
}

// running returns the swarm, or nil.
func (t *Torrent) running() *swarm.Swarm {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.swarm
}

// AddPeers tells the torrent of addresses where peers may be; those told to a
// torrent that does not run are used at its next start.
func (t *Torrent) AddPeers(addrs ...netip.AddrPort) {
	t.mu.Lock()
	sw := t.swarm
	if sw == nil {
		t.rec.Peers = append(t.rec.Peers, addrs...)
		t.rec.Peers = t.rec.Peers[max(0, len(t.rec.Peers)-catalog.MaxPeers):]
	}
	t.mu.Unlock()
	if sw != nil {
		sw.AddPeers(addrs...)
	}
}

// Announce asks the trackers for peers as soon as they permit; a torrent that
// does not run does so when it starts.
func (t *Torrent) Announce() {
	if sw := t.running(); sw != nil {
		sw.Announce()
	}
}

// Rebid tells the peers the bids that the market's settings give now (R8.8).
func (t *Torrent) Rebid() {
	if sw := t.running(); sw != nil {
		sw.Rebid()
	}
}

// change edits the record, has it saved and lets the queue look again.
func (t *Torrent) change(edit func(r *catalog.Record)) error {
	if t.removed.Load() {
		return fmt.Errorf("change torrent %s: %w", t, ErrNotFound)
	}
	t.mu.Lock()
	edit(&t.rec)
	t.touch()
	t.mu.Unlock()
	t.s.plan(t)
	return nil
}

// turn is a lock that is waited for with a context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (o turn) Lock()   { o <- struct{}{} }
func (o turn) Unlock() { <-o }

func (o turn) TryLock() bool {
	select {
	case o <- struct{}{}:
		return true
	default:
		return false
	}
}

// Flush waits until what was changed of the torrent is on disk, and returns why
// it is not. A failed write is tried again with the next change or Flush.
func (t *Torrent) Flush(ctx context.Context) error {
	return t.await(ctx, t.saveRest)
}

// giveUp is how long work that goes on after its context has ended is waited for:
// time to put back what was begun.
const giveUp = 2 * time.Second

// await runs what takes the disk's time, and waits for it until ctx ends. Then
// it goes on by itself, as far as it does not look at ctx.
func (t *Torrent) await(ctx context.Context, f func() error) error {
	if ctx.Done() == nil {
		return f()
	}
	done := make(chan error, 1)
	if !t.s.spawn(func() { done <- f() }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(giveUp):
		return fmt.Errorf("torrent %s waits for the disk and goes on when it answers: %w", t, context.Cause(ctx))
	}
}

// settle waits until the torrent does what the queue decided.
func (t *Torrent) settle() {
	t.op.Lock()
	defer t.op.Unlock()
	if t.wanted.Load() {
		t.launch()
	} else {
		t.halt()
	}
}

// Start lets the torrent run as soon as the queue permits; one that failed
// tries again. It waits for a stop or move of the torrent that is under way.
func (t *Torrent) Start() error {
	t.op.Lock()
	if t.broken.Swap(false) {
		t.halt()
	}
	t.mu.Lock()
	t.failure = nil
	t.mu.Unlock()
	t.op.Unlock()
	err := t.change(func(r *catalog.Record) { r.Stopped = false })
	t.settle()
	return err
}

// Stop ends all connections, says goodbye to the trackers and returns when the
// torrent's state is on disk. It stays in the session.
func (t *Torrent) Stop() error { return t.StopContext(context.Background()) }

// StopContext is Stop that is waited for until ctx ends. The torrent stops all
// the same.
func (t *Torrent) StopContext(ctx context.Context) error {
	if err := t.change(func(r *catalog.Record) { r.Stopped = true }); err != nil {
		return err
	}
	return t.await(ctx, func() error {
		t.settle()
		return t.saveRest()
	})
}

// Recheck reads all files again; what is not as it should be is fetched again.
// A torrent that does not run is checked when it starts.
func (t *Torrent) Recheck() error { return t.RecheckContext(context.Background()) }

// RecheckContext is Recheck whose beginning is waited for until ctx ends. The
// files are read all the same.
func (t *Torrent) RecheckContext(ctx context.Context) error { return t.await(ctx, t.recheck) }

func (t *Torrent) recheck() error {
	t.op.Lock()
	was := t.running() != nil
	t.halt()
	t.mu.Lock()
	t.failure = nil
	t.rec.Recheck = true
	t.mu.Unlock()
	if was {
		t.launch()
	}
	t.op.Unlock()
	return t.save()
}

// restart lets a running torrent begin anew with changed settings.
func (t *Torrent) restart() {
	t.op.Lock()
	defer t.op.Unlock()
	if t.running() != nil {
		t.halt()
		t.launch()
	}
}

// Remove takes the torrent out of the session; with data its files are deleted
// too. It returns when both is done, or ctx has ended: what of the data is left
// then is deleted when the session is opened again.
func (t *Torrent) Remove(ctx context.Context, data bool) error {
	return t.await(ctx, func() error { return t.s.remove(ctx, t, data) })
}
