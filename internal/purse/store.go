package purse

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// Files of a purse directory; all are readable by their owner alone.
const (
	vaultFile   = "wallet.vault"   // the recovery phrase, encrypted
	keyFile     = "wallet.key"     // opens the vault when there is no password
	accountFile = "wallet.account" // public key and address
	limitsFile  = "wallet.limits"  // the budget, JSON
	lockFile    = "wallet.lock"    // held by the process that spends
	sessionFile = "wallet.session" // the phrase again, while unlocked; see session.go
	journalFile = "journal.log"    // every movement
	indexFile   = "channel.next"   // first channel key index never handed out
	indexStride = 16               // indices reserved by one write of indexFile
)

// maxSmallFile bounds the small files of a directory.
const maxSmallFile = 64 << 10

// store reads and writes the small files of a directory.
type store struct {
	dir     string
	disk    durable.Disk
	entropy io.Reader
	now     func() time.Time
}

// Exists reports whether a directory holds a wallet.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, vaultFile))
	return err == nil
}

// HasPassword reports whether the wallet in dir is opened by a password. The
// error is os.ErrNotExist without a wallet.
func HasPassword(dir string) (bool, error) {
	sealed, err := store{dir: dir}.read(vaultFile)
	if err != nil {
		return false, fmt.Errorf("purse: read wallet: %w", err)
	}
	mode, err := wallet.KeystoreMode(sealed)
	return mode == wallet.ByPassword, err
}

// lockTries and lockPause bound how long acquire waits for somebody who only looks.
const (
	lockTries = 10
	lockPause = 5 * time.Millisecond
)

// InUse reports whether a program spends from the wallet in dir, and its process number,
// 0 if that is not known. It makes nothing.
func InUse(dir string) (process int, used bool) {
	if _, err := os.Stat(filepath.Join(dir, lockFile)); err != nil {
		return 0, false
	}
	process = durable.Holder(dir, lockFile)
	l, err := durable.Acquire(dir, lockFile) // for a moment
	if err == nil {
		_ = l.Release() // closes a file that holds nothing
	}
	return process, errors.Is(err, durable.ErrLocked)
}

// acquire takes the directory for this process.
func acquire(dir string) (*durable.Lock, error) {
	l, err := durable.Acquire(dir, lockFile)
	for range lockTries { // InUse holds it for a moment
		if !errors.Is(err, durable.ErrLocked) {
			return l, err
		}
		time.Sleep(lockPause)
		l, err = durable.Acquire(dir, lockFile)
	}
	if !errors.Is(err, durable.ErrLocked) {
		return l, err
	}
	if pid := durable.Holder(dir, lockFile); pid > 0 {
		return nil, fmt.Errorf("%w (process %d)", ErrInUse, pid)
	}
	return nil, ErrInUse
}

// read reads a small file.
func (s store) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxSmallFile)
	}
	return data, err
}

// vault opens the directory's vault: by its key file, the password, or an
// unlocked session. When there is none it makes one, of restore or, when that is
// empty, of a new phrase. It returns the phrase.
func (s store) vault(password, restore string) (string, error) {
	sealed, err := s.read(vaultFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s.newVault(password, wallet.Normalize(restore))
	}
	if err != nil {
		return "", fmt.Errorf("purse: read wallet: %w", err)
	}
	mode, err := wallet.KeystoreMode(sealed)
	if err != nil {
		return "", fmt.Errorf("purse: read wallet: %w", err)
	}
	key := []byte(password)
	if mode == wallet.ByKeyFile {
		if key, err = s.read(keyFile); err != nil {
			return "", fmt.Errorf("purse: read key file: %w; restore it from a copy, or the wallet from its phrase", err)
		}
	} else if password == "" {
		if phrase, ok := s.session(); ok {
			return phrase, nil
		}
		return "", ErrPasswordNeeded
	}
	phrase, err := wallet.Unseal(sealed, key)
	if err != nil {
		return "", fmt.Errorf("purse: open wallet: %w", err)
	}
	return string(phrase), nil
}

func (s store) newVault(password, phrase string) (string, error) {
	if phrase == "" {
		var err error
		if phrase, err = wallet.NewPhrase(s.entropy, wallet.ShortPhrase); err != nil {
			return "", err
		}
	} else if _, err := wallet.Open(phrase, ""); err != nil {
		return "", err
	}
	return phrase, s.writeVault(phrase, password)
}

