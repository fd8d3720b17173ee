package bench

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/create"
)

// BenchmarkTransfer moves 512 MiB from a seed to a leech over loopback TCP,
// both in this process, with files on tmpfs where there is one.
func BenchmarkTransfer(b *testing.B) {
	const size = 512 << 20
	dir := scratch(b)
	path := filepath.Join(dir, "data")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		b.Fatal(err)
	}
	f.Close()
	torrent, err := create.Torrent(context.Background(), path, create.Options{PieceLength: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	seed := node(b)
	s, err := seed.Add(btt.Add{Torrent: torrent, Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	wait(b, s)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		leech, to := node(b), filepath.Join(dir, "to")
		b.StartTimer()
		l, err := leech.Add(btt.Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
		if err != nil {
			b.Fatal(err)
		}
		wait(b, l)
		b.StopTimer()
		leech.Close(context.Background())
		os.RemoveAll(to)
		b.StartTimer()
	}
}

func scratch(b *testing.B) string {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "btt-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func node(b *testing.B) *btt.Node {
	n, err := btt.Open(context.Background(), btt.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close(context.Background()) })
	return n
}

func wait(b *testing.B, t *btt.Torrent) {
	for {
		switch st := t.Status(); st.State {
		case btt.Seeding:
			return
		case btt.Failed:
			b.Fatal(st.Err)
		}
		time.Sleep(time.Millisecond)
	}
}
