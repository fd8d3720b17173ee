package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/bttnet/btt/wire"
)

// HandshakeTimeout bounds the time for a peer's handshake.
const HandshakeTimeout = 20 * time.Second

// ErrOtherTorrent says that the peer answered for another info hash.
var ErrOtherTorrent = errors.New("peer answered for another torrent")

// Initiate sends our handshake on an outgoing connection and reads the peer's.
func Initiate(nc net.Conn, ours wire.Handshake) (wire.Handshake, error) {
	if err := writeHandshake(nc, ours); err != nil {
		return wire.Handshake{}, err
	}
	theirs, err := ReadHandshake(nc)
	if err != nil {
		return theirs, err
	}
	if !ours.Accepts(theirs.InfoHash) {
		return theirs, fmt.Errorf("handshake with %s: %w", nc.RemoteAddr(), ErrOtherTorrent)
	}
	return theirs, nil
}

// Answer sends our handshake on an incoming connection whose handshake was
// read by [ReadHandshake].
func Answer(nc net.Conn, ours wire.Handshake) error { return writeHandshake(nc, ours) }

func writeHandshake(nc net.Conn, h wire.Handshake) error {
	if err := nc.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return fmt.Errorf("set handshake deadline: %w", err)
	}
	if _, err := nc.Write(h.Append(make([]byte, 0, wire.HandshakeLen))); err != nil {
		return fmt.Errorf("write handshake: %w", err)
	}
	return nc.SetDeadline(time.Time{})
}

// ReadHandshake reads the peer's handshake within [HandshakeTimeout].
func ReadHandshake(nc net.Conn) (wire.Handshake, error) {
	if err := nc.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return wire.Handshake{}, fmt.Errorf("set handshake deadline: %w", err)
	}
	var b [wire.HandshakeLen]byte
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		return wire.Handshake{}, fmt.Errorf("read handshake: %w", err)
	}
	h, err := wire.ParseHandshake(b[:])
	if err != nil {
		return h, err
	}
	return h, nc.SetDeadline(time.Time{})
}
