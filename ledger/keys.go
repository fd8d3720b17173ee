package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/consensys/gnark-crypto/ecc/secp256k1"
	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"
)

// PublicKey is a compressed secp256k1 public key (33 bytes, first byte 2 or 3).
// The zero value is no key.
type PublicKey [33]byte

// Signature is a recoverable ECDSA signature r || s || v with r, s in
// [1, n-1], s <= n/2 and v in {0, 1}: exactly one encoding for each valid
// (key, digest, nonce). TRON's v of 27 or 28 is normalised by
// ParseTRONSignature.
type Signature [65]byte

// Signer signs digests with one key. Implementations may be used from one
// goroutine at a time unless they say otherwise.
type Signer interface {
	// PublicKey returns the key that Sign's signatures verify under.
	PublicKey() PublicKey
	// Sign returns the signature over a 32-byte digest.
	Sign(digest [32]byte) (Signature, error)
}

var (
	// ErrKey means bytes that are no private or public key.
	ErrKey = errors.New("not a secp256k1 key")
	// ErrSignature means bytes that are no canonical signature.
	ErrSignature = errors.New("not a canonical recoverable signature")
)

// PrivateKey is an in-memory signing key; it implements Signer and is safe for
// concurrent use. Its printed forms show the address alone.
type PrivateKey struct {
	key    *decred.PrivateKey
	public PublicKey
}

// NewPrivateKey makes a key of a scalar in [1, n-1]; other values give ErrKey.
func NewPrivateKey(scalar [32]byte) (*PrivateKey, error) {
	var s decred.ModNScalar
	if overflow := s.SetBytes(&scalar); overflow != 0 || s.IsZero() {
		return nil, fmt.Errorf("make private key: scalar outside the group order: %w", ErrKey)
	}
	k := &PrivateKey{key: decred.NewPrivateKey(&s)}
	copy(k.public[:], k.key.PubKey().SerializeCompressed())
	return k, nil
}

// PublicKey returns the public half.
func (k *PrivateKey) PublicKey() PublicKey { return k.public }

// Address returns the address of the public half.
func (k *PrivateKey) Address() Address { return k.public.Address() }

// Scalar returns the secret scalar, for key stores.
func (k *PrivateKey) Scalar() [32]byte { return k.key.Key.Bytes() }

// Sign signs deterministically (RFC 6979, SHA-256) with low s.
func (k *PrivateKey) Sign(digest [32]byte) (Signature, error) {
	compact := ecdsa.SignCompact(k.key, digest[:], true)
	var sig Signature
	copy(sig[:64], compact[1:])
	// SignCompact puts 27 + 4 (compressed) + recovery id in front.
	if sig[64] = compact[0] - 31; sig[64] > 1 {
		// The nonce point has x >= n: chance 2^-127, and not representable here.
		return Signature{}, fmt.Errorf("sign digest: nonce point outside the group order: %w", ErrSignature)
	}
	return sig, nil
}

// String names the key by its address.
func (k *PrivateKey) String() string { return "private key of " + k.Address().String() }

// GoString is String, so that %#v does not print the secret.
func (k *PrivateKey) GoString() string { return k.String() }

