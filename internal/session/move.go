package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bttnet/btt/internal/mover"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/internal/swarm"
)

// ErrOccupied says that a file is in the way in the new folder.
var ErrOccupied = mover.ErrOccupied

// Move puts the torrent's files into another folder, which is made if need be,
// and goes on there. Within a file system files are renamed; into another they
// are copied and made durable before the old ones are deleted. Other files in
// the old folder stay. On an error, or when ctx ends, all is as before; after
// a crash the session's next start completes the move. It waits for the end.
func (t *Torrent) Move(ctx context.Context, dir string) error {
	to, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("move torrent: %w", err)
	}
	return t.await(ctx, func() error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(t.s.ctx, cancel)() // the session's end ends it too
		t.op.Lock()
		err := t.moveTo(ctx, to)
		t.op.Unlock()
		t.settle()
		return err
	})
}

// moveTo does it; t.op is held.
func (t *Torrent) moveTo(ctx context.Context, to string) error {
	t.mu.Lock()
	from := t.rec.Dir
	t.mu.Unlock()
	if t.removed.Load() {
		return fmt.Errorf("move torrent %s: %w", t, ErrNotFound)
	}
	if from == to {
		return nil
	}
	m := t.moveOf(from, to)
	if err := m.Free(); err != nil {
		return fmt.Errorf("move torrent %s to %s: %w", t, to, err)
	}
	t.halt()
	t.mu.Lock()
	t.moving, t.rec.MoveTo = true, to
	t.mu.Unlock()
	if err := t.save(); err != nil { // before the first file moves
		t.moved(from, "")
		return err
	}
	return t.carry(ctx, m)
}

// finishMove goes on with a move that a crash cut off; t.op is held.
func (t *Torrent) finishMove(ctx context.Context) error {
	t.mu.Lock()
	from, to, left := t.rec.Dir, t.rec.MoveTo, t.rec.MovedFrom
	t.moving = to != ""
	t.mu.Unlock()
	if to == "" {
		return t.tidy(t.moveOf(left, from))
	}
	return t.carry(ctx, t.moveOf(from, to))
}

// carry moves the files and writes down where they are now; t.op is held.
func (t *Torrent) carry(ctx context.Context, m *mover.Move) error {
	if err := m.All(ctx); err != nil {
		back := m.Undo()
		if back == nil {
			t.moved(m.From, "")
		} else { // the next start tries again
			t.mu.Lock()
			t.moving, t.failure = false, err
			t.mu.Unlock()
		}
		return errors.Join(fmt.Errorf("move torrent %s to %s: %w", t, m.To, err), back, t.save())
	}
	m.Step()
	t.relabel(m)
	t.moved(m.To, m.From)
	m.Step()
	if err := t.save(); err != nil { // from here on they are in the new folder
		return err
	}
	m.Step()
	return t.tidy(m)
}

// relabel notes in the resume data where the files are now, if it is of this torrent's
// files and not of those that another session has elsewhere. Without it they are checked.
func (t *Torrent) relabel(m *mover.Move) {
	f := t.hold()
	if f == nil {
		return
	}
	defer t.release()
	st, err := f.Load(t.hash)
	if err == nil && st.Dir == m.From {
		st.Dir = m.To
		err = f.Save(st)
	}
	if err != nil && !errors.Is(err, resume.ErrNotFound) {
		t.s.cfg.Log.Warn("resume data of moved torrent", "torrent", t, "err", err)
	}
}

// moved notes where the files are.
func (t *Torrent) moved(dir, left string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moving, t.rec.Dir, t.rec.MoveTo, t.rec.MovedFrom = false, dir, "", left
}

// tidy deletes what a move left in the old folder.
func (t *Torrent) tidy(m *mover.Move) error {
	if err := m.Tidy(); err != nil {
		return fmt.Errorf("delete files of %s that were copied: %w", t, err)
	}
	m.Step()
	t.mu.Lock()
	t.rec.MovedFrom = ""
	t.mu.Unlock()
	return t.save()
}

// removeData deletes the torrent's files and the folders that this leaves
// empty; t.op is held and the swarm does not run.
func (t *Torrent) removeData(ctx context.Context) error {
	meta := t.Metainfo()
	if meta == nil {
		return nil
	}
	t.mu.Lock()
	dir, inPlace := t.rec.Dir, t.rec.InPlace
	t.mu.Unlock()
	if err := mover.Delete(ctx, dir, swarm.DiskFiles(meta.Info, dir, inPlace)); err != nil {
		return fmt.Errorf("delete files of torrent %s: %w", t, err)
	}
	return nil
}

// moveOf is the move of the torrent's files between two folders.
func (t *Torrent) moveOf(from, to string) *mover.Move {
	m := &mover.Move{From: from, To: to, Faults: t.s.faults}
	meta := t.Metainfo()
	if meta == nil {
		return m
	}
	t.mu.Lock()
	inPlace := t.rec.InPlace
	t.mu.Unlock()
	m.Files = swarm.DiskFiles(meta.Info, from, inPlace)
	if inPlace && to != "" { // of a move that goes on: some are there already
		for i, f := range swarm.DiskFiles(meta.Info, to, true) {
			if _, err := os.Lstat(filepath.Join(from, filepath.FromSlash(m.Files[i].Path))); err != nil {
				m.Files[i] = f
			}
		}
	}
	return m
}
