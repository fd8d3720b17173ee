package wallet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// The keystore is one binary record, all numbers big endian:
//
//	magic    8   "BTTVAULT"
//	version  1   1
//	mode     1   1 password, 2 key file
//	time     4   argon2id passes
//	memory   4   argon2id memory, KiB
//	threads  1   argon2id lanes
//	salt    16
//	nonce   24
//	box      n   XChaCha20-Poly1305 of the secret, authenticating all above
//
// The parameters travel inside, so that they can be raised later; a reader
// refuses parameters outside the limits below before it spends any memory.
const (
	keystoreMagic   = "BTTVAULT"
	keystoreVersion = 1
	keystoreHeader  = 8 + 1 + 1 + 4 + 4 + 1 + 16 + 24
)

// Limits of a keystore: its size and the work it may ask of its reader.
const (
	MaxSecretBytes   = 4096
	MaxKeystoreBytes = keystoreHeader + MaxSecretBytes + chacha20poly1305.Overhead
	MaxKDFTime       = 64
	MaxKDFMemoryKiB  = 1 << 20 // 1 GiB
	MaxKDFThreads    = 16
)

// Mode says what opens a keystore.
type Mode uint8

const (
	// ByPassword: a password of a person; stretched by argon2id.
	ByPassword Mode = 1
	// ByKeyFile: 32 random bytes kept in a file or by the operating system,
	// for wallets without a password (R15.13 makes the password optional).
	ByKeyFile Mode = 2
)

// KDF holds the argon2id parameters of a keystore.
type KDF struct {
	Time      uint32 // passes, 1..MaxKDFTime
	MemoryKiB uint32 // 8 x Threads..MaxKDFMemoryKiB
	Threads   uint8  // 1..MaxKDFThreads
}

// PasswordKDF is what new password keystores use: 64 MiB and three passes a
// guess (RFC 9106, second recommended choice).
var PasswordKDF = KDF{Time: 3, MemoryKiB: 64 << 10, Threads: 4}

// KeyFileKDF is for ByKeyFile, whose 256 random bits need no stretching.
var KeyFileKDF = KDF{Time: 1, MemoryKiB: 64, Threads: 1}

var (
	// ErrKeystore says that bytes are no keystore this version reads.
	ErrKeystore = errors.New("wallet: not a keystore of a known version; restore the file from a copy, or the wallet from its phrase")
	// ErrKeystoreLimit says that a keystore asks for more work than allowed.
	ErrKeystoreLimit = errors.New("wallet: keystore parameters are out of range; the file is damaged or hostile")
	// ErrPassword says that the password (or key file) is wrong or the
	// keystore was altered: the two cannot be told apart.
	ErrPassword = errors.New("wallet: wrong password, or the keystore was altered")
)

func (k KDF) check() error {
	if k.Time < 1 || k.Time > MaxKDFTime || k.Threads < 1 || k.Threads > MaxKDFThreads ||
		k.MemoryKiB < 8*uint32(k.Threads) || k.MemoryKiB > MaxKDFMemoryKiB {
		return ErrKeystoreLimit
	}
	return nil
}

// sealed is a kind of encrypted record: keystores and backups differ in their
// magic and in how much they hold.
type sealed struct {
	magic string
	max   int // bytes of the secret
	none  error
}

var keystores = sealed{magic: keystoreMagic, max: MaxSecretBytes, none: ErrKeystore}

// Seal encrypts secret (1..MaxSecretBytes) under key: a password or the content
// of a key file, by mode. entropy gives salt and nonce.
func Seal(secret, key []byte, mode Mode, kdf KDF, entropy io.Reader) ([]byte, error) {
	return keystores.seal(secret, key, mode, kdf, entropy)
}

func (f sealed) seal(secret, key []byte, mode Mode, kdf KDF, entropy io.Reader) ([]byte, error) {
	if len(secret) == 0 || len(secret) > f.max {
		return nil, fmt.Errorf("wallet: seal keystore: secret of %d bytes, want 1 to %d", len(secret), f.max)
	}
	if mode != ByPassword && mode != ByKeyFile {
		return nil, fmt.Errorf("wallet: seal keystore: unknown mode %d", mode)
	}
	if err := kdf.check(); err != nil {
		return nil, err
	}
	out := make([]byte, 0, keystoreHeader+len(secret)+chacha20poly1305.Overhead)
	out = append(out, f.magic...)
	out = append(out, keystoreVersion, byte(mode))
	out = binary.BigEndian.AppendUint32(out, kdf.Time)
	out = binary.BigEndian.AppendUint32(out, kdf.MemoryKiB)
	out = append(out, kdf.Threads)
	fresh := len(out)
	out = out[:keystoreHeader]
	if _, err := io.ReadFull(entropy, out[fresh:]); err != nil {
		return nil, fmt.Errorf("wallet: read entropy for keystore: %w", err)
	}
	box, err := chacha20poly1305.NewX(stretch(key, out))
	if err != nil {
		return nil, fmt.Errorf("wallet: seal keystore: %w", err)
	}
	return box.Seal(out, out[keystoreHeader-24:keystoreHeader], secret, out[:keystoreHeader]), nil
}

// Unseal decrypts a keystore. Errors: ErrKeystore, ErrKeystoreLimit, ErrPassword.
func Unseal(keystore, key []byte) ([]byte, error) { return keystores.unseal(keystore, key) }

func (f sealed) unseal(keystore, key []byte) ([]byte, error) {
	if _, err := f.mode(keystore); err != nil {
		return nil, err
	}
	if err := headerKDF(keystore).check(); err != nil {
		return nil, err
	}
	box, err := chacha20poly1305.NewX(stretch(key, keystore))
	if err != nil {
		return nil, fmt.Errorf("wallet: open keystore: %w", err)
	}
	secret, err := box.Open(nil, keystore[keystoreHeader-24:keystoreHeader], keystore[keystoreHeader:], keystore[:keystoreHeader])
	if err != nil {
		return nil, ErrPassword
	}
	return secret, nil
}

// KeystoreMode reads what opens a keystore, without opening it. Error: ErrKeystore.
func KeystoreMode(keystore []byte) (Mode, error) { return keystores.mode(keystore) }

func (f sealed) mode(keystore []byte) (Mode, error) {
	if len(keystore) <= keystoreHeader+chacha20poly1305.Overhead || len(keystore) > keystoreHeader+f.max+chacha20poly1305.Overhead ||
		!bytes.HasPrefix(keystore, []byte(f.magic)) || keystore[8] != keystoreVersion {
		return 0, f.none
	}
	mode := Mode(keystore[9])
	if mode != ByPassword && mode != ByKeyFile {
		return 0, f.none
	}
	return mode, nil
}

func headerKDF(header []byte) KDF {
	return KDF{
		Time:      binary.BigEndian.Uint32(header[10:]),
		MemoryKiB: binary.BigEndian.Uint32(header[14:]),
		Threads:   header[18],
	}
}

func stretch(key, header []byte) []byte {
	k := headerKDF(header)
	return argon2.IDKey(key, header[19:19+16], k.Time, k.MemoryKiB, k.Threads, chacha20poly1305.KeySize)
}
