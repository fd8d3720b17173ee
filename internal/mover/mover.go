package mover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/durable"
)

// ErrOccupied says that a file is in the way in the new folder.
var ErrOccupied = errors.New("a file of that name is there already")

// copySuffix marks a copy that is not whole yet.
const copySuffix = ".btt-move"

// Faults are what tests do to a move; a nil function does nothing special.
type Faults struct {
	Rename func(from, to string) error
	Step   func() // before anything changes: let the process die there
}

// Move moves the files of one torrent from one folder into another. Its methods
// are for one goroutine; each may be called again after a crash or an error,
// by a Move made anew of the same fields.
type Move struct {
	From, To string
	Files    []disk.File // of the whole torrent, paths below the folders
	Faults   Faults

	renamed []string // paths moved so far, or the whole top folder
	copied  []string
}

// Step marks a step of a caller's own, where a crash is to be tested.
func (m *Move) Step() {
	if m.Faults.Step != nil {
		m.Faults.Step()
	}
}

func (m *Move) rename(from, to string) error {
	if m.Faults.Rename != nil {
		return m.Faults.Rename(from, to)
	}
	return os.Rename(from, to)
}

// Free checks that nothing is in the way.
func (m *Move) Free() error {
	for _, f := range m.Files {
		if f.Pad {
			continue
		}
		if _, err := os.Lstat(filepath.Join(m.To, filepath.FromSlash(f.Path))); err == nil {
			return fmt.Errorf("%s: %w (choose another folder)", f.Path, ErrOccupied)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// All moves every file that is not there yet.
func (m *Move) All(ctx context.Context) error {
	if err := os.MkdirAll(m.To, 0o777); err != nil {
		return err
	}
	if top := m.top(); top != "" {
		m.Step()
		switch err := m.rename(filepath.Join(m.From, top), filepath.Join(m.To, top)); {
		case err == nil:
			m.renamed = append(m.renamed, top)
			return m.sync()
		case !otherDevice(err):
			return err
		}
	}
	root, err := os.OpenRoot(m.To)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range m.Files {
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
func (m *Move) top() string {
	ours := map[string]bool{}
	top := ""
	for _, f := range m.Files {
		if f.Pad {
			continue
		}
		first, _, deeper := strings.Cut(f.Path, "/")
		if !deeper || top != "" && first != top {
			return ""
		}
		top = first
		ours[filepath.Join(m.From, filepath.FromSlash(f.Path))] = true
	}
	if top == "" {
		return ""
	}
	if _, err := os.Lstat(filepath.Join(m.To, top)); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	err := filepath.WalkDir(filepath.Join(m.From, top), func(p string, d fs.DirEntry, err error) error {
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

// sync makes the names in the new folders durable, and those that left.
func (m *Move) sync() error {
	dirs := map[string]bool{m.To: true, filepath.Dir(m.To): true}
	if len(m.renamed) > 0 {
		dirs[m.From] = true
	}
	for _, path := range slices.Concat(m.renamed, m.copied) {
		for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
			dirs[filepath.Join(m.To, d)] = true
		}
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Undo puts everything back, also what an earlier run moved.
func (m *Move) Undo() error {
	var errs []error
	for _, f := range m.Files {
		path := filepath.FromSlash(f.Path)
		from, to := filepath.Join(m.From, path), filepath.Join(m.To, path)
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
		prune(m.To, path)
	}
	m.renamed, m.copied = nil, nil
	return errors.Join(errs...)
}

// Tidy deletes the files that are in the new folder as copies, and the old
// folders that are empty.
func (m *Move) Tidy() error {
	var list []disk.File
	for _, f := range m.Files {
		if f.Pad {
			continue
		}
		if _, err := os.Lstat(filepath.Join(m.To, filepath.FromSlash(f.Path))); err == nil {
			list = append(list, f)
		}
	}
	return Delete(context.Background(), m.From, list)
}
