package picker

import (
	"testing"

	"pgregory.net/rapid"
)

// TestRarest: the rarest wanted piece of a peer is the one that a count of all pieces
// finds, whatever was had, wanted and told.
func TestRarest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "pieces")
		p := New(Config{PieceLength: BlockSize, TotalLength: int64(n) * BlockSize, Seed: 1})
		counts := make([]int, n)
		for range rapid.IntRange(0, 60).Draw(t, "haves") {
			i := rapid.IntRange(0, n-1).Draw(t, "piece")
			p.AddHave(uint32(i))
			counts[i]++
		}
		for range rapid.IntRange(0, 3).Draw(t, "seeds") {
			p.AddSeed()
		}
		wanted := make([]bool, n)
		for i := range wanted {
			if wanted[i] = rapid.Bool().Draw(t, "wanted"); !wanted[i] {
				p.SetHave(uint32(i))
			}
		}
		peer := Peer{Seed: rapid.Bool().Draw(t, "seed"), Bits: make([]byte, (n+7)/8)}
		for i := range n {
			if rapid.Bool().Draw(t, "has") {
				peer.Bits[i/8] |= 0x80 >> (i % 8)
			}
		}
		best := -1
		for i := range n {
			if wanted[i] && peer.has(i) && (best < 0 || counts[i] < counts[best]) {
				best = i
			}
		}
		piece, sources, ok := p.Rarest(peer)
		switch {
		case ok != (best >= 0):
			t.Fatalf("found %v, want %v", ok, best >= 0)
		case ok && (int(piece) != best || sources != max(1, counts[best]+p.seeds)):
			t.Fatalf("piece %d of %d sources, want piece %d of %d", piece, sources, best, counts[best]+p.seeds)
		}
	})
}
