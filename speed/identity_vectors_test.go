package speed

import (
	"encoding/hex"

	"github.com/bttnet/btt/ledger"
)

// identityVectors are proofs on a plain and on an encrypted connection, both ways,
// and one that must be refused.
func identityVectors() (list []identityVector) {
	c := Connection{InfoHash: seq[[20]byte](0x61), Ours: End{exampleNonce, seq[[20]byte](0x30)}, Theirs: End{seq[[16]byte](0xc0), seq[[20]byte](0x50)}}
	copy(c.Network[:], []byte{1, 2, 3, 4, 5, 6, 7, 8})
	encrypted := c
	encrypted.Secret = seq[[32]byte](0x80)
	turned := c
	turned.Ours, turned.Theirs = c.Theirs, c.Ours
	for _, x := range []struct {
		name string
		on   Connection // as the signer sees it
		of   Connection // what it signed for
	}{{"plain connection", c, c}, {"encrypted connection", encrypted, encrypted}, {"the other side", turned, turned}, {"replayed: signed for the plain connection", encrypted, c}} {
		m := Identity{Key: testKey.PublicKey()}
		var err error
		if m.Signature, err = testKey.Sign(x.of.Digest()); err != nil {
			panic(err)
		}
		digest := x.on.Digest()
		h := hex.EncodeToString
		list = append(list, identityVector{
			Name: x.name, Network: h(x.on.Network[:]), Infohash: h(x.on.InfoHash[:]), Nonce: h(x.on.Ours.Nonce[:]), PeerID: h(x.on.Ours.PeerID[:]),
			OtherNonce: h(x.on.Theirs.Nonce[:]), OtherPeerID: h(x.on.Theirs.PeerID[:]), Secret: h(x.on.Secret[:]), Digest: h(digest[:]),
			Payload: h(encode(m)), Valid: x.on == x.of,
		})
	}
	return list
}

// checkIdentity reads a vector as the receiver does.
func checkIdentity(v identityVector) error {
	c := Connection{Network: ledger.Network(unhex(v.Network)), InfoHash: [20]byte(unhex(v.Infohash)), Secret: [32]byte(unhex(v.Secret)),
		Ours:   End{[NonceLen]byte(unhex(v.OtherNonce)), [20]byte(unhex(v.OtherPeerID))},
		Theirs: End{[NonceLen]byte(unhex(v.Nonce)), [20]byte(unhex(v.PeerID))}}
	m, err := Decode(unhex(v.Payload))
	if err != nil {
		return err
	}
	return c.Check(m.(Identity))
}
