package wire

import (
	"errors"
	"fmt"
)

// HandshakeLen is the length of a BitTorrent handshake in bytes (BEP 3).
const HandshakeLen = 68

const protocolName = "\x13BitTorrent protocol"

// ErrHandshake says that the first bytes of a connection are no BitTorrent
// handshake.
var ErrHandshake = errors.New("not a BitTorrent handshake")

// Reserved is the eight feature bytes of a handshake.
type Reserved [8]byte

// Feature bits of [Reserved].
const (
	extendedByte, extendedBit = 5, 0x10 // BEP 10
	fastByte, fastBit         = 7, 0x04 // BEP 6
	dhtByte, dhtBit           = 7, 0x01 // BEP 5
	v2Byte, v2Bit             = 7, 0x10 // BEP 52
)

// OurReserved returns the bits of the features this package speaks: the
// extension protocol and the fast extension.
func OurReserved() Reserved {
	var r Reserved
	r[extendedByte] |= extendedBit
	r[fastByte] |= fastBit
	return r
}

// WithDHT returns the bits with those of a node of the DHT (BEP 5).
func (r Reserved) WithDHT() Reserved {
	r[dhtByte] |= dhtBit
	return r
}

// Extended says whether BEP 10 is offered.
func (r Reserved) Extended() bool { return r[extendedByte]&extendedBit != 0 }

// Fast says whether BEP 6 is offered.
func (r Reserved) Fast() bool { return r[fastByte]&fastBit != 0 }

// DHT says whether BEP 5 is offered.
func (r Reserved) DHT() bool { return r[dhtByte]&dhtBit != 0 }

// V2 says whether the torrent has a version 2 part in the sender's eyes: the
// answer to a call for its version 1 hash may then name the other (BEP 52).
func (r Reserved) V2() bool { return r[v2Byte]&v2Bit != 0 }

// SetV2 offers that.
func (r *Reserved) SetV2() { r[v2Byte] |= v2Bit }

// Handshake is the first message of either side.
type Handshake struct {
	Reserved Reserved
	InfoHash [20]byte
	PeerID   [20]byte
	// Upgrade is not on the wire: the truncated version 2 hash of a hybrid
	// torrent, by which a called peer may answer instead of InfoHash (BEP 52);
	// zero = only InfoHash will do.
	Upgrade [20]byte
}

// Accepts says whether an answer for a hash belongs to this call.
func (h *Handshake) Accepts(hash [20]byte) bool {
	return hash == h.InfoHash || h.Upgrade != [20]byte{} && hash == h.Upgrade && h.Reserved.V2()
}

// Append appends the 68 bytes of h to dst.
func (h Handshake) Append(dst []byte) []byte {
	dst = append(dst, protocolName...)
	dst = append(dst, h.Reserved[:]...)
	dst = append(dst, h.InfoHash[:]...)
	return append(dst, h.PeerID[:]...)
}

// ParseHandshake reads a handshake from b, which must hold at least
// [HandshakeLen] bytes. The error wraps [ErrHandshake].
func ParseHandshake(b []byte) (Handshake, error) {
	var h Handshake
	if len(b) < HandshakeLen {
		return h, fmt.Errorf("parse handshake of %d bytes: %w", len(b), ErrHandshake)
	}
	if string(b[:len(protocolName)]) != protocolName {
		return h, fmt.Errorf("parse handshake: %w", ErrHandshake)
	}
	b = b[len(protocolName):]
	copy(h.Reserved[:], b)
	copy(h.InfoHash[:], b[8:])
	copy(h.PeerID[:], b[28:])
	return h, nil
}
