package session

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/ipfilter"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// TestSelection fetches one file, then another.
func TestSelection(t *testing.T) {
	files := map[string]int{"a": 1 << 20, "b": 2 << 20, "c": 1 << 20}
	dir, torrent := content(t, files, 64<<10)
	seed := open(t, Config{})
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	s, to := open(t, Config{StateDir: t.TempDir(), Keep: true}), t.TempDir()
	var asked int
	x := add(t, s, Add{InfoHash: torrent.InfoHash, Dir: to, Peers: []netip.AddrPort{seed.Addr()}, Choose: func(in *metainfo.Info) ([]uint8, error) {
		asked++
		return []uint8{0, 4, 0}, nil
	}})
	await(t, x)
	st := x.Status()
	if asked != 1 || st.Size != 2<<20 || st.Have != 32 || st.State != swarm.Finished {
		t.Errorf("asked %d times, %v, got %d of %d pieces for %d bytes", asked, st.State, st.Have, st.Pieces, st.Size)
	}
	if _, err := os.Stat(filepath.Join(to, "stuff", "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that nobody wants is there: %v", err)
	}
	for i, f := range x.Files() {
		if want := []int64{0, 2 << 20, 0}[i]; f.Done != want {
			t.Errorf("%s: %d bytes are there, want %d", f.Path, f.Done, want)
		}
	}
	must(t, x.SetPriorities([]uint8{1}))
	if st := x.Status().State; st != swarm.Downloading && st != swarm.Seeding {
		t.Errorf("after more was wanted: %s", st)
	}
	x.AddPeers(seed.Addr())
	until(t, "the rest", func() bool { st := x.Status(); return st.State == swarm.Seeding && st.Have == st.Pieces })
	sameFiles(t, dir, to, files)

	if err := x.SetPriorities(make([]uint8, 4)); err == nil {
		t.Error("more priorities than files were taken")
	}
	bad := open(t, Config{})
	x = add(t, bad, Add{Torrent: torrent, Dir: t.TempDir(), Choose: func(*metainfo.Info) ([]uint8, error) { return nil, errors.New("no such file") }})
	until(t, "the refusal", func() bool { return x.Status().State == swarm.Failed })
	if err := x.Status().Err; err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("failed with %v", err)
	}
}

func TestSequentialOrder(t *testing.T) {
	dir, torrent := content(t, map[string]int{"big": 6 << 20}, 64<<10)
	seed := open(t, Config{UploadRate: 2 << 20})
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	to := t.TempDir()
	x := add(t, open(t, Config{}), Add{Torrent: torrent, Dir: to, Sequential: true, Peers: []netip.AddrPort{seed.Addr()}})
	until(t, "half of it", func() bool { return x.Status().Have >= 40 })
	must(t, x.Stop())
	want, err := os.ReadFile(filepath.Join(dir, "stuff", "big"))
	must(t, err)
	got, err := os.ReadFile(filepath.Join(to, "stuff", "big"))
	must(t, err)
	if n := 20 * 64 << 10; !bytes.Equal(got[:n], want[:n]) { // the pipeline may be ahead of the first piece, not far
		t.Error("the beginning is not there first")
	}
}

// TestLimits checks that a torrent's own limit binds beside a free session, in
// both directions, and that the session's binds all torrents.
func TestLimits(t *testing.T) {
	const size, limit = 1 << 20, 512 << 10
	dir, torrent := content(t, map[string]int{"x": size}, 64<<10)
	for name, set := range map[string]func(up, down *Session, a, b *Torrent) error{
		"torrent up":   func(_, _ *Session, a, _ *Torrent) error { return a.SetLimits(limit, 0) },
		"torrent down": func(_, _ *Session, _, b *Torrent) error { return b.SetLimits(0, limit) },
		"session up":   func(s, _ *Session, _, _ *Torrent) error { s.SetLimits(limit, 0); return nil },
		"session down": func(_, s *Session, _, _ *Torrent) error { s.SetLimits(0, limit); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed, leech := open(t, Config{}), open(t, Config{})
			a := add(t, seed, Add{Torrent: torrent, Dir: dir})
			await(t, a)
			b := add(t, leech, Add{Torrent: torrent, Dir: t.TempDir(), Stopped: true, Peers: []netip.AddrPort{seed.Addr()}})
			must(t, set(seed, leech, a, b))
			began := time.Now()
			must(t, b.Start())
			await(t, b)
			// A burst passes at once; slower than the limit is the machine's affair.
			if took, least := time.Since(began), time.Second; took < least {
				t.Errorf("%d bytes at %d/s took %v", size, limit, took)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	dir, torrent := content(t, map[string]int{"x": 100_000}, 32<<10)
	list, err := ipfilter.Parse(strings.NewReader("127.0.0.0/8"))
	must(t, err)
	seed, leech := open(t, Config{}), open(t, Config{Filter: list})
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	x := add(t, leech, Add{Torrent: torrent, Dir: t.TempDir(), Peers: []netip.AddrPort{seed.Addr()}})
	time.Sleep(300 * time.Millisecond)
	if n := len(x.Status().Peers); n != 0 {
		t.Errorf("%d peers out of the filter", n)
	}
	leech.SetFilter(nil)
	seed.SetFilter(list)
	x.AddPeers(seed.Addr()) // calls, and is not let in
	time.Sleep(300 * time.Millisecond)
	if x.Status().Have != 0 {
		t.Error("a filtered peer was served")
	}
	seed.SetFilter(nil)
	until(t, "the end of the filter", func() bool { x.AddPeers(seed.Addr()); return x.Status().State == swarm.Seeding })
}

func TestOutOfTheMarket(t *testing.T) {
	s := open(t, Config{StateDir: t.TempDir(), Keep: true})
	dir, torrent := content(t, map[string]int{"x": 1000}, 32<<10)
	x := add(t, s, Add{Torrent: torrent, Dir: dir, Plain: true})
	await(t, x)
	if !x.Status().Plain {
		t.Error("it is in the market")
	}
	must(t, x.SetSpeed(true))
	if x.Status().Plain {
		t.Error("it is not in the market")
	}
}
