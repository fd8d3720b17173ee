package lanes

import (
	"crypto/sha1"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

func TestBoth(t *testing.T) {
	have := fastBoth
	defer func() { fastBoth = have }()
	for _, fastBoth = range []bool{have, false} {
		source := rand.New(rand.NewPCG(5, 6))
		for _, size := range []int{0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 16384, 70001} {
			data := random(size)
			var b Both
			for range 4 {
				b.Reset()
				for at := 0; at < size; {
					n := min(1+source.IntN(1+size/3), size-at)
					b.Write(data[at : at+n])
					if at += n; source.IntN(4) == 0 {
						b.Sum() // changes nothing
					}
				}
				v1, v2 := b.Sum()
				if v1 != sha1.Sum(data) || v2 != sha256.Sum256(data) {
					t.Fatalf("fast %v, %d bytes: %x, %x", fastBoth, size, v1, v2)
				}
			}
		}
	}
}

func TestBothBlocks(t *testing.T) {
	have := fastBoth
	defer func() { fastBoth = have }()
	for _, fastBoth = range []bool{have, false} {
		var b Both
		b.Reset()
		var all []byte
		for _, size := range []int{16384, 64, 0, 16384, 63, 64, 100, 16384} {
			data := random(size)
			all = append(all, data...)
			if leaf := b.Block(data); leaf != sha256.Sum256(data) {
				t.Errorf("fast %v, %d bytes: %x", fastBoth, size, leaf)
			}
			if v1, _ := b.Sum(); v1 != sha1.Sum(all) {
				t.Errorf("fast %v, %d bytes in all: %x", fastBoth, len(all), v1)
			}
		}
	}
}

func BenchmarkBoth(b *testing.B) {
	data := random(256 << 10)
	b.Run("both", func(b *testing.B) {
		var h Both
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			h.Reset()
			h.Write(data)
			h.Sum()
		}
	})
	b.Run("one after the other", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			sha1.Sum(data)
			sha256.Sum256(data)
		}
	})
}
