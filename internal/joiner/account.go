package joiner

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
)

// accountFile holds an account, in Config.Dir.
const accountFile = "joined.json"

// account is what is remembered over a restart.
type account struct {
	Lost   amount.Amount // on torrents that were left
	Before before        // none in files of old
}

// sums are what a torrent moved.
type sums struct{ Paid, Earned amount.Amount }

// before is what torrents had moved when they were joined, by their info hashes: when they
// were joined before, or the user had them. It is none of their account.
type before map[[20]byte]sums

// MarshalJSON implements json.Marshaler.
func (b before) MarshalJSON() ([]byte, error) {
	m := make(map[string]sums, len(b))
	for hash, s := range b {
		m[hex.EncodeToString(hash[:])] = s
	}
	return json.Marshal(m)
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *before) UnmarshalJSON(text []byte) error {
	var m map[string]sums
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	*b = make(before, len(m))
	for name, s := range m {
		hash, err := hex.DecodeString(name)
		if err != nil || len(hash) != 20 {
			return fmt.Errorf("%.80q is no info hash", name)
		}
		if !s.Paid.Valid() || !s.Earned.Valid() {
			return amount.ErrRange
		}
		(*b)[[20]byte(hash)] = s
	}
	return nil
}

// parse reads an account's file.
func (a *account) parse(text []byte) error {
	if err := json.Unmarshal(text, a); err != nil {
		return err
	}
	if !a.Lost.Valid() {
		return amount.ErrRange
	}
	return nil
}

// account is the account of a joined torrent that moved so much by now. Less than before
// means that receipts were lost.
func (j *Joiner) account(hash [20]byte, now sums) Venture {
	was, joined := j.before[hash]
	if least := (sums{min(was.Paid, now.Paid), min(was.Earned, now.Earned)}); joined && least != was {
		was, j.before[hash], j.unsaved = least, least, true
	}
	return Venture{Hash: hash, Spent: now.Paid - was.Paid, Earned: now.Earned - was.Earned}
}

// moved tells what a torrent moved so far, in all runs.
func (j *Joiner) moved(hash [20]byte) (s sums) {
	if r := j.market.Receipts; r != nil {
		s.Paid, s.Earned = r.Sums(hash)
	}
	return s
}

func readAccount(dir string) (account, error) {
	a := account{Before: before{}}
	b, err := os.ReadFile(filepath.Join(dir, accountFile))
	if errors.Is(err, os.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = a.parse(b)
	}
	if err != nil {
		return account{}, fmt.Errorf("read what joined torrents cost: %w; look at the file, or remove it to begin with nothing lost", err)
	}
	return a, nil
}

// saveAccount writes the account if it changed.
func (j *Joiner) saveAccount() {
	if !j.unsaved {
		return
	}
	b, err := json.Marshal(account{Lost: j.stakes.Lost(), Before: j.before})
	if err == nil {
		err = durable.Write(j.cfg.Dir, accountFile, b)
	}
	if err != nil {
		j.log.Warn("keep what joined torrents cost", "err", err)
		return
	}
	j.unsaved = false
}
