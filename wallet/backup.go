package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Limits of a backup.
const (
	MaxBackupBytes    = 32 << 20 // of the sealed text
	MaxBackupChannels = 4096
	MaxChannelRecord  = 64 << 10
	MaxBackupJournal  = 8 << 20
)

const (
	backupMagic   = "BTTBACK1"
	backupVersion = 1
)

var (
	// ErrBackup says that bytes are no backup this version reads.
	ErrBackup = errors.New("wallet: not a backup of a known version; take another copy, or restore from the recovery phrase")
	backups   = sealed{magic: backupMagic, max: MaxBackupBytes, none: ErrBackup}
)

// Backup is all that a wallet needs on a new machine. The phrase alone restores
// keys and coins; money in open channels needs their records too, because the
// provider's signature on a refund is in no ledger.
type Backup struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"`
	Phrase  string    `json:"phrase"`
	NextKey uint32    `json:"next_key"` // channel keys below were handed out
	Limits  Budget    `json:"limits"`
	// Channels are records of package channel, one for each channel that was
	// not over.
	Channels [][]byte `json:"channels"`
	// Journal is the newest part of the movements, whole lines.
	Journal []byte `json:"journal"`
}

// Check refuses a backup that cannot be restored. Errors wrap ErrBackup.
func (b *Backup) Check() error {
	switch {
	case b.Version != backupVersion:
		return fmt.Errorf("%w (version %d)", ErrBackup, b.Version)
	case len(b.Channels) > MaxBackupChannels || len(b.Journal) > MaxBackupJournal || b.NextKey >= hardened:
		return fmt.Errorf("%w (a limit is exceeded)", ErrBackup)
	}
	for _, c := range b.Channels {
		if len(c) == 0 || len(c) > MaxChannelRecord {
			return fmt.Errorf("%w (channel record of %d bytes)", ErrBackup, len(c))
		}
	}
	if _, err := Open(b.Phrase, ""); err != nil {
		return fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if err := b.Limits.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBackup, err)
	}
	return nil
}

// SealBackup encrypts a backup under a password, in the form of a keystore with
// another magic. entropy gives salt and nonce. The Version is filled in.
func SealBackup(b *Backup, password []byte, kdf KDF, entropy io.Reader) ([]byte, error) {
	whole := *b
	whole.Version = backupVersion
	if err := whole.Check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(&whole)
	if err != nil {
		return nil, fmt.Errorf("wallet: encode backup: %w", err)
	}
	defer clear(text)
	return backups.seal(text, password, ByPassword, kdf, entropy)
}

// OpenBackup decrypts and checks a backup. Errors: ErrBackup, ErrKeystoreLimit,
// ErrPassword.
func OpenBackup(data, password []byte) (*Backup, error) {
	text, err := backups.unseal(data, password)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return parseBackup(text)
}

func parseBackup(text []byte) (*Backup, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	b := new(Backup)
	if err := d.Decode(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w (more follows it)", ErrBackup)
	}
	return b, b.Check()
}
