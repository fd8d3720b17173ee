package session

import (
	"errors"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

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

// Status returns a snapshot.
func (t *Torrent) Status() Status {
	t.mu.Lock()
	sw := t.swarm
	st := t.standing()
	t.mu.Unlock()
	st.Position = t.s.rank(t)
	if sw != nil {
		if live := sw.Status(); !errors.Is(live.Err, swarm.ErrClosed) {
			st.Status = live
		}
	}
	if st.Paid+st.Earned == 0 { // who does not trade now may have before
		if m := t.s.market(); m != nil && m.Receipts != nil {
			st.Paid, st.Earned = m.Receipts.Sums(t.hash)
		}
	}
	return st
}

// standing is the status without a swarm; t.mu is held.
func (t *Torrent) standing() Status {
	r := &t.rec
	st := Status{Labels: slices.Clone(r.Labels), Forced: r.Forced, Plain: r.Plain, WhenPaid: r.WhenPaid,
		Resting: !r.Stopped && t.rests(), Sequential: r.Sequential,
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
