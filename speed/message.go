package speed

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Type is the first byte of every message.
type Type uint8

// Message types of version 2. Others are skipped by the receiver.
const (
	TypeBid         Type = 1
	TypeBidResponse Type = 2
	TypeReserve     Type = 3
	TypeProof       Type = 4
	TypeChannel     Type = 5
	TypeAccept      Type = 6
	TypeIdentity    Type = 7
	TypeUnits       Type = 8
)

// String returns the type's name for logs.
func (t Type) String() string {
	switch t {
	case TypeBid:
		return "bid"
	case TypeBidResponse:
		return "bid response"
	case TypeReserve:
		return "reserve price"
	case TypeProof:
		return "proof"
	case TypeAccept:
		return "accept"
	case TypeChannel:
		return "channel"
	case TypeIdentity:
		return "identity"
	case TypeUnits:
		return "units"
	default:
		return fmt.Sprintf("type %d", uint8(t))
	}
}

// Limits of the format.
const (
	// MaxTerms is the greatest length of BidResponse.Terms in bytes.
	MaxTerms = 512
	// MaxChannel is the greatest length of Channel.Payload in bytes.
	MaxChannel = 20 << 10
	// MaxMessage is the greatest length of any message, type byte included;
	// it bounds unknown types too.
	MaxMessage = 1 + MaxChannel
	// MaxPrice is the greatest price in a message: the whole supply per GiB.
	MaxPrice = amount.MaxPrice
)

// Lengths of the messages of fixed size, type byte included.
const (
	bidLen           = 1 + 8 + 20
	bidResponseMin   = 1 + 8
	reserveLen       = 1 + 8 + 4 + 4 + NonceLen
	proofLen         = 1 + 4 + 4 + HashLen
	channelMin       = 1 + 1
	acceptLen        = 1 + 8
	identityLen      = 1 + 33 + 65
	unitsLen         = 1 + 1 + 4
	offset1, offset9 = 1, 9 // where the fields after the type and the price start
)

// MinUnit and MaxUnit bound the size of a unit in bytes: from a block, the least
// that the hashes of BEP 52 tell apart, up.
const (
	MinUnit = 16 << 10
	MaxUnit = 1 << 30
)

// NonceLen and HashLen are the lengths of a challenge's nonce and of a proof's
// hash (SHA-256) in bytes.
const (
	NonceLen = 16
	HashLen  = 32
)

// ErrMalformed says that a message breaks the format; the connection ends.
var ErrMalformed = errors.New("btt_speed message is malformed")

// Message is one of Identity, Bid, BidResponse, Reserve, Proof, Accept, Units and
// Channel.
type Message interface {
	Type() Type
	append(dst []byte) []byte
	check() error
}

// Identity proves that its sender is an account, on this connection alone: a
// signature of [Connection.Digest]. It comes before every other message.
type Identity struct {
	Key       ledger.PublicKey
	Signature ledger.Signature
}

// Bid offers a price for the sender's one unchoke slot at the receiver
// (R5.3-R5.6). A later bid replaces it; Price 0 withdraws it.
type Bid struct {
	Price   amount.Price   // µBTT per GiB, 0 to MaxPrice
	Account ledger.Address // ledger account that will pay; not zero
}

// BidResponse tells a bidder, before the unchoke, what it pays and how to open
// a channel (R10.14-R10.16).
type BidResponse struct {
	Price amount.Price // µBTT per GiB, 0 to the bid
	Terms []byte       // channel.Terms in their own form, at most MaxTerms bytes
}

// Reserve announces the reserve price of the torrent and the chunk whose proof
// lowers it (R7.7-R7.9, A13).
type Reserve struct {
	Price amount.Price // µBTT per GiB, 0 to MaxPrice
	Piece uint32
	Chunk uint32 // 16 KiB block inside the piece
	Nonce [NonceLen]byte
}

