package session

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/mover"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// apart lets every rename fail as between two file systems.
func apart(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
}

// list names all files below a folder.
func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(p, dir))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// ways of a move: as a whole, file by file, and by copies.
var moves = map[string]struct {
	rename func(from, to string) error
	mine   bool // a file of the user's lies beside
}{
	"whole": {os.Rename, false}, "files": {os.Rename, true}, "copies": {apart, false}, "copies and mine": {apart, true},
}

func TestMove(t *testing.T) {
	for name, way := range moves {
		t.Run(name, func(t *testing.T) {
			dir, torrent := content(t, manyFiles, 64<<10)
			keep := t.TempDir()
			must(t, os.CopyFS(keep, os.DirFS(dir)))
			if way.mine {
				must(t, os.WriteFile(filepath.Join(dir, "stuff", "mine"), nil, 0o600))
			}
			state, to := t.TempDir(), filepath.Join(t.TempDir(), "a", "b")
			s := open(t, Config{StateDir: state, Keep: true})
			s.faults = mover.Faults{Rename: way.rename}
			x := add(t, s, Add{Torrent: torrent, Dir: dir})
			await(t, x)
			must(t, x.Move(context.Background(), to))
			if x.Status().Dir != to {
				t.Errorf("its folder is %s", x.Status().Dir)
			}
			await(t, x)
			sameFiles(t, keep, to, manyFiles)
			if left := list(t, dir); len(left) != 0 && !way.mine || len(left) > 1 {
				t.Errorf("left behind: %q", left)
			}
			leech := open(t, Config{}) // it is served from there
			got := t.TempDir()
			await(t, add(t, leech, Add{Torrent: torrent, Dir: got, Peers: []netip.AddrPort{s.Addr()}}))
			sameFiles(t, keep, got, manyFiles)
			s.Close()
			_, x = again(t, state)
			await(t, x)
			if x.Status().Dir != to {
				t.Errorf("after the restart its folder is %s", x.Status().Dir)
			}
		})
	}
}

// TestMoveFails leaves everything as it was.
func TestMoveFails(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	keep := t.TempDir()
	must(t, os.CopyFS(keep, os.DirFS(dir)))
	s := open(t, Config{StateDir: t.TempDir(), Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	whole := func(why string) {
		t.Helper()
		await(t, x)
		if x.Status().Dir != dir {
			t.Errorf("%s: its folder is %s", why, x.Status().Dir)
		}
		sameFiles(t, keep, dir, manyFiles)
	}

	occupied := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(occupied, "stuff"), 0o777))
	must(t, os.WriteFile(filepath.Join(occupied, "stuff", "c"), []byte("mine"), 0o600))
	if err := x.Move(context.Background(), occupied); !errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), "another folder") {
		t.Errorf("moved onto another file: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(occupied, "stuff", "c")); string(b) != "mine" {
		t.Errorf("the file in the way is %q now: %v", b, err)
	}
	whole("occupied")

	for name, rename := range map[string]func(string, string) error{"renames": os.Rename, "copies": apart} {
		left := 3
		s.faults = mover.Faults{Rename: func(a, b string) error {
			if left--; left < 0 {
				return syscall.ENOSPC
			}
			if filepath.Base(a) == "stuff" {
				return syscall.EXDEV // file by file
			}
			return rename(a, b)
		}}
		to := t.TempDir()
		if err := x.Move(context.Background(), to); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
		if left := list(t, to); len(left) != 0 {
			t.Errorf("%s: left in the new folder: %q", name, left)
		}
		whole(name)
	}

	ctx, cancel := context.WithCancel(context.Background())
	s.faults = mover.Faults{Step: cancel, Rename: apart}
	if err := x.Move(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	whole("cancelled")
}

// TestMoveCrashes lets the process die at every step of a move: the next start
// finds all data in one folder, and nothing of it in the other.
func TestMoveCrashes(t *testing.T) {
	files := map[string]int{"a": 300_000, "sub/b": 5, "c": 70_000}
	for name, way := range moves {
		t.Run(name, func(t *testing.T) {
			died := true
			for at := 1; died; at++ {
				died = crashMove(t, files, way.rename, way.mine, at)
				if at > 50 {
					t.Fatal("a move of 50 steps")
				}
			}
		})
	}
}

func crashMove(t *testing.T, files map[string]int, rename func(string, string) error, mine bool, at int) (died bool) {
	dir, torrent := content(t, files, 32<<10)
	keep := t.TempDir()
	must(t, os.CopyFS(keep, os.DirFS(dir)))
	if mine {
		must(t, os.WriteFile(filepath.Join(dir, "stuff", "mine"), nil, 0o600))
	}
	state, to := t.TempDir(), t.TempDir()
	s, err := Open(Config{StateDir: state, Keep: true, Listen: "off"})
	must(t, err)
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	steps := 0
	s.faults = mover.Faults{Rename: rename, Step: func() {
		if steps++; steps == at {
			runtime.Goexit() // as far as the disk knows, the process is gone
		}
	}}
	died = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		must(t, x.Move(context.Background(), to))
		died = false
	}()
	<-done
	if !died {
		s.Close()
		return false
	}
	dead := x
	t.Cleanup(func() { dead.op.Unlock(); s.Close() })
	must(t, s.lock.Release())
	_, x = again(t, state)
	until(t, "the end of the move", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.rec.MoveTo == "" && x.rec.MovedFrom == "" && !x.moving && x.swarm != nil
	})
	await(t, x)
	home, other := x.Status().Dir, map[string]string{dir: to, to: dir}
	if left := list(t, other[home]); len(left) != 0 && !(len(left) == 1 && strings.HasSuffix(left[0], "mine")) {
		t.Errorf("died at step %d: in %s all, but left in the other folder %q", at, home, left)
	}
	sameFiles(t, keep, home, files)
	return true
}

// TestRemovalGoesOn deletes what a crash left of a torrent that was to go with
// its data.
func TestRemovalGoesOn(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	state := t.TempDir()
	s := open(t, Config{StateDir: state, Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	must(t, x.change(func(r *catalog.Record) { r.Stopped, r.Removing = true, true }))
	s.Close()
	s = open(t, Config{StateDir: state, Keep: true})
	until(t, "the removal", func() bool { return len(s.Torrents()) == 0 && len(list(t, dir)) == 0 })
}

// TestMoveStaysInside follows no link out of the new folder.
func TestMoveStaysInside(t *testing.T) {
	dir, torrent := content(t, map[string]int{"sub/x": 1000}, 32<<10)
	s := open(t, Config{StateDir: t.TempDir(), Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	to, outside := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(to, "stuff"), 0o777))
	must(t, os.Symlink(outside, filepath.Join(to, "stuff", "sub")))
	if err := x.Move(context.Background(), to); err == nil {
		t.Error("moved through a link")
	}
	if left := list(t, outside); len(left) != 0 {
		t.Errorf("outside the folder: %q", left)
	}
	await(t, x)
}

// TestMoveWithoutData moves a torrent of which nothing is there yet.
func TestMoveWithoutData(t *testing.T) {
	s := open(t, Config{StateDir: t.TempDir(), Keep: true})
	x := add(t, s, Add{InfoHash: metainfo.InfoHash{1}, Dir: t.TempDir()})
	to := t.TempDir()
	must(t, x.Move(context.Background(), to))
	if st := x.Status(); st.Dir != to || st.State != swarm.FetchingMetadata {
		t.Errorf("it is %s in %s", st.State, st.Dir)
	}
}
