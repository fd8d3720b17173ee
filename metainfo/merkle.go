package metainfo

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/bttnet/btt/internal/lanes"
)

// The hash trees of version 2 (BEP 52): each file has a binary SHA-256 tree over its
// 16 KiB blocks. The last block is hashed at its true length; leaves missing to a power
// of two are 32 zero bytes. Level 0 are the leaves; the piece layer is the level whose
// nodes each cover one piece.

const (
	hashSize = sha256.Size
	// maxLevels is more than MaxTotalLength of blocks can have.
	maxLevels = 48
)

// zeroNodes are the nodes over nothing but missing leaves, by level.
var zeroNodes = func() (nodes [maxLevels][hashSize]byte) {
	for i := range maxLevels - 1 {
		nodes[i+1] = hashPair(nodes[i][:], nodes[i][:])
	}
	return nodes
}()

func hashPair(left, right []byte) [hashSize]byte {
	var pair [2 * hashSize]byte
	copy(pair[:hashSize], left)
	copy(pair[hashSize:], right)
	return sha256.Sum256(pair[:])
}

// PieceLevel is the level of the tree whose nodes cover one piece each: 0 for pieces of
// 16 KiB. The piece length is a power of two of at least BlockSize.
func PieceLevel(pieceLength int64) int {
	return max(bits.Len64(uint64(pieceLength))-bits.Len64(BlockSize), 0)
}

// AppendLeaves appends the 32-byte hashes of the blocks of data to dst. Data starts at a
// block of the file and, unless it ends with the file, is whole blocks.
func AppendLeaves(dst, data []byte) []byte { return lanes.AppendSHA256(dst, data, BlockSize) }

// TreeRoot is the root of the smallest tree whose nodes at a level start with hashes (32
// bytes each); the rest is missing leaves. It overwrites hashes. Without hashes it is
// the missing node of that level.
func TreeRoot(hashes []byte, level int) [32]byte {
	return reduce(hashes, level, level)
}

// reduce climbs until one node is left and top is reached.
func reduce(hashes []byte, level, top int) [32]byte {
	hashes = hashes[:len(hashes)/hashSize*hashSize]
	if len(hashes) == 0 {
		return zeroNodes[max(level, top)]
	}
	for len(hashes) > hashSize || level < top {
		hashes = climb(hashes, level)
		level++
	}
	return [32]byte(hashes)
}

// climb turns the nodes of a level into those above them, in place.
func climb(nodes []byte, level int) []byte {
	n := len(nodes) / hashSize
	var last [hashSize]byte
	if n%2 == 1 { // the pairs overwrite it
		last = hashPair(nodes[(n-1)*hashSize:], zeroNodes[level][:])
	}
	lanes.Pairs(nodes, nodes[:n/2*2*hashSize])
	if n%2 == 1 {
		copy(nodes[n/2*hashSize:], last[:])
	}
	return nodes[:(n+1)/2*hashSize]
}

// Climb turns the nodes with which a level of a tree begins (32 bytes each; the rest are
// missing ones) into those of a higher level, which it returns. It overwrites nodes.
func Climb(nodes []byte, from, to int) []byte {
	nodes = nodes[:len(nodes)/hashSize*hashSize]
	for ; from < to && len(nodes) > 0; from++ {
		nodes = climb(nodes, from)
	}
	return nodes
}

// MissingNode is the node of a level, 0 to 47, over nothing but missing leaves.
func MissingNode(level int) [32]byte { return zeroNodes[level] }

// PieceRoot is the version 2 hash of a piece from the hashes of its blocks, which it
// overwrites: the node of the piece layer, or in a file of at most one piece the file's
// root.
func PieceRoot(leaves []byte, fileLength, pieceLength int64) [32]byte {
	return PieceRootFrom(leaves, 0, fileLength, pieceLength)
}

// PieceRootFrom is PieceRoot from the nodes of a level up to the pieces' that the piece
// begins with.
func PieceRootFrom(nodes []byte, level int, fileLength, pieceLength int64) [32]byte {
	if fileLength <= pieceLength {
		return TreeRoot(nodes, level)
	}
	return reduce(nodes, level, PieceLevel(pieceLength))
}

// HashPiece is the version 2 hash of a piece from its data, without padding: what
// PieceRoot gives for the leaves of data.
func HashPiece(data []byte, fileLength, pieceLength int64) [32]byte {
	leaves := make([]byte, 0, (len(data)+BlockSize-1)/BlockSize*hashSize)
	return PieceRoot(AppendLeaves(leaves, data), fileLength, pieceLength)
}

