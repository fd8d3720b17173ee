package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

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
