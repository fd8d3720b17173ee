package books

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/ledger"
)

// LeafSize is the length of a leaf: the block's header and the hash over its raw
// transactions, which the header leaves out.
const LeafSize = ledger.HeaderSize + 32

// Leaf returns what the tree holds of a block. Its height is in its first eight
// bytes.
func Leaf(h *ledger.Header, raws [32]byte) []byte { return append(h.Encode(), raws[:]...) }

// ReadLeaf reads what Leaf makes.
func ReadLeaf(leaf []byte) (h ledger.Header, raws [32]byte, err error) {
	if len(leaf) != LeafSize {
		return h, raws, fmt.Errorf("%w: a leaf of %d bytes, want %d", ErrProof, len(leaf), LeafSize)
	}
	h, err = ledger.DecodeHeader(leaf[:ledger.HeaderSize])
	return h, [32]byte(leaf[ledger.HeaderSize:]), err
}

// Tree is a Merkle tree in memory: the small ones inside blocks, and those of
// tests and simulations. The zero value is empty. It belongs to one goroutine.
type Tree struct {
	hashes []Hash
	size   int64
}

// Append adds a leaf.
func (t *Tree) Append(leaf []byte) {
	more, err := tlog.StoredHashes(t.size, leaf, t)
	if err != nil {
		panic(err) // the hashes that it reads were stored by Append before
	}
	t.hashes = append(t.hashes, more...)
	t.size++
}

// Head returns size and root.
func (t *Tree) Head() Head {
	root, err := tlog.TreeHash(t.size, t)
	if err != nil {
		panic(err) // as in Append
	}
	return Head{Size: uint64(t.size), Root: root}
}

// ReadHashes implements tlog.HashReader.
func (t *Tree) ReadHashes(indexes []int64) ([]Hash, error) {
	list := make([]Hash, len(indexes))
	for i, at := range indexes {
		if at < 0 || at >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("read tree: no hash %d", at)
		}
		list[i] = t.hashes[at]
	}
	return list, nil
}

// complete reports whether the leaves [lo, hi) make one full subtree of the tree,
// and its level.
func complete(lo, hi uint64) (level int, ok bool) {
	n := hi - lo
	return bits.TrailingZeros64(n), n&(n-1) == 0 && lo%n == 0
}

// split returns where RFC 6962 divides n > 1 leaves: the largest power of two
// below n.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// subtree returns the hash over the leaves [lo, hi).
func subtree(lo, hi uint64, r tlog.HashReader) (Hash, error) {
	if level, ok := complete(lo, hi); ok {
		list, err := r.ReadHashes([]int64{tlog.StoredHashIndex(level, int64(lo>>level))})
		if err != nil {
			return Hash{}, err
		}
		if len(list) != 1 {
			return Hash{}, fmt.Errorf("read tree: %d hashes where 1 was asked for", len(list))
		}
		return list[0], nil
	}
	middle := lo + split(hi-lo)
	left, err := subtree(lo, middle, r)
	if err != nil {
		return Hash{}, err
	}
	right, err := subtree(middle, hi, r)
	return tlog.NodeHash(left, right), err
}

// ProvePrefix returns the proof that the tree of size continues that of size
// from: the hashes of the largest subtrees that divide the leaves at from, left to
// right. Both roots follow from them, so that a proof that fits one head and not
// the other is evidence against who signed both; the consistency proof of RFC
// 6962 has less in it and shows a mismatch to its asker alone. from is at most
// size; from 0 and from = size need no hash.
func ProvePrefix(from, size uint64, r tlog.HashReader) ([]Hash, error) {
	if from > size || size > MaxSize {
		return nil, fmt.Errorf("prove that %d blocks continue %d: %w", size, from, ErrProof)
	}
	if from == 0 || from == size {
		return nil, nil
	}
	var list []Hash
	err := divide(0, size, from, func(lo, hi uint64) error {
		h, err := subtree(lo, hi, r)
		list = append(list, h)
		return err
	})
	return list, err
}

// divide calls visit for the largest subtrees of the leaves [lo, hi) that do not
// reach across at.
func divide(lo, hi, at uint64, visit func(lo, hi uint64) error) error {
	if hi <= at || lo >= at {
		return visit(lo, hi)
	}
	middle := lo + split(hi-lo)
	if err := divide(lo, middle, at, visit); err != nil {
		return err
	}
	return divide(middle, hi, at, visit)
}

// CheckPrefix computes from a proof of ProvePrefix the roots of both trees; the
// caller compares. from is above 0 and below size. A proof of a wrong length is
// ErrProof.
func CheckPrefix(proof []Hash, from, size uint64) (old, root Hash, err error) {
	if from == 0 || from >= size || size > MaxSize {
		return old, root, fmt.Errorf("%w: it cannot lead from %d blocks to %d", ErrProof, from, size)
	}
	rest := proof
	var peaks []Hash // of the old tree, left to right
	var fold func(lo, hi uint64) (Hash, error)
	fold = func(lo, hi uint64) (Hash, error) {
		if hi <= from || lo >= from {
			if len(rest) == 0 {
				return Hash{}, fmt.Errorf("%w: too few hashes", ErrProof)
			}
			h := rest[0]
			if rest = rest[1:]; hi <= from {
				peaks = append(peaks, h)
			}
			return h, nil
		}
		middle := lo + split(hi-lo)
		left, err := fold(lo, middle)
		if err != nil {
			return Hash{}, err
		}
		right, err := fold(middle, hi)
		return tlog.NodeHash(left, right), err
	}
	if root, err = fold(0, size); err != nil {
		return old, root, err
	}
	if len(rest) != 0 {
		return old, root, fmt.Errorf("%w: %d hashes too many", ErrProof, len(rest))
	}
	old = peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		old = tlog.NodeHash(peaks[i], old)
	}
	return old, root, nil
}
