package lanes

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// bothWays runs a test with the lanes, where the processor has them, and without.
func bothWays(t *testing.T, f func(t *testing.T)) {
	have := fast
	defer func() { fast = have }()
	for _, fast = range []bool{have, false} {
		name := "standard library"
		if fast {
			name = "lanes"
		}
		t.Run(name, f)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1, byte(n)}).Read(b)
	return b
}

func TestSHA1(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		var h SHA1
		for _, size := range []int{0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000, 1024, 16384, 70001} {
			for _, count := range []int{1, 2, 3, 15, 16} {
				for _, step := range []int{64, 640, 1 << 20} {
					messages := make([][]byte, count)
					for i := range messages {
						messages[i] = random(size + 32)[i : i+size]
					}
					h.Reset()
					for at := 0; at < size || at == 0; at += step {
						part := make([][]byte, count)
						for i, m := range messages {
							part[i] = m[at:min(at+step, size)]
						}
						h.Write(part)
					}
					sums := make([][sha1.Size]byte, count)
					h.Sum(sums)
					for i, m := range messages {
						if sums[i] != sha1.Sum(m) {
							t.Fatalf("message %d of %d, %d bytes, %d at a time: %x", i, count, size, step, sums[i])
						}
					}
				}
			}
		}
	})
}

func TestSHA1RefusesBrokenBlocks(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		var h SHA1
		h.Reset()
		h.Write([][]byte{make([]byte, 65)})
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		h.Write([][]byte{make([]byte, 64)})
	})
}

func TestAppendSHA256(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		for _, size := range []int{64, 192, 16384} {
			for _, count := range []int{0, 1, 3, 4, 5, 16, 17, 33} {
				for _, rest := range []int{0, 1, size - 1} {
					data := random(count*size + rest)
					want := []byte("before")
					for at := 0; at < len(data); at += size {
						sum := sha256.Sum256(data[at:min(at+size, len(data))])
						want = append(want, sum[:]...)
					}
					if got := AppendSHA256([]byte("before"), data, size); !bytes.Equal(got, want) {
						t.Fatalf("%d messages of %d bytes and %d", count, size, rest)
					}
				}
			}
		}
	})
}

func TestPairs(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		for count := range 40 {
			src := random(count*64 + 32)
			want := make([]byte, 0, count*32)
			messages := make([][]byte, 0, count)
			for i := range count {
				sum := sha256.Sum256(src[i*64 : i*64+64])
				want = append(want, sum[:]...)
				messages = append(messages, src[i*64:])
			}
			if count <= Width {
				sums := make([][sha256.Size]byte, count)
				EachPair(sums, messages)
				for i := range sums {
					if !bytes.Equal(sums[i][:], want[i*32:][:32]) {
						t.Fatalf("message %d of %d: %x", i, count, sums[i])
					}
				}
			}
			apart := make([]byte, count*32)
			Pairs(apart, src)
			last := bytes.Clone(src[count*64:])
			Pairs(src, src) // in place
			if !bytes.Equal(apart, want) || !bytes.Equal(src[:count*32], want) || count > 0 && !bytes.Equal(src[count*64:], last) {
				t.Fatalf("%d pairs", count)
			}
		}
	})
}

func BenchmarkSHA1(b *testing.B) {
	for name, count := range map[string]int{"16": 16, "4": 4} {
		b.Run(name, func(b *testing.B) {
			messages := make([][]byte, count)
			for i := range messages {
				messages[i] = random(16 << 10)
			}
			sums := make([][sha1.Size]byte, count)
			var h SHA1
			b.SetBytes(int64(count * 16 << 10))
			for b.Loop() {
				h.Reset()
				h.Write(messages)
				h.Sum(sums)
			}
		})
	}
	b.Run("std", func(b *testing.B) {
		message := random(256 << 10)
		b.SetBytes(int64(len(message)))
		for b.Loop() {
			sha1.Sum(message)
		}
	})
}

func BenchmarkSHA256(b *testing.B) {
	data := random(16 * 16 << 10)
	sums := make([]byte, 0, 16*32)
	b.Run("leaves", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			AppendSHA256(sums, data, 16<<10)
		}
	})
	b.Run("pairs", func(b *testing.B) {
		b.SetBytes(16 * 64)
		for b.Loop() {
			Pairs(sums[:cap(sums)], data[:16*64])
		}
	})
	b.Run("std", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			sha256.Sum256(data)
		}
	})
}
