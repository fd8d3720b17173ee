package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/internal/swarm"
)

// ErrOccupied says that a file is in the way in the new folder.
var ErrOccupied = errors.New("a file of that name is there already")

// copySuffix marks a copy that is not whole yet.
const copySuffix = ".btt-move"

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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.s.ctx, cancel)() // the session's end ends it too
	t.op.Lock()
	err = t.moveTo(ctx, to)
	t.op.Unlock()
	t.settle()
	return err
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
	m, err := t.mover(from, to)
	if err == nil {
		err = m.free()
	}
	if err != nil {
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
		m, err := t.mover(left, from)
		if err != nil {
			return err
		}
		return t.tidy(m)
	}
	m, err := t.mover(from, to)
	if err != nil {
		t.moved(from, "")
		return err
	}
	return t.carry(ctx, m)
}

// carry moves the files and writes down where they are now; t.op is held.
func (t *Torrent) carry(ctx context.Context, m *mover) error {
	if err := m.all(ctx); err != nil {
		back := m.undo()
		if back == nil {
			t.moved(m.from, "")
		} else { // the next start tries again
			t.mu.Lock()
			t.moving, t.failure = false, err
			t.mu.Unlock()
		}
		return errors.Join(fmt.Errorf("move torrent %s to %s: %w", t, m.to, err), back, t.save())
	}
	m.step()
	if t.s.resume != nil {
		if st, err := t.s.resume.Load(t.hash); err == nil {
			st.Dir = m.to
			if err := t.s.resume.Save(st); err != nil {
				t.s.cfg.Log.Warn("resume data of moved torrent", "torrent", t, "err", err)
			}
		} else if !errors.Is(err, resume.ErrNotFound) {
			t.s.cfg.Log.Warn("resume data of moved torrent", "torrent", t, "err", err)
		}
	}
	t.moved(m.to, m.from)
	m.step()
	if err := t.save(); err != nil { // from here on they are in the new folder
		return err
	}
	m.step()
	return t.tidy(m)
}

// moved notes where the files are.
func (t *Torrent) moved(dir, left string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moving, t.rec.Dir, t.rec.MoveTo, t.rec.MovedFrom = false, dir, "", left
}

// tidy deletes what a move left in the old folder.
func (t *Torrent) tidy(m *mover) error {
	if err := m.tidy(); err != nil {
		return fmt.Errorf("delete files of %s that were copied: %w", t, err)
	}
	m.step()
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
	if err := deleteFiles(ctx, dir, swarm.DiskFiles(meta.Info, dir, inPlace)); err != nil {
		return fmt.Errorf("delete files of torrent %s: %w", t, err)
	}
	return nil
}

// faults are what tests do to a move.
type faults struct {
	rename func(from, to string) error
	step   func()
}

// mover moves the files of one torrent.
type mover struct {
	from, to string
	files    []disk.File
	renamed  []string // paths moved so far, or the whole top folder
	copied   []string
	rename   func(from, to string) error
	step     func() // before anything changes; tests let the process die there
}

func (t *Torrent) mover(from, to string) (*mover, error) {
	m := &mover{from: from, to: to, rename: os.Rename, step: func() {}}
	if t.s.faults != nil {
		m.rename, m.step = t.s.faults.rename, t.s.faults.step
	}
	if meta := t.Metainfo(); meta != nil {
		t.mu.Lock()
		inPlace := t.rec.InPlace
		t.mu.Unlock()
		m.files = swarm.DiskFiles(meta.Info, from, inPlace)
		if inPlace && to != "" { // of a move that goes on: some are there already
			for i, f := range swarm.DiskFiles(meta.Info, to, true) {
				if _, err := os.Lstat(filepath.Join(from, filepath.FromSlash(m.files[i].Path))); err != nil {
					m.files[i] = f
				}
			}
		}
	}
	return m, nil
}

