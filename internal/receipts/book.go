package receipts

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
)

// MaxReceipts is the number of torrents with a receipt. What further torrents
// move is booked under the zero hash.
const MaxReceipts = 20_000

const suffix = ".json"

// Book is the receipts of a node. Its methods are safe for concurrent use.
type Book struct {
	dir string
	now func() time.Time

	mu       sync.Mutex // guards what follows
	receipts map[Hash]*entry
	channels map[channel.ID][]*Line // what is booked of each channel, the newest last
	lanes    map[Hash]Hash          // whose lanes are of another hash
	saving   sync.Mutex             // one Save at a time
}

type entry struct {
	Receipt
	lines map[lineKey]*Line
	order int64 // of the last channel that ended
	dirty bool
}

type lineKey struct {
	role    Role
	account ledger.Address
}

// Open reads the receipts in dir, which is made if missing. Files that are no
// receipts are moved aside, and named in the error beside a usable book.
func Open(dir string, now func() time.Time) (*Book, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open receipts: %w", err)
	}
	b := &Book{dir: dir, now: now, receipts: map[Hash]*entry{}, channels: map[channel.ID][]*Line{}, lanes: map[Hash]Hash{}}
	list, bad := ReadAll(dir)
	for _, r := range list {
		b.adopt(r)
	}
	for _, path := range bad {
		if err := os.Rename(path, path+".bad"); err != nil {
			return nil, fmt.Errorf("open receipts: %w", err)
		}
	}
	if len(bad) > 0 {
		return b, fmt.Errorf("open receipts: %w: moved aside: %s", ErrFormat, strings.Join(bad, ", "))
	}
	return b, nil
}

// ReadAll reads the receipts in a folder, the newest last, and returns the
// files that it cannot read. A folder that is missing holds none.
func ReadAll(dir string) (list []*Receipt, bad []string) {
	files, _ := os.ReadDir(dir)
	files = slices.DeleteFunc(files, func(e os.DirEntry) bool { return !strings.HasSuffix(e.Name(), suffix) })
	for _, e := range files[:min(len(files), 2*MaxReceipts)] {
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		var text []byte
		if err == nil && st.Size() <= MaxFile+1 {
			text, err = os.ReadFile(path)
		}
		var r *Receipt
		if err == nil {
			r, err = Decode(text)
		}
		if err != nil {
			bad = append(bad, path)
			continue
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y *Receipt) int {
		return cmp.Or(x.Changed.Compare(y.Changed), slices.Compare(x.InfoHash[:], y.InfoHash[:]))
	})
	return list, bad
}

func (b *Book) adopt(r *Receipt) {
	e := &entry{Receipt: *r, lines: map[lineKey]*Line{}}
	for _, l := range e.Lines {
		e.lines[lineKey{l.Role, l.Account}], l.of = l, e
		for _, c := range l.Channels {
			b.channels[channel.ID(c.ID)] = append(b.channels[channel.ID(c.ID)], l)
			e.order = max(e.order, c.Order)
		}
	}
	b.receipts[r.InfoHash] = e
}

// entry returns a torrent's receipt, made if need be.
func (b *Book) entry(tag Hash) *entry {
	e := b.receipts[tag]
	if e == nil && len(b.receipts) >= MaxReceipts {
		tag = Hash{}
		e = b.receipts[tag]
	}
	if e == nil {
		e = &entry{Receipt: Receipt{Version: formatVersion, InfoHash: tag, Began: b.now().UTC()}, lines: map[lineKey]*Line{}}
		b.receipts[tag] = e
	}
	e.dirty, e.Changed = true, b.now().UTC()
	return e
}

func (e *entry) line(role Role, account ledger.Address) *Line {
	k := lineKey{role, account}
	l := e.lines[k]
	if l == nil && len(e.Lines) >= MaxLines {
		k.account = ledger.Address{}
		l = e.lines[k]
	}
	if l == nil {
		l = &Line{Role: role, Account: k.account, Last: Deal{Reserve: -1}, of: e}
		e.lines[k] = l
		e.Lines = append(e.Lines, l)
	}
	return l
}

// Name says what a torrent is called and how large it is. It makes no receipt.
func (b *Book) Name(tag [20]byte, name string, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.receipts[tag]; e != nil && (e.Name == "" || e.Size != size) {
		e.Name, e.Size, e.dirty = name[:min(len(name), MaxName)], size, true
	}
}

// Deal books a price that a provider told us (Paid), or we told a requester
// (Earned).
func (b *Book) Deal(tag [20]byte, role Role, account ledger.Address, peer string, d Deal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.entry(tag).line(role, account)
	if l.Deals == 0 || d.Price < l.Lowest {
		l.Lowest = d.Price
	}
	l.Highest = max(l.Highest, d.Price)
	l.Deals++
	l.Last, l.Peer = d, peer
}

// Flow adds what came from a provider: bytes for nothing, and the seconds for
// which we had a slot of it and asked, with a price and without. The zero
// account is a peer that takes no part in the market; it counts as a new one
// if first.
func (b *Book) Flow(tag [20]byte, account ledger.Address, free Traffic, paidSeconds int64, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(tag)
	to := &e.Plain
	if !account.IsZero() {
		l := e.line(Paid, account)
		l.PaidSeconds += paidSeconds
		to = &l.Free
	} else if first {
		to.Peers++
	}
	to.Bytes += free.Bytes
	to.Seconds += free.Seconds
}

