package metainfo

import (
	"fmt"

	"github.com/bttnet/btt/internal/lanes"
)

// Tree holds the layers of a file's hash tree from one level up to the root, to
// answer many hash requests (BEP 52) with little work. It may be read by many
// goroutines.
type Tree struct {
	level  int      // of layers[0]
	layers [][]byte // without the missing nodes at their ends
	height int      // levels above layers[0]
}

// NewTree builds the tree over a layer (32 bytes a node), which it keeps. It
// takes as many bytes again, and hashes once for each node.
func NewTree(layer []byte, level int) *Tree {
	t := &Tree{level: level, height: treeHeight(len(layer) / hashSize), layers: [][]byte{layer}}
	for h := range t.height {
		below := t.layers[h]
		n := len(below) / hashSize
		up := make([]byte, n/2*hashSize, (n+1)/2*hashSize)
		lanes.Pairs(up, below)
		if n%2 == 1 {
			parent := hashPair(t.at(h, n-1), t.at(h, n))
			up = append(up, parent[:]...)
		}
		t.layers = append(t.layers, up)
	}
	return t
}

// Level is the lowest level the tree holds, Top the root's.
func (t *Tree) Level() int { return t.level }

// Top is the level of the root.
func (t *Tree) Top() int { return t.level + t.height }

// Bytes is the memory the tree takes beside the layer it was made of.
func (t *Tree) Bytes() int {
	n := 0
	for _, l := range t.layers[1:] {
		n += len(l)
	}
	return n
}

func (t *Tree) at(h, i int) []byte {
	if l := t.layers[h]; (i+1)*hashSize <= len(l) {
		return l[i*hashSize : (i+1)*hashSize]
	}
	return zeroNodes[t.level+h][:]
}

// Node is the node with an index of a level, nil outside the tree.
func (t *Tree) Node(level, index int) []byte {
	h := level - t.level
	if h < 0 || h > t.height || index < 0 || index >= 1<<(t.height-h) {
		return nil
	}
	return t.at(h, index)
}

// AppendNodes appends count nodes of a level from an index on. It fails with
// ErrProof when some lie outside the tree.
func (t *Tree) AppendNodes(dst []byte, level, index, count int) ([]byte, error) {
	for i := range count {
		node := t.Node(level, index+i)
		if node == nil {
			return dst, fmt.Errorf("%w: no node %d of level %d", ErrProof, index+i, level)
		}
		dst = append(dst, node...)
	}
	return dst, nil
}

// AppendUncles appends the siblings on the way up from the node with an index
// of a level: its own first, count in all. It fails with ErrProof when there are
// not so many.
func (t *Tree) AppendUncles(dst []byte, level, index, count int) ([]byte, error) {
	for range count {
		if level >= t.Top() {
			return dst, fmt.Errorf("%w: level %d has no siblings", ErrProof, level)
		}
		node := t.Node(level, index^1)
		if node == nil {
			return dst, fmt.Errorf("%w: no node %d of level %d", ErrProof, index^1, level)
		}
		dst = append(dst, node...)
		level, index = level+1, index/2
	}
	return dst, nil
}