// free checks that nothing is in the way.
func (m *mover) free() error {
	for _, f := range m.files {
		if f.Pad {
			continue
		}
		if _, err := os.Lstat(filepath.Join(m.to, filepath.FromSlash(f.Path))); err == nil {
			return fmt.Errorf("%s: %w (choose another folder)", f.Path, ErrOccupied)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// all moves every file that is not there yet.
func (m *mover) all(ctx context.Context) error {
	if err := os.MkdirAll(m.to, 0o777); err != nil {
		return err
	}
	if top := m.top(); top != "" {
		m.step()
		switch err := m.rename(filepath.Join(m.from, top), filepath.Join(m.to, top)); {
		case err == nil:
			m.renamed = append(m.renamed, top)
			return m.sync()
		case !otherDevice(err):
			return err
		}
	}
	root, err := os.OpenRoot(m.to)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range m.files {
		if f.Pad {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.one(ctx, root, filepath.FromSlash(f.Path)); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return m.sync()
}

// top is the torrent's folder if it can be renamed as a whole: nothing else is
// in it, and none of its name is in the new place.
func (m *mover) top() string {
	ours := map[string]bool{}
	top := ""
	for _, f := range m.files {
		if f.Pad {
			continue
		}
		first, _, deeper := strings.Cut(f.Path, "/")
		if !deeper || top != "" && first != top {
			return ""
		}
		top = first
		ours[filepath.Join(m.from, filepath.FromSlash(f.Path))] = true
	}
	if top == "" {
		return ""
	}
	if _, err := os.Lstat(filepath.Join(m.to, top)); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	err := filepath.WalkDir(filepath.Join(m.from, top), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !ours[p] {
			err = ErrOccupied
		}
		return err
	})
	if err != nil {
		return ""
	}
	return top
}

// one moves one file. A file that is in the new folder alone has moved before;
// one that is in both was copied whole, for copies get their name last.
func (m *mover) one(ctx context.Context, root *os.Root, path string) error {
	from, to := filepath.Join(m.from, path), filepath.Join(m.to, path)
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // moved before, or never fetched
	}
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if there, err := root.Lstat(path); err == nil {
		if there.Size() != st.Size() {
			return ErrOccupied
		}
		m.copied = append(m.copied, path)
		return nil
	}
	if dir := filepath.Dir(path); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	m.step()
	err = m.rename(from, to)
	if err == nil {
		m.renamed = append(m.renamed, path)
		return nil
	}
	if !otherDevice(err) {
		return err
	}
	if err := m.copy(ctx, root, from, path, st); err != nil {
		return err
	}
	m.copied = append(m.copied, path)
	return nil
}

// copy makes a durable copy; its name appears when it is whole.
func (m *mover) copy(ctx context.Context, root *os.Root, from, path string, st fs.FileInfo) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := root.OpenFile(path+copySuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, &cancelled{ctx, src})
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err == nil {
		err = root.Chtimes(path+copySuffix, st.ModTime(), st.ModTime())
	}
	if err == nil {
		m.step()
		err = root.Rename(path+copySuffix, path)
	}
	if err != nil {
		_ = root.Remove(path + copySuffix) // the error that counts is told
	}
	return err
}

// cancelled is a reader that ends with ctx.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p[:min(len(p), 1<<20)])
}

// sync makes the names in the new folders durable, and those that left.
func (m *mover) sync() error {
	dirs := map[string]bool{m.to: true, filepath.Dir(m.to): true}
	if len(m.renamed) > 0 {
		dirs[m.from] = true
	}
	for _, path := range slices.Concat(m.renamed, m.copied) {
		for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
			dirs[filepath.Join(m.to, d)] = true
		}
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// undo puts everything back, also what an earlier run moved.
func (m *mover) undo() error {
	var errs []error
	for _, f := range m.files {
		path := filepath.FromSlash(f.Path)
		from, to := filepath.Join(m.from, path), filepath.Join(m.to, path)
		moved, err := os.Lstat(to)
		if f.Pad || err != nil || !moved.Mode().IsRegular() {
			continue
		}
		switch old, err := os.Lstat(from); {
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, os.MkdirAll(filepath.Dir(from), 0o777), os.Rename(to, from))
		case err == nil && old.Size() == moved.Size():
			errs = append(errs, os.Remove(to))
		}
		prune(m.to, path)
	}
	m.renamed, m.copied = nil, nil
	return errors.Join(errs...)
}

// tidy deletes the files that are in the new folder as copies, and the old
// folders that are empty.
func (m *mover) tidy() error {
	var list []disk.File
	for _, f := range m.files {
		if f.Pad {
			continue
		}
		if _, err := os.Lstat(filepath.Join(m.to, filepath.FromSlash(f.Path))); err == nil {
			list = append(list, f)
		}
	}
	return deleteFiles(context.Background(), m.from, list)
}

// deleteFiles deletes a torrent's files below dir, never through a link that
// leads outside, and the folders that this leaves empty.
func deleteFiles(ctx context.Context, dir string, files []disk.File) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	var errs []error
	for _, f := range files {
		path := filepath.FromSlash(f.Path)
		if f.Pad || !filepath.IsLocal(path) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
			if root.Remove(d) != nil {
				break // not empty
			}
		}
	}
	return errors.Join(errs...)
}

// prune removes the folders of a path that are empty.
func prune(dir, path string) {
	for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
		if os.Remove(filepath.Join(dir, d)) != nil {
			return
		}
	}
}
