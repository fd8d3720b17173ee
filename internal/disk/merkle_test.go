package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/metainfo"
)

// newTorrentV2 lays files out for version 2, alone or hybrid, each at the start
// of a piece.
func newTorrentV2(dir string, pool *Pool, length int64, hybrid bool, files ...File) *torrent {
	var laid []File
	for _, f := range files {
		if f.Pad {
			continue
		}
		laid = append(laid, f)
		if over := f.Length % length; over > 0 {
			laid = append(laid, File{Path: ".pad/" + f.Path, Length: length - over, Pad: true})
		}
	}
	t := newTorrent(dir, pool, length, laid...)
	if !hybrid {
		t.hashes = nil
	}
	at := int64(0)
	for i := range t.files {
		f := &t.files[i]
		data := t.data[at : at+f.Length]
		at += f.Length
		if f.Pad || f.Length == 0 {
			continue
		}
		var layer []byte
		for b := data; len(b) > 0; b = b[min(int64(len(b)), length):] {
			h := metainfo.HashPiece(b[:min(int64(len(b)), length)], f.Length, length)
			layer = append(layer, h[:]...)
		}
		root := metainfo.LayerRoot(layer, length)
		if f.Root = &root; f.Length > length {
			f.Layer = layer
		}
	}
	return t
}

// deliver stores all blocks of a piece and returns the last result.
func (t *torrent) deliver(s *Store, piece uint32) (last Result, err error) {
	for _, k := range t.blocks() {
		if k[0] == piece {
			if last, err = s.Block(k[0], k[1], t.block(k)); err != nil {
				return last, err
			}
		}
	}
	return last, nil
}

// TestLateLayer: without its layer a version 2 piece cannot be verified, with it
// it can; files of one piece need none.
func TestLateLayer(t *testing.T) {
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), 32<<10, false, File{Path: "a", Length: 70_000}, File{Path: "b", Length: 1})
	layer := tor.files[0].Layer
	tor.files[0].Layer = nil
	s := mustOpen(t, tor.config())
	defer s.Close()
	if r, err := tor.deliver(s, 0); r != Failed || err != nil {
		t.Errorf("a piece without a hash: %v, %v", r, err)
	}
	if r, err := tor.deliver(s, 3); r != Verified || err != nil {
		t.Errorf("a file of one piece: %v, %v", r, err)
	}
	for _, bad := range [][]byte{nil, layer[:32], append(bytes.Clone(layer), 0)} {
		if err := s.SetLayer(0, bad); !errors.Is(err, ErrBlock) {
			t.Errorf("layer of %d bytes: %v", len(bad), err)
		}
	}
	if err := s.SetLayer(0, layer); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(3) {
		if r, err := tor.deliver(s, i); r != Verified || err != nil {
			t.Errorf("piece %d: %v, %v", i, r, err)
		}
	}
	tor.wait(4)
	tor.onDisk(t.Fatalf)
}

// TestBlame: the block hashes of a failed attempt tell the bad block from the
// good ones.
func TestBlame(t *testing.T) {
	for _, hybrid := range []bool{false, true} {
		tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), 64<<10, hybrid, File{Path: "a", Length: 100_000})
		s := mustOpen(t, tor.config())
		defer s.Close()
		good := bytes.Clone(tor.data[64<<10:])
		tor.data[64<<10+20_000] ^= 1
		if r, err := tor.deliver(s, 1); r != Failed || err != nil {
			t.Fatalf("bad piece: %v, %v", r, err)
		}
		got, authors := s.Blame(1)
		if len(authors) != len(got)/sha256.Size {
			t.Fatalf("%d authors of %d blocks", len(authors), len(got)/sha256.Size)
		}
		want := metainfo.AppendLeaves(nil, good[:100_000-64<<10])
		if len(got) != len(want) {
			t.Fatalf("%d bytes of hashes, want %d", len(got), len(want))
		}
		for b := range len(want) / sha256.Size {
			if same := bytes.Equal(got[b*32:][:32], want[b*32:][:32]); same != (b != 1) {
				t.Errorf("block %d: same = %v", b, same)
			}
		}
		if again, _ := s.Blame(1); again != nil {
			t.Error("told twice")
		}
		copy(tor.data[64<<10:], good)
		if r, err := tor.deliver(s, 1); r != Verified || err != nil {
			t.Fatalf("good piece: %v, %v", r, err)
		}
		tor.wait(1)
		if leaves, err := s.Leaves(1); err != nil || !bytes.Equal(leaves, want) {
			t.Errorf("leaves from disk: %v", err)
		}
	}
}

