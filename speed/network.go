package speed

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/bttnet/btt/ledger"
)

// What goes into the extension handshake (BEP 10): the message id under
// m.btt_speed, and under the key btt a dictionary with the keys v (Version)
// and net (NetworkID). Package wire writes and reads it.
const (
	// Name is the extension's name in the dictionary m.
	Name = "btt_speed"
	// HandshakeKey is the key of the extension's own dictionary.
	HandshakeKey = "btt"
	// Version is the version of the format in this package, and the least that
	// it speaks: version 1 proved no identity, and whoever wants to be another
	// would name it.
	Version = 2
	// NetworkLen is the number of bytes of the network id that are told.
	NetworkLen = 8
)

// ErrNetwork says that the peer pays on another ledger network, speaks a version
// before 2 or told no nonce. It stays an ordinary peer without the extension.
var ErrNetwork = errors.New("peer does not share our BTT network")

// NetworkID returns the bytes of a ledger network's id that the handshake
// carries.
func NetworkID(n ledger.Network) [NetworkLen]byte { return [NetworkLen]byte(n[:NetworkLen]) }

// CheckPeer judges the peer's dictionary: its version, its network bytes against
// ours, and that it has a nonce. A version above ours is welcome, for later versions must
// understand this one; both sides then speak the lower. The error wraps
// ErrNetwork.
func CheckPeer(ours ledger.Network, version int, network, nonce []byte) error {
	if len(nonce) != NonceLen {
		return fmt.Errorf("peer names a nonce of %d bytes: %w", len(nonce), ErrNetwork)
	}
	if version < Version {
		return fmt.Errorf("peer names btt_speed version %d: %w", version, ErrNetwork)
	}
	if want := NetworkID(ours); !bytes.Equal(want[:], network) {
		return fmt.Errorf("peer names network %x, ours is %x: %w", network, want, ErrNetwork)
	}
	return nil
}
