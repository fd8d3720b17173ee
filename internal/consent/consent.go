// Package consent keeps what a user decided about BitTorrent Speed, for all
// commands with one home folder: how far to take part, within which limits, and
// which torrents stay out (R8.12, R9, R15.1, R15.3, R15.4).
//
// cmd/btt writes it ("btt speed") and has running nodes follow it. The package
// owns no goroutine; its functions are safe for concurrent use, by several
// processes too.
package consent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/metainfo"
)

// Limits of what is kept.
const (
	// MaxPlain is the number of torrents that may be named to stay out.
	MaxPlain = 1000
	// maxText bounds each setting in bytes.
	maxText = 512
	// maxFile bounds the file in bytes: MaxPlain hashes and the settings.
	maxFile = 128 << 10
)

const (
	fileName = "speed.json"
	lockName = "speed.lock"
	// lockWait is how long Change waits for another process that changes the
	// file; it takes one write.
	lockWait = 10 * time.Second
	lockPoll = 10 * time.Millisecond
)

// Phase is how far a node takes part; each phase includes the one before
// (R15.1).
type Phase uint8

// Phases, in the order in which a user meets them.
const (
	Off  Phase = iota // a plain client: nothing is told, sold or paid
	Earn              // it sells, and never bids
	Full              // it bids, pays and sells
)

var phaseNames = [...]string{Off: "off", Earn: "earn", Full: "on"}

