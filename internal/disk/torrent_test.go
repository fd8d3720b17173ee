package disk

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
