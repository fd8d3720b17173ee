package session

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// launch starts the swarm; t.op is held. t.mu is not while the disk is read.
func (t *Torrent) launch() {
	t.mu.Lock()
	runs, known := t.swarm != nil, t.torrent != nil
	t.mu.Unlock()
	var meta *metainfo.Torrent
	var err error
	if !runs && !known && t.s.kept != nil {
		meta, err = t.s.kept.Torrent(t.hash)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.swarm != nil || t.moving || t.removed.Load() || t.s.ctx.Err() != nil {
		return
	}
	if err != nil {
		t.failure = fmt.Errorf("read what is kept of the torrent (remove it and add it again): %w", err)
		return
	}
	if t.torrent == nil {
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
		Resume: t.hold(), Priorities: slices.Clone(r.Priorities), Sequential: r.Sequential, Recheck: r.Recheck, Gate: s.gate, Preallocate: s.cfg.Preallocate,
		Blocked: s.Blocked, PeerID: s.peerID, Port: s.port, Client: s.cfg.Client, Pool: s.pool,
		Up: []*ratelimit.Limiter{t.up, s.up}, Down: []*ratelimit.Limiter{t.down, s.down},
		Announcer: s.announcer, MaxPeers: s.cfg.MaxPeersTorrent, Slots: s.slots, Dialer: (*dialer)(s), Web: s.web, Market: s.market(), FreeSlot: s.freeSlot, Notify: t.onEvent, Log: s.cfg.Log}
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

// hold claims what is kept of the torrent's data from one run to the next; nil =
// nothing is kept by this one, because there is no folder for it or another session
// with the same one, such as another program's, has the torrent.
func (t *Torrent) hold() *resume.Folder {
	f := t.s.resume
	if f == nil {
		return nil
	}
	if err := f.Hold(t.hash); err != nil {
		t.s.cfg.Log.Warn("no resume data is kept, the next start checks the files", "torrent", t, "err", err)
		return nil
	}
	return f
}

// release ends hold's claim; t.op is held.
func (t *Torrent) release() {
	if t.s.resume == nil {
		return
	}
	if err := t.s.resume.Release(t.hash); err != nil {
		t.s.cfg.Log.Warn("release resume data", "torrent", t, "err", err)
	}
}

// forgetData deletes what is kept of the torrent's data, unless that is another
// session's; t.op is held.
func (t *Torrent) forgetData() error {
	f := t.hold()
	if f == nil {
		return nil
	}
	defer t.release()
	return f.Delete(t.hash)
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
	t.mu.Lock()
	before := t.rec.Clone()
	t.note(&st) // before the swarm says no more
	t.mu.Unlock()
	sw.Close()
	t.release()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.swarm = nil
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
		if e.Info.HasV1() || len(e.Torrent.MissingLayers()) == 0 { // else it is no torrent file yet
			if t.torrent == nil {
				t.torrent = e.Torrent
			}
			t.newMeta = true
		}
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
