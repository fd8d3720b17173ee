package purse

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
)

// Kind says what a journal entry is about.
type Kind string

// Kinds of journal entries. Lock and Unlock move coins between the free balance
// and a channel; Pay and Earn are what was really paid in channels; the others
// change the balance directly.
const (
	Lock    Kind = "lock"    // coins set aside for a channel's funding
	Unlock  Kind = "unlock"  // coins back from a channel: settled, refunded or never opened
	Pay     Kind = "pay"     // paid to a provider in a channel
	Earn    Kind = "earn"    // received from a requester in a channel
	Send    Kind = "send"    // sent to an address by the user
	Receive Kind = "receive" // received at the own address
	Tidy    Kind = "tidy"    // own coins joined or split; no change of balance
	Cancel  Kind = "cancel"  // a send that the ledger refused for good
)

var kinds = []Kind{Lock, Unlock, Pay, Earn, Send, Receive, Tidy, Cancel}

// Limits of a journal entry's texts and of one encoded line.
const (
	MaxEntryText = 256
	maxLineBytes = 32 << 10
)

// Entry is one movement of money in plain terms (R15.2).
type Entry struct {
	Time         time.Time     `json:"time"` // filled by the purse when zero
	Kind         Kind          `json:"kind"`
	Amount       amount.Amount `json:"amount"`                 // always positive or zero; Kind gives the direction
	Counterparty string        `json:"counterparty,omitempty"` // address or public key
	Reason       string        `json:"reason,omitempty"`       // plain words
	Torrent      string        `json:"torrent,omitempty"`      // info-hash, hexadecimal; counts towards Budget.PerTorrent
	Shares       []Share       `json:"shares,omitempty"`       // pay: the parts of several torrents; they sum to at most Amount
	Channel      string        `json:"channel,omitempty"`      // channel id
	Transaction  string        `json:"transaction,omitempty"`  // ledger transaction id, hexadecimal
	ID           string        `json:"id,omitempty"`           // caller's id: recorded once, repeats are ignored
	Raw          []byte        `json:"raw,omitempty"`          // send: the signed transaction, to hand in again
}

// ErrJournal says that the journal holds a line that no crash can leave behind.
var ErrJournal = errors.New("purse: journal is damaged; restore journal.log from a copy or move it away")

func (e *Entry) check() error {
	if !slices.Contains(kinds, e.Kind) {
		return fmt.Errorf("purse: record movement: unknown kind %q", e.Kind)
	}
	if e.Amount < 0 || e.Amount > amount.Supply {
		return fmt.Errorf("purse: record movement: amount is out of range")
	}
	for _, text := range []string{e.Counterparty, e.Reason, e.Torrent, e.Channel, e.Transaction, e.ID} {
		if len(text) > MaxEntryText {
			return fmt.Errorf("purse: record movement: a text is longer than %d bytes", MaxEntryText)
		}
	}
	if len(e.Shares) > MaxShares {
		return fmt.Errorf("purse: record movement: more than %d shares", MaxShares)
	}
	rest := e.Amount
	for _, s := range e.Shares {
		if s.Amount < 0 || s.Amount > rest || len(s.Torrent) > MaxEntryText {
			return fmt.Errorf("purse: record movement: the shares do not fit the amount")
		}
		rest -= s.Amount
	}
	return nil
}

// syncFile is what the journal needs of a file: the seam for injected failures.
type syncFile interface {
	io.Writer
	Sync() error
	Close() error
}

// journal is the append-only list of movements. Each line is a CRC-32C in eight
// hexadecimal digits, a space, and the entry as JSON. Not safe for concurrent
// use: the Purse's lock guards it.
type journal struct {
	path string
	file syncFile
	size int64 // whole, durable lines
	err  error // first failure; nothing is written after it
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal opens or makes the journal, cuts an unfinished last line, and
// calls each for every entry in it.
func openJournal(dir string, each func(*Entry)) (*journal, error) {
	path := filepath.Join(dir, journalFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("purse: open journal: %w", err)
	}
	size, err := scanJournal(f, each)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("purse: open journal: %w", err)
	}
	return &journal{path: path, file: f, size: size}, nil
}

// lookJournal reads the journal beside the process that writes it: an
// unfinished last line stays, and nothing can be added.
func lookJournal(dir string, each func(*Entry)) (*journal, error) {
	path := filepath.Join(dir, journalFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return &journal{path: path, file: noFile{}, err: ErrReadOnly}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("purse: open journal: %w", err)
	}
	size, err := scanJournal(f, each)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("purse: open journal: %w", err)
	}
	return &journal{path: path, file: f, size: size, err: ErrReadOnly}, nil
}

// noFile is the journal of a wallet in which nothing moved yet.
type noFile struct{}

func (noFile) Write([]byte) (int, error) { return 0, ErrReadOnly }
func (noFile) Sync() error               { return ErrReadOnly }
func (noFile) Close() error              { return nil }

// append makes an entry durable. After a failure the journal takes nothing more:
// what is on the disk is unknown until the next start.
func (j *journal) append(e *Entry) error {
	if j.err != nil {
		return j.err
	}
	line, err := encodeLine(e)
	if err != nil {
		return err
	}
	if _, err = j.file.Write(line); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("purse: write journal: %w; the purse stops spending until the next start", err)
		return j.err
	}
	j.size += int64(len(line))
	return nil
}

func encodeLine(e *Entry) ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("purse: encode movement: %w", err)
	}
	if len(text)+10 > maxLineBytes {
		return nil, errors.New("purse: encode movement: texts are too long")
	}
	line := fmt.Appendf(nil, "%08x ", crc32.Checksum(text, castagnoli))
	return append(append(line, text...), '\n'), nil
}

func decodeLine(line []byte) (*Entry, error) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, ErrJournal
	}
	if string(line[:8]) != fmt.Sprintf("%08x", crc32.Checksum(line[9:], castagnoli)) {
		return nil, ErrJournal
	}
	e := new(Entry)
	if err := json.Unmarshal(line[9:], e); err != nil {
		return nil, ErrJournal
	}
	return e, nil
}

// scanJournal calls each for every entry and returns the length of the whole
// lines. A last line without its line feed is what a crash leaves.
func scanJournal(r io.Reader, each func(*Entry)) (int64, error) {
	size := int64(0)
	lines := bufio.NewReaderSize(r, maxLineBytes)
	for {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			return size, nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return 0, fmt.Errorf("%w (no line end after byte %d)", ErrJournal, size)
		}
		if err != nil {
			return 0, err
		}
		e, err := decodeLine(line[:len(line)-1])
		if err != nil {
			return 0, fmt.Errorf("%w (at byte %d)", err, size)
		}
		each(e)
		size += int64(len(line))
	}
}

// entries reads the durable part of the journal again, oldest first.
func (j *journal) entries() iter.Seq2[Entry, error] {
	path, size := j.path, j.size
	return func(yield func(Entry, error) bool) {
		if size == 0 {
			return
		}
		f, err := os.Open(path)
		if err != nil {
			yield(Entry{}, fmt.Errorf("purse: read journal: %w", err))
			return
		}
		defer f.Close()
		stopped := false
		_, err = scanJournal(io.LimitReader(f, size), func(e *Entry) {
			if !stopped {
				stopped = !yield(*e, nil)
			}
		})
		if err != nil && !stopped {
			yield(Entry{}, fmt.Errorf("purse: read journal: %w", err))
		}
	}
}
