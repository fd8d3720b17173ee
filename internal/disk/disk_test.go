package disk

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// torrent is test data with its Store.
type torrent struct {
	data   []byte
	files  []File
	length int64
	hashes []byte
	dir    string
	pool   *Pool

	mu     sync.Mutex
	events []Event
	told   sync.Cond
}

// make lays random data out over files; pad files hold zeros.
func newTorrent(dir string, pool *Pool, length int64, files ...File) *torrent {
	t := &torrent{files: files, length: length, dir: dir, pool: pool}
	t.told.L = &t.mu
	rng := rand.NewChaCha8([32]byte{byte(len(files))})
	for _, f := range files {
		part := make([]byte, f.Length)
		if !f.Pad {
			_, _ = rng.Read(part)
		}
		t.data = append(t.data, part...)
	}
	for off := int64(0); off < int64(len(t.data)); off += length {
		sum := sha1.Sum(t.data[off:min(off+length, int64(len(t.data)))])
		t.hashes = append(t.hashes, sum[:]...)
	}
	return t
}

func (t *torrent) config() Config {
	return Config{Dir: t.dir, Files: t.files, PieceLength: t.length, Hashes: t.hashes, Pool: t.pool, Notify: t.notify}
}

func (t *torrent) notify(e Event) {
	t.mu.Lock()
	t.events = append(t.events, e)
	t.told.Broadcast()
	t.mu.Unlock()
}

// wait returns the first n events.
func (t *torrent) wait(n int) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.events) < n {
		t.told.Wait()
	}
	return slices.Clone(t.events)
}

func (t *torrent) pieces() int { return int((int64(len(t.data)) + t.length - 1) / t.length) }

// blocks lists the blocks to ask for as (piece, begin): padding only where a
// piece is nothing else.
func (t *torrent) blocks() (out [][2]uint32) {
	l, err := newLayout(t.dir, t.files, t.length)
	if err != nil {
		panic(err)
	}
	for i := range uint32(t.pieces()) {
		pad := map[int64]bool{}
		if !l.isPadding(i) {
			l.padBlocks(i, func(b int64) { pad[b*BlockSize] = true })
		}
		for b := int64(0); b < l.pieceSize(i); b += BlockSize {
			if !pad[b] {
				out = append(out, [2]uint32{i, uint32(b)})
			}
		}
	}
	return out
}

func (t *torrent) block(k [2]uint32) []byte {
	off := int64(k[0])*t.length + int64(k[1])
	end := min(off+BlockSize, (int64(k[0])+1)*t.length, int64(len(t.data)))
	if t.hashes == nil { // version 2 alone: to the end of the file
		at := int64(0)
		for _, f := range t.files {
			if at += f.Length; off < at {
				end = min(end, at)
				break
			}
		}
	}
	return t.data[off:end]
}

// onDisk checks every file's content.
func (t *torrent) onDisk(fail func(string, ...any)) {
	off := int64(0)
	for _, f := range t.files {
		want := t.data[off : off+f.Length]
		off += f.Length
		got, err := os.ReadFile(filepath.Join(t.dir, f.Path))
		if f.Pad {
			if !errors.Is(err, fs.ErrNotExist) {
				fail("pad file %s was stored", f.Path)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, want) {
			fail("file %s differs (%v)", f.Path, err)
		}
	}
}

func testPool(t testing.TB, c PoolConfig) *Pool {
	p := NewPool(c)
	t.Cleanup(func() { p.Close() })
	return p
}

func mustOpen(t interface{ Fatal(...any) }, c Config) *Store {
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drawFiles returns a layout whose file "last" is one byte long.
func drawFiles(r *rapid.T) (files []File) {
	for i := range rapid.IntRange(1, 6).Draw(r, "files") {
		files = append(files, File{
			Path:   fmt.Sprintf("d%d/f%d", i%2, i),
			Length: int64(rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 200_000), rapid.Just(1<<20)).Draw(r, "length")),
			Pad:    rapid.IntRange(0, 4).Draw(r, "pad") == 0,
		})
	}
	files = append(files, File{Path: "last", Length: 1})
	return files
}

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
	hashed, err := HashFiles(context.Background(), tor.dir, tor.files, tor.length, 2, true, false)
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

// faulty is a file that fails on demand.
type faulty struct {
	file
	write, sync, read func() error
}

func (f faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		if err := f.write(); err != nil {
			return 0, err
		}
	}
	return f.file.WriteAt(p, off)
}

func (f faulty) ReadAt(p []byte, off int64) (int, error) {
	if f.read != nil {
		if err := f.read(); err != nil {
			return 0, err
		}
	}
	return f.file.ReadAt(p, off)
}

