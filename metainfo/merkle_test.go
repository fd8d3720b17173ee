package metainfo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// plainRoot is the tree root by the definition of BEP 52: leaves padded with zero hashes
// to a width, a power of two, then hashed level by level.
func plainRoot(leaves [][32]byte, width int) [32]byte {
	nodes := append([][32]byte(nil), leaves...)
	for len(nodes) < width || bits.OnesCount(uint(len(nodes))) != 1 {
		nodes = append(nodes, [32]byte{})
	}
	for len(nodes) > 1 {
		for i := range len(nodes) / 2 {
			nodes[i] = sha256.Sum256(append(append([]byte(nil), nodes[2*i][:]...), nodes[2*i+1][:]...))
		}
		nodes = nodes[:len(nodes)/2]
	}
	return nodes[0]
}

func plainLeaves(data []byte) (leaves [][32]byte) {
	for ; len(data) > 0; data = data[min(len(data), BlockSize):] {
		leaves = append(leaves, sha256.Sum256(data[:min(len(data), BlockSize)]))
	}
	return leaves
}

func TestMerkleVectors(t *testing.T) {
	for _, c := range []struct {
		level int
		want  string
	}{
		{0, "0000000000000000000000000000000000000000000000000000000000000000"},
		{1, "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"}, // SHA-256 of 64 zero bytes
	} {
		if got := TreeRoot(nil, c.level); hex.EncodeToString(got[:]) != c.want {
			t.Errorf("missing node of level %d: %x", c.level, got)
		}
	}
	for length, want := range map[int64]int{16 << 10: 0, 32 << 10: 1, 1 << 20: 6, 256 << 20: 14} {
		if got := PieceLevel(length); got != want {
			t.Errorf("piece level of %d: %d", length, got)
		}
	}
}

// The roots by pieces and by leaves must agree, for all shapes of files.
func TestPieceRoots(t *testing.T) {
	for _, pieceLength := range []int64{16 << 10, 32 << 10, 128 << 10} {
		for _, length := range []int{1, 16383, 16384, 16385, 32768, 40000, 65536, 131072, 131073, 200_000, 1 << 18, 300_001} {
			data := bytes.Repeat([]byte("0123456789abcdef!"), length/17+1)[:length]
			var layer []byte
			for rest := data; len(rest) > 0; rest = rest[min(int64(len(rest)), pieceLength):] {
				h := HashPiece(rest[:min(int64(len(rest)), pieceLength)], int64(length), pieceLength)
				layer = append(layer, h[:]...)
			}
			before := bytes.Clone(layer)
			want := plainRoot(plainLeaves(data), 1)
			if got := LayerRoot(layer, pieceLength); got != want {
				t.Errorf("root of %d bytes in pieces of %d differs", length, pieceLength)
			}
			if !bytes.Equal(before, layer) {
				t.Error("LayerRoot changed the layer")
			}
			if got := TreeRoot(AppendLeaves(nil, data), 0); got != want {
				t.Errorf("root of the leaves of %d bytes differs", length)
			}
			last := data[(length-1)/int(pieceLength)*int(pieceLength):]
			if wide := plainRoot(plainLeaves(last), int(pieceLength/BlockSize)); int64(length) > pieceLength &&
				[32]byte(layer[len(layer)-32:]) != wide {
				t.Errorf("last piece of %d bytes in pieces of %d differs", length, pieceLength)
			}
		}
	}
}

func TestProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 40).Draw(t, "width")
		level := rapid.IntRange(0, 14).Draw(t, "level")
		layer := make([]byte, 32*width)
		for i := range width {
			h := sha256.Sum256([]byte{byte(i)})
			copy(layer[32*i:], h[:])
		}
		root := TreeRoot(bytes.Clone(layer), level)
		count := 1 << rapid.IntRange(0, treeHeight(width)).Draw(t, "count")
		index := count * rapid.IntRange(0, 1<<treeHeight(width)/count-1).Draw(t, "index")
		p, err := Prove(layer, level, index, count)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Hashes) != 32*count || len(p.Uncles) != 32*ProofLength(width, count) {
			t.Fatalf("%d hashes, %d uncles", len(p.Hashes)/32, len(p.Uncles)/32)
		}
		if err := p.Verify(root); err != nil {
			t.Fatal(err)
		}
		// Any flipped bit and any other position is refused.
		broken := Proof{p.Index, bytes.Clone(p.Hashes), bytes.Clone(p.Uncles)}
		all := [][]byte{broken.Hashes, broken.Uncles}[rapid.IntRange(0, 1).Draw(t, "part")]
		if len(all) > 0 {
			all[rapid.IntRange(0, len(all)-1).Draw(t, "byte")] ^= 1
			if broken.Verify(root) == nil {
				t.Fatal("a changed proof verifies")
			}
		}
		other := Proof{count * rapid.IntRange(0, 64).Draw(t, "other"), p.Hashes, p.Uncles}
		missing := bytes.Contains(append(bytes.Clone(p.Hashes), p.Uncles...), zeroNodes[level][:]) // equal siblings prove either place
		if other.Index != index && !missing && other.Verify(root) == nil && other.Index < width {
			t.Fatalf("nodes of %d verify at %d", index, other.Index)
		}
	})
}

func TestProofErrors(t *testing.T) {
	layer := bytes.Repeat([]byte("x"), 32*5)
	for _, c := range [][3]int{{0, 0, 0}, {0, 0, 3}, {0, 1, 2}, {0, 8, 1}, {0, -1, 1}, {0, 0, 16}, {-1, 0, 1}, {maxLevels, 0, 1}, {0, 0, -1}} {
		if _, err := Prove(layer, c[0], c[1], c[2]); !errors.Is(err, ErrProof) {
			t.Errorf("prove level %d, index %d, count %d: %v", c[0], c[1], c[2], err)
		}
	}
	if _, err := Prove(nil, 0, 0, 1); !errors.Is(err, ErrProof) {
		t.Errorf("prove nothing: %v", err)
	}
	good, err := Prove(layer, 0, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Proof{
		"no hashes":       {0, nil, good.Uncles},
		"three hashes":    {0, bytes.Repeat([]byte("x"), 96), good.Uncles},
		"half a hash":     {0, good.Hashes[:40], good.Uncles},
		"half an uncle":   {0, good.Hashes, good.Uncles[:40]},
		"no uncles":       {0, good.Hashes, nil},
		"odd index":       {1, good.Hashes, good.Uncles},
		"negative index":  {-2, good.Hashes, good.Uncles},
		"index beyond":    {8, good.Hashes, good.Uncles},
		"too many uncles": {0, good.Hashes, make([]byte, 32*maxLevels)},
	} {
		if err := p.Verify(TreeRoot(bytes.Clone(layer), 0)); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClimb: nodes of a level in between lead to the same root as the leaves.
func TestClimb(t *testing.T) {
	const piece = 512 << 10
	for _, n := range []int{1, 2, 3, 15, 16, 17, 31, 32} {
		leaves := make([]byte, n*32)
		for i := range leaves {
			leaves[i] = byte(i * 7)
		}
		for _, length := range []int64{int64(n) * BlockSize, 10 * piece} { // the file is the piece, or longer
			want := PieceRoot(bytes.Clone(leaves), length, piece)
			for level := range PieceLevel(piece) + 1 {
				if length <= piece && n <= 1<<level && level > 0 {
					continue // no node of that level below the root
				}
				nodes := Climb(bytes.Clone(leaves), 0, level)
				if len(nodes) != (n+1<<level-1)>>level*32 {
					t.Errorf("%d leaves: %d bytes at level %d", n, len(nodes), level)
				}
				if got := PieceRootFrom(nodes, level, length, piece); got != want {
					t.Errorf("%d leaves, file of %d: %x from level %d, want %x", n, length, got, level, want)
				}
			}
		}
	}
	if len(Climb(nil, 0, 3)) != 0 || TreeRoot(nil, 3) != MissingNode(3) {
		t.Error("no nodes became some")
	}
}
