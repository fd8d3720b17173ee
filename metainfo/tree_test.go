package metainfo

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func randomLayer(n int) []byte {
	b := make([]byte, n*hashSize)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// TestTree: what a tree answers is what Prove makes, and proves itself.
func TestTree(t *testing.T) {
	for _, width := range []int{1, 2, 3, 7, 8, 9, 513} {
		layer := randomLayer(width)
		const level = 3
		tree := NewTree(bytes.Clone(layer), level)
		root := TreeRoot(bytes.Clone(layer), level)
		if tree.Level() != level || !bytes.Equal(tree.Node(tree.Top(), 0), root[:]) {
			t.Fatalf("width %d: the root differs", width)
		}
		for count := 1; count <= 1<<treeHeight(width); count *= 2 {
			for index := 0; index < 1<<treeHeight(width); index += count {
				want, err := Prove(layer, level, index, count)
				if err != nil {
					t.Fatal(err)
				}
				hashes, err := tree.AppendNodes(nil, level, index, count)
				if err != nil {
					t.Fatal(err)
				}
				up := treeHeight(count)
				uncles, err := tree.AppendUncles(nil, level+up, index>>up, tree.Top()-level-up)
				if err != nil || !bytes.Equal(hashes, want.Hashes) || !bytes.Equal(uncles, want.Uncles) {
					t.Fatalf("width %d, %d from %d: %v", width, count, index, err)
				}
				p := Proof{Index: index, Hashes: hashes, Uncles: uncles}
				if err := p.Verify(root); err != nil {
					t.Fatalf("width %d, %d from %d: %v", width, count, index, err)
				}
			}
		}
		if _, err := tree.AppendNodes(nil, level, 1<<treeHeight(width), 1); !errors.Is(err, ErrProof) {
			t.Errorf("width %d: a node outside gave %v", width, err)
		}
		if _, err := tree.AppendUncles(nil, level, 0, treeHeight(width)+1); !errors.Is(err, ErrProof) {
			t.Errorf("width %d: too many uncles gave %v", width, err)
		}
	}
}
