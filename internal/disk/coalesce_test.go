package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestCoalescedWrites: small pieces that wait for the disk side by side are
// written together, 1 MiB at once at most.
func TestCoalescedWrites(t *testing.T) {
	const piece, length = 64 << 10, 8 << 20
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{Writers: 1}), piece, File{Path: "f", Length: length})
	gate, writes := make(chan struct{}), 0 // counted by the one writer
	c := tor.config()
	inject(&c, faulty{write: func() error { <-gate; writes++; return nil }})
	s := mustOpen(t, c)
	for _, k := range tor.blocks() {
		if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	tor.wait(tor.pieces())
	s.Close()
	// The first one took what was there; after that each has a batch.
	if most := length/chunkSize + 2; writes > most {
		t.Errorf("%d writes for %d bytes in pieces of %d, at most %d", writes, length, piece, most)
	}
	tor.onDisk(t.Fatalf)
}

// TestGatheredWrites: on an idle disk, small pieces that follow each other are
// written by 256 KiB; what nothing follows is written when the first of it has
// waited for gatherDelay, or somebody waits, or all is there. Larger pieces never
// wait.
func TestGatheredWrites(t *testing.T) {
	const length = 4 << 20
	for _, kib := range []int64{16, 32, 64, 128, 256} {
		t.Run(fmt.Sprint(kib), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				pool := NewPool(PoolConfig{})
				defer pool.Close()
				tor := newTorrent(dir, pool, kib<<10, File{Path: "f", Length: length})
				var mu sync.Mutex
				var sizes []int
				c := tor.config()
				watch(&c, func(_ int64, b []byte) {
					mu.Lock()
					sizes = append(sizes, len(b))
					mu.Unlock()
				})
				written := func() []int {
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					got := sizes
					sizes = nil
					return got
				}
				s := mustOpen(t, c)
				defer s.Close()
				next := uint32(0)
				put := func(bytes int64) {
					for ; bytes > 0; bytes -= kib << 10 {
						tor.feed(t, s, next, 0, kib<<10, false)
						next++
					}
				}
				equal := func(when string, got []int, want ...int) {
					t.Helper()
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("%s: writes of %v, want %v", when, got, want)
					}
				}
				put(256 << 10)
				equal("256 KiB", written(), 256<<10)
				if kib >= 256 {
					return
				}
				put(128 << 10)
				equal("half of it", written())
				time.Sleep(gatherDelay - 1)
				equal("in time", written())
				time.Sleep(time.Nanosecond)
				equal("after the delay", written(), 128<<10)
				put(128 << 10)
				s.Flush()
				equal("flushed", written(), 128<<10)
				put(128 << 10)
				if w := s.Written(nil); w[next/8-min(next/8, 1)] == 0xff && kib == 128 {
					t.Error("what waits counts as written")
				}
				began := time.Now()
				put(length - int64(next)*kib<<10)
				rest := written()
				for i, n := range rest[:max(len(rest), 1)-1] {
					if n < gatherBytes {
						t.Errorf("write %d of %v is short", i, rest)
					}
				}
				tor.wait(tor.pieces())
				if d := time.Since(began); d != 0 {
					t.Errorf("the last pieces waited for %v", d)
				}
				tor.onDisk(t.Fatalf)
			})
		})
	}
}

// TestGatherEnds: what is gathered is written when its Store closes, and dropped
// when its piece is forgotten; and a full budget does not wait for more.
func TestGatherEnds(t *testing.T) {
	pool := testPool(t, PoolConfig{Budget: 64 << 10})
	pool.gatherDelay = time.Hour
	tor := newTorrent(t.TempDir(), pool, 16<<10, File{Path: "f", Length: 1 << 20})
	s := mustOpen(t, tor.config())
	for i := range uint32(63) {
		tor.feed(t, s, i, 0, 16<<10, false)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(tor.wait(63)); n != 63 || pool.Backlog() != 0 {
		t.Errorf("%d pieces written, %d bytes left", n, pool.Backlog())
	}
	b, err := os.ReadFile(filepath.Join(tor.dir, "f"))
	if err != nil || string(b[:63<<14]) != string(tor.data[:63<<14]) {
		t.Errorf("the file differs (%v)", err)
	}
}

// BenchmarkSmallPieces stores small pieces in order, at full speed and at the pace
// of a fast connection, written one by one and gathered: CPU time for each GiB,
// and writes for each MiB.
func BenchmarkSmallPieces(b *testing.B) {
	for _, rate := range []int64{0, 100 << 20} {
		for _, kib := range []int64{16, 32, 64, 128} {
			for _, delay := range []time.Duration{0, gatherDelay} {
				b.Run(fmt.Sprintf("rate=%dMiB/piece=%dKiB/gathered=%v", rate>>20, kib, delay > 0), func(b *testing.B) {
					smallPieces(b, rate, kib<<10, delay)
				})
			}
		}
	}
}

func smallPieces(b *testing.B, rate, length int64, delay time.Duration) {
	pool := NewPool(PoolConfig{})
	defer pool.Close()
	pool.gatherDelay = delay
	const total = 256 << 20
	c, piece := uniform(b, pool, total, length)
	var writes, waited, told atomic.Int64
	began := make([]atomic.Int64, total/length)
	c.Notify = func(e Event) {
		waited.Add(time.Now().UnixNano() - began[e.Piece].Load())
		told.Add(1)
	}
	watch(&c, func(int64, []byte) { writes.Add(1) })
	s := mustOpen(b, c)
	defer s.Close()
	fill(b, s, piece, 1, total/BlockSize)    // pages of the file exist
	s.SetVerified(uint32(s.pieces-1), false) // never the last one
	s.Flush()
	writes.Store(0)
	waited.Store(0)
	told.Store(0)
	b.SetBytes(length)
	from := cpu()
	start := time.Now()
	b.ResetTimer()
	for i := range b.N {
		if rate > 0 {
			if early := time.Duration(int64(i)*length*int64(time.Second)/rate) - time.Since(start); early > time.Millisecond {
				time.Sleep(early)
			}
		}
		p := uint32(i % (s.pieces - 1))
		s.SetVerified(p, false)
		for k := int64(0); k < length; k += BlockSize {
			if k+BlockSize == length {
				began[p].Store(time.Now().UnixNano())
			}
			if res, err := s.Block(p, uint32(k), piece[k:k+BlockSize]); err != nil || res == Failed {
				b.Fatal(res, err)
			}
		}
	}
	s.Flush()
	b.StopTimer()
	bytes := float64(int64(b.N) * length)
	b.ReportMetric((cpu()-from).Seconds()/bytes*(1<<30), "cpu-s/GiB")
	b.ReportMetric(float64(writes.Load())/bytes*(1<<20), "writes/MiB")
	b.ReportMetric(float64(waited.Load())/float64(told.Load())/1e6, "ms-to-written")
}

// cpu is what the process used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
