package disk

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// watched tells of each write before it is done.
type watched struct {
	file
	before func(off int64, b []byte)
}

func (f watched) WriteAt(b []byte, off int64) (int, error) {
	f.before(off, b)
	return f.file.WriteAt(b, off)
}

func watch(c *Config, before func(off int64, b []byte)) {
	t := &tree{dir: c.Dir}
	c.open = func(path string, length int64, write bool) (file, error) {
		f, err := t.open(path, length, write)
		if err != nil {
			return nil, err
		}
		return watched{f, before}, nil
	}
}

// feed gives blocks from begin on, up to end, of a piece; bad ones differ in
// each byte.
func (t *torrent) feed(tb testing.TB, s *Store, piece uint32, begin, end int64, bad bool) (last Result) {
	tb.Helper()
	for _, k := range t.blocks() {
		if k[0] != piece || int64(k[1]) < begin || int64(k[1]) >= end {
			continue
		}
		b := append([]byte(nil), t.block(k)...)
		for i := range b {
			if bad {
				b[i] ^= 0xff
			}
		}
		r, err := s.Block(k[0], k[1], b)
		if err != nil {
			tb.Fatal(err)
		}
		last = r
	}
	return last
}

// TestForgetHungDisk: while a write of a piece hangs, Forget returns, other
// pieces are written, and the piece is taken anew and verified; that write of it
// and all that waited behind it are over before the right data is written.
func TestForgetHungDisk(t *testing.T) {
	const piece = 4 << 20
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{Writers: 4}), piece, File{Path: "a", Length: 3 * piece})
	gate, hung := make(chan struct{}), make(chan struct{})
	var held, early atomic.Int32
	var open atomic.Bool
	c := tor.config()
	watch(&c, func(off int64, _ []byte) {
		switch {
		case off < piece && !open.Load() && held.Add(1) == 1:
			close(hung)
			<-gate
		case off < piece && !open.Load():
			early.Add(1)
		}
	})
	s := mustOpen(t, c)
	defer s.Close()
	release := sync.OnceFunc(func() { open.Store(true); close(gate) })
	defer release()
	forget := func() {
		t.Helper()
		done := make(chan struct{})
		go func() { s.Forget(0); close(done) }()
		select {
		case <-done:
		case <-time.After(3 * time.Minute):
			t.Fatal("Forget waits for the disk")
		}
	}
	tor.feed(t, s, 0, 0, 1<<20, true)
	<-hung
	tor.feed(t, s, 0, 1<<20, 1<<20+3*BlockSize, true)
	forget()
	for range 3 { // these never get to the disk
		tor.feed(t, s, 0, 0, 3<<20, true)
		forget()
	}
	if n := s.pool.Backlog(); n != 1<<20 {
		t.Errorf("%d bytes count as unwritten, the hung write has 1 MiB", n)
	}
	for i := range uint32(3) {
		if r := tor.feed(t, s, i, 0, piece, false); r != Verified {
			t.Fatalf("piece %d is %v", i, r)
		}
	}
	for _, e := range tor.wait(2) {
		if e.Kind != Written || e.Piece == 0 {
			t.Fatalf("event %+v while the piece cannot be written", e)
		}
	}
	if w := s.Written(nil); w[0] != 0x60 {
		t.Errorf("written: %08b", w[0])
	}
	if early.Load() != 0 {
		t.Errorf("%d writes overtook the one of the forgotten attempt", early.Load())
	}
	release()
	if e := tor.wait(3)[2]; e.Kind != Written || e.Piece != 0 {
		t.Fatalf("event %+v", e)
	}
	s.Flush()
	tor.onDisk(t.Fatalf)
	if n := s.pool.Backlog(); n != 0 || len(s.stale) != 0 {
		t.Errorf("left: backlog of %d bytes, %d pieces with old writes", n, len(s.stale))
	}
}

// TestForgetNeverStale: whenever a piece is forgotten, while however many
// writers work, a bad block of an earlier attempt never lies over a later one,
// and nothing that was counted stays.
func TestForgetNeverStale(t *testing.T) {
	const piece = 3 << 20
	pool := testPool(t, PoolConfig{Writers: 6, Budget: 8 << 20})
	for round := range 12 {
		tor := newTorrent(t.TempDir(), pool, piece, File{Path: "a", Length: 2*piece - 7})
		c := tor.config()
		watch(&c, func(int64, []byte) {
			for range rand.IntN(200) {
				runtime.Gosched()
			}
		})
		s := mustOpen(t, c)
		var group sync.WaitGroup
		for p := range uint32(2) {
			group.Go(func() {
				for range 1 + round%4 {
					tor.feed(t, s, p, 0, rand.Int64N(piece), true)
					s.Forget(p)
				}
				if r := tor.feed(t, s, p, 0, piece, false); r != Verified {
					t.Errorf("piece %d is %v", p, r)
				}
			})
		}
		group.Wait()
		for _, e := range tor.wait(2) {
			if e.Kind != Written {
				t.Fatalf("event %+v", e)
			}
		}
		s.Flush()
		tor.onDisk(t.Fatalf)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(s.stale) != 0 || pool.Backlog() != 0 {
			t.Fatalf("left: backlog of %d bytes, %d pieces with old writes", pool.Backlog(), len(s.stale))
		}
	}
}

// TestCloseForgotten: a Store closes though the last thing that happened is that
// a piece was forgotten in the middle of its write.
func TestCloseForgotten(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 4<<20, File{Path: "a", Length: 4 << 20})
	gate, hung := make(chan struct{}), make(chan struct{})
	c := tor.config()
	first := sync.OnceFunc(func() { close(hung); <-gate })
	watch(&c, func(int64, []byte) { first() })
	s := mustOpen(t, c)
	tor.feed(t, s, 0, 0, 1<<20, true)
	<-hung
	s.Forget(0)
	tor.feed(t, s, 0, 0, 2<<20, false)
	s.Forget(0)
	tor.feed(t, s, 0, 0, 2<<20, false)
	close(gate)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tor.pool.Backlog(); n != 0 {
		t.Errorf("%d bytes left", n)
	}
}
