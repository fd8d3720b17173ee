package purse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bttnet/btt/wallet"
)

// Files of a purse directory; all are readable by their owner alone.
const (
	vaultFile   = "wallet.vault" // the recovery phrase, encrypted
	keyFile     = "wallet.key"   // opens the vault when there is no password
	indexFile   = "channel.next" // first channel key index never handed out
	indexStride = 16             // indices reserved by one write of indexFile
)

// readVault opens the directory's vault. When there is none it makes one, of
// restore or, when that is empty, of a new phrase. It returns the phrase.
func readVault(dir, password, restore string, entropy io.Reader) (string, error) {
	sealed, err := os.ReadFile(filepath.Join(dir, vaultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return newVault(dir, password, wallet.Normalize(restore), entropy)
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
		if key, err = os.ReadFile(filepath.Join(dir, keyFile)); err != nil {
			return "", fmt.Errorf("purse: read key file: %w; restore it from a copy, or the wallet from its phrase", err)
		}
	} else if password == "" {
		return "", ErrPasswordNeeded
	}
	phrase, err := wallet.Unseal(sealed, key)
	if err != nil {
		return "", fmt.Errorf("purse: open wallet: %w", err)
	}
	return string(phrase), nil
}

func newVault(dir, password, phrase string, entropy io.Reader) (string, error) {
	if phrase == "" {
		var err error
		if phrase, err = wallet.NewPhrase(entropy, wallet.ShortPhrase); err != nil {
			return "", err
		}
	} else if _, err := wallet.Open(phrase, ""); err != nil {
		return "", err
	}
	return phrase, writeVault(dir, phrase, password, entropy)
}

// replaceVault seals phrase anew. A key file that the old vault needs stays until
// the new vault is durable; a new key file gets in place only when none is there.
func replaceVault(dir, phrase, password string, entropy io.Reader) error {
	old, err := os.ReadFile(filepath.Join(dir, vaultFile))
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
	if err := writeVault(dir, phrase, password, entropy); err != nil {
		return err
	}
	if password != "" {
		if err := os.Remove(filepath.Join(dir, keyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("purse: remove key file: %w", err)
		}
		return syncDir(dir)
	}
	return nil
}

// writeVault seals phrase under password, or under a new key file if password
// is empty. The key file is durable before the vault that needs it.
func writeVault(dir, phrase, password string, entropy io.Reader) error {
	key, mode, kdf := []byte(password), wallet.ByPassword, wallet.PasswordKDF
	if password == "" {
		key, mode, kdf = make([]byte, 32), wallet.ByKeyFile, wallet.KeyFileKDF
		if _, err := io.ReadFull(entropy, key); err != nil {
			return fmt.Errorf("purse: read entropy for key file: %w", err)
		}
		if err := writeFile(dir, keyFile, key); err != nil {
			return err
		}
	}
	sealed, err := wallet.Seal([]byte(phrase), key, mode, kdf, entropy)
	if err != nil {
		return err
	}
	return writeFile(dir, vaultFile, sealed)
}

// readIndex returns the first channel key index that was never handed out.
func readIndex(dir string) (uint32, error) {
	data, err := os.ReadFile(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("purse: read key index: %w", err)
	}
	if len(data) != 8 || binary.BigEndian.Uint32(data[4:]) != crc32.Checksum(data[:4], castagnoli) {
		return 0, errors.New("purse: read key index: the file is damaged; write a number above every key used, or restore the wallet")
	}
	return binary.BigEndian.Uint32(data), nil
}

func writeIndex(dir string, next uint32) error {
	data := binary.BigEndian.AppendUint32(nil, next)
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
	return writeFile(dir, indexFile, data)
}

// writeFile replaces a file by new content: after a crash it holds the old or
// the new content, never a part.
func writeFile(dir, name string, data []byte) error {
	temporary := filepath.Join(dir, name+".new")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("purse: write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, filepath.Join(dir, name))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("purse: write %s: %w", name, err)
	}
	return nil
}

// syncDir makes the names in dir durable where the system allows it.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
