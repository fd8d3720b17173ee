package session

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/bttnet/btt/metainfo"
)

// touch has the session write the record soon; t.mu is held.
func (t *Torrent) touch() {
	if t.s.kept == nil {
		return
	}
	t.unsaved = true
	if !t.waits {
		t.waits = true
		t.s.unsaved.add(t)
	}
}

// save writes the record now.
func (t *Torrent) save() error {
	if t.s.kept == nil || t.removed.Load() {
		return nil
	}
	t.write.Lock()
	defer t.write.Unlock()
	t.mu.Lock()
	t.unsaved = true
	t.mu.Unlock()
	return t.writeRecord()
}

// saveRest writes the record if it is not as it was written last, and waits for
// a write of it that is under way.
func (t *Torrent) saveRest() error {
	t.write.Lock()
	defer t.write.Unlock()
	return t.writeRecord()
}

// writeRecord does it if need be; t.write is held, t.mu is not while the disk
// has its time.
func (t *Torrent) writeRecord() error {
	t.mu.Lock()
	if !t.unsaved || t.removed.Load() {
		t.mu.Unlock()
		return nil
	}
	t.rec.Position = t.place.Position()
	rec, meta, fresh := t.rec.Clone(), t.torrent, t.newMeta
	t.unsaved, t.newMeta, t.waits = false, false, false
	t.mu.Unlock()
	var err error
	if fresh && meta != nil {
		err = t.s.kept.SaveTorrent(t.hash, meta)
	}
	if err == nil {
		err = t.s.kept.Save(t.hash, &rec)
	}
	if err != nil {
		t.mu.Lock()
		t.unsaved, t.newMeta = true, t.newMeta || fresh
		t.mu.Unlock()
	}
	return err
}

// Flush waits until what was changed of all torrents is on disk, or ctx ends,
// and returns why it is not. A failed write is tried again with the next change
// or Flush.
func (s *Session) Flush(ctx context.Context) error {
	var errs []error
	for _, t := range s.Torrents() {
		if err := t.Flush(ctx); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
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
			if err := t.saveRest(); err != nil {
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
	if err := t.saveRest(); err != nil {
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
	s.carryOut(s.decide())
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
