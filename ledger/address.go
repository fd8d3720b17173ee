package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/mr-tron/base58"
	"golang.org/x/crypto/sha3"
)

// Address is a TRON account hash: the last 20 bytes of Keccak-256 of the
// public key. It is the same on the ledger and on the chain.
type Address [20]byte

const (
	// addressPrefix stands before the 20 bytes in TRON's main network.
	addressPrefix = 0x41
	// addressText is the length of the base58check form.
	addressText = 34
)

// ErrAddress means a text that is no TRON address.
var ErrAddress = errors.New(`not a TRON address (34 characters that start with "T")`)

// String returns the base58check form, 34 characters that start with T.
func (a Address) String() string {
	raw := make([]byte, 0, 25)
	raw = append(raw, addressPrefix)
	raw = append(raw, a[:]...)
	sum := doubleSHA256(raw)
	return base58.Encode(append(raw, sum[:4]...))
}

// IsZero reports whether a is the zero account, which no key is known for.
func (a Address) IsZero() bool { return a == Address{} }

// Compare orders addresses by their bytes.
func (a Address) Compare(b Address) int { return bytes.Compare(a[:], b[:]) }

// ParseAddress reads the base58check form. Wrong length, alphabet, network
// prefix or checksum give an error that wraps ErrAddress.
func ParseAddress(s string) (Address, error) {
	if len(s) != addressText {
		return Address{}, fmt.Errorf("parse address of %d characters: %w", len(s), ErrAddress)
	}
	raw, err := base58.Decode(s)
	if err != nil {
		return Address{}, fmt.Errorf("parse address %q: %w: %w", s, ErrAddress, err)
	}
	if len(raw) != 25 || raw[0] != addressPrefix {
		return Address{}, fmt.Errorf("parse address %q: not of TRON's main network: %w", s, ErrAddress)
	}
	sum := doubleSHA256(raw[:21])
	if !bytes.Equal(sum[:4], raw[21:]) {
		return Address{}, fmt.Errorf("parse address %q: wrong checksum, look for a typing error: %w", s, ErrAddress)
	}
	return Address(raw[1:21]), nil
}

// MarshalText returns the base58check form.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the base58check form.
func (a *Address) UnmarshalText(text []byte) error {
	v, err := ParseAddress(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// MessageDigest returns the digest of TRON's message signing, version 2:
// Keccak-256 of a fixed header, the decimal length and the message. It proves
// that somebody owns an address and can be no ledger or TRON transaction.
func MessageDigest(message []byte) [32]byte {
	h := sha3.NewLegacyKeccak256()
	h.Write([]byte("\x19TRON Signed Message:\n"))
	h.Write(strconv.AppendInt(nil, int64(len(message)), 10))
	h.Write(message)
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}

func doubleSHA256(b []byte) [32]byte {
	first := sha256.Sum256(b)
	return sha256.Sum256(first[:])
}
