package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// volatile remembers what was written to a file since its last Sync: what a
// power cut could take.
type volatile struct {
	file
	v *volatileFile
}

type volatileFile struct {
	mu      sync.Mutex
	pending map[int64]int64 // offset to length
}

func (f volatile) WriteAt(p []byte, off int64) (int, error) {
	f.v.mu.Lock()
	f.v.pending[off] = max(f.v.pending[off], int64(len(p)))
	f.v.mu.Unlock()
	return f.file.WriteAt(p, off)
}

func (f volatile) Sync() error {
	f.v.mu.Lock()
	clear(f.v.pending) // also what is being written now: the test only asks for what was Written
	f.v.mu.Unlock()
	return f.file.Sync()
}

// TestSyncCoversWritten: after Sync, nothing of a piece whose Written event came
// before the call is volatile, while other pieces go on being written and files
// fall out of the descriptor pool.
func TestSyncCoversWritten(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{OpenFiles: 2}), 100_000,
		File{Path: "a", Length: 1_250_000}, File{Path: "b", Length: 30_000}, File{Path: "c/d", Length: 3_000_000}, File{Path: "e", Length: 700_001})
	c := tor.config()
	files := map[string]*volatileFile{}
	var mu sync.Mutex
	tr := &tree{dir: c.Dir}
	c.open = func(path string, length int64, write bool) (file, error) {
		f, err := tr.open(path, length, write)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if files[path] == nil {
			files[path] = &volatileFile{pending: map[int64]int64{}}
		}
		return volatile{f, files[path]}, nil
	}
	s := mustOpen(t, c)
	defer s.Close()
	var done atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		defer done.Store(true)
		blocks := tor.blocks()
		for i := range rand.Perm(tor.pieces()) {
			for _, k := range blocks {
				if k[0] == uint32(i) {
					if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
						t.Error(err)
					}
				}
			}
		}
	})
	for ended := false; !ended; {
		ended = done.Load()
		tor.mu.Lock()
		written := len(tor.events)
		tor.mu.Unlock()
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		for _, e := range tor.wait(written)[:written] {
			if lost := lose(s, files, &mu, e.Piece); lost != "" {
				t.Fatalf("piece %d was written before Sync and is volatile in %s", e.Piece, lost)
			}
		}
	}
	group.Wait()
}

// lose returns a file that holds a volatile part of a piece.
func lose(s *Store, files map[string]*volatileFile, mu *sync.Mutex, piece uint32) string {
	from := int64(piece) * s.pieceLength
	to := from + s.pieceSize(piece)
	mu.Lock()
	defer mu.Unlock()
	for i := range s.files {
		v := files[s.localPath(i)]
		if v == nil {
			continue
		}
		v.mu.Lock()
		for off, n := range v.pending {
			if at := s.starts[i] + off; at < to && at+n > from {
				v.mu.Unlock()
				return s.files[i].Path
			}
		}
		v.mu.Unlock()
	}
	return ""
}

// TestDescriptorLimit: any number of callers never holds more open files than
// the pool allows, and all get through.
func TestDescriptorLimit(t *testing.T) {
	var files []File
	for i := range 40 {
		files = append(files, File{Path: fmt.Sprintf("f%d", i), Length: 20_000})
	}
	const limit = 3
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{OpenFiles: limit}), 32768, files...)
	c := tor.config()
	var open, most atomic.Int64
	tr := &tree{dir: c.Dir}
	c.open = func(path string, length int64, write bool) (file, error) {
		f, err := tr.open(path, length, write)
		if err != nil {
			return nil, err
		}
		n := open.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		return counted{f, &open}, nil
	}
	s := mustOpen(t, c)
	for _, k := range tor.blocks() {
		if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
			t.Fatal(err)
		}
	}
	tor.wait(tor.pieces())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				if ok, err := s.VerifyPiece(uint32(rand.IntN(tor.pieces()))); !ok || err != nil {
					t.Error(ok, err)
				}
			}
		})
	}
	group.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if open.Load() != 0 || most.Load() > limit {
		t.Fatalf("%d files open after Close, %d at most, limit %d", open.Load(), most.Load(), limit)
	}
}