// Rounds books looks at a provider's price beside our bid: how many, and the sum of
// price / bid in parts per million (see [Line]).
func (b *Book) Rounds(tag [20]byte, account ledger.Address, n int, parts int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.entry(tag).line(Paid, account)
	l.Rounds += n
	l.Parts += parts
}

// Lane has what moves on lanes of the tag lane booked for the torrent tag: a hybrid
// may be known here by another hash than its lanes are.
func (b *Book) Lane(lane, tag [20]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.lanes, lane); lane != tag && len(b.lanes) < MaxReceipts {
		b.lanes[lane] = tag
	}
}

// Moved books one payment in a channel. How many bytes it is for is the payer's word where
// the channel is of an earlier run.
func (b *Book) Moved(tag [20]byte, role Role, account ledger.Address, id channel.ID, sum amount.Amount, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if own, ok := b.lanes[tag]; ok {
		tag = own
	}
	e := b.entry(tag)
	l := e.line(role, account)
	l.Sum += sum
	l.Bytes = max(l.Bytes, min(l.Bytes+min(bytes, maxBytes), maxBytes))
	if i := slices.IndexFunc(l.Channels, func(c Channel) bool { return c.ID == ID(id) }); i >= 0 {
		l.Channels[i].Sum += sum
		return
	}
	b.forget(e, false, maxOpen-1)
	l.Channels = append(l.Channels, Channel{ID: ID(id), Sum: sum})
	b.channels[id] = append(b.channels[id], l)
}

// forget takes the oldest channel off a receipt that has more of those that ended, or of
// the others, than most; what it moved stays in its line. That of so many ended ones is
// not told to end again.
func (b *Book) forget(e *entry, ended bool, most int) {
	n, from, at := 0, (*Line)(nil), 0
	for _, l := range e.Lines {
		for i := range l.Channels {
			if l.Channels[i].Ended != ended {
				continue
			}
			if n++; from == nil || l.Channels[i].Order < from.Channels[at].Order {
				from, at = l, i
			}
		}
	}
	if n <= most {
		return
	}
	id := channel.ID(from.Channels[at].ID)
	from.Channels = slices.Delete(from.Channels, at, at+1)
	rest := slices.DeleteFunc(b.channels[id], func(l *Line) bool { return l == from })
	if b.channels[id] = rest; len(rest) == 0 {
		delete(b.channels, id)
	}
}

// Ended books what the ledger moved when a channel ended. It may be told more
// than once; only the first time counts.
func (b *Book) Ended(id channel.ID, role Role, account ledger.Address, moved amount.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var booked amount.Amount
	var last *Line
	for _, l := range b.channels[id] {
		for i := range l.Channels {
			c := &l.Channels[i]
			if c.ID != ID(id) {
				continue
			}
			if c.Ended {
				return
			}
			booked += c.Sum
			last = l
		}
	}
	if last == nil {
		if moved == 0 {
			return
		}
		last = b.entry(Hash{}).line(role, account)
		last.Channels = append(last.Channels, Channel{ID: ID(id)})
		b.channels[id] = append(b.channels[id], last)
	}
	last.Adjusted += int64(moved - booked)
	for _, l := range slices.Clone(b.channels[id]) {
		l.of.order++
		for i := range l.Channels {
			if l.Channels[i].ID == ID(id) {
				l.Channels[i].Ended, l.Channels[i].Order = true, l.of.order
			}
		}
		l.of.dirty, l.of.Changed = true, b.now().UTC()
		b.forget(l.of, true, MaxChannels)
	}
}

// Sums returns what a torrent paid and earned so far.
func (b *Book) Sums(tag [20]byte) (paid, earned amount.Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.receipts[tag]; e != nil {
		t := e.Totals()
		return t.Paid, t.Earned
	}
	return 0, 0
}

// List returns copies of all receipts, the newest last.
func (b *Book) List() []*Receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*Receipt, 0, len(b.receipts))
	for _, e := range b.receipts {
		list = append(list, e.copy())
	}
	slices.SortFunc(list, func(x, y *Receipt) int {
		return cmp.Or(x.Changed.Compare(y.Changed), slices.Compare(x.InfoHash[:], y.InfoHash[:]))
	})
	return list
}

// Get returns a copy of a torrent's receipt; nil = it has none.
func (b *Book) Get(tag [20]byte) *Receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.receipts[tag]; e != nil {
		return e.copy()
	}
	return nil
}

func (e *entry) copy() *Receipt {
	r := e.Receipt
	r.Lines = make([]*Line, len(e.Lines))
	for i, l := range e.Lines {
		c := *l
		c.Channels = slices.Clone(l.Channels)
		r.Lines[i] = &c
	}
	return &r
}

// Save writes what changed since the last call, durably.
func (b *Book) Save() error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	var list []*Receipt
	for _, e := range b.receipts {
		if e.dirty {
			e.dirty = false
			list = append(list, e.copy())
		}
	}
	b.mu.Unlock()
	var errs []error
	for _, r := range list {
		if err := b.replace(r); err != nil {
			errs = append(errs, err)
			b.mu.Lock()
			b.receipts[r.InfoHash].dirty = true
			b.mu.Unlock()
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("save receipts: %w", err)
	}
	return nil
}

// replace writes a receipt's file.
func (b *Book) replace(r *Receipt) error {
	text, err := r.Encode()
	if err != nil {
		return err
	}
	return durable.Write(b.dir, r.InfoHash.String()+suffix, text)
}
