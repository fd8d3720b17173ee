package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/metainfo"
)

// TestUnitSums: the hashes of units are known after a check, a download and a look at a
// piece's blocks, are those of the data, and go when a piece is not right any more.
func TestUnitSums(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	files := []File{{Path: "a", Length: 40*length + 70_000}, {Path: "b", Length: 50_000}, {Path: "c", Length: 20_000}, {Path: "d", Length: 2*length + 20_000}}
	for _, hybrid := range []bool{false, true} {
		dir := t.TempDir()
		tor := newTorrentV2(dir, testPool(t, PoolConfig{}), length, hybrid, files...)
		c := tor.config()
		c.Unit = unit
		s := mustOpen(t, c)
		known := func(s *Store, what string) {
			t.Helper()
			for piece := range uint32(s.pieces) {
				got, level := s.UnitSums(piece)
				i, data := s.dataOf(piece)
				if s.files[i].Length <= unit { // its root is all there is
					if got != nil {
						t.Errorf("%s, hybrid %v: piece %d has %d bytes", what, hybrid, piece, len(got))
					}
					continue
				}
				start := int64(piece) * length
				var want []byte
				for at := int64(0); at < length; at += unit {
					h := metainfo.HashPiece(tor.data[start+min(at, data):start+min(at+unit, data)], 1<<40, unit)
					want = append(want, h[:]...)
				}
				if level != 1 || !bytes.Equal(got, want) {
					t.Errorf("%s, hybrid %v: piece %d: %x of level %d, want %x", what, hybrid, piece, got, level, want)
				}
			}
		}
		for piece := range uint32(s.pieces) {
			if r, err := tor.deliver(s, piece); r != Verified || err != nil {
				t.Fatalf("piece %d: %v, %v", piece, r, err)
			}
		}
		known(s, "downloaded")
		tor.wait(s.pieces)
		s.SetVerified(3, false)
		if got, _ := s.UnitSums(3); got != nil {
			t.Error("a piece that was lost has hashes of units")
		}
		s.SetVerified(3, true)
		if _, err := s.Leaves(3); err != nil {
			t.Error(err)
		}
		known(s, "one made anew")
		saved := s.SaveUnits()
		s.Close()
		if got, _ := s.UnitSums(1); got != nil || s.pool.sums.Bytes() != 0 {
			t.Errorf("%d bytes after Close", s.pool.sums.Bytes())
		}

		s = mustOpen(t, c)
		if err := s.Verify(t.Context(), 2, nil); err != nil {
			t.Fatal(err)
		}
		known(s, "checked")
		s.Close()
		s = mustOpen(t, c)
		if err := s.LoadUnits(saved); err != nil || s.UnitsChanged() {
			t.Fatal(err)
		}
		known(s, "loaded")

		path := filepath.Join(dir, "a")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[5*length+7] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s.SetVerified(5, true)
		if leaves, err := s.Leaves(5); leaves != nil || !errors.Is(err, ErrChanged) {
			t.Errorf("hashes of data that changed: %v", err)
		}
		if ok, err := s.VerifyPiece(5); ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
		if got, _ := s.UnitSums(5); got != nil {
			t.Error("a piece that failed its check has hashes of units")
		}
		s.Close()
	}
}

// TestNoUnitSums: who asks for none, and torrents without version 2, keep none.
func TestNoUnitSums(t *testing.T) {
	const length = 128 << 10
	v1 := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), length, File{Path: "a", Length: 300_000})
	v2 := newTorrentV2(t.TempDir(), v1.pool, length, false, File{Path: "a", Length: 300_000})
	for _, c := range []struct {
		tor  *torrent
		unit int64
	}{{v1, 32 << 10}, {v2, 0}, {v2, length}, {v2, 3 * BlockSize}, {v2, BlockSize / 2}} {
		cfg := c.tor.config()
		cfg.Unit = c.unit
		s := mustOpen(t, cfg)
		if r, err := c.tor.deliver(s, 1); r != Verified || err != nil {
			t.Fatal(r, err)
		}
		if got, _ := s.UnitSums(1); got != nil || s.UnitsChanged() || s.SaveUnits() != nil || s.LoadUnits(nil) != nil {
			t.Errorf("unit %d: %x", c.unit, got)
		}
		s.Close()
	}
}