func (f faulty) Sync() error {
	if f.sync != nil {
		if err := f.sync(); err != nil {
			return err
		}
	}
	return f.file.Sync()
}

// inject wraps a config's opener.
func inject(c *Config, wrap faulty) {
	t := &tree{dir: c.Dir}
	c.open = func(path string, length int64, write bool) (file, error) {
		f, err := t.open(path, length, write)
		wrap := wrap
		wrap.file = f
		return wrap, err
	}
}

func TestFailingDisk(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO, syscall.EACCES} {
		for _, length := range []int64{64 << 10, 4 << 20} {
			t.Run(fmt.Sprint(cause, length), func(t *testing.T) {
				tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), length, File{Path: "dir/file", Length: length})
				failing := sync.OnceValue(func() error { return cause })
				var mu sync.Mutex
				broken := true
				c := tor.config()
				inject(&c, faulty{write: func() error {
					mu.Lock()
					defer mu.Unlock()
					if broken {
						return failing()
					}
					return nil
				}})
				s := mustOpen(t, c)
				defer s.Close()
				for _, k := range tor.blocks() {
					if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
						t.Fatal(err)
					}
					if length > chunkSize && k[1] >= 2<<20 {
						break // the early run alone must be enough to fail
					}
				}
				e := tor.wait(1)[0]
				var named *Error
				if e.Kind != Failed || !errors.Is(e.Err, cause) || !errors.As(e.Err, &named) ||
					named.Path != filepath.Join(tor.dir, "dir", "file") || !strings.Contains(e.Err.Error(), "(") {
					t.Fatalf("event %+v", e)
				}
				mu.Lock()
				broken = false
				mu.Unlock()
				verified := 0
				for _, k := range tor.blocks() {
					res, err := s.Block(k[0], k[1], tor.block(k))
					if err != nil {
						t.Fatal(err)
					}
					if res == Verified {
						verified++
					}
				}
				if events := tor.wait(2); verified != 1 || events[1].Kind != Written {
					t.Fatalf("second attempt: %d verified, events %+v", verified, events)
				}
				tor.onDisk(t.Fatalf)
			})
		}
	}
}

func TestSyncErrorSticks(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 1<<16, File{Path: "f", Length: 1 << 16})
	c := tor.config()
	fails := 1
	inject(&c, faulty{sync: func() error {
		if fails--; fails == 0 {
			return syscall.EIO
		}
		return nil
	}})
	s := mustOpen(t, c)
	defer s.Close()
	for _, k := range tor.blocks() {
		_, _ = s.Block(k[0], k[1], tor.block(k))
	}
	tor.wait(1)
	for range 2 {
		if err := s.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Sync = %v, want EIO", err)
		}
	}
}

// TestSlowDisk holds one Store's writes: others go on, its own callers wait at
// the budget and go on afterwards.
func TestSlowDisk(t *testing.T) {
	pool := testPool(t, PoolConfig{Budget: 1 << 20})
	slow := newTorrent(t.TempDir(), pool, 1<<18, File{Path: "f", Length: 4 << 20})
	gate := make(chan struct{})
	c := slow.config()
	inject(&c, faulty{write: func() error { <-gate; return nil }})
	s := mustOpen(t, c)
	defer s.Close()
	var group sync.WaitGroup
	var mu sync.Mutex
	stored := 0
	group.Go(func() {
		for _, k := range slow.blocks() {
			if _, err := s.Block(k[0], k[1], slow.block(k)); err != nil {
				t.Error(err)
			}
			mu.Lock()
			stored++
			mu.Unlock()
		}
	})
	quick := newTorrent(t.TempDir(), pool, 1<<18, File{Path: "f", Length: 4 << 20})
	q := mustOpen(t, quick.config())
	defer q.Close()
	for _, k := range quick.blocks() {
		if _, err := q.Block(k[0], k[1], quick.block(k)); err != nil {
			t.Fatal(err)
		}
	}
	quick.wait(quick.pieces())
	if err := q.Read(make([]byte, MaxRead), 3, 0); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if stored == len(slow.blocks()) {
		t.Error("a hung disk did not hold its callers back")
	}
	mu.Unlock()
	close(gate)
	group.Wait()
	slow.wait(slow.pieces())
	slow.onDisk(t.Fatalf)
}

func TestSymlinksStayInside(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, link := range [][2]string{{outside, "d"}, {victim, "f"}} {
		dir := t.TempDir()
		if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
			t.Skip(err)
		}
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
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
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
