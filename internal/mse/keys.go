package mse

import (
	"crypto/sha1"
	"fmt"
	"io"
	"math/big"
)

const (
	// KeyLen is the length of a public key and of the shared secret, in bytes.
	KeyLen = 96
	// exponentLen is the length of a private key.
	exponentLen = 20
	// discard is the number of first bytes of an RC4 stream that are not used.
	discard = 1024
)

var (
	prime, _ = new(big.Int).SetString("ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74"+
		"020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437"+
		"4fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563", 16)
	generator = big.NewInt(2)
	// greatest is the greatest public key that is not one of the trivial ones.
	greatest = new(big.Int).Sub(prime, big.NewInt(2))
)

// keyPair is one side of the key exchange.
type keyPair struct {
	private *big.Int
	public  [KeyLen]byte
}

func newKeyPair(entropy io.Reader) (*keyPair, error) {
	var b [exponentLen]byte
	if _, err := io.ReadFull(entropy, b[:]); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	b[0] |= 0x80 // a full-length exponent; 0 and 1 are no secrets
	k := &keyPair{private: new(big.Int).SetBytes(b[:])}
	new(big.Int).Exp(generator, k.private, prime).FillBytes(k.public[:])
	return k, nil
}

// secret computes the shared secret. Keys for which everyone knows it (0, 1,
// and those from the prime less one on) are refused.
func (k *keyPair) secret(theirs []byte) (s [KeyLen]byte, err error) {
	y := new(big.Int).SetBytes(theirs)
	if y.Cmp(generator) < 0 || y.Cmp(greatest) > 0 {
		return s, fmt.Errorf("exchange keys: %w", ErrKey)
	}
	y.Exp(y, k.private, prime).FillBytes(s[:])
	return s, nil
}

// Request returns what an initiator's SKEY is found by: the hash under which
// the caller of [Accept] lists each of its torrents.
func Request(infoHash [20]byte) [20]byte { return hash("req2", infoHash[:]) }

func hash(label string, parts ...[]byte) (sum [20]byte) {
	h := sha1.New()
	io.WriteString(h, label)
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

func xor(a, b [20]byte) [20]byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}

// newCipher returns the RC4 stream of one direction: "keyA" is the
// initiator's, "keyB" the other's.
func newCipher(label string, secret, skey []byte) *cipher {
	key := hash(label, secret, skey)
	c := newKeyed(key[:])
	var drop [discard]byte
	c.XORKeyStream(drop[:], drop[:])
	return c
}
