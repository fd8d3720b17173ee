package session

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestReadAhead: where somebody reads comes before the rest, in any file.
func TestReadAhead(t *testing.T) {
	const piece = 64 << 10
	dir, torrent := content(t, map[string]int{"a": 100_000, "big": 6 << 20}, piece)
	seed := open(t, Config{UploadRate: 2 << 20})
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	to := t.TempDir()
	x := add(t, open(t, Config{}), Add{Torrent: torrent, Dir: to, Sequential: true, Stopped: true, Peers: []netip.AddrPort{seed.Addr()}})
	if err := x.ReadAhead(1, 0, piece); err == nil {
		t.Error("a torrent that does not run reads ahead")
	}
	must(t, x.Start())
	const from, length = 4 << 20, 1 << 20
	until(t, "the files to be open", func() bool { return x.ReadAhead(1, from, length) == nil })
	for _, bad := range [][3]int64{{2, 0, 1}, {-1, 0, 1}, {1, 6<<20 + 1, 1}, {1, -1, 1}, {1, 0, -1}} {
		if err := x.ReadAhead(int(bad[0]), bad[1], bad[2]); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	until(t, "half of it", func() bool { return x.Status().Have >= 48 })
	must(t, x.Stop())
	want, err := os.ReadFile(filepath.Join(dir, "stuff", "big"))
	must(t, err)
	got, err := os.ReadFile(filepath.Join(to, "stuff", "big"))
	must(t, err)
	if !bytes.Equal(got[from:from+length], want[from:from+length]) {
		t.Error("what is read is not there first")
	}
	if bytes.Equal(got[from+length+2*piece:], want[from+length+2*piece:]) {
		t.Error("all was there before half of it was fetched")
	}
	must(t, x.Start())
	until(t, "the end of reading", func() bool { return x.ReadAhead(1, 0, 0) == nil })
	await(t, x)
}
