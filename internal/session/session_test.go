package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// open starts a session that ends with the test.
func open(t *testing.T, cfg Config) *Session {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	cfg.Choker = choker.Default(8)
	cfg.Log = testLog()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// testLog shows everything under -v.
func testLog() *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// content makes files below a new folder and their torrent.
func content(t testing.TB, files map[string]int, piece int64) (dir string, torrent *metainfo.Torrent) {
	t.Helper()
	dir = t.TempDir()
	for name, size := range files {
		b := make([]byte, size)
		rand.Read(b)
		p := filepath.Join(dir, "stuff", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	torrent, err := create.Torrent(context.Background(), filepath.Join(dir, "stuff"), create.Options{PieceLength: piece})
	if err != nil {
		t.Fatal(err)
	}
	return dir, torrent
}

// await waits until the torrent is complete.
func await(t testing.TB, sw *Torrent) {
	t.Helper()
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		switch st := sw.Status(); st.State {
		case swarm.Seeding, swarm.Finished:
			return
		case swarm.Failed:
			t.Fatal(st.Err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not complete: %+v", sw.Status())
}

func sameFiles(t *testing.T, a, b string, files map[string]int) {
	t.Helper()
	for name := range files {
		x, err := os.ReadFile(filepath.Join(a, "stuff", name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, "stuff", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s differs", name)
		}
	}
}

var manyFiles = map[string]int{"a.bin": 3_000_001, "sub/b.bin": 17, "sub/empty": 0, "c": 70_000, "z.bin": 1 << 20}

func TestTransfer(t *testing.T) {
	for _, piece := range []int64{16 << 10, 256 << 10, 4 << 20} {
		dir, torrent := content(t, manyFiles, piece)
		seed, leech := open(t, Config{}), open(t, Config{})
		s := add(t, seed, Add{Torrent: torrent, Dir: dir})
		await(t, s)
		to := t.TempDir()
		l := add(t, leech, Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
		await(t, l)
		sameFiles(t, dir, to, manyFiles)
		if got := s.Status().Totals.Uploaded; got < torrent.Info.TotalLength {
			t.Errorf("seed counts %d of %d bytes uploaded", got, torrent.Info.TotalLength)
		}
	}
}

func TestMagnet(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	seed, leech := open(t, Config{}), open(t, Config{})
	s := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, s)
	to := t.TempDir()
	l := add(t, leech, Add{InfoHash: torrent.InfoHash, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
	await(t, l)
	sameFiles(t, dir, to, manyFiles)
}

// TestSwarm has one seed, which only the first peer knows, and a chain of
// peers who must pass pieces on.
func TestSwarm(t *testing.T) {
	dir, torrent := content(t, manyFiles, 32<<10)
	seed := open(t, Config{})
	s := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, s)
	known := seed.Addr()
	var all []*Torrent
	for range 4 {
		x := open(t, Config{})
		l := add(t, x, Add{Torrent: torrent, Dir: t.TempDir(), Peers: []netip.AddrPort{known}})
		all = append(all, l)
		known = x.Addr()
	}
	for _, l := range all {
		await(t, l)
	}
}

// TestResume stops a download in the middle and goes on with what is on disk.
func TestResume(t *testing.T) {
	files := map[string]int{"big": 8 << 20}
	dir, torrent := content(t, files, 64<<10)
	seed := open(t, Config{UploadRate: 4 << 20})
	s := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, s)
	state, to := t.TempDir(), t.TempDir()
	first := open(t, Config{StateDir: state})
	l := add(t, first, Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
	for l.Status().Have < 20 {
		time.Sleep(5 * time.Millisecond)
	}
	first.Close()
	second := open(t, Config{StateDir: state})
	l = add(t, second, Add{Torrent: torrent, Dir: to})
	for l.Status().State == swarm.Checking {
		time.Sleep(time.Millisecond)
	}
	if st := l.Status(); st.Have < 20 || st.State != swarm.Downloading {
		t.Fatalf("after the restart %d pieces, %s", st.Have, st.State)
	}
	l.AddPeers(seed.Addr())
	await(t, l)
	sameFiles(t, dir, to, files)
}