// Proof answers a Reserve: SHA-256 over nonce, infohash, piece, chunk and the
// chunk's bytes (R7.10, A12).
type Proof struct {
	Piece uint32
	Chunk uint32
	Hash  [HashLen]byte
}

// Accept answers a bid response: what the requester asks for after this
// message costs Price. What it asked for before belongs to an earlier price, so
// the provider serves only what comes after (R10.18).
type Accept struct {
	Price amount.Price // µBTT per GiB, that of the bid response
}

// Units names a part of a piece that is verified, by the hashes of BEP 52, and
// paid for itself (R12.5, A22). From a requester it says that it can pay by
// units of Size or more; from a provider, that slots it sells from now on are
// paid so, and that it answers the requests for their hashes.
type Units struct {
	Provider bool   // who says it
	Size     uint32 // bytes: a power of two from MinUnit to MaxUnit; 0 = whole pieces
}

// Channel carries one message of package channel, opaque here; 1 to MaxChannel
// bytes.
type Channel struct {
	Payload []byte
}

// Type returns TypeIdentity.
func (Identity) Type() Type { return TypeIdentity }

// Type returns TypeBid.
func (Bid) Type() Type { return TypeBid }

// Type returns TypeBidResponse.
func (BidResponse) Type() Type { return TypeBidResponse }

// Type returns TypeReserve.
func (Reserve) Type() Type { return TypeReserve }

// Type returns TypeProof.
func (Proof) Type() Type { return TypeProof }

// Type returns TypeChannel.
func (Channel) Type() Type { return TypeChannel }

// Type returns TypeAccept.
func (Accept) Type() Type { return TypeAccept }

// Type returns TypeUnits.
func (Units) Type() Type { return TypeUnits }

// Append appends the message's one encoding to dst. It fails on a value the
// format cannot carry; dst is then returned unchanged.
func Append(dst []byte, m Message) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	return m.append(append(dst, byte(m.Type()))), nil
}

// Decode reads one message from the payload of a BEP 10 extension message. An
// unknown type yields (nil, nil): it is to be skipped. Any other payload that
// is not the exact encoding of a message yields an error that wraps
// ErrMalformed. Nothing in the result aliases p.
func Decode(p []byte) (Message, error) {
	if len(p) == 0 || len(p) > MaxMessage {
		return nil, fmt.Errorf("decode message of %d bytes: %w", len(p), ErrMalformed)
	}
	t := Type(p[0])
	m, ok := decode(t, p)
	if m == nil && ok {
		return nil, nil
	}
	if !ok {
		return nil, fmt.Errorf("decode %s of %d bytes: wrong length: %w", t, len(p), ErrMalformed)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("decode %s: %w", t, err)
	}
	return m, nil
}

// decode reads the fields; ok is false if the length is wrong. An unknown type
// gives nil and true.
func decode(t Type, p []byte) (m Message, ok bool) {
	be := binary.BigEndian
	switch t {
	case TypeBid:
		if len(p) != bidLen {
			return nil, false
		}
		return Bid{Price: price(p), Account: ledger.Address(p[offset9:])}, true
	case TypeBidResponse:
		if len(p) < bidResponseMin || len(p) > bidResponseMin+MaxTerms {
			return nil, false
		}
		return BidResponse{Price: price(p), Terms: append([]byte(nil), p[offset9:]...)}, true
	case TypeReserve:
		if len(p) != reserveLen {
			return nil, false
		}
		return Reserve{Price: price(p), Piece: be.Uint32(p[9:]), Chunk: be.Uint32(p[13:]), Nonce: [NonceLen]byte(p[17:])}, true
	case TypeProof:
		if len(p) != proofLen {
			return nil, false
		}
		return Proof{Piece: be.Uint32(p[1:]), Chunk: be.Uint32(p[5:]), Hash: [HashLen]byte(p[9:])}, true
	case TypeAccept:
		if len(p) != acceptLen {
			return nil, false
		}
		return Accept{Price: price(p)}, true
	case TypeIdentity:
		if len(p) != identityLen {
			return nil, false
		}
		return Identity{Key: ledger.PublicKey(p[1:]), Signature: ledger.Signature(p[34:])}, true
	case TypeUnits:
		if len(p) != unitsLen || p[1] > 1 {
			return nil, false
		}
		return Units{Provider: p[1] == 1, Size: be.Uint32(p[2:])}, true
	case TypeChannel:
		if len(p) < channelMin {
			return nil, false
		}
		return Channel{Payload: append([]byte(nil), p[offset1:]...)}, true
	default:
		return nil, true
	}
}

