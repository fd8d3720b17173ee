package blocktree

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bttnet/btt/ledger/books"
)

func leaf(i uint64) []byte { return binary.BigEndian.AppendUint64([]byte("leaf"), i) }

// start is where the record of a block begins: records grow.
func start(height uint64) int64 { return int64(height * height * 10) }

func open(t testing.TB, dir string) *Tree {
	t.Helper()
	tree, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func grow(t testing.TB, tree *Tree, to uint64) {
	t.Helper()
	for h := tree.Head().Size + 1; h <= to; h++ {
		if err := tree.Append(leaf(h), start(h)); err != nil {
			t.Fatal(err)
		}
	}
}

func reference(to uint64) *books.Tree {
	var r books.Tree
	for h := uint64(1); h <= to; h++ {
		r.Append(leaf(h))
	}
	return &r
}

// same checks heads, offsets and proofs against a tree in memory.
func same(t *testing.T, tree *Tree, size uint64) {
	t.Helper()
	r := reference(size)
	if tree.Head() != r.Head() {
		t.Fatalf("head %+v, want %+v", tree.Head(), r.Head())
	}
	for h := uint64(1); h <= size; h += max(1, size/50) {
		if o, err := tree.Offset(h); err != nil || o != start(h) {
			t.Fatalf("block %d at %d, %v", h, o, err)
		}
		for _, at := range []int64{start(h), start(h) + 5, start(h+1) - 1} {
			if got, err := tree.Find(at); err != nil || got != h {
				t.Fatalf("byte %d is in block %d, %v, want %d", at, got, err, h)
			}
		}
		got, err := books.ProvePrefix(h, size, tree)
		want, _ := books.ProvePrefix(h, size, r)
		if err != nil || len(got) != len(want) {
			t.Fatalf("prefix %d: %v", h, err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("prefix %d differs at %d", h, i)
			}
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	same(t, tree, 0)
	if _, err := tree.Find(start(1) - 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first block: %v", err)
	}
	if _, err := tree.Offset(1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no block yet: %v", err)
	}
	for _, size := range []uint64{1, 2, flushEvery - 1, flushEvery, flushEvery + 1, 1000} {
		grow(t, tree, size)
		same(t, tree, size)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	tree = open(t, dir)
	same(t, tree, 1000)
	grow(t, tree, 1700)
	same(t, tree, 1700)
}

// TestCrash opens a copy of the files as they are at some moment: the tree goes
// back to the mark and grows to the same again.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	grow(t, tree, 300)
	if err := tree.Mark(); err != nil {
		t.Fatal(err)
	}
	grow(t, tree, 900)
	after := t.TempDir()
	for _, name := range []string{hashesFile, offsetsFile, markFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(after, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, after)
	same(t, again, 300)
	grow(t, again, 900)
	same(t, again, 900)
}

// TestDamage spoils each file; the tree is empty then, never wrong.
func TestDamage(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"no mark":       func(dir string) error { return os.Remove(filepath.Join(dir, markFile)) },
		"mark cut":      func(dir string) error { return os.Truncate(filepath.Join(dir, markFile), 10) },
		"mark altered":  func(dir string) error { return flip(filepath.Join(dir, markFile), 3) },
		"hashes cut":    func(dir string) error { return os.Truncate(filepath.Join(dir, hashesFile), 320) },
		"peak altered":  func(dir string) error { return flip(filepath.Join(dir, hashesFile), 510*hashSize) },
		"hashes absent": func(dir string) error { return os.Remove(filepath.Join(dir, hashesFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree := open(t, dir)
			grow(t, tree, 256) // its one peak is stored hash 510
			if err := tree.Close(); err != nil {
				t.Fatal(err)
			}
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			tree = open(t, dir)
			same(t, tree, 0)
			grow(t, tree, 20)
			same(t, tree, 20)
		})
	}
}

func flip(path string, at int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// TestReadersBesideTheWriter has the race detector look at readers while the tree
// grows over several flushes.
func TestReadersBesideTheWriter(t *testing.T) {
	tree := open(t, t.TempDir())
	grow(t, tree, 10)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				head := tree.Head()
				prefix, err := books.ProvePrefix(7, head.Size, tree)
				if err != nil {
					t.Error(err)
					return
				}
				if _, root, err := books.CheckPrefix(prefix, 7, head.Size); err != nil || root != head.Root {
					t.Errorf("size %d: %v", head.Size, err)
					return
				}
				if h, err := tree.Find(start(head.Size)); err != nil || h < head.Size {
					t.Errorf("block %d: %v", h, err)
					return
				}
			}
		})
	}
	grow(t, tree, 3000)
	close(done)
	wg.Wait()
}

func FuzzParseMark(f *testing.F) {
	dir := f.TempDir()
	tree := open(f, dir)
	grow(f, tree, 5)
	if err := tree.Mark(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, markFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, mark []byte) {
		if size, _, err := parseMark(mark); err == nil && size > books.MaxSize {
			t.Fatal(size)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	tree := open(b, b.TempDir())
	text := make([]byte, books.LeafSize)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := tree.Append(text, int64(i)); err != nil {
			b.Fatal(err)
		}
	}
}
