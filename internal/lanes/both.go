package lanes

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Both hashes one message by SHA-1 and by SHA-256, in little more time than one of them takes
// where the processor has instructions for both. The zero value is not ready: call Reset.
type Both struct {
	h1     [5]uint32
	h2     [8]uint32
	tail   [2 * blockSize]byte // what does not fill a block yet, and the padding
	rest   int                 // bytes of tail
	length uint64
	std1   hash.Hash // without the instructions
	std2   hash.Hash
}

// FastBoth reports whether the processor does it faster than one after the other.
func FastBoth() bool { return fastBoth }

// Reset begins anew.
func (b *Both) Reset() {
	b.h1 = [5]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}
	for i := range b.h2 {
		b.h2[i] = start256[i][0]
	}
	b.rest, b.length = 0, 0
	switch {
	case fastBoth:
	case b.std1 == nil:
		b.std1, b.std2 = sha1.New(), sha256.New()
	default:
		b.std1.Reset()
		b.std2.Reset()
	}
}

// Write adds to the message.
func (b *Both) Write(data []byte) {
	if !fastBoth {
		_, _ = b.std1.Write(data)
		_, _ = b.std2.Write(data)
		return
	}
	b.length += uint64(len(data))
	if b.rest > 0 {
		n := copy(b.tail[b.rest:blockSize], data)
		data = data[n:]
		if b.rest += n; b.rest < blockSize {
			return
		}
		bothBlocks(&b.h1, &b.h2, &b.tail[0], 1)
		b.rest = 0
	}
	if n := len(data) / blockSize; n > 0 {
		bothBlocks(&b.h1, &b.h2, &data[0], n)
		data = data[n*blockSize:]
	}
	b.rest = copy(b.tail[:], data)
}

// Block adds to the SHA-1 alone, and returns the SHA-256 of data for itself: what a hybrid's
// block takes. What Sum says of SHA-256 has no meaning then.
func (b *Both) Block(data []byte) (leaf [sha256.Size]byte) {
	n := len(data) / blockSize
	if !fastBoth || b.rest > 0 || n == 0 || len(data)%blockSize != 0 {
		b.Write(data)
		return sha256.Sum256(data)
	}
	for i := range b.h2 {
		b.h2[i] = start256[i][0]
	}
	bothBlocks(&b.h1, &b.h2, &data[0], n)
	b.length += uint64(len(data))
	h1, end := b.h1, [blockSize]byte{0: 0x80}
	binary.BigEndian.PutUint64(end[blockSize-8:], uint64(len(data))*8)
	bothBlocks(&h1, &b.h2, &end[0], 1)
	for i, w := range b.h2 {
		binary.BigEndian.PutUint32(leaf[4*i:], w)
	}
	return leaf
}

// Sum gives the hashes of what was written, to which more may be added.
func (b *Both) Sum() (v1 [sha1.Size]byte, v2 [sha256.Size]byte) {
	if !fastBoth {
		return [sha1.Size]byte(b.std1.Sum(nil)), [sha256.Size]byte(b.std2.Sum(nil))
	}
	end := *b
	size := blockSize
	if end.rest+9 > blockSize {
		size = 2 * blockSize
	}
	clear(end.tail[end.rest:size])
	end.tail[end.rest] = 0x80
	binary.BigEndian.PutUint64(end.tail[size-8:], end.length*8)
	bothBlocks(&end.h1, &end.h2, &end.tail[0], size/blockSize)
	for i, w := range end.h1 {
		binary.BigEndian.PutUint32(v1[4*i:], w)
	}
	for i, w := range end.h2 {
		binary.BigEndian.PutUint32(v2[4*i:], w)
	}
	return v1, v2
}
