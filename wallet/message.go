package wallet

import (
	"errors"

	"github.com/bttnet/btt/ledger"
)

// MessageSignature is TRON's form of a signature over a text: r || s || v with v
// 27 or 28.
type MessageSignature [65]byte

// tronV is the offset that TRON (like Bitcoin and Ethereum) adds to the recovery id.
const tronV = 27

// ErrMessage says that a message signature cannot be read: no key fits.
var ErrMessage = errors.New("wallet: message signature is not valid; sign the exact text again")

// SignMessage signs a text as TRON wallets do ("signMessageV2"; the digest is
// ledger.MessageDigest), so that any TRON tool can check who signed it.
func SignMessage(key ledger.Signer, message []byte) (MessageSignature, error) {
	sig, err := key.Sign(ledger.MessageDigest(message))
	if err != nil {
		return MessageSignature{}, err
	}
	out := MessageSignature(sig)
	out[64] += tronV
	return out, nil
}

// MessageSigner returns the address that signed message. Signatures with v as
// 0/1 (hardware wallets) or 27/28 are read; a high s is refused, since it would
// give each text a second signature. Error: ErrMessage.
func MessageSigner(message []byte, sig MessageSignature) (ledger.Address, error) {
	canonical, err := ledger.ParseTRONSignature(sig[:])
	if err != nil {
		return ledger.Address{}, ErrMessage
	}
	key, err := ledger.RecoverKey(ledger.MessageDigest(message), canonical)
	if err != nil {
		return ledger.Address{}, ErrMessage
	}
	return key.Address(), nil
}
