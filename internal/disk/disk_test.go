package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestRandomOrders(t *testing.T) {
	pool := testPool(t, PoolConfig{Budget: 1 << 20, OpenFiles: 3})
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "x")
		if err != nil {
			r.Fatal(err)
		}
		files := drawFiles(r)
		length := rapid.SampledFrom([]int64{1000, 16384, 32768, 100_000, 1 << 20, 3 << 20}).Draw(r, "piece length")
		tor := newTorrent(dir, pool, length, files...)
		if version := rapid.IntRange(1, 3).Draw(r, "version"); version > 1 {
			length = rapid.SampledFrom([]int64{16384, 32768, 1 << 20, 4 << 20}).Draw(r, "version 2 piece length")
			tor = newTorrentV2(dir, pool, length, version == 3, files...)
		}
		s := mustOpen(r, tor.config())
		defer s.Close()
		blocks := rapid.Permutation(tor.blocks()).Draw(r, "order")
		spoil := rapid.IntRange(0, len(blocks)-1).Draw(r, "spoil")
		workers := rapid.IntRange(1, 4).Draw(r, "callers")
		var mu sync.Mutex
		results := map[Result]int{}
		deliver := func(blocks [][2]uint32, spoil int) {
			var group sync.WaitGroup
			for w := range workers {
				group.Go(func() {
					for i := w; i < len(blocks); i += workers {
						b := tor.block(blocks[i])
						if i == spoil {
							b = slices.Clone(b)
							b[len(b)/2] ^= 1
						}
						res, err := s.Block(blocks[i][0], blocks[i][1], b)
						if err != nil {
							res = Failed
						}
						mu.Lock()
						results[res]++
						mu.Unlock()
					}
				})
			}
			group.Wait()
		}
		deliver(blocks, spoil)
		bad := blocks[spoil][0]
		if results[Verified] != tor.pieces()-1 || results[Failed] != 1 {
			r.Fatalf("results %v for %d pieces, one bad", results, tor.pieces())
		}
		deliver(slices.DeleteFunc(blocks, func(k [2]uint32) bool { return k[0] != bad }), -1)
		for _, e := range tor.wait(tor.pieces()) {
			if e.Kind != Written {
				r.Fatalf("event %+v", e)
			}
		}
		if results[Verified] != tor.pieces() {
			r.Fatalf("results %v", results)
		}
		tor.onDisk(r.Fatalf)
		if res, err := s.Block(bad, 0, tor.block([2]uint32{bad, 0})); res != Duplicate || err != nil {
			r.Fatalf("block of a verified piece: %v, %v", res, err)
		}
		checkReads(r, tor, s)
		checkVerify(r, tor, s)
		s.Flush()
		if err := s.Sync(); err != nil || pool.Backlog() != 0 {
			r.Fatalf("Sync: %v, backlog %d", err, pool.Backlog())
		}
		if err := s.Remove(); err != nil {
			r.Fatal(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			r.Fatalf("Remove left %v", left)
		}
	})
}

func checkReads(r *rapid.T, tor *torrent, s *Store) {
	for range 5 {
		piece := rapid.IntRange(0, tor.pieces()-1).Draw(r, "piece")
		size := int(s.pieceSize(uint32(piece)))
		begin := rapid.IntRange(0, size-1).Draw(r, "begin")
		buf := make([]byte, rapid.IntRange(0, min(size-begin, MaxRead)).Draw(r, "n"))
		if err := s.Read(buf, uint32(piece), uint32(begin)); err != nil {
			r.Fatal(err)
		}
		off := piece*int(tor.length) + begin
		if !bytes.Equal(buf, tor.data[off:off+len(buf)]) {
			r.Fatalf("read of piece %d at %d differs", piece, begin)
		}
	}
}

// checkVerify spoils one byte on disk and expects exactly its piece to be bad.
func checkVerify(r *rapid.T, tor *torrent, s *Store) {
	hashed, err := HashFiles(context.Background(), tor.dir, tor.files, tor.length, 2, true, false, nil)
	hashes := hashed.Pieces
	if err != nil || tor.hashes != nil && !bytes.Equal(hashes, tor.hashes) {
		r.Fatalf("HashFiles differs (%v)", err)
	}
	last := filepath.Join(tor.dir, "last")
	was, err := os.ReadFile(last)
	if err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(last, []byte{^was[0]}, 0o666); err != nil {
		r.Fatal(err)
	}
	seen := make([]int, tor.pieces())
	err = s.Verify(context.Background(), 2, func(piece int, ok bool) {
		seen[piece]++
		if ok != (piece < tor.pieces()-1) {
			r.Fatalf("Verify: piece %d of %d is %v", piece, tor.pieces(), ok)
		}
	})
	if err != nil || slices.Min(seen) != 1 || slices.Max(seen) != 1 {
		r.Fatalf("Verify: %v, seen %v", err, seen)
	}
	if ok, err := s.VerifyPiece(uint32(tor.pieces() - 1)); ok || err != nil {
		r.Fatalf("VerifyPiece of a bad piece: %v, %v", ok, err)
	}
	if err := os.Remove(last); err != nil {
		r.Fatal(err)
	}
	if ok, err := s.VerifyPiece(uint32(tor.pieces() - 1)); ok || err != nil {
		r.Fatalf("VerifyPiece of a missing file: %v, %v", ok, err)
	}
	if err := os.WriteFile(last, nil, 0o666); err != nil {
		r.Fatal(err)
	}
	if ok, err := s.VerifyPiece(uint32(tor.pieces() - 1)); ok || err != nil {
		r.Fatalf("VerifyPiece of a short file: %v, %v", ok, err)
	}
}

