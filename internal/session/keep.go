package session

import (
	"errors"
	"slices"
	"sync"

	"github.com/bttnet/btt/metainfo"
)

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
	t.rec.Position = t.place.Position()
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

// backlog holds torrents whose record is to be written soon. Its methods are
// safe for concurrent use.
type backlog struct {
	mu     sync.Mutex // leaf lock
	list   []*Torrent
	signal chan struct{}
}

func (b *backlog) add(t *Torrent) {
	b.mu.Lock()
	b.list = append(b.list, t)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *backlog) take() []*Torrent {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

// saveBacklog writes what changed by itself; choke rounds do not wait for it.
func (s *Session) saveBacklog() {
	list := s.unsaved.take()
	s.spawn(func() { // ends when the disk has them
		for _, t := range list {
			if err := t.save(); err != nil {
				s.cfg.Log.Warn("save torrent", "torrent", t, "err", err)
			}
		}
	})
}

// end stops a torrent with its session: what it was to do is not changed.
func (t *Torrent) end() {
	t.op.Lock()
	defer t.op.Unlock()
	t.halt()
	t.mu.Lock()
	unsaved := t.unsaved
	t.mu.Unlock()
	if !unsaved {
		return
	}
	if err := t.save(); err != nil {
		t.s.cfg.Log.Warn("save torrent", "torrent", t, "err", err)
	}
}

// restore brings back the torrents that the session keeps. One whose record
// cannot be read is left out, and its files are left alone.
func (s *Session) restore() {
	kept, err := s.kept.Names()
	if err != nil {
		s.cfg.Log.Error("torrents are not restored", "err", err)
		return
	}
	names := make(chan string, len(kept))
	for _, name := range kept {
		names <- name
	}
	close(names)
	var group sync.WaitGroup
	for range openers {
		group.Go(func() { // ends when names is empty
			for name := range names {
				if err := s.restoreOne(name); err != nil {
					s.cfg.Log.Error("torrent is not restored", "record", s.kept.Path(name), "err", err)
				}
			}
		})
	}
	group.Wait()
	s.mu.Lock()
	s.order.Sort(func(a, b *Torrent) int { return slices.Compare(a.hash[:], b.hash[:]) })
	list := s.order.Items()
	s.mu.Unlock()
	for _, t := range list {
		s.resumeWork(t)
	}
	s.planAll()
}

func (s *Session) restoreOne(name string) error {
	hash, err := metainfo.ParseInfoHash(name)
	if err != nil || hash.String() != name {
		return errors.New("its name is no info hash")
	}
	r, err := s.kept.Load(hash)
	if err != nil {
		return err
	}
	return s.enter(s.newTorrent(hash, r))
}

// resumeWork goes on with what a crash or a stop cut off.
func (s *Session) resumeWork(t *Torrent) {
	switch {
	case t.rec.Removing:
		s.spawn(func() { // ends when the files are gone, or with the session
			if err := s.remove(s.ctx, t, true); err != nil {
				s.cfg.Log.Error("finish removal of torrent", "torrent", t, "err", err)
			}
		})
	case t.rec.MoveTo != "" || t.rec.MovedFrom != "":
		t.op.Lock()      // no start before
		s.spawn(func() { // ends when the files have moved, or with the session
			err := t.finishMove(s.ctx)
			t.op.Unlock()
			if err != nil {
				s.cfg.Log.Error("finish move of torrent", "torrent", t, "err", err)
			}
			t.settle()
		})
	}
}