// price reads the price after the type byte; values over MaxPrice, also those
// beyond 63 bits, are caught by check.
func price(p []byte) amount.Price { return amount.Price(binary.BigEndian.Uint64(p[offset1:])) }

func appendPrice(dst []byte, p amount.Price) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(p))
}

func checkPrice(p amount.Price) error {
	if p < 0 || p > MaxPrice {
		return fmt.Errorf("price %d is outside 0 to %d: %w", int64(p), int64(MaxPrice), ErrMalformed)
	}
	return nil
}

func (m Identity) append(dst []byte) []byte {
	return append(append(dst, m.Key[:]...), m.Signature[:]...)
}

func (m Identity) check() error {
	if m.Key.IsZero() {
		return fmt.Errorf("no key: %w", ErrMalformed)
	}
	return nil
}

func (m Bid) append(dst []byte) []byte { return append(appendPrice(dst, m.Price), m.Account[:]...) }

func (m Bid) check() error {
	if m.Account.IsZero() {
		return fmt.Errorf("no account: %w", ErrMalformed)
	}
	return checkPrice(m.Price)
}

func (m BidResponse) append(dst []byte) []byte { return append(appendPrice(dst, m.Price), m.Terms...) }

func (m BidResponse) check() error {
	if len(m.Terms) > MaxTerms {
		return fmt.Errorf("terms of %d bytes (limit %d): %w", len(m.Terms), MaxTerms, ErrMalformed)
	}
	return checkPrice(m.Price)
}

func (m Reserve) append(dst []byte) []byte {
	dst = appendPrice(dst, m.Price)
	dst = binary.BigEndian.AppendUint32(dst, m.Piece)
	dst = binary.BigEndian.AppendUint32(dst, m.Chunk)
	return append(dst, m.Nonce[:]...)
}

func (m Reserve) check() error { return checkPrice(m.Price) }

func (m Proof) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, m.Piece)
	dst = binary.BigEndian.AppendUint32(dst, m.Chunk)
	return append(dst, m.Hash[:]...)
}

func (m Proof) check() error { return nil }

func (m Accept) append(dst []byte) []byte { return appendPrice(dst, m.Price) }

func (m Accept) check() error { return checkPrice(m.Price) }

func (m Units) append(dst []byte) []byte {
	role := byte(0)
	if m.Provider {
		role = 1
	}
	return binary.BigEndian.AppendUint32(append(dst, role), m.Size)
}

func (m Units) check() error {
	if m.Size != 0 && (m.Size < MinUnit || m.Size > MaxUnit || m.Size&(m.Size-1) != 0) {
		return fmt.Errorf("unit of %d bytes is no power of two from %d to %d: %w", m.Size, MinUnit, MaxUnit, ErrMalformed)
	}
	return nil
}

func (m Channel) append(dst []byte) []byte { return append(dst, m.Payload...) }

func (m Channel) check() error {
	if len(m.Payload) == 0 || len(m.Payload) > MaxChannel {
		return fmt.Errorf("channel payload of %d bytes (1 to %d): %w", len(m.Payload), MaxChannel, ErrMalformed)
	}
	return nil
}

func role(provider bool) int {
	if provider {
		return 1
	}
	return 0
}
