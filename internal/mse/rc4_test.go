package mse

import (
	"bytes"
	"crypto/rc4"
	"testing"

	"pgregory.net/rapid"
)

// TestCipher compares the cipher with the standard library's, in pieces of all
// lengths, in place and not.
func TestCipher(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key")
		ours := newKeyed(key)
		theirs, err := rc4.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 8).Draw(t, "pieces") {
			src := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "src")
			want, got := make([]byte, len(src)), make([]byte, len(src)+3)
			theirs.XORKeyStream(want, src)
			if rapid.Bool().Draw(t, "in place") {
				got = src
			}
			ours.XORKeyStream(got, src)
			if !bytes.Equal(got[:len(want)], want) {
				t.Fatalf("got %x, want %x", got, want)
			}
		}
	})
}

func BenchmarkRC4(b *testing.B) {
	buf := make([]byte, 16<<10)
	theirs, err := rc4.NewCipher([]byte("some key"))
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]interface{ XORKeyStream(dst, src []byte) }{"ours": newKeyed([]byte("some key")), "crypto": theirs} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				c.XORKeyStream(buf, buf)
			}
		})
	}
}
