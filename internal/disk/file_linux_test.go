package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestSparseAndPreallocated(t *testing.T) {
	for _, full := range []bool{false, true} {
		const length = 8 << 20
		tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 1<<14, File{Path: "a", Length: length})
		c := tor.config()
		c.Preallocate = full
		s := mustOpen(t, c)
		last := uint32(tor.pieces() - 1)
		if res, err := s.Block(last, 0, tor.block([2]uint32{last, 0})); res != Verified {
			t.Fatal(res, err)
		}
		if e := tor.wait(1)[0]; e.Kind != Written {
			t.Fatalf("%+v", e)
		}
		s.Close()
		info, err := os.Stat(filepath.Join(tor.dir, "a"))
		if err != nil || info.Size() != length {
			t.Fatal(info, err)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; (used >= length) != full {
			t.Errorf("preallocate=%v: %d bytes in use", full, used)
		}
	}
}
