package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of the format. A message over MaxMessage ends the connection.
const (
	// BlockSize is the request size that every client uses.
	BlockSize = 16 << 10
	// MaxMessage is the greatest message length accepted, without its
	// four-byte prefix: room for a bitfield of two million pieces.
	MaxMessage = 256<<10 - 4
	// MaxRequest is the greatest block a peer may ask for in one request.
	MaxRequest = 128 << 10
)

// ID is a message's type byte.
type ID uint8

// Messages of BEP 3, BEP 6, BEP 10 and BEP 52.
const (
	Choke         ID = 0
	Unchoke       ID = 1
	Interested    ID = 2
	NotInterested ID = 3
	Have          ID = 4
	Bitfield      ID = 5
	Request       ID = 6
	Piece         ID = 7
	Cancel        ID = 8
	Port          ID = 9
	Suggest       ID = 13
	HaveAll       ID = 14
	HaveNone      ID = 15
	Reject        ID = 16
	AllowedFast   ID = 17
	Extended      ID = 20
	HashRequest   ID = 21
	Hashes        ID = 22
	HashReject    ID = 23
	// KeepAlive stands for the message of length zero; it has no byte on the
	// wire.
	KeepAlive ID = 255
)

// Errors of [Next]. Either ends the connection.
var (
	ErrTooLong   = errors.New("message is too long")
	ErrMalformed = errors.New("message is malformed")
)

// Message is one decoded message. Which fields count depends on ID: Index for
// have, suggest and allowed fast; Index, Begin and Length for request, cancel
// and reject; Index, Begin and Payload (the block) for piece; Payload for
// bitfield (the bits), port and the hash messages (see [ParseHashRange]); Sub (the extension's id) and Payload for extended.
// Payload aliases the buffer that was decoded.
type Message struct {
	ID                   ID
	Sub                  uint8
	Index, Begin, Length uint32
	Payload              []byte
}

// Next decodes the first message of b. n is the number of bytes it took; n = 0
// with a nil error means that b ends before the message does. Unknown ids are
// returned as they are, for the caller to skip (BEP 3 clients ignore them).
func Next(b []byte) (m Message, n int, err error) {
	if len(b) < 4 {
		return m, 0, nil
	}
	length := int(binary.BigEndian.Uint32(b))
	if length > MaxMessage {
		return m, 0, fmt.Errorf("read message of %d bytes (limit %d): %w", length, MaxMessage, ErrTooLong)
	}
	if length == 0 {
		return Message{ID: KeepAlive}, 4, nil
	}
	if len(b) < 4+length {
		return m, 0, nil
	}
	m.ID = ID(b[4])
	if err := m.parse(b[5 : 4+length]); err != nil {
		return m, 0, err
	}
	return m, 4 + length, nil
}

func (m *Message) parse(body []byte) error {
	want := -1
	switch m.ID {
	case Choke, Unchoke, Interested, NotInterested, HaveAll, HaveNone:
		want = 0
	case Have, Suggest, AllowedFast:
		want = 4
	case Request, Cancel, Reject:
		want = 12
	case Port:
		want = 2
	case HashRequest, HashReject:
		want = hashRangeLen
	}
	if want >= 0 && len(body) != want {
		return m.malformed(len(body))
	}
	switch m.ID {
	case Have, Suggest, AllowedFast:
		m.Index = binary.BigEndian.Uint32(body)
	case Request, Cancel, Reject:
		m.Index = binary.BigEndian.Uint32(body)
		m.Begin = binary.BigEndian.Uint32(body[4:])
		m.Length = binary.BigEndian.Uint32(body[8:])
	case Piece:
		if len(body) < 8 {
			return m.malformed(len(body))
		}
		m.Index = binary.BigEndian.Uint32(body)
		m.Begin = binary.BigEndian.Uint32(body[4:])
		m.Payload = body[8:]
		m.Length = uint32(len(m.Payload))
	case Extended:
		if len(body) < 1 {
			return m.malformed(0)
		}
		m.Sub, m.Payload = body[0], body[1:]
	default:
		m.Payload = body
	}
	return nil
}

func (m *Message) malformed(length int) error {
	return fmt.Errorf("read message %d with %d bytes of body: %w", m.ID, length, ErrMalformed)
}

// AppendEmpty appends a message without a body, such as choke or have all.
func AppendEmpty(dst []byte, id ID) []byte { return append(dst, 0, 0, 0, 1, byte(id)) }

// AppendKeepAlive appends a keep-alive.
func AppendKeepAlive(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

// AppendIndex appends have, suggest or allowed fast.
func AppendIndex(dst []byte, id ID, index uint32) []byte {
	dst = append(dst, 0, 0, 0, 5, byte(id))
	return binary.BigEndian.AppendUint32(dst, index)
}

// AppendBlock appends request, cancel or reject.
func AppendBlock(dst []byte, id ID, index, begin, length uint32) []byte {
	dst = append(dst, 0, 0, 0, 13, byte(id))
	dst = binary.BigEndian.AppendUint32(dst, index)
	dst = binary.BigEndian.AppendUint32(dst, begin)
	return binary.BigEndian.AppendUint32(dst, length)
}

// PieceHeaderLen is the number of bytes before the block in a piece message.
const PieceHeaderLen = 13

// AppendPieceHeader appends the head of a piece message; length bytes of the
// block must follow it on the wire.
func AppendPieceHeader(dst []byte, index, begin, length uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 9+length)
	dst = append(dst, byte(Piece))
	dst = binary.BigEndian.AppendUint32(dst, index)
	return binary.BigEndian.AppendUint32(dst, begin)
}

// AppendBitfield appends a bitfield message.
func AppendBitfield(dst, bits []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(1+len(bits)))
	dst = append(dst, byte(Bitfield))
	return append(dst, bits...)
}

// AppendExtended appends an extension message with the id that the receiver
// chose for it (BEP 10).
func AppendExtended(dst []byte, sub uint8, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(2+len(payload)))
	dst = append(dst, byte(Extended), sub)
	return append(dst, payload...)
}

// ParsePort reads the payload of a port message; [Next] has seen to its length.
func ParsePort(payload []byte) uint16 {
	if len(payload) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(payload)
}

// AppendPort appends the DHT port message (BEP 5).
func AppendPort(dst []byte, port uint16) []byte {
	dst = append(dst, 0, 0, 0, 3, byte(Port))
	return binary.BigEndian.AppendUint16(dst, port)
}
