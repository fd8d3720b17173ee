package wallet

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// hardened marks a hardened child number (BIP-32).
const hardened uint32 = 1 << 31

// errNoChild is BIP-32's case of probability 2^-127: the number has no valid key.
// The caller goes on with the next index.
var errNoChild = errors.New("wallet: derive key: this index has no valid key, take the next one")

// extendedKey is a BIP-32 private key with its chain code.
type extendedKey struct {
	scalar [32]byte
	chain  [32]byte
}

// masterKey derives the root key of a BIP-39 seed. A seed whose root is no
// valid scalar fails at the first child.
func masterKey(seed []byte) extendedKey {
	mac := hmac.New(sha512.New, []byte("Bitcoin seed"))
	mac.Write(seed)
	sum := mac.Sum(nil)
	var k extendedKey
	copy(k.scalar[:], sum[:32])
	copy(k.chain[:], sum[32:])
	return k
}

// path derives along numbers, in order.
func (k extendedKey) path(numbers ...uint32) (extendedKey, error) {
	for _, n := range numbers {
		next, err := k.child(n)
		if err != nil {
			return extendedKey{}, err
		}
		k = next
	}
	return k, nil
}

// child derives child number n (BIP-32 CKDpriv).
func (k extendedKey) child(n uint32) (extendedKey, error) {
	var parent secp256k1.ModNScalar
	if overflow := parent.SetBytes(&k.scalar); overflow != 0 || parent.IsZero() {
		return extendedKey{}, errNoChild
	}
	defer parent.Zero()
	var data [37]byte
	defer clear(data[:])
	if n >= hardened {
		copy(data[1:], k.scalar[:])
	} else {
		copy(data[:], secp256k1.NewPrivateKey(&parent).PubKey().SerializeCompressed())
	}
	binary.BigEndian.PutUint32(data[33:], n)
	mac := hmac.New(sha512.New, k.chain[:])
	mac.Write(data[:])
	sum := mac.Sum(nil)
	defer clear(sum)

	var add secp256k1.ModNScalar
	if overflow := add.SetByteSlice(sum[:32]); overflow {
		return extendedKey{}, errNoChild
	}
	add.Add(&parent)
	if add.IsZero() {
		return extendedKey{}, errNoChild
	}
	defer add.Zero()
	c := extendedKey{scalar: add.Bytes()}
	copy(c.chain[:], sum[32:])
	return c, nil
}

// Normalize puts a typed phrase into the form that is signed into the seed: lower
// case, one space between words, none around.
func Normalize(phrase string) string {
	return strings.Join(strings.Fields(strings.ToLower(phrase)), " ")
}
