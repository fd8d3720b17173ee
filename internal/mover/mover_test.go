package mover

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/bttnet/btt/internal/disk"
)

// tree is what lies below a folder, by path.
type tree map[string]string

func (want tree) make(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range want {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o777))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

func look(t *testing.T, dir string) tree {
	t.Helper()
	got := tree{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		b, err := os.ReadFile(p)
		got[filepath.ToSlash(name)] = string(b)
		return err
	}))
	return got
}

func same(t *testing.T, what, dir string, want tree) {
	t.Helper()
	if got := look(t, dir); !maps.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func apart(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
}

var (
	ours  = tree{"top/a": "aaaa", "top/sub/b": "b", "top/empty": ""}
	files = []disk.File{{Path: "top/a", Length: 4}, {Path: ".pad/4", Length: 4, Pad: true}, {Path: "top/sub/b", Length: 1}, {Path: "top/empty"}}
)

// TestMove moves a torrent in each way and back in none.
func TestMove(t *testing.T) {
	for name, way := range map[string]struct {
		rename func(from, to string) error
		beside tree
	}{
		"whole": {}, "files": {beside: tree{"top/mine": "m"}}, "copies": {rename: apart}, "copies and mine": {apart, tree{"top/sub/mine": "m"}},
	} {
		t.Run(name, func(t *testing.T) {
			from := merge(ours, way.beside).make(t)
			to := filepath.Join(t.TempDir(), "new")
			m := &Move{From: from, To: to, Files: files, Faults: Faults{Rename: way.rename}}
			must(t, m.Free())
			must(t, m.All(context.Background()))
			same(t, "new folder", to, ours)
			must(t, m.Tidy())
			same(t, "new folder", to, ours)
			same(t, "old folder", from, merge(tree{}, way.beside))
		})
	}
}

// TestGoOn lets the process die before each step; a move made anew of the same
// fields completes what was begun, or takes it back.
func TestGoOn(t *testing.T) {
	for _, rename := range []func(string, string) error{os.Rename, apart} {
		for _, back := range []bool{false, true} {
			for died, at := true, 1; died; at++ {
				from, to := merge(ours, tree{"top/mine": "m"}).make(t), t.TempDir()
				died = die(&Move{From: from, To: to, Files: files, Faults: Faults{Rename: rename}}, at)
				m := &Move{From: from, To: to, Files: files, Faults: Faults{Rename: rename}}
				if back {
					must(t, m.Undo())
					same(t, "old folder", from, merge(ours, tree{"top/mine": "m"}))
					continue
				}
				must(t, m.All(context.Background()))
				must(t, m.Tidy())
				same(t, "new folder", to, ours)
				same(t, "old folder", from, tree{"top/mine": "m"})
			}
		}
	}
}

// die moves until a step and says whether it came to it.
func die(m *Move, at int) (died bool) {
	steps := 0
	m.Faults.Step = func() {
		if steps++; steps == at {
			runtime.Goexit()
		}
	}
	died = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		if m.All(context.Background()) == nil {
			died = false
		}
	}()
	<-done
	return died
}

// TestOccupied touches nothing that lies in the new folder.
func TestOccupied(t *testing.T) {
	theirs := tree{"top/a": "other"}
	from, to := ours.make(t), theirs.make(t)
	m := &Move{From: from, To: to, Files: files}
	if err := m.Free(); !errors.Is(err, ErrOccupied) {
		t.Errorf("free: %v", err)
	}
	if err := m.All(context.Background()); !errors.Is(err, ErrOccupied) {
		t.Errorf("moved onto another file: %v", err)
	}
	must(t, m.Undo())
	same(t, "new folder", to, theirs)
	same(t, "old folder", from, ours)
}

// TestDeleteStaysInside follows no link out of the folder, and leaves what is
// not the torrent's.
func TestDeleteStaysInside(t *testing.T) {
	outside := tree{"b": "not ours"}.make(t)
	dir := merge(tree{"top/a": "aaaa"}, tree{"top/mine": "m"}).make(t)
	must(t, os.Symlink(outside, filepath.Join(dir, "top", "sub")))
	if err := Delete(context.Background(), dir, append(files, disk.File{Path: "../" + filepath.Base(outside) + "/b"})); err == nil {
		t.Error("deleted through a link that leads outside")
	}
	same(t, "outside", outside, tree{"b": "not ours"})
	must(t, os.Remove(filepath.Join(dir, "top", "sub")))
	must(t, Delete(context.Background(), dir, files))
	same(t, "the folder", dir, tree{"top/mine": "m"})
	must(t, os.Remove(filepath.Join(dir, "top", "mine")))
	must(t, Delete(context.Background(), filepath.Join(dir, "gone"), files))
}

func merge(a, b tree) tree {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}
