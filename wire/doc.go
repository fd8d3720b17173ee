// Package wire is the BitTorrent peer wire format: the handshake, the
// length-prefixed messages of BEP 3, the fast extension (BEP 6), and the
// extension protocol (BEP 10) with its metadata messages (BEP 9), and the hash
// messages of version 2 (BEP 52).
//
// Decoding reads from a caller's buffer into value structs whose payloads alias
// that buffer: nothing is allocated and nothing is copied. Encoding appends to a
// caller's slice. The package does no I/O, starts no goroutine and holds no
// state; internal/peer drives it. It serves R1.6, R1.7 (the baseline protocol
// stays as it is) and R5.3 (the overlay travels as an extension message).
package wire
