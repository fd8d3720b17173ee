package session

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/swarm"
)

// TestBadDiskStopsOne: a torrent whose files cannot be written stops with an error
// that names the path and the cause; the others of the session go on.
func TestBadDiskStopsOne(t *testing.T) {
	files := map[string]int{"a.bin": 300_000, "sub/b.bin": 70_000}
	dir, torrent := content(t, files, 16<<10)
	seed := open(t, Config{})
	s := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, s)
	for name, spoil := range map[string]func(to string) (path string){
		"a file where a folder must be": func(to string) string {
			path := filepath.Join(to, "stuff", "sub")
			if os.Mkdir(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, nil, 0o644) != nil {
				t.Fatal("cannot prepare")
			}
			return path
		},
		"a folder where a file must be": func(to string) string {
			path := filepath.Join(to, "stuff", "a.bin")
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			otherDir, other := content(t, map[string]int{"c.bin": 2 << 20}, 16<<10)
			seed2 := open(t, Config{UploadRate: 1 << 20})
			s2 := add(t, seed2, Add{Torrent: other, Dir: otherDir})
			await(t, s2)
			leech, to := open(t, Config{}), t.TempDir()
			path := spoil(to)
			bad := add(t, leech, Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
			good := add(t, leech, Add{Torrent: other, Dir: t.TempDir(), Peers: []netip.AddrPort{seed2.Addr()}})
			until(t, "the torrent to stop", func() bool { return bad.Status().State == swarm.Failed })
			var io *disk.Error
			if err := bad.Status().Err; !errors.As(err, &io) || !strings.HasPrefix(io.Path, path) || !strings.Contains(err.Error(), path) {
				t.Errorf("the error is %v, it should name %s", err, path)
			}
			await(t, good)
		})
	}
}

// TestPreallocate: reserved or sparse, the files end up the same.
func TestPreallocate(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	seed := open(t, Config{})
	s := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, s)
	to := t.TempDir()
	l := add(t, open(t, Config{Preallocate: true}), Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
	await(t, l)
	sameFiles(t, dir, to, manyFiles)
}

// TestForeignChange: what another program changes in a file between two runs is
// found out and fetched again.
func TestForeignChange(t *testing.T) {
	files := map[string]int{"a": 2 << 20, "b": 1 << 20}
	dir, torrent := content(t, files, 64<<10)
	seed := open(t, Config{})
	s := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, s)
	state, to := t.TempDir(), t.TempDir()
	first := open(t, Config{StateDir: state})
	l := add(t, first, Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
	await(t, l)
	first.Close()
	path := filepath.Join(to, "stuff", "a")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Clone(b)
	b[100_000] ^= 1
	time.Sleep(20 * time.Millisecond) // another time than that of our last write
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	l = add(t, open(t, Config{StateDir: state}), Add{Torrent: torrent, Dir: to})
	until(t, "the check", func() bool { return l.Status().State == swarm.Downloading })
	if st := l.Status(); st.Have != st.Pieces-1 {
		t.Errorf("%d of %d pieces are left after one was spoiled", st.Have, st.Pieces)
	}
	l.AddPeers(seed.Addr())
	await(t, l)
	sameFiles(t, dir, to, files)
}