// LayerRoot is the pieces root of a file from the hashes of its pieces (32 bytes each,
// as HashPiece makes them), which stay as they are.
func LayerRoot(layer []byte, pieceLength int64) [32]byte {
	if len(layer) == hashSize {
		return [32]byte(layer) // a file of one piece: its hash is the root
	}
	return TreeRoot(append([]byte(nil), layer...), PieceLevel(pieceLength))
}

// checkLayer fails with ErrPieceLayers unless layer holds size bytes of piece hashes and
// leads to its root. It works in scratch.
func checkLayer(root [32]byte, layer []byte, size int, pieceLength int64, scratch *[]byte) error {
	if len(layer) != size {
		return fmt.Errorf("%w: %d bytes of hashes, want %d", ErrPieceLayers, len(layer), size)
	}
	*scratch = append((*scratch)[:0], layer...)
	if TreeRoot(*scratch, PieceLevel(pieceLength)) != root {
		return fmt.Errorf("%w: hashes do not lead to root %x", ErrPieceLayers, root)
	}
	return nil
}

// Proof is what shows that some nodes belong to a tree (BEP 52 "hashes" message).
type Proof struct {
	// Index of the first of the nodes within their level, a multiple of their number.
	Index int
	// Hashes are the nodes, 32 bytes each; their number is a power of two.
	Hashes []byte
	// Uncles are the siblings on the way up, lowest first, 32 bytes each: first the
	// sibling of the node over Hashes, last a child of the root.
	Uncles []byte
}

// Verify fails with ErrProof unless the nodes belong to the tree with that root. It
// says nothing about the level: the caller knows how many uncles a level takes (see
// ProofLength).
func (p *Proof) Verify(root [32]byte) error {
	n := len(p.Hashes) / hashSize
	if n == 0 || len(p.Hashes)%hashSize != 0 || len(p.Uncles)%hashSize != 0 || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("%w: %d bytes of hashes, %d of uncles", ErrProof, len(p.Hashes), len(p.Uncles))
	}
	uncles := len(p.Uncles) / hashSize
	position := p.Index / n
	if p.Index < 0 || p.Index%n != 0 || uncles >= maxLevels || position>>uncles != 0 {
		return fmt.Errorf("%w: index %d", ErrProof, p.Index)
	}
	node := TreeRoot(append([]byte(nil), p.Hashes...), 0) // full: nothing is missing, the level does not matter
	for i := range uncles {
		uncle := p.Uncles[i*hashSize : (i+1)*hashSize]
		if position&1 == 0 {
			node = hashPair(node[:], uncle)
		} else {
			node = hashPair(uncle, node[:])
		}
		position >>= 1
	}
	if node != root {
		return fmt.Errorf("%w", ErrProof)
	}
	return nil
}

// ProofLength is the number of uncles that prove count nodes (a power of two) of a level
// with width nodes, missing ones at its end not counted.
func ProofLength(width, count int) int {
	return max(treeHeight(width)-treeHeight(count), 0)
}

// treeHeight is the levels above the nodes of the smallest tree that holds n of them.
func treeHeight(n int) int {
	if n <= 1 {
		return 0
	}
	return bits.Len(uint(n - 1))
}

// Prove makes the proof for count nodes of a layer from index on. The layer holds all
// nodes of a file at that level, 32 bytes each; nodes asked for beyond its end are
// missing ones. It fails with ErrProof unless count is a power of two, index a multiple
// of it, and both lie within the tree.
func Prove(layer []byte, level, index, count int) (Proof, error) {
	width := len(layer) / hashSize
	height := treeHeight(width)
	if width == 0 || count <= 0 || bits.OnesCount(uint(count)) != 1 || count > 1<<height ||
		index < 0 || index%count != 0 || index >= 1<<height || level < 0 || level+height >= maxLevels {
		return Proof{}, fmt.Errorf("prove hashes: %w: %d from %d of %d", ErrProof, count, index, width)
	}
	node := func(hashes []byte, level, i int) []byte {
		if (i+1)*hashSize <= len(hashes) {
			return hashes[i*hashSize : (i+1)*hashSize]
		}
		return zeroNodes[level][:]
	}
	p := Proof{Index: index}
	for i := range count {
		p.Hashes = append(p.Hashes, node(layer, level, index+i)...)
	}
	nodes := append([]byte(nil), layer...)
	for h := range height {
		if h >= treeHeight(count) {
			p.Uncles = append(p.Uncles, node(nodes, level+h, (index>>h)^1)...)
		}
		n := (len(nodes)/hashSize + 1) / 2
		for i := range n {
			parent := hashPair(node(nodes, level+h, 2*i), node(nodes, level+h, 2*i+1))
			copy(nodes[i*hashSize:], parent[:])
		}
		nodes = nodes[:n*hashSize]
	}
	return p, nil
}
