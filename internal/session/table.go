package session

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/ipfilter"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/metainfo"
)

// Add describes a torrent to add.
type Add struct {
	Torrent  *metainfo.Torrent // or
	InfoHash [20]byte          // of a magnet link
	// InfoHashV2 is the whole version 2 hash of a magnet link; zero = none.
	InfoHashV2 [32]byte
	Name       string     // what a magnet link calls it
	Trackers   [][]string // besides the torrent's own
	WebSeeds   []string   // likewise (BEP 19)
	Dir        string
	Peers      []netip.AddrPort
	// InPlace shares files that lie in Dir under the torrent's own names, also
	// those that a download would have changed to be safe everywhere. The queue
	// takes it for a seed until the check says otherwise.
	InPlace bool
	// Plain keeps this torrent out of the market (R9.2).
	Plain bool
	// WhenPaid rests the torrent, once it is complete, while nobody bids its
	// reserve price (R6.6); it needs [Config.Demand]. Reserve is that price, nil
	// = the market's (R7.19).
	WhenPaid bool
	Reserve  *market.Reserve
	// Stopped adds it without starting it.
	Stopped bool
	// Priorities of the files, 0 (not wanted) to 7; a shorter list leaves the
	// rest at the default, 4. Choose, if set, makes them of the contents before
	// anything is fetched; it runs once and must not block.
	Priorities []uint8
	Choose     func(*metainfo.Info) ([]uint8, error)
	Sequential bool // fetch the pieces in their order
	Labels     []string
	// UpLimit and DownLimit are bytes per second; 0 = none of its own.
	UpLimit, DownLimit int64
}

// Add puts a torrent into the session, at the end of the queue, and starts it
// when its turn has come. The error is [ErrClosed], [ErrExists], or of the
// disk.
func (s *Session) Add(a Add) (*Torrent, error) {
	if err := catalog.CheckLabels(a.Labels); err != nil {
		return nil, fmt.Errorf("add torrent: %w", err)
	}
	dir, err := filepath.Abs(a.Dir)
	if err != nil {
		return nil, fmt.Errorf("add torrent: %w", err)
	}
	t := s.newTorrent(a.InfoHash, catalog.Record{Name: a.Name, InfoHashV2: a.InfoHashV2, Dir: dir, Trackers: a.Trackers, WebSeeds: a.WebSeeds, InPlace: a.InPlace, Plain: a.Plain,
		WhenPaid: a.WhenPaid, Reserve: a.Reserve,
		Peers: a.Peers[:min(len(a.Peers), catalog.MaxPeers)], Stopped: a.Stopped, Priorities: a.Priorities, Sequential: a.Sequential,
		Labels: catalog.SortLabels(a.Labels), Up: max(a.UpLimit, 0), Down: max(a.DownLimit, 0), Added: time.Now()})
	t.choose = a.Choose
	t.complete.Store(a.InPlace && !a.WhenPaid) // a seed to the queue, until its files say otherwise
	if a.Torrent != nil {
		t.hash, t.torrent, t.newMeta = a.Torrent.InfoHash, a.Torrent, true
		t.rec.Name, t.rec.Size, t.rec.Left = a.Torrent.Info.Name, a.Torrent.Info.ContentLength(), a.Torrent.Info.ContentLength()
		t.rec.Pieces = a.Torrent.Info.NumPieces()
	}
	if err := s.enter(t); err != nil {
		return nil, err
	}
	if err := t.save(); err != nil {
		s.leave(t)
		return nil, err
	}
	s.plan(t)
	t.settle()
	if len(a.Peers) > catalog.MaxPeers {
		t.AddPeers(a.Peers[catalog.MaxPeers:]...)
	}
	return t, nil
}

func (s *Session) newTorrent(hash [20]byte, r catalog.Record) *Torrent {
	t := &Torrent{s: s, hash: hash, rec: r, op: newTurn(), up: ratelimit.New(r.Up), down: ratelimit.New(r.Down)}
	t.place.Init(t, r.Position)
	t.complete.Store(r.Pieces > 0 && r.Left == 0)
	return t
}

