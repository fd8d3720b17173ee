package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Limits of the hash messages (BEP 52).
const (
	// HashLen is the length of a hash of a tree in bytes.
	HashLen = 32
	// AskHashes is the greatest number of hashes to ask for in one request.
	AskHashes = 512
	// MaxHashes is the greatest number of hashes answered in one message: the
	// blocks of a piece of 64 MiB.
	MaxHashes = 4096
	// MaxUncles is the greatest number of proof layers: more than any file has.
	MaxUncles = 48

	hashRangeLen = HashLen + 4*4
)

// HashRange names hashes of a file's tree (BEP 52): Length hashes of the layer
// Base (0 = the blocks) from Index on, and of the Proofs layers above it the
// siblings on the way to the root that do not follow from the hashes themselves.
type HashRange struct {
	Root                        [HashLen]byte // pieces root of the file
	Base, Index, Length, Proofs uint32
}

// Uncles is the number of siblings that belong to an answer.
func (r *HashRange) Uncles() int {
	return max(int(r.Proofs)-max(r.Height()-1, 0), 0)
}

// Height is the number of layers that follow from the hashes themselves.
func (r *HashRange) Height() int {
	if r.Length <= 1 {
		return 0
	}
	return bits.Len32(r.Length - 1)
}

// Sane says whether the range could be one of some file: a length from 2 to
// [MaxHashes] (a power of two, but where a layer ends), an index that is a
// multiple of it, and no more layers than a tree may have.
func (r *HashRange) Sane() bool {
	return r.Length >= 2 && r.Length <= MaxHashes && r.Index&(1<<r.Height()-1) == 0 &&
		r.Base < MaxUncles && r.Proofs < MaxUncles && r.Base+r.Proofs < MaxUncles
}

// AppendHashRange appends a hash request or a hash reject.
func AppendHashRange(dst []byte, id ID, r *HashRange) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 1+hashRangeLen)
	return r.append(append(dst, byte(id)))
}

// AppendHashes appends the answer to a hash request: its hashes, then the
// siblings, each [HashLen] bytes.
func AppendHashes(dst []byte, r *HashRange, hashes, uncles []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(1+hashRangeLen+len(hashes)+len(uncles)))
	dst = r.append(append(dst, byte(Hashes)))
	return append(append(dst, hashes...), uncles...)
}

func (r *HashRange) append(dst []byte) []byte {
	dst = append(dst, r.Root[:]...)
	for _, n := range [...]uint32{r.Base, r.Index, r.Length, r.Proofs} {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	return dst
}

// ParseHashRange reads the payload of a hash request, a hash reject or hashes.
// What follows the range is returned as a view: of hashes, exactly as many as
// the range says. The error wraps [ErrMalformed].
func ParseHashRange(id ID, payload []byte) (r HashRange, hashes, uncles []byte, err error) {
	if len(payload) < hashRangeLen || id != Hashes && len(payload) != hashRangeLen {
		return r, nil, nil, fmt.Errorf("read message %d with %d bytes of body: %w", id, len(payload), ErrMalformed)
	}
	copy(r.Root[:], payload)
	r.Base = binary.BigEndian.Uint32(payload[HashLen:])
	r.Index = binary.BigEndian.Uint32(payload[HashLen+4:])
	r.Length = binary.BigEndian.Uint32(payload[HashLen+8:])
	r.Proofs = binary.BigEndian.Uint32(payload[HashLen+12:])
	if id != Hashes {
		return r, nil, nil, nil
	}
	rest := payload[hashRangeLen:]
	if !r.Sane() || len(rest) != (int(r.Length)+r.Uncles())*HashLen {
		return r, nil, nil, fmt.Errorf("read %d bytes of hashes for %d and %d layers: %w", len(rest), r.Length, r.Proofs, ErrMalformed)
	}
	cut := int(r.Length) * HashLen
	return r, rest[:cut], rest[cut:], nil
}