func TestSymlinksStayInside(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, link := range [][2]string{{outside, "d"}, {victim, "f"}} {
		dir := t.TempDir()
		symlink(t, link[0], filepath.Join(dir, link[1]))
		path := "d/victim"
		if link[1] == "f" {
			path = "f"
		}
		tor := newTorrent(dir, testPool(t, PoolConfig{}), 1<<14, File{Path: path, Length: 1 << 14})
		s := mustOpen(t, tor.config())
		if res, err := s.Block(0, 0, tor.block([2]uint32{0, 0})); res != Verified {
			t.Fatal(res, err)
		}
		if e := tor.wait(1)[0]; e.Kind != Failed {
			t.Fatalf("event %+v", e)
		}
		if err := s.Read(make([]byte, 8), 0, 0); err == nil {
			t.Fatal("read through a symbolic link")
		}
		s.Close()
	}
	if got, _ := os.ReadFile(victim); string(got) != "precious" {
		t.Fatalf("a file outside was changed to %q", got)
	}
}

// symlink makes a link; some systems let administrators alone do so.
func symlink(t *testing.T, to, path string) {
	t.Helper()
	err := os.Symlink(to, path)
	switch {
	case err == nil:
	case runtime.GOOS == "windows":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// TestSymlinksInside: not even a link to a place inside the folder is written
// through, as a file or as a folder.
func TestSymlinksInside(t *testing.T) {
	for link, path := range map[string]string{"f": "f", "d": "d/victim"} {
		dir := t.TempDir()
		victim := filepath.Join(dir, "own", "victim")
		target := map[string]string{"f": "own/victim", "d": "own"}[link]
		if err := errors.Join(os.Mkdir(filepath.Dir(victim), 0o777), os.WriteFile(victim, []byte("precious"), 0o666)); err != nil {
			t.Fatal(err)
		}
		symlink(t, target, filepath.Join(dir, link))
		tor := newTorrent(dir, testPool(t, PoolConfig{}), 1<<14, File{Path: path, Length: 1 << 14})
		s := mustOpen(t, tor.config())
		if res, err := s.Block(0, 0, tor.block([2]uint32{0, 0})); res != Verified {
			t.Fatal(res, err)
		}
		if e := tor.wait(1)[0]; e.Kind != Failed || !strings.Contains(e.Err.Error(), link+" is a symbolic link") {
			t.Errorf("event %+v", e)
		}
		s.Close()
		if got, _ := os.ReadFile(victim); string(got) != "precious" {
			t.Errorf("a file of another name was changed to %.20q", got)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	pool := testPool(t, PoolConfig{})
	for _, c := range []Config{
		{PieceLength: 0},
		{PieceLength: MaxPieceLength + 1},
		{PieceLength: 1 << 14, Files: []File{{Path: "../x", Length: 1}}, Hashes: make([]byte, 20)},
		{PieceLength: 1 << 14, Files: []File{{Path: "/x", Length: 1}}, Hashes: make([]byte, 20)},
		{PieceLength: 1 << 14, Files: []File{{Path: "x", Length: -1}}},
		{PieceLength: 1 << 14, Files: []File{{Path: "x", Length: 1 << 62}, {Path: "y", Length: 1 << 62}}},
		{PieceLength: 1 << 14, Files: []File{{Path: "x", Length: 1}}},
	} {
		c.Pool, c.Dir = pool, t.TempDir()
		if _, err := Open(c); err == nil {
			t.Errorf("Open(%+v) succeeded", c)
		}
	}
}

func TestCreatesNothingEarly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	tor := newTorrent(dir, testPool(t, PoolConfig{}), 1<<14, File{Path: "f", Length: 1 << 14})
	s := mustOpen(t, tor.config())
	if ok, err := s.VerifyPiece(0); ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("Open made the folder")
	}
	for _, bad := range [][3]int{{1, 0, 1 << 14}, {0, 1, 1 << 14}, {0, 0, 5}, {0, 1 << 14, 1}} {
		if _, err := s.Block(uint32(bad[0]), uint32(bad[1]), make([]byte, bad[2])); !errors.Is(err, ErrBlock) {
			t.Errorf("Block%v: %v", bad, err)
		}
	}
	s.Close()
	if _, err := s.Block(0, 0, tor.block([2]uint32{0, 0})); !errors.Is(err, ErrClosed) {
		t.Fatalf("Block on a closed Store: %v", err)
	}
	tor.files = append(tor.files, File{Path: "sub/empty"})
	s = mustOpen(t, tor.config())
	defer s.Close()
	if stat, err := s.Stat(); err != nil || stat[0].Exists || !stat[1].Exists {
		t.Fatalf("Stat = %+v, %v", stat, err)
	}
}
