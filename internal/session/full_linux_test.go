package session

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/swarm"
)

// smallDisk makes a folder in which a file of size bytes does not fit: on a
// smaller file system of its own or, where the system does not permit that, by
// this process's limit of a file. It returns what a write beyond it fails with.
func smallDisk(t *testing.T, size uint64) (dir string, cause error) {
	t.Helper()
	dir = t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k")
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return dir, syscall.ENOSPC
	}
	t.Logf("no file system of its own: %v", err)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size - 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	})
	return dir, syscall.EFBIG
}

// TestFullDiskStopsOne: a torrent whose disk is full stops with an error that
// names the file and the cause; another one of the session goes on.
func TestFullDiskStopsOne(t *testing.T) {
	const large = 3 << 20
	dir, torrent := content(t, map[string]int{"a.bin": large}, 16<<10)
	otherDir, other := content(t, map[string]int{"c.bin": large - 1<<20}, 16<<10)
	seed := open(t, Config{UploadRate: 2 << 20})
	for _, a := range []Add{{Torrent: torrent, Dir: dir}, {Torrent: other, Dir: otherDir}} {
		s := add(t, seed, a)
		await(t, s)
	}
	to, cause := smallDisk(t, large)
	leech, peers := open(t, Config{}), []netip.AddrPort{seed.Addr()}
	full := add(t, leech, Add{Torrent: torrent, Dir: to, Peers: peers})
	good := add(t, leech, Add{Torrent: other, Dir: t.TempDir(), Peers: peers})
	until(t, "the torrent to stop", func() bool { return full.Status().State == swarm.Failed })
	path := filepath.Join(to, "stuff", "a.bin")
	var io *disk.Error
	if err := full.Status().Err; !errors.As(err, &io) || io.Path != path || !errors.Is(err, cause) || !strings.Contains(err.Error(), path) {
		t.Errorf("the error is %v, it should name %s and %v", err, path, cause)
	}
	await(t, good)
	if n := len(leech.Torrents()); n != 2 {
		t.Errorf("%d torrents are left", n)
	}
}
