package reserve

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// Hash is the proof of possession of a chunk:
//
//	SHA-256(nonce ‖ infohash ‖ piece ‖ chunk ‖ data)
//
// with piece and chunk as 4 bytes big-endian. The nonce is the challenger's,
// so that the answer can be neither precomputed nor replayed (A12).
func Hash(nonce [16]byte, infohash [20]byte, piece, chunk uint32, data []byte) [32]byte {
	h := sha256.New()
	var head [16 + 20 + 8]byte
	copy(head[:], nonce[:])
	copy(head[16:], infohash[:])
	binary.BigEndian.PutUint32(head[36:], piece)
	binary.BigEndian.PutUint32(head[40:], chunk)
	h.Write(head[:])
	h.Write(data)
	return [32]byte(h.Sum(nil))
}

// Valid reports whether proof is the hash of our own copy of the chunk.
func Valid(proof [32]byte, nonce [16]byte, infohash [20]byte, piece, chunk uint32, data []byte) bool {
	want := Hash(nonce, infohash, piece, chunk, data)
	return subtle.ConstantTimeCompare(proof[:], want[:]) == 1
}