func (p Phase) String() string {
	if int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// MarshalText writes the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase's name.
func (p *Phase) UnmarshalText(text []byte) error {
	i := slices.Index(phaseNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("phase %.20q is none of %v", text, phaseNames)
	}
	*p = Phase(i)
	return nil
}

// Limits are settings as they are written on the command line, by the flag's
// name; "" = the default. Who uses them checks them.
type Limits struct {
	SpendRate     string `json:"spend-rate,omitempty"`
	Bids          string `json:"bids,omitempty"`
	PriceCap      string `json:"price-cap,omitempty"`
	Budget        string `json:"budget,omitempty"`
	Reserve       string `json:"reserve,omitempty"`
	ReserveGrowth string `json:"reserve-growth,omitempty"`
	ReserveCap    string `json:"reserve-cap,omitempty"`
}

// Choice is what a user decided. The zero value is that nothing was: a plain
// client (R15.3).
type Choice struct {
	Phase Phase `json:"phase"`
	// Said is another with each decision about the phase, so that one which repeats
	// another is heard by nodes that were started otherwise; see Decide.
	Said int64 `json:"said"`
	// Ledger is the URL of the ledger that holds the BTT.
	Ledger string `json:"ledger,omitempty"`
	Limits
	// Plain are the torrents that stay out in every phase, sorted (R9.2).
	Plain []metainfo.InfoHash `json:"plain,omitempty"`
}

// Decide takes part as far as the user says now. Decisions are told apart by their
// count, which begins with the time: so one that follows a file which was lost or
// damaged is not taken for the one that it held.
func (c *Choice) Decide(phase Phase, now time.Time) {
	c.Phase, c.Said = phase, max(c.Said+1, now.UnixMilli())
}

// IsPlain says whether a torrent that goes by these hashes stays out.
func (c *Choice) IsPlain(hashes ...metainfo.InfoHash) bool {
	return slices.ContainsFunc(hashes, func(h metainfo.InfoHash) bool {
		_, found := slices.BinarySearchFunc(c.Plain, h, compare)
		return found
	})
}

// SetPlain keeps a torrent out, or lets it in again.
func (c *Choice) SetPlain(hash metainfo.InfoHash, plain bool) {
	at, found := slices.BinarySearchFunc(c.Plain, hash, compare)
	switch {
	case plain && !found:
		c.Plain = slices.Insert(slices.Clone(c.Plain), at, hash)
	case !plain && found:
		c.Plain = slices.Delete(slices.Clone(c.Plain), at, at+1)
	}
}

func compare(a, b metainfo.InfoHash) int { return bytes.Compare(a[:], b[:]) }

// Errors of a file that is no choice.
var (
	errSize  = errors.New("longer than a choice can be")
	errPlain = fmt.Errorf("at most %d torrents can be named to stay out", MaxPlain)
	errText  = fmt.Errorf("a setting is at most %d bytes long", maxText)
	errOrder = errors.New("the torrents that stay out are not sorted, each once")
	errSaid  = errors.New("the number of the decision is below 0")
	errMore  = errors.New("there is more behind the choice")
)

// Decode reads what Encode writes.
func Decode(b []byte) (Choice, error) {
	var c Choice
	if len(b) > maxFile {
		return c, errSize
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // of a newer program: it may mean "less than that"
	if err := d.Decode(&c); err != nil {
		return Choice{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Choice{}, errMore
	}
	if err := c.check(); err != nil {
		return Choice{}, err
	}
	return c, nil
}

func (c *Choice) check() error {
	for _, s := range []string{c.Ledger, c.SpendRate, c.Bids, c.PriceCap, c.Budget, c.Reserve, c.ReserveGrowth, c.ReserveCap} {
		if len(s) > maxText {
			return errText
		}
	}
	switch {
	case int(c.Phase) >= len(phaseNames):
		return fmt.Errorf("phase %d is unknown", c.Phase)
	case c.Said < 0:
		return errSaid
	case len(c.Plain) > MaxPlain:
		return errPlain
	}
	for i := 1; i < len(c.Plain); i++ {
		if compare(c.Plain[i-1], c.Plain[i]) >= 0 {
			return errOrder
		}
	}
	return nil
}

// Encode returns the file's content; the error says which limit is passed.
func (c *Choice) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	return append(b, '\n'), err
}

// Load reads the choice kept in a home folder; without one it is the zero
// value. What cannot be read is an error, and no consent.
func Load(home string) (Choice, error) {
	path := filepath.Join(home, fileName)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // a home that is a file fails by itself
		return Choice{}, nil
	}
	if err != nil {
		return Choice{}, fmt.Errorf("read choice about Speed: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Choice{}, fmt.Errorf("read choice about Speed: %w", err)
	}
	c, err := Decode(b)
	if err != nil {
		return Choice{}, fmt.Errorf("read choice about Speed: %s: %w (\"btt speed off\" replaces it)", path, err)
	}
	return c, nil
}

// Change replaces the choice in a home folder, which is made if need be, by
// what f makes of it, durably; changes of several processes come one after the
// other. An error of f changes nothing. With anew, a file that cannot be read
// counts as none. f may be called twice.
func Change(home string, anew bool, f func(*Choice) error) (Choice, error) {
	if _, err := os.Stat(home); errors.Is(err, os.ErrNotExist) { // what is refused makes none
		if err := f(new(Choice)); err != nil {
			return Choice{}, err
		}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return Choice{}, fmt.Errorf("make home folder: %w", err)
	}
	lock, err := acquire(home)
	if err != nil {
		return Choice{}, fmt.Errorf("change choice about Speed: %w", err)
	}
	defer func() { _ = lock.Release() }() // the process's end does it too
	c, err := Load(home)
	if err != nil && !anew {
		return Choice{}, err
	}
	if err := f(&c); err != nil {
		return Choice{}, err
	}
	b, err := c.Encode()
	if err == nil {
		err = durable.Write(home, fileName, b)
	}
	if err != nil {
		return Choice{}, fmt.Errorf("keep choice about Speed: %w", err)
	}
	return c, nil
}

func acquire(home string) (*durable.Lock, error) {
	for end := time.Now().Add(lockWait); ; time.Sleep(lockPoll) {
		lock, err := durable.Acquire(home, lockName)
		if !errors.Is(err, durable.ErrLocked) || time.Now().After(end) {
			return lock, err
		}
	}
}
