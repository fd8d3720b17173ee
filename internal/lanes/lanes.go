package lanes

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Width is how many messages are hashed at once.
const Width = 16

// Worth is from how many messages on the lanes beat the standard library.
const Worth = 4

const blockSize = 64 // of both functions

// Fast reports whether the processor hashes several messages at once faster than one after
// the other.
func Fast() bool { return fast }

// SHA1 hashes up to Width messages of equal length, piecewise. The zero value is not ready:
// call Reset.
type SHA1 struct {
	state  [5][Width]uint32
	tail   [Width][2 * blockSize]byte // what does not fill a block, and the padding
	rest   int                        // bytes of each tail
	length uint64
	std    []hash.Hash // without lanes
}

// Reset begins anew.
func (h *SHA1) Reset() {
	for i, v := range [5]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0} {
		for lane := range Width {
			h.state[i][lane] = v
		}
	}
	h.rest, h.length = 0, 0
	for _, s := range h.std {
		s.Reset()
	}
}

// Write adds to each message, 1 to Width of them, the same ones each time, and as many bytes
// to each. All but the last call must add a multiple of 64 bytes; else it panics.
func (h *SHA1) Write(data [][]byte) {
	if h.rest > 0 {
		panic("lanes: write after a broken block")
	}
	n := len(data[0])
	h.rest = n % blockSize
	if !fast {
		h.writeStd(data)
		return
	}
	at := pointers(data, n)
	sha1Blocks(&h.state, &at, n/blockSize)
	h.length += uint64(n)
	if h.rest > 0 {
		for i, d := range data {
			copy(h.tail[i][:], d[n-h.rest:])
		}
	}
}

func (h *SHA1) writeStd(data [][]byte) {
	for i, d := range data {
		if i == len(h.std) {
			h.std = append(h.std, sha1.New())
		}
		_, _ = h.std[i].Write(d)
	}
}

// Sum ends the messages: sums[i] becomes the hash of message i, for the first ones. It
// must be followed by Reset.
func (h *SHA1) Sum(sums [][sha1.Size]byte) {
	if !fast {
		for i := range sums {
			h.std[i].Sum(sums[i][:0])
		}
		return
	}
	var at [Width]*byte
	size := finish(&h.tail, h.rest, h.length, &at)
	sha1Blocks(&h.state, &at, size/blockSize)
	for i := range sums {
		for w := range h.state {
			binary.BigEndian.PutUint32(sums[i][4*w:], h.state[w][i])
		}
	}
}

// pointers are the addresses of the messages; lanes without one repeat the first.
func pointers(data [][]byte, n int) (at [Width]*byte) {
	if n < blockSize {
		return at // nothing will be read
	}
	for i := range at {
		d := data[0]
		if i < len(data) {
			d = data[i]
		}
		at[i] = &d[:n][0]
	}
	return at
}

// finish pads the tails and gives their length.
func finish(tail *[Width][2 * blockSize]byte, rest int, length uint64, at *[Width]*byte) int {
	size := blockSize
	if rest+9 > blockSize {
		size = 2 * blockSize
	}
	for i := range tail {
		t := &tail[i]
		clear(t[rest:size])
		t[rest] = 0x80
		binary.BigEndian.PutUint64(t[size-8:], length*8)
		at[i] = &t[0]
	}
	return size
}

var start256 = func() (state [8][Width]uint32) {
	for i, v := range [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {
		for lane := range Width {
			state[i][lane] = v
		}
	}
	return state
}()

func put256(dst []byte, state *[8][Width]uint32, lane int) {
	_ = dst[31]
	for w := range state {
		binary.BigEndian.PutUint32(dst[4*w:], state[w][lane])
	}
}

// AppendSHA256 appends the SHA-256 of each piece of data that is size bytes long, a positive
// multiple of 64, to dst; what does not fill a piece at the end is one more message.
func AppendSHA256(dst, data []byte, size int) []byte {
	for fast && len(data) >= Worth*size {
		n := min(len(data)/size, Width)
		var at [Width]*byte
		for i := range at {
			at[i] = &data[0]
			if i < n {
				at[i] = &data[i*size]
			}
		}
		state := start256
		sha256Blocks(&state, &at, size/blockSize)
		end := [blockSize]byte{0: 0x80}
		binary.BigEndian.PutUint64(end[blockSize-8:], uint64(size)*8)
		for i := range at {
			at[i] = &end[0]
		}
		sha256Blocks(&state, &at, 1)
		for i := range n {
			dst = append(dst, make([]byte, sha256.Size)...)
			put256(dst[len(dst)-sha256.Size:], &state, i)
		}
		data = data[n*size:]
	}
	for len(data) > 0 {
		n := min(len(data), size)
		sum := sha256.Sum256(data[:n])
		dst = append(dst, sum[:]...)
		data = data[n:]
	}
	return dst
}

// Pairs hashes each 64 bytes of src, a pair of nodes of a tree, into 32 bytes of dst, which
// may be the beginning of src. A rest of src that is no pair is left.
func Pairs(dst, src []byte) {
	for fast && len(src) >= Worth*blockSize {
		n := min(len(src)/blockSize, Width)
		var at [Width]*byte
		for i := range at {
			at[i] = &src[min(i, n-1)*blockSize]
		}
		state := start256
		sha256Blocks(&state, &at, 1)
		sha256Pad64(&state)
		for i := range n {
			put256(dst[i*sha256.Size:], &state, i)
		}
		src, dst = src[n*blockSize:], dst[n*sha256.Size:]
	}
	for ; len(src) >= blockSize; src, dst = src[blockSize:], dst[sha256.Size:] {
		sum := sha256.Sum256(src[:blockSize])
		copy(dst, sum[:])
	}
}

// EachPair hashes messages of 64 bytes that lie apart, at most Width of them.
func EachPair(sums [][sha256.Size]byte, messages [][]byte) {
	if !fast || len(messages) < Worth {
		for i, m := range messages {
			sums[i] = sha256.Sum256(m[:blockSize])
		}
		return
	}
	at := pointers(messages, blockSize)
	state := start256
	sha256Blocks(&state, &at, 1)
	sha256Pad64(&state)
	for i := range messages {
		put256(sums[i][:], &state, i)
	}
}
