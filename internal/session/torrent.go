package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/payments"
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
	position atomic.Int64 // orders the queue

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

// Status is a snapshot of a torrent: what its swarm says, and what the session
// knows besides.
type Status struct {
	swarm.Status
	Labels []string
	// Position is the torrent's place in the queue, from 0; Forced torrents run
	// whatever the queue says.
	Position int
	Forced   bool
	Plain    bool // takes no part in BitTorrent Speed
	// WhenPaid torrents rest, once complete, while nobody pays; Resting says
	// that this one does.
	WhenPaid, Resting bool
	// Sequential torrents are fetched in the order of their pieces.
	Sequential bool
	// UpLimit and DownLimit are bytes per second; 0 = none of its own.
	UpLimit, DownLimit int64
	Added, Completed   time.Time // Completed is zero before
}

// Ratio is the payload sent for each byte received; a torrent that was whole
// from the start counts its size.
func (s *Status) Ratio() float64 {
	got := s.Totals.Downloaded
	if got == 0 {
		got = s.Size
	}
	if got == 0 {
		return 0
	}
	return float64(s.Totals.Uploaded) / float64(got)
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

// Status returns a snapshot.
func (t *Torrent) Status() Status {
	t.mu.Lock()
	sw := t.swarm
	st := t.standing()
	t.mu.Unlock()
	st.Position = t.s.rank(t)
	if sw == nil {
		return st
	}
	if live := sw.Status(); !errors.Is(live.Err, swarm.ErrClosed) {
		st.Status = live
	}
	return st
}

// standing is the status without a swarm; t.mu is held.
func (t *Torrent) standing() Status {
	r := &t.rec
	st := Status{Labels: slices.Clone(r.Labels), Forced: r.Forced, Plain: r.Plain, WhenPaid: r.WhenPaid,
		Resting: r.WhenPaid && !r.Stopped && t.complete.Load() && !t.called.Load(), Sequential: r.Sequential,
		UpLimit: r.Up, DownLimit: r.Down, Added: r.Added, Completed: r.Completed}
	st.Status = swarm.Status{InfoHash: t.hash, Name: r.Name, Dir: r.Dir, Size: r.Size, Left: r.Left, Pieces: r.Pieces, Have: r.Have,
		Totals: swarm.Totals{Downloaded: r.Downloaded, Uploaded: r.Uploaded}, State: swarm.Stopped, Err: t.failure}
	switch {
	case t.failure != nil:
		st.State = swarm.Failed
	case t.moving:
		st.State = swarm.Moving
	case !r.Stopped:
		st.State = swarm.Queued
	}
	return st
}

// Info returns the torrent's name and piece length once they are known.
func (t *Torrent) Info() (name string, pieceLength int64, ok bool) {
	meta := t.Metainfo()
	if meta == nil {
		return "", 0, false
	}
	return meta.Info.Name, meta.Info.PieceLength, true
}

// Metainfo returns the torrent's metadata, or nil before it is known. It must
// not be changed.
func (t *Torrent) Metainfo() *metainfo.Torrent {
	t.mu.Lock()
	meta := t.torrent
	t.mu.Unlock()
	if meta == nil && t.s.kept != nil {
		if kept, err := t.s.kept.Torrent(t.hash); err == nil {
			return kept
		}
	}
	return meta
}

// Files returns the files with what is there of each; nil before the metadata
// is known. Those of a torrent that is not running show no progress unless it
// is complete.
func (t *Torrent) Files() []swarm.FileStatus {
	if sw := t.running(); sw != nil {
		return sw.Files()
	}
	meta := t.Metainfo()
	if meta == nil {
		return nil
	}
	t.mu.Lock()
	prios, whole := t.rec.Priorities, t.rec.Pieces > 0 && t.rec.Have == t.rec.Pieces
	t.mu.Unlock()
	return swarm.FileList(meta.Info, prios, whole)
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

// launch starts the swarm; t.op is held.
func (t *Torrent) launch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.swarm != nil || t.moving || t.removed.Load() || t.s.ctx.Err() != nil {
		return
	}
	if t.torrent == nil && t.s.kept != nil {
		meta, err := t.s.kept.Torrent(t.hash)
		if err != nil {
			t.failure = fmt.Errorf("read what is kept of the torrent (remove it and add it again): %w", err)
			return
		}
		t.torrent = meta
	}
	t.failure = nil
	t.broken.Store(false)
	t.swarm = swarm.New(t.config())
	if peers := t.rec.Peers; len(peers) > 0 {
		sw := t.swarm
		sw.AddPeers(peers...)
	}
}

// config is the swarm's; t.mu is held.
func (t *Torrent) config() swarm.Config {
	s, r := t.s, &t.rec
	tiers := r.Trackers
	if t.torrent != nil {
		tiers = append(slices.Clone(t.torrent.AnnounceList), tiers...)
	}
	s.mu.Lock()
	s.next++
	index := s.next
	s.mu.Unlock()
	cfg := swarm.Config{Index: index, InfoHash: t.hash, InfoHashV2: r.InfoHashV2, Alias: t.alias, Torrent: t.torrent, Tiers: tiers,
		WebSeeds: r.WebSeeds, Dir: r.Dir, InPlace: r.InPlace,
		Resume: s.resume, Priorities: slices.Clone(r.Priorities), Sequential: r.Sequential, Recheck: r.Recheck, Gate: s.gate, Preallocate: s.cfg.Preallocate,
		Blocked: s.Blocked, PeerID: s.peerID, Port: s.port, Client: s.cfg.Client, Pool: s.pool,
		Up: []*ratelimit.Limiter{t.up, s.up}, Down: []*ratelimit.Limiter{t.down, s.down},
		Announcer: s.announcer, MaxPeers: s.cfg.MaxPeersTorrent, Slots: s.slots, Dialer: (*dialer)(s), Web: s.web, Market: s.cfg.Market, FreeSlot: s.freeSlot, Notify: t.onEvent, Log: s.cfg.Log}
	if s.cfg.Observe != nil {
		cfg.Observe = func(_ *swarm.Swarm, peer netip.AddrPort, e payments.LinkEvent) { s.cfg.Observe(t, peer, e) }
	}
	if s.dht != nil {
		cfg.DHT = dhtNode{s.dht}
	}
	cfg.Reserve = r.Reserve
	if r.Plain || s.plain.Load() {
		cfg.Market = nil
	}
	if t.choose != nil {
		cfg.Choose = t.chosen
	}
	return cfg
}

// chosen asks for the files to fetch, once, on the swarm's goroutine.
func (t *Torrent) chosen(info *metainfo.Info) ([]uint8, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	prios := t.rec.Priorities
	if t.choose == nil {
		return prios, nil
	}
	prios, err := t.choose(info)
	if err != nil {
		return nil, err
	}
	t.choose, t.rec.Priorities = nil, slices.Clone(prios)
	t.touch()
	return prios, nil
}

// halt stops the swarm and keeps its last numbers; t.op is held.
func (t *Torrent) halt() {
	sw := t.running()
	if sw == nil {
		return
	}
	st := sw.Status()
	sw.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.swarm = nil
	before := t.rec.Clone()
	t.note(&st)
	if !reflect.DeepEqual(before, t.rec) {
		t.touch()
	}
	if t.s.kept != nil && !t.newMeta {
		t.torrent = nil // read again at the next start
	}
}

// note keeps a status for the time without a swarm; t.mu is held.
func (t *Torrent) note(st *swarm.Status) {
	if errors.Is(st.Err, swarm.ErrClosed) {
		return
	}
	r := &t.rec
	if st.Name != "" {
		r.Name = st.Name
	}
	r.Uploaded, r.Downloaded = st.Totals.Uploaded, st.Totals.Downloaded
	if st.Pieces > 0 && st.State != swarm.Checking {
		r.Size, r.Left, r.Pieces, r.Have = st.Size, st.Left, st.Pieces, st.Have
	}
	if st.State == swarm.Failed {
		t.failure = st.Err
	}
	for _, p := range st.Peers { // to begin with at the next start, before trackers answer
		if p.Listen.IsValid() && !slices.Contains(r.Peers, p.Listen) {
			r.Peers = append(r.Peers, p.Listen)
		}
	}
	r.Peers = r.Peers[max(0, len(r.Peers)-catalog.MaxPeers):]
}

// withLayers is a torrent with the piece layers that came since.
func withLayers(t, with *metainfo.Torrent) *metainfo.Torrent {
	if t == nil {
		return with
	}
	c := *t
	c.PieceLayers = with.PieceLayers
	return &c
}

// onEvent runs on the swarm's goroutine.
func (t *Torrent) onEvent(e swarm.Event) {
	t.mu.Lock()
	switch e.Kind {
	case swarm.GotMetadata:
		t.rec.Name = e.Info.Name
		if t.torrent == nil {
			t.torrent = e.Torrent
		}
		t.newMeta = true
		t.touch()
	case swarm.GotLayers:
		t.torrent, t.newMeta = withLayers(t.torrent, e.Torrent), true
		t.touch()
	case swarm.Checked:
		if t.rec.Recheck {
			t.rec.Recheck = false
			t.touch()
		}
	case swarm.Completed:
		if !t.complete.Swap(true) && t.rec.WhenPaid {
			t.called.Store(true) // it goes on for a time
		}
		if t.rec.Completed.IsZero() {
			t.rec.Completed = time.Now()
			t.touch()
		}
	case swarm.Reopened:
		t.complete.Store(false)
	case swarm.Broken:
		t.broken.Store(true)
	}
	t.mu.Unlock()
	t.s.replan()
	if t.s.cfg.Notify != nil {
		t.s.cfg.Notify(Event{Torrent: t, Kind: e.Kind, Err: e.Err})
	}
}

// touch has the session write the record soon; t.mu is held.
func (t *Torrent) touch() {
	if t.s.kept == nil || t.unsaved {
		return
	}
	t.unsaved = true
	t.s.unsaved.add(t)
}

// save writes the record now.
func (t *Torrent) save() error {
	if t.s.kept == nil || t.removed.Load() {
		return nil
	}
	t.write.Lock()
	defer t.write.Unlock()
	t.mu.Lock()
	t.rec.Position = t.position.Load()
	rec, meta, fresh := t.rec.Clone(), t.torrent, t.newMeta
	t.unsaved, t.newMeta = false, false
	t.mu.Unlock()
	if fresh && meta != nil {
		if err := t.s.kept.SaveTorrent(t.hash, meta); err != nil {
			return err
		}
	}
	return t.s.kept.Save(t.hash, &rec)
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

// SetSpeed takes the torrent out of BitTorrent Speed or lets it in again (R9.2):
// outside, it neither bids nor pays nor sells. Its connections begin anew. It
// has no effect in a session without a market.
func (t *Torrent) SetSpeed(on bool) error {
	t.mu.Lock()
	same := t.rec.Plain == !on
	t.mu.Unlock()
	if same {
		return nil
	}
	err := t.change(func(r *catalog.Record) { r.Plain = !on })
	if t.s.cfg.Market != nil {
		t.restart()
	}
	return err
}

// SetLabels replaces the labels: at most [catalog.MaxLabels], sorted, each once.
func (t *Torrent) SetLabels(labels ...string) error {
	if err := catalog.CheckLabels(labels); err != nil {
		return fmt.Errorf("label torrent: %w", err)
	}
	labels = slices.Clone(labels)
	slices.Sort(labels)
	return t.change(func(r *catalog.Record) { r.Labels = slices.Compact(labels) })
}

// SetLimits sets the torrent's own limits in bytes per second, on top of the
// session's; 0 = none.
func (t *Torrent) SetLimits(up, down int64) error {
	up, down = max(up, 0), max(down, 0)
	t.up.SetRate(up, time.Now())
	t.down.SetRate(down, time.Now())
	return t.change(func(r *catalog.Record) { r.Up, r.Down = up, down })
}

// SetSequential switches between rarest first and the order of the pieces.
func (t *Torrent) SetSequential(on bool) error {
	t.op.Lock()
	if sw := t.running(); sw != nil {
		sw.SetSequential(on)
	}
	err := t.change(func(r *catalog.Record) { r.Sequential = on })
	t.op.Unlock()
	return err
}

// ReadAhead asks for length bytes of a file from offset on before everything
// else, for somebody who plays it, until it is called again: a length of 0 ends
// it. It is not remembered. The torrent must run and be known.
func (t *Torrent) ReadAhead(file int, offset, length int64) error {
	sw := t.running()
	if sw == nil {
		return fmt.Errorf("read ahead in %s: it does not run", t)
	}
	return sw.ReadAhead(file, offset, length)
}

// SetPriorities says which files are wanted and how soon: for each file of the
// torrent 0 (not wanted) to 7; a shorter list leaves the rest at the default, 4.
func (t *Torrent) SetPriorities(prios []uint8) error {
	t.op.Lock() // the swarm neither starts nor stops meanwhile
	err := t.prioritise(slices.Clone(prios))
	t.op.Unlock()
	if err != nil {
		return fmt.Errorf("choose files: %w", err)
	}
	return t.change(func(*catalog.Record) {})
}

// prioritise does it; t.op is held.
func (t *Torrent) prioritise(prios []uint8) error {
	complete := false
	if sw := t.running(); sw != nil {
		if err := sw.SetPriorities(prios); err != nil {
			return err
		}
		st := sw.Status()
		complete = st.Left == 0 && st.Pieces > 0
	}
	t.complete.Store(complete)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.choose, t.rec.Priorities = nil, prios
	return nil
}

// Remove takes the torrent out of the session; with data its files are deleted
// too. It returns when both is done.
func (t *Torrent) Remove(ctx context.Context, data bool) error {
	return t.s.remove(ctx, t, data)
}