// enter puts a torrent into the table.
func (s *Session) enter(t *Torrent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.torrents[t.hash] != nil, s.aliases[t.hash] != [20]byte{}, s.hasOther(t.torrent):
		return fmt.Errorf("add torrent %s: %w", t, ErrExists)
	case len(s.torrents) >= MaxTorrents:
		return fmt.Errorf("add torrent %s: session holds %d torrents, its limit", t, MaxTorrents)
	}
	s.torrents[t.hash] = t
	s.order.Add(&t.place)
	s.requests[mse.Request(t.hash)] = t.hash
	return nil
}

// leave takes a torrent out of the table.
func (s *Session) leave(t *Torrent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torrents[t.hash] != t {
		return
	}
	delete(s.torrents, t.hash)
	delete(s.requests, mse.Request(t.hash))
	for hash, of := range s.aliases {
		if of == t.hash {
			delete(s.aliases, hash)
			delete(s.requests, mse.Request(hash))
		}
	}
	s.order.Remove(&t.place)
}

// Remove takes a torrent out of the session; its files and its resume data
// stay. The error is [ErrNotFound], or of the disk.
func (s *Session) Remove(hash [20]byte) error {
	t := s.Get(hash)
	if t == nil {
		return fmt.Errorf("remove torrent %x: %w", hash, ErrNotFound)
	}
	return s.remove(s.ctx, t, false)
}

func (s *Session) remove(ctx context.Context, t *Torrent, data bool) error {
	if s.Get(t.hash) != t {
		return fmt.Errorf("remove torrent %s: %w", t, ErrNotFound)
	}
	if data { // a crash in between is made good at the next start
		if err := t.change(func(r *catalog.Record) { r.Stopped, r.Removing = true, true }); err != nil {
			return err
		}
		if err := t.saveRest(); err != nil {
			return err
		}
	}
	t.op.Lock()
	defer t.op.Unlock()
	t.halt()
	if data {
		if err := t.removeData(ctx); err != nil {
			return err
		}
		if err := t.forgetData(); err != nil {
			return err
		}
	}
	t.removed.Store(true)
	s.leave(t)
	if s.kept != nil {
		t.write.Lock()
		defer t.write.Unlock()
		if err := s.kept.Forget(t.hash); err != nil {
			return fmt.Errorf("forget torrent %s: %w", t, err)
		}
	}
	s.replan()
	return nil
}

// Get returns a torrent, or nil. A hybrid is known by both its hashes, once its
// metadata is here.
func (s *Session) Get(hash [20]byte) *Torrent {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.torrents[hash]; t != nil {
		return t
	}
	return s.torrents[s.aliases[hash]]
}

// alias takes another hash by which peers call a torrent, unless it is that of
// one that is here.
func (t *Torrent) alias(hash [20]byte) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torrents[t.hash] == t && s.torrents[hash] == nil && s.aliases[hash] == [20]byte{} {
		s.aliases[hash] = t.hash
		s.requests[mse.Request(hash)] = hash
	}
}

// hasOther says whether a hybrid is here by its other hash; s.mu is held.
func (s *Session) hasOther(t *metainfo.Torrent) bool {
	if t == nil {
		return false
	}
	for _, hash := range t.Swarms() {
		if s.torrents[hash] != nil {
			return true
		}
	}
	return false
}

// Torrents returns all torrents in the order of the queue.
func (s *Session) Torrents() []*Torrent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Items()
}

// SetLimits changes the limits of the whole session, in bytes per second; 0 =
// unlimited.
func (s *Session) SetLimits(up, down int64) {
	now := time.Now()
	s.up.SetRate(up, now)
	s.down.SetRate(down, now)
}

// Limits returns the limits of the whole session.
func (s *Session) Limits() (up, down int64) { return s.up.Rate(), s.down.Rate() }

// SetFilter replaces the filter of addresses; nil = none. Connections that are
// there stay until they end by themselves.
func (s *Session) SetFilter(l *ipfilter.List) { s.filter.Store(l) }

// Blocked says whether the filter holds an address.
func (s *Session) Blocked(a netip.Addr) bool { return s.filter.Load().Contains(a) }