// TestInconsistent: a hybrid whose hashes contradict each other is found out, at
// the download as at the check, whichever of them fits the data.
func TestInconsistent(t *testing.T) {
	for name, spoil := range map[string]func(*torrent){
		"version 1": func(tor *torrent) { tor.hashes[0] ^= 1 },
		"version 2": func(tor *torrent) { tor.files[0].Layer[0] ^= 1 },
	} {
		tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), 32<<10, true, File{Path: "a", Length: 70_000})
		spoil(tor)
		s := mustOpen(t, tor.config())
		defer s.Close()
		if _, err := tor.deliver(s, 0); !errors.Is(err, ErrInconsistent) {
			t.Errorf("%s: download: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(tor.dir, "a"), tor.data[:70_000], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(context.Background(), 1, nil); !errors.Is(err, ErrInconsistent) {
			t.Errorf("%s: check: %v", name, err)
		}
	}
}

// TestHashFilesV2: what is hashed for a new torrent verifies.
func TestHashFilesV2(t *testing.T) {
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), 32<<10, true, File{Path: "a", Length: 70_000}, File{Path: "b", Length: 40_000}, File{Path: "c", Length: 9})
	at := int64(0)
	for _, f := range tor.files {
		if !f.Pad {
			if err := os.WriteFile(filepath.Join(tor.dir, f.Path), tor.data[at:at+f.Length], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		at += f.Length
	}
	got, err := HashFiles(t.Context(), tor.dir, tor.files, tor.length, 2, true, true, nil)
	if err != nil || !bytes.Equal(got.Pieces, tor.hashes) {
		t.Fatalf("version 1 differs: %v", err)
	}
	for i, f := range tor.files {
		switch {
		case f.Pad:
			if got.Layers[i] != nil {
				t.Errorf("padding has a layer")
			}
		case f.Layer == nil && !bytes.Equal(got.Layers[i], f.Root[:]), f.Layer != nil && !bytes.Equal(got.Layers[i], f.Layer):
			t.Errorf("layer of %s differs", f.Path)
		}
	}
}

// TestPadding: padding is neither asked for nor written, and a block of it is a
// duplicate.
func TestPadding(t *testing.T) {
	for _, hybrid := range []bool{false, true} {
		tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), 4<<20, hybrid, File{Path: "a", Length: 5}, File{Path: "b", Length: 3 << 20})
		s := mustOpen(t, tor.config())
		defer s.Close()
		if n := len(tor.blocks()); n != 1+3<<6 {
			t.Fatalf("%d blocks to ask for", n)
		}
		if hybrid {
			if r, err := s.Block(0, 1<<20, make([]byte, BlockSize)); r != Duplicate || err != nil {
				t.Errorf("a block of padding: %v, %v", r, err)
			}
		}
		for i := range uint32(2) {
			if r, err := tor.deliver(s, i); r != Verified || err != nil {
				t.Errorf("piece %d: %v, %v", i, r, err)
			}
		}
		tor.wait(2)
		tor.onDisk(t.Fatalf)
		if _, err := os.Stat(filepath.Join(tor.dir, ".pad")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("padding was stored: %v", err)
		}
	}
}

// BenchmarkBlockV2 is BenchmarkBlock for version 2 alone and for a hybrid, with
// a journal that keeps nothing.
func BenchmarkBlockV2(b *testing.B) {
	for name, v1 := range map[string]bool{"v2": false, "hybrid": true} {
		b.Run(name, func(b *testing.B) {
			pool := NewPool(PoolConfig{})
			defer pool.Close()
			const total, length = 256 << 20, 1 << 20
			c, piece := uniform(b, pool, total, length)
			if !v1 {
				c.Hashes = nil
			}
			h := metainfo.HashPiece(piece, total, length)
			layer := bytes.Repeat(h[:], total/length)
			root := metainfo.LayerRoot(layer, length)
			c.Files[0].Root, c.Files[0].Layer = &root, layer
			c.Journal = silent{}
			s := mustOpen(b, c)
			defer s.Close()
			fill(b, s, piece, 1, total/BlockSize) // pages of the file exist
			b.SetBytes(BlockSize)
			b.ReportAllocs()
			b.ResetTimer()
			fill(b, s, piece, 1, b.N)
			for pool.Backlog() > 0 {
			}
		})
	}
}

type silent struct{}

func (silent) Begin([]uint32) uint64           { return 0 }
func (silent) End(uint64, []Touched, []uint32) {}
func (silent) Units(uint32, int, []byte)       {}
