package bench

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/metainfo"
)

// BenchmarkEncrypted is BenchmarkTransfer/plain with every byte encrypted by
// RC4 on its way.
func BenchmarkEncrypted(b *testing.B) {
	dir := scratch(b)
	torrent := content(b, dir, size(b), metainfo.V1)
	open := func() *btt.Node {
		n, err := btt.Open(context.Background(), btt.Config{Listen: "127.0.0.1:0", NoResume: true,
			Choker: choker.Default(8), Encryption: mse.Required})
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	seed := open()
	b.Cleanup(func() { close(b, seed) })
	s, err := seed.Add(btt.Add{Torrent: torrent, Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	wait(b, s)
	b.SetBytes(size(b))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		leech := open()
		b.StartTimer()
		l, err := leech.Add(btt.Add{Torrent: torrent, Dir: filepath.Join(dir, "to"), Peers: []netip.AddrPort{seed.Addr()}})
		if err != nil {
			b.Fatal(err)
		}
		wait(b, l)
		b.StopTimer()
		close(b, leech)
		os.RemoveAll(filepath.Join(dir, "to"))
		b.StartTimer()
	}
}
