package purse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// ErrExists says that a folder holds a wallet already.
var ErrExists = errors.New("purse: there is a wallet in this folder already; name an empty folder with --home")

// keyGap is how many channel keys a restored wallet skips beyond those it knows
// of: the lost machine may have handed out more after its last backup.
const keyGap = 1024

// Export reads what a backup holds of the wallet in dir; the caller adds the
// channels. It writes nothing and may run beside the process that spends.
// Errors: wallet.ErrPassword, ErrPasswordNeeded, os.ErrNotExist.
func Export(dir, password string, now time.Time) (*wallet.Backup, error) {
	phrase, err := Phrase(dir, password)
	if err != nil {
		return nil, err
	}
	b := &wallet.Backup{Created: now.UTC(), Phrase: phrase, Limits: wallet.DefaultBudget()}
	s := store{dir: dir}
	if b.NextKey, err = s.readIndex(); err != nil {
		return nil, err
	}
	text, err := s.read(limitsFile)
	if err == nil {
		b.Limits, err = wallet.ParseBudget(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("purse: read %s: %w", limitsFile, err)
	}
	b.Journal, err = tailJournal(filepath.Join(dir, journalFile))
	return b, err
}

// tailJournal reads the newest whole lines of a journal, as many as a backup
// holds.
func tailJournal(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("purse: read journal: %w", err)
	}
	defer f.Close()
	size, err := scanJournal(f, func(*Entry) {})
	if err != nil {
		return nil, fmt.Errorf("purse: read journal: %w", err)
	}
	start := max(0, size-wallet.MaxBackupJournal)
	data := make([]byte, size-start)
	if _, err := f.ReadAt(data, start); err != nil && err != io.EOF {
		return nil, fmt.Errorf("purse: read journal: %w", err)
	}
	if start > 0 { // the first line is cut
		data = data[bytes.IndexByte(data, '\n')+1:]
	}
	return data, nil
}

// Import makes a wallet in dir from a backup, sealed under password ("" = a key
// file). Channel keys below nextKey are never handed out again, nor are those
// the backup knows, nor keyGap more. The vault is written last: an Import that a
// crash cut short is simply done again. Errors: ErrExists, ErrInUse.
func Import(dir string, b *wallet.Backup, password string, nextKey uint32, entropy io.Reader) error {
	return importInto(store{dir: dir, entropy: entropy}, b, password, nextKey)
}

func importInto(s store, b *wallet.Backup, password string, nextKey uint32) error {
	if Exists(s.dir) {
		return ErrExists
	}
	if _, err := scanJournal(bytes.NewReader(b.Journal), func(*Entry) {}); err != nil {
		return fmt.Errorf("purse: restore journal: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("purse: make directory: %w", err)
	}
	lock, err := acquire(s.dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	limits, err := json.Marshal(b.Limits)
	if err != nil {
		return fmt.Errorf("purse: encode limits: %w", err)
	}
	if err := s.write(limitsFile, append(limits, '\n')); err != nil {
		return err
	}
	if err := s.writeIndex(max(b.NextKey, nextKey) + keyGap); err != nil {
		return err
	}
	if err := s.write(journalFile, b.Journal); err != nil {
		return err
	}
	k, err := openSecret(b.Phrase)
	if err != nil {
		return err
	}
	if err := s.writeAccount(k.account.PublicKey()); err != nil {
		return err
	}
	return s.writeVault(b.Phrase, password)
}

// AccountOf returns the account of a recovery phrase.
func AccountOf(phrase string) (ledger.PublicKey, error) {
	k, err := openSecret(phrase)
	if err != nil {
		return ledger.PublicKey{}, err
	}
	return k.account.PublicKey(), nil
}