// replaceVault seals phrase anew. A key file that the old vault needs stays until
// the new vault is durable; a new key file gets in place only when none is there.
func (s store) replaceVault(phrase, password string) error {
	old, err := s.read(vaultFile)
	if err != nil {
		return fmt.Errorf("purse: read wallet: %w", err)
	}
	mode, err := wallet.KeystoreMode(old)
	if err != nil {
		return fmt.Errorf("purse: read wallet: %w", err)
	}
	if mode == wallet.ByKeyFile && password == "" {
		return nil
	}
	if err := s.writeVault(phrase, password); err != nil {
		return err
	}
	if err := s.endSession(); err != nil {
		return err
	}
	if password == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(s.dir, keyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("purse: remove key file: %w", err)
	}
	return durable.SyncDir(s.dir)
}

// writeVault seals phrase under password, or under a new key file if password
// is empty. The key file is durable before the vault that needs it.
func (s store) writeVault(phrase, password string) error {
	key, mode, kdf := []byte(password), wallet.ByPassword, wallet.PasswordKDF
	if password == "" {
		key, mode, kdf = make([]byte, 32), wallet.ByKeyFile, wallet.KeyFileKDF
		if _, err := io.ReadFull(s.entropy, key); err != nil {
			return fmt.Errorf("purse: read entropy for key file: %w", err)
		}
		if err := s.write(keyFile, key); err != nil {
			return err
		}
	}
	sealed, err := wallet.Seal([]byte(phrase), key, mode, kdf, s.entropy)
	if err != nil {
		return err
	}
	return s.write(vaultFile, sealed)
}

func (s store) write(name string, data []byte) error {
	if err := s.disk.Write(s.dir, name, data); err != nil {
		return fmt.Errorf("purse: %w", err)
	}
	return nil
}

// account returns the public key of the wallet without its password; a
// directory of an older version has it only behind the password.
func (s store) account(password string) (ledger.PublicKey, error) {
	text, err := s.read(accountFile)
	if err == nil {
		return parseAccount(text)
	}
	if !errors.Is(err, fs.ErrNotExist) || !Exists(s.dir) {
		return ledger.PublicKey{}, fmt.Errorf("purse: read wallet: %w", err)
	}
	phrase, err := s.vault(password, "")
	if err != nil {
		return ledger.PublicKey{}, err
	}
	k, err := openSecret(phrase)
	if err != nil {
		return ledger.PublicKey{}, err
	}
	return k.account.PublicKey(), nil
}

// parseAccount reads "HEX ADDRESS".
func parseAccount(text []byte) (ledger.PublicKey, error) {
	var key, address string
	var pub ledger.PublicKey
	_, err := fmt.Sscan(string(text), &key, &address)
	if raw, hexErr := hex.DecodeString(key); err == nil && hexErr == nil && len(raw) == len(pub) {
		copy(pub[:], raw)
		if pub.Valid() && pub.Address().String() == address {
			return pub, nil
		}
	}
	return ledger.PublicKey{}, fmt.Errorf("purse: read %s: the file is damaged; remove it and open the wallet with its password", accountFile)
}

func (s store) writeAccount(pub ledger.PublicKey) error {
	text := fmt.Appendf(nil, "%x %s\n", pub[:], pub.Address())
	if old, err := s.read(accountFile); err == nil && string(old) == string(text) {
		return nil
	}
	return s.write(accountFile, text)
}

// readIndex returns the first channel key index that was never handed out.
func (s store) readIndex() (uint32, error) {
	data, err := s.read(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("purse: read key index: %w", err)
	}
	if len(data) != 8 || binary.BigEndian.Uint32(data[4:]) != crc32.Checksum(data[:4], castagnoli) {
		return 0, errors.New("purse: read key index: the file is damaged; restore the wallet from its backup into an empty folder")
	}
	return binary.BigEndian.Uint32(data), nil
}

func (s store) writeIndex(next uint32) error {
	data := binary.BigEndian.AppendUint32(nil, next)
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
	return s.write(indexFile, data)
}
