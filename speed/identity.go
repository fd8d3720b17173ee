package speed

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/bttnet/btt/ledger"
)

// ErrIdentity says that a peer did not prove to be the account that it names on
// this very connection.
var ErrIdentity = errors.New("peer did not prove its account on this connection")

// identityDomain begins what is signed, so that the signature is good for nothing
// else.
const identityDomain = "btt_speed 2 identity\x00"

// Connection is what a proof of identity holds for and nothing else: one network,
// one torrent, one connection.
type Connection struct {
	Network  ledger.Network
	InfoHash [20]byte // of the handshake of BEP 3 of whoever called
	Ours     End
	Theirs   End
	// Secret stands for the shared secret of an encrypted connection
	// (mse.Accepted.Binding), so that nobody in the middle can hand a proof on;
	// zero on a plain one.
	Secret [32]byte
}

// End is one side of a connection.
type End struct {
	// Nonce is told in the extension handshake: random, of this connection.
	Nonce [NonceLen]byte
	// PeerID is the one of the handshake of BEP 3.
	PeerID [20]byte
}

// Digest is what our side signs with its account's key.
func (c *Connection) Digest() [32]byte { return c.digest(&c.Ours, &c.Theirs) }

// TheirDigest is what the other side signs.
func (c *Connection) TheirDigest() [32]byte { return c.digest(&c.Theirs, &c.Ours) }

func (c *Connection) digest(signer, other *End) [32]byte {
	b := make([]byte, 0, len(identityDomain)+32+20+2*(NonceLen+20)+32)
	b = append(b, identityDomain...)
	b = append(b, c.Network[:]...)
	b = append(b, c.InfoHash[:]...)
	for _, e := range [...]*End{signer, other} {
		b = append(b, e.Nonce[:]...)
		b = append(b, e.PeerID[:]...)
	}
	return sha256.Sum256(append(b, c.Secret[:]...))
}

// Identify proves to be the account of a key. It returns the message that must
// come before any other; an error is the signer's.
func (c *Connection) Identify(s ledger.Signer) ([]byte, error) {
	sig, err := s.Sign(c.Digest())
	if err != nil {
		return nil, fmt.Errorf("sign for the connection: %w", err)
	}
	return Append(nil, Identity{Key: s.PublicKey(), Signature: sig})
}

// Check verifies the other side's proof. The error wraps ErrIdentity. Two ends of
// one nonce are one end talking to itself.
func (c *Connection) Check(m Identity) error {
	switch {
	case c.Ours.Nonce == c.Theirs.Nonce:
		return fmt.Errorf("both sides have one nonce: %w", ErrIdentity)
	case !ledger.VerifySignature(m.Key, c.TheirDigest(), m.Signature):
		return fmt.Errorf("signature of %v: %w", m.Key, ErrIdentity)
	}
	return nil
}
