package disk

import (
	"context"
	"crypto/sha1"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// benchDir is memory where there is any, to measure the engine and not a disk.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "bench")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// uniform is a torrent of equal pieces, cheap to make at any size.
func uniform(b *testing.B, pool *Pool, total, length int64) (Config, []byte) {
	piece := make([]byte, length)
	for i := range piece {
		piece[i] = byte(i * 7)
	}
	sum := sha1.Sum(piece)
	c := Config{Dir: benchDir(b), Files: []File{{Path: "f", Length: total}}, PieceLength: length, Pool: pool}
	for range total / length {
		c.Hashes = append(c.Hashes, sum[:]...)
	}
	return c, piece
}

// BenchmarkBlock stores 16 KiB blocks in order, SHA-1 and write included.
func BenchmarkBlock(b *testing.B) {
	for _, callers := range []int{1, 2} {
		for _, length := range []int64{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
			b.Run(fmt.Sprintf("callers=%d/piece=%dKiB", callers, length>>10), func(b *testing.B) {
				pool := NewPool(PoolConfig{})
				defer pool.Close()
				const total = 512 << 20
				c, piece := uniform(b, pool, total, length)
				s := mustOpen(b, c)
				defer s.Close()
				fill(b, s, piece, callers, total/BlockSize) // pages of the file exist
				b.SetBytes(BlockSize)
				b.ReportAllocs()
				b.ResetTimer()
				fill(b, s, piece, callers, b.N)
				for pool.Backlog() > 0 {
				}
			})
		}
	}
}

// fill stores n blocks, round and round the torrent; each caller takes pieces.
func fill(b *testing.B, s *Store, piece []byte, callers, n int) {
	per := len(piece) / BlockSize
	var next, left atomic.Int64
	left.Store(int64(n))
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for left.Load() > 0 {
				i := uint32(int(next.Add(1)-1) % s.pieces)
				s.SetVerified(i, false)
				for k := 0; k < per && left.Add(-1) >= 0; k++ {
					if res, err := s.Block(i, uint32(k*BlockSize), piece[k*BlockSize:][:BlockSize]); err != nil || res == Failed {
						b.Error(res, err)
					}
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkRead(b *testing.B) {
	for _, n := range []int{BlockSize, MaxRead} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			pool := NewPool(PoolConfig{})
			defer pool.Close()
			c, piece := uniform(b, pool, 128<<20, 1<<20)
			s := mustOpen(b, c)
			defer s.Close()
			fill(b, s, piece, 1, 128<<20/BlockSize)
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Read(buf, uint32(i%s.pieces), 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, length := range []int64{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("piece=%dKiB", length>>10), func(b *testing.B) {
			pool := NewPool(PoolConfig{})
			defer pool.Close()
			const total = 512 << 20
			c, piece := uniform(b, pool, total, length)
			s := mustOpen(b, c)
			defer s.Close()
			fill(b, s, piece, 1, total/BlockSize)
			for pool.Backlog() > 0 {
			}
			b.SetBytes(total)
			for b.Loop() {
				good := 0
				err := s.Verify(context.Background(), 0, func(_ int, ok bool) {
					if ok {
						good++
					}
				})
				if err != nil || good != s.pieces {
					b.Fatal(good, err)
				}
			}
		})
	}
}