type counted struct {
	file
	open *atomic.Int64
}

func (f counted) Close() error {
	f.open.Add(-1)
	return f.file.Close()
}

// TestSyncDoesNotRevive: a file deleted while the Store runs is not made anew
// by Sync (resume data would describe an empty file).
func TestSyncDoesNotRevive(t *testing.T) {
	pool := testPool(t, PoolConfig{OpenFiles: 1})
	tor := newTorrent(t.TempDir(), pool, 1<<14, File{Path: "a", Length: 1 << 14}, File{Path: "b", Length: 1 << 14})
	s := mustOpen(t, tor.config())
	defer s.Close()
	for i, k := range tor.blocks() {
		if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
			t.Fatal(err)
		}
		tor.wait(i + 1)
	}
	path := filepath.Join(tor.dir, "a")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Sync = %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("Sync made the file again")
	}
}

// TestCloseWhileBusy closes under load: every call ends, nothing is lost
// silently.
func TestCloseWhileBusy(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{Budget: 1 << 18}), 1<<17, File{Path: "f", Length: 8 << 20})
	s := mustOpen(t, tor.config())
	var group sync.WaitGroup
	var verified atomic.Int64
	blocks := tor.blocks()
	for w := range 4 {
		group.Go(func() {
			for _, k := range blocks {
				if int(k[0])%4 != w {
					continue
				}
				res, err := s.Block(k[0], k[1], tor.block(k))
				if errors.Is(err, ErrClosed) {
					return
				}
				if res == Verified {
					verified.Add(1)
				}
			}
		})
	}
	tor.wait(5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	if n := len(tor.wait(int(verified.Load()))); n != int(verified.Load()) {
		t.Fatalf("%d pieces verified, %d events", verified.Load(), n)
	}
	if err := s.Read(make([]byte, 1), 0, 0); !errors.Is(err, ErrClosed) {
		t.Fatalf("Read on a closed Store: %v", err)
	}
	if pool := tor.pool; pool.Backlog() != 0 || len(pool.handles.table) != 0 || pool.handles.count != 0 {
		t.Fatalf("left: backlog %d, handles %d", pool.Backlog(), pool.handles.count)
	}
}

// TestFlushWritten: after Flush the written set is complete and durable after
// one Sync; VerifyPieces agrees with it.
func TestFlushWritten(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 1<<17, File{Path: "f", Length: 20<<17 + 5})
	s := mustOpen(t, tor.config())
	defer s.Close()
	var wanted, asked []uint32
	for _, k := range tor.blocks() {
		if k[0]%3 == 0 {
			if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Flush()
	bits := s.Written(nil)
	for i := range uint32(tor.pieces()) {
		if is := bits[i/8]&(0x80>>(i%8)) != 0; is != (i%3 == 0) || is != s.Verified(i) {
			t.Fatalf("piece %d: written %v, verified %v", i, is, s.Verified(i))
		} else if is {
			wanted = append(wanted, i)
		}
		if i > 4 {
			asked = append(asked, i)
		}
	}
	var good []uint32
	seen := 0
	err := s.VerifyPieces(context.Background(), 2, asked, func(piece int, ok bool) {
		if seen++; ok {
			good = append(good, uint32(piece))
		}
	})
	slices.Sort(good)
	if err != nil || seen != len(asked) || !slices.Equal(good, wanted[2:]) {
		t.Fatalf("VerifyPieces: %v of %d, %v; want %v", good, seen, err, wanted[2:])
	}
	if err := s.VerifyPieces(context.Background(), 1, []uint32{21}, nil); !errors.Is(err, ErrBlock) {
		t.Fatal(err)
	}
}
