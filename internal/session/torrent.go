package session

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/queue"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// Torrent is a torrent of a session, whether it runs or not. Its methods are
// safe for concurrent use. What they change is remembered when the session
// keeps its torrents ([Config.Keep]); an error then says that it was not.
type Torrent struct {
	s        *Session
	hash     [20]byte
	up, down *ratelimit.Limiter // of this torrent alone

	// op serialises what takes time: start, stop, move, the files' removal.
	op    sync.Mutex
	write sync.Mutex // one writer: an older record never follows a newer one
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
	newMeta bool  // and the metadata
}

// InfoHash returns what peers and trackers know the torrent by.
func (t *Torrent) InfoHash() [20]byte { return t.hash }

// String names the torrent for logs.
func (t *Torrent) String() string { return hex.EncodeToString(t.hash[:]) }

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

// change edits the record, saves it and lets the queue look again.
func (t *Torrent) change(edit func(r *catalog.Record)) error {
	if t.removed.Load() {
		return fmt.Errorf("change torrent %s: %w", t, ErrNotFound)
	}
	t.mu.Lock()
	edit(&t.rec)
	t.mu.Unlock()
	err := t.save()
	t.s.plan(t)
	return err
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
// tries again.
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
func (t *Torrent) Stop() error {
	err := t.change(func(r *catalog.Record) { r.Stopped = true })
	t.settle()
	return err
}

// Recheck reads all files again; what is not as it should be is fetched again.
// A torrent that does not run is checked when it starts.
func (t *Torrent) Recheck() error {
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
// too. It returns when both is done.
func (t *Torrent) Remove(ctx context.Context, data bool) error {
	return t.s.remove(ctx, t, data)
}