// Format keeps every verb from printing the secret.
func (k *PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// Valid reports whether k is a point of the curve in compressed form.
func (k PublicKey) Valid() bool {
	var p secp256k1.G1Affine
	return k.point(&p)
}

// point sets p to the point that k names and reports whether there is one.
func (k *PublicKey) point(p *secp256k1.G1Affine) bool {
	known := k.known()
	if known == nil {
		return false
	}
	*p = known.point
	return true
}

// knownKey is a valid key with what takes long to find out: a square root and a
// hash.
type knownKey struct {
	key     PublicKey
	point   secp256k1.G1Affine
	address Address
}

// knownKeys remembers keys that were looked at lately, by a part of their x: one
// key is looked at when its output is made, when its witness is matched and when
// its signature is verified. It changes no result, only the time to the next; a
// key that is forgotten is found out again. 4 MiB when full.
var knownKeys [1 << 15]atomic.Pointer[knownKey]

// known returns what is known of k, or nil when k is no point.
func (k *PublicKey) known() *knownKey {
	slot := &knownKeys[binary.BigEndian.Uint16(k[31:])%uint16(len(knownKeys))]
	if known := slot.Load(); known != nil && known.key == *k {
		return known
	}
	fresh := &knownKey{key: *k}
	if k[0] != 2 && k[0] != 3 || !liftX(&fresh.point, k[1:], k[0] == 3) {
		return nil
	}
	raw := fresh.point.RawBytes() // X || Y
	h := sha3.NewLegacyKeccak256()
	h.Write(raw[:])
	var sum [32]byte
	h.Sum(sum[:0])
	fresh.address = Address(sum[12:])
	slot.Store(fresh)
	return fresh
}

// IsZero reports whether k is the zero value (no key).
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// Address returns the TRON account hash of k: the last 20 bytes of legacy
// Keccak-256 over X || Y. An invalid key has the zero address; its signatures
// never verify.
func (k PublicKey) Address() Address {
	a, _ := k.address()
	return a
}

func (k *PublicKey) address() (Address, bool) {
	known := k.known()
	if known == nil {
		return Address{}, false
	}
	return known.address, true
}

// String returns k in hex.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// MarshalText returns the hex form.
func (k PublicKey) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText reads the hex form of a valid key.
func (k *PublicKey) UnmarshalText(text []byte) error {
	v, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// ParsePublicKey reads the hex form of a compressed point; errors wrap ErrKey.
func ParsePublicKey(s string) (PublicKey, error) {
	var k PublicKey
	if err := decodeHex(k[:], s); err != nil || !k.Valid() {
		return PublicKey{}, fmt.Errorf("parse public key (66 hex digits of a compressed point): %w", ErrKey)
	}
	return k, nil
}

// String returns the signature in hex.
func (s Signature) String() string { return hex.EncodeToString(s[:]) }

// MarshalText returns the hex form.
func (s Signature) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText reads the hex form; ranges are checked by verification only.
func (s *Signature) UnmarshalText(text []byte) error {
	if err := decodeHex(s[:], string(text)); err != nil {
		return fmt.Errorf("parse signature: %w", err)
	}
	return nil
}

// ParseTRONSignature normalises 65 bytes whose v is 0, 1, 27 or 28 (as TRON
// wallets write it) and checks the ranges of r, s and v.
func ParseTRONSignature(raw []byte) (Signature, error) {
	if len(raw) != len(Signature{}) {
		return Signature{}, fmt.Errorf("parse signature of %d bytes: %w", len(raw), ErrSignature)
	}
	sig := Signature(raw)
	if sig[64] == 27 || sig[64] == 28 {
		sig[64] -= 27
	}
	if _, _, ok := sig.scalars(); !ok {
		return Signature{}, fmt.Errorf("parse signature: %w", ErrSignature)
	}
	return sig, nil
}

// scalars returns r and s when the signature is canonical.
func (s *Signature) scalars() (r, sv decred.ModNScalar, ok bool) {
	over := r.SetByteSlice(s[:32])
	over = sv.SetByteSlice(s[32:64]) || over
	ok = !over && !r.IsZero() && !sv.IsZero() && !sv.IsOverHalfOrder() && s[64] <= 1
	return r, sv, ok
}

// VerifySignature reports whether sig is the canonical signature of digest
// under key: r, s in [1, n-1], s <= n/2, v in {0, 1}, and the key recovered
// from (digest, sig) is key.
func VerifySignature(key PublicKey, digest [32]byte, sig Signature) bool {
	q, err := decred.ParsePubKey(key[:])
	if err != nil {
		return false
	}
	r, s, ok := sig.scalars()
	if !ok {
		return false
	}
	// The nonce point R = z/s*G + r/s*Q must be the one that (r, v) names.
	var z, u1, u2 decred.ModNScalar
	z.SetByteSlice(digest[:])
	s.InverseNonConst()
	u1.Mul2(&z, &s)
	u2.Mul2(&r, &s)
	var point, p1, p2, sum decred.JacobianPoint
	q.AsJacobian(&point)
	decred.ScalarBaseMultNonConst(&u1, &p1)
	decred.ScalarMultNonConst(&u2, &point, &p2)
	decred.AddNonConst(&p1, &p2, &sum)
	return sig.names(&sum)
}

// names reports whether (r, v) name the nonce point R.
func (s *Signature) names(sum *decred.JacobianPoint) bool {
	if (sum.X.IsZero() && sum.Y.IsZero()) || sum.Z.IsZero() {
		return false
	}
	sum.ToAffine()
	// x >= n (recovery ids 2, 3) never equals r < n, so those are refused.
	x := *sum.X.Bytes()
	return x == [32]byte(s[:32]) && sum.Y.IsOddBit() == uint32(s[64])
}

// RecoverKey returns the one key under which sig verifies for digest.
func RecoverKey(digest [32]byte, sig Signature) (PublicKey, error) {
	if _, _, ok := sig.scalars(); !ok {
		return PublicKey{}, fmt.Errorf("recover key: %w", ErrSignature)
	}
	var compact [65]byte
	compact[0] = 31 + sig[64]
	copy(compact[1:], sig[:64])
	q, _, err := ecdsa.RecoverCompact(compact[:], digest[:])
	if err != nil {
		return PublicKey{}, fmt.Errorf("recover key: %w: %w", ErrSignature, err)
	}
	return PublicKey(q.SerializeCompressed()), nil
}

func decodeHex(dst []byte, s string) error {
	if len(s) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("%d hex digits where %d are needed", len(s), hex.EncodedLen(len(dst)))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}
