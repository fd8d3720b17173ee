package metainfo

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
)

// InfoHash identifies a torrent to peers, trackers and the DHT: the SHA-1 of the info
// dictionary, or for a torrent of version 2 alone the first 20 bytes of its SHA-256.
type InfoHash [20]byte

// InfoHashV2 is the SHA-256 of an info dictionary of version 2 (BEP 52).
type InfoHashV2 [32]byte

// String is the hash in lower-case hex.
func (h InfoHash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether the hash is unset.
func (h InfoHash) IsZero() bool { return h == InfoHash{} }

// MarshalText implements encoding.TextMarshaler with the hex form.
func (h InfoHash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler for what ParseInfoHash reads.
func (h *InfoHash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseInfoHash(string(text))
	return err
}

// ParseInfoHash reads 40 hex digits or 32 base32 digits of either case. It fails with ErrHash.
func ParseInfoHash(s string) (InfoHash, error) {
	var h InfoHash
	switch len(s) {
	case 2 * len(h):
		if _, err := hex.Decode(h[:], []byte(s)); err == nil {
			return h, nil
		}
	case 32:
		upper := make([]byte, 0, 32)
		for i := range len(s) {
			c := s[i]
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			upper = append(upper, c)
		}
		if n, err := base32.StdEncoding.Decode(h[:], upper); err == nil && n == len(h) {
			return h, nil
		}
	}
	return InfoHash{}, fmt.Errorf("parse info hash %.80q: %w: want 40 hex or 32 base32 digits", s, ErrHash)
}

// String is the hash in lower-case hex.
func (h InfoHashV2) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether the hash is unset.
func (h InfoHashV2) IsZero() bool { return h == InfoHashV2{} }

// Truncated is the form that fits where version 1 has an InfoHash (BEP 52).
func (h InfoHashV2) Truncated() InfoHash { return InfoHash(h[:20]) }

// MarshalText implements encoding.TextMarshaler with the hex form.
func (h InfoHashV2) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler for 64 hex digits.
func (h *InfoHashV2) UnmarshalText(text []byte) error {
	var v InfoHashV2
	if len(text) == 2*len(v) {
		if _, err := hex.Decode(v[:], text); err == nil {
			*h = v
			return nil
		}
	}
	return fmt.Errorf("parse version 2 info hash %.80q: %w: want 64 hex digits", text, ErrHash)
}

// HashInfo is the version 1 info hash of an encoded info dictionary.
func HashInfo(raw []byte) InfoHash { return sha1.Sum(raw) }

// HashInfoV2 is the version 2 info hash of an encoded info dictionary.
func HashInfoV2(raw []byte) InfoHashV2 { return sha256.Sum256(raw) }
