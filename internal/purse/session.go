package purse

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// MaxUnlock is the longest time that one Unlock or StartSession holds.
const MaxUnlock = 24 * time.Hour

// ErrNoPassword says that a wallet without a password cannot be locked.
var ErrNoPassword = errors.New("purse: the wallet has no password; set one to lock it")

// keys returns the secret, unless the wallet is locked or read only.
func (p *Purse) keys() (*secret, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unlocked()
}

// unlocked is keys with p.mu held.
func (p *Purse) unlocked() (*secret, error) {
	if p.cfg.ReadOnly {
		return nil, ErrReadOnly
	}
	if !p.until.IsZero() && !p.cfg.Now().Before(p.until) {
		p.secret = nil
	}
	if p.secret == nil {
		return nil, ErrLocked
	}
	return p.secret, nil
}

// Locked reports whether the keys are put away.
func (p *Purse) Locked() bool {
	_, err := p.keys()
	return err != nil
}

// Lock puts the keys away: nothing is spent and no channel opened until Unlock.
// Channels that are open go on. The error is ErrNoPassword for a wallet that
// nobody could unlock again.
func (p *Purse) Lock() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	protected, err := HasPassword(p.cfg.Dir)
	if err != nil {
		return err
	}
	if !protected {
		return ErrNoPassword
	}
	p.secret = nil
	return nil
}

// Unlock opens the keys by the password, for d (at most MaxUnlock) or, with 0,
// until Lock or Close. Errors: wallet.ErrPassword, ErrPasswordNeeded.
func (p *Purse) Unlock(password string, d time.Duration) error {
	if d < 0 || d > MaxUnlock {
		return fmt.Errorf("purse: unlock for %v: at most %v", d, MaxUnlock)
	}
	if p.cfg.ReadOnly {
		return ErrReadOnly
	}
	phrase, err := p.store.vault(password, "")
	if err != nil {
		return err
	}
	k, err := openSecret(phrase)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secret, p.until = k, time.Time{}
	if d > 0 {
		p.until = p.cfg.Now().Add(d)
	}
	return nil
}

// Phrase returns the recovery phrase, for the backup step. It asks for the
// password again so that an unlocked node does not give it away.
func (p *Purse) Phrase(password string) (string, error) {
	return Phrase(p.cfg.Dir, password)
}

// Phrase returns the recovery phrase of the wallet in dir, also beside the
// process that spends from it. A session does not do: it takes the password.
func Phrase(dir, password string) (string, error) {
	protected, err := HasPassword(dir)
	if err != nil {
		return "", err
	}
	if protected && password == "" {
		return "", ErrPasswordNeeded
	}
	return store{dir: dir}.vault(password, "")
}

// SetPassword seals the wallet under a new password ("" = a key file) and ends
// a session.
func (p *Purse) SetPassword(old, password string) error {
	if p.cfg.ReadOnly {
		return ErrReadOnly
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	phrase, err := Phrase(p.cfg.Dir, old)
	if err != nil {
		return err
	}
	return p.store.replaceVault(phrase, password)
}

// A session lets this user's programs open the wallet without its password for
// a while. The phrase is sealed once more, under a random key that lies in
// memory ($XDG_RUNTIME_DIR) where the system has such a folder, else beside it.
// What is over is removed by whoever looks next.

// StartSession opens the wallet in dir for this user's programs until now + d
// (at most MaxUnlock). It returns when the session ends.
func StartSession(dir, password string, d time.Duration, now time.Time, entropy io.Reader) (time.Time, error) {
	if d <= 0 || d > MaxUnlock {
		return time.Time{}, fmt.Errorf("purse: unlock for %v: give a time of at most %v", d, MaxUnlock)
	}
	protected, err := HasPassword(dir)
	if err != nil {
		return time.Time{}, err
	}
	if !protected {
		return time.Time{}, ErrNoPassword
	}
	s := store{dir: dir, entropy: entropy, now: func() time.Time { return now }}
	phrase, err := Phrase(dir, password)
	if err != nil {
		return time.Time{}, err
	}
	until := now.Add(d)
	key := make([]byte, 32)
	if _, err := io.ReadFull(entropy, key); err != nil {
		return time.Time{}, fmt.Errorf("purse: read entropy for session: %w", err)
	}
	secret := append(binary.BigEndian.AppendUint64(nil, uint64(until.Unix())), phrase...)
	sealed, err := wallet.Seal(secret, key, wallet.ByKeyFile, wallet.KeyFileKDF, entropy)
	if err != nil {
		return time.Time{}, err
	}
	keyDir, name := s.sessionKey()
	if err := os.MkdirAll(keyDir, 0o700); err != nil {
		return time.Time{}, fmt.Errorf("purse: make directory: %w", err)
	}
	if err := durable.Write(keyDir, name, key); err != nil {
		return time.Time{}, fmt.Errorf("purse: %w", err)
	}
	return until, s.write(sessionFile, sealed)
}

// InSession reports whether a session seems to hold for the wallet in dir;
// opening the wallet tells for sure.
func InSession(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, sessionFile))
	return err == nil
}

// EndSession ends the session of the wallet in dir; it is no error without one.
func EndSession(dir string) error { return store{dir: dir}.endSession() }

// sessionKey says where a session's key lies.
func (s store) sessionKey() (dir, name string) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return s.dir, sessionFile + ".key"
	}
	path, err := filepath.Abs(s.dir)
	if err != nil {
		path = s.dir
	}
	id := sha256.Sum256([]byte(path))
	return filepath.Join(runtime, "btt"), fmt.Sprintf("%x.key", id[:8])
}

// session returns the phrase while a session holds.
func (s store) session() (string, bool) {
	sealed, err := s.read(sessionFile)
	if err != nil {
		return "", false
	}
	dir, name := s.sessionKey()
	key, err := store{dir: dir}.read(name)
	if err == nil {
		var secret []byte
		if secret, err = wallet.Unseal(sealed, key); err == nil && len(secret) > 8 &&
			s.now != nil && s.now().Unix() < int64(binary.BigEndian.Uint64(secret)) {
			return string(secret[8:]), true
		}
	}
	_ = s.endSession() // over or damaged; the password still opens the wallet
	return "", false
}

func (s store) endSession() error {
	dir, name := s.sessionKey()
	for _, path := range []string{filepath.Join(dir, name), filepath.Join(s.dir, sessionFile)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("purse: end session: %w", err)
		}
	}
	return nil
}

// sign signs a transaction that spends own coins only: one witness.
func (p *Purse) sign(tx *ledger.Tx, network ledger.Network) error {
	sig, err := p.AccountKey().Sign(tx.Digest(network, ledger.PayTo(p.Address())))
	if err != nil {
		return fmt.Errorf("purse: sign transaction: %w", err)
	}
	tx.Witnesses = []ledger.Witness{{Keys: []ledger.PublicKey{p.Account()}, Signatures: []ledger.Signature{sig}}}
	return nil
}
