// Package wallet holds the pure part of a BTT wallet: the recovery phrase
// (BIP-39), key derivation (BIP-32 on TRON's BIP-44 path), TRON message
// signatures, the encrypted keystore as bytes, and the budgets that bound what a
// node may spend by itself (R15.5, R15.12, R15.13).
//
// It does no I/O, reads no clock and draws no randomness by itself: entropy is an
// io.Reader argument. internal/purse stores what this package makes and is its
// main caller; cmd/btt and the exchange use the message signatures. No type
// here owns a goroutine; all are safe for concurrent use after construction.
//
// # Keys
//
//	m/44'/195'/0'/0/i   wallet addresses, as every TRON wallet derives them
//	m/44'/195'/0'/2'/i' channel keys, one fresh key for each payment channel
//
// Channel keys lie on a hardened branch that BIP-44 leaves unused (it defines
// the changes 0 and 1, both not hardened): a channel key that becomes known
// reveals neither another channel key nor a wallet key, and other wallets never
// hand one out as an address.
package wallet

import (
	"errors"
	"fmt"
	"io"

	bip39 "github.com/tyler-smith/go-bip39"

	"github.com/bttnet/btt/ledger"
)

// Words of a recovery phrase: more words are more entropy (128 and 256 bits).
const (
	ShortPhrase = 12
	LongPhrase  = 24
)

// MaxPhraseBytes bounds the phrase text this package looks at.
const MaxPhraseBytes = 512

// coinTRON is TRON's registered coin type (SLIP-44).
const coinTRON = 195

// channelBranch is the hardened level of channel keys; see the package comment.
const channelBranch = 2

var (
	// ErrPhrase says that a text is not a recovery phrase: a word is wrong,
	// missing or in the wrong place.
	ErrPhrase = errors.New("wallet: not a valid recovery phrase; check each word and their order")
	// ErrPassphrase says that a BIP-39 passphrase is not plain ASCII. Such a
	// passphrase would need Unicode normalisation, where wallets differ.
	ErrPassphrase = errors.New("wallet: recovery passphrase must be plain ASCII text")
)

// NewPhrase draws a recovery phrase of ShortPhrase or LongPhrase English words
// from entropy (BIP-39).
func NewPhrase(entropy io.Reader, words int) (string, error) {
	if words != ShortPhrase && words != LongPhrase {
		return "", fmt.Errorf("wallet: make phrase of %d words: only %d or %d", words, ShortPhrase, LongPhrase)
	}
	bits := make([]byte, words/3*4)
	defer clear(bits)
	if _, err := io.ReadFull(entropy, bits); err != nil {
		return "", fmt.Errorf("wallet: read entropy for phrase: %w", err)
	}
	phrase, err := bip39.NewMnemonic(bits)
	if err != nil {
		return "", fmt.Errorf("wallet: make phrase: %w", err)
	}
	return phrase, nil
}

// Wallet derives the keys of one recovery phrase. It keeps the two branch keys in
// memory, not the phrase.
type Wallet struct {
	addresses extendedKey // m/44'/195'/0'/0
	channels  extendedKey // m/44'/195'/0'/2'
}

// Open derives a wallet from a recovery phrase and an optional BIP-39 passphrase
// ("" for none; not the keystore password). Errors: ErrPhrase, ErrPassphrase.
func Open(phrase, passphrase string) (*Wallet, error) {
	seed, err := seedOf(phrase, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	account, err := masterKey(seed).path(44|hardened, coinTRON|hardened, 0|hardened)
	if err != nil {
		return nil, err
	}
	addresses, err := account.child(0)
	if err != nil {
		return nil, err
	}
	channels, err := account.child(channelBranch | hardened)
	if err != nil {
		return nil, err
	}
	return &Wallet{addresses: addresses, channels: channels}, nil
}

// seedOf checks phrase and returns its 64-byte BIP-39 seed. Surplus spaces and
// capital letters, which people type, are put right first.
func seedOf(phrase, passphrase string) ([]byte, error) {
	if len(phrase) > MaxPhraseBytes {
		return nil, ErrPhrase
	}
	for i := range len(passphrase) {
		if c := passphrase[i]; c < 0x20 || c > 0x7e {
			return nil, ErrPassphrase
		}
	}
	seed, err := bip39.NewSeedWithErrorChecking(Normalize(phrase), passphrase)
	if err != nil {
		return nil, ErrPhrase
	}
	return seed, nil
}

// Key returns wallet key i of m/44'/195'/0'/0/i, with i below 2^31. Key 0 is the
// account of the node.
func (w *Wallet) Key(i uint32) (*ledger.PrivateKey, error) {
	return leaf(w.addresses, i, 0)
}

// ChannelKey returns channel key i of m/44'/195'/0'/2'/i', with i below 2^31. The
// caller persists i before it uses the key, so that no key serves two channels.
func (w *Wallet) ChannelKey(i uint32) (*ledger.PrivateKey, error) {
	return leaf(w.channels, i, hardened)
}

// leaf derives child i of branch; mark is 0 or hardened.
func leaf(branch extendedKey, i, mark uint32) (*ledger.PrivateKey, error) {
	if i >= hardened {
		return nil, fmt.Errorf("wallet: derive key %d: index must be below 2^31", i)
	}
	k, err := branch.child(i | mark)
	if err != nil {
		return nil, err
	}
	key, err := ledger.NewPrivateKey(k.scalar)
	if err != nil {
		return nil, fmt.Errorf("wallet: derive key %d: %w", i, err)
	}
	return key, nil
}
