package receipts

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// Named limits of receipts.
const (
	// MaxLines is the number of accounts with a line of their own in one
	// receipt; what others move is booked on one line without an account.
	MaxLines = 1024
	// MaxChannels is the number of channels of one receipt that ended: twice as many as
	// the channels' own journal keeps, so that none of which the end is told again is
	// forgotten.
	MaxChannels = 8192
	// maxOpen is the number of the others, more than a node can have at once.
	maxOpen = 32 << 10
	// maxBytes is where the count of what a line paid for stops: all lines together are
	// no more than fits.
	maxBytes = 1 << 52
	// MaxFile is the size of a receipt's file in bytes.
	MaxFile = 4 << 20
	// MaxName is the length of a torrent's name in bytes.
	MaxName = 1024
)

// formatVersion is the version of the files.
const formatVersion = 1

// ErrFormat says that a file is no receipt that this version reads.
var ErrFormat = errors.New("not a receipt of this version")

// Role says which way the money of a line went.
type Role string

// Roles of a line.
const (
	Paid   Role = "paid"   // by us, to a provider
	Earned Role = "earned" // by us, from a requester
)

// Hash is a torrent's info hash, in hexadecimal in JSON.
type Hash [20]byte

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("read info hash: %d characters, want %d", len(text), 2*len(h))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Receipt is what one torrent moved. The zero Hash holds channels of which
// nothing was booked before they ended.
type Receipt struct {
	Version  int       `json:"version"`
	InfoHash Hash      `json:"infohash"`
	Name     string    `json:"name,omitempty"`
	Size     int64     `json:"size,omitempty"` // bytes
	Began    time.Time `json:"began"`
	Changed  time.Time `json:"changed"`
	Lines    []*Line   `json:"lines"`
	// Plain is what came from peers that take no part in the market.
	Plain Traffic `json:"plain"`
}

// Traffic is what came for nothing.
type Traffic struct {
	Bytes   int64 `json:"bytes"`   // verified
	Seconds int64 `json:"seconds"` // with a slot and requests, summed over peers
	Peers   int   `json:"peers,omitempty"`
}

// Line is one account of a receipt.
type Line struct {
	Role    Role           `json:"role"`
	Account ledger.Address `json:"account"`        // zero: accounts beyond MaxLines, or unknown
	Peer    string         `json:"peer,omitempty"` // its address, the last seen
	Bytes   int64          `json:"bytes"`          // verified and paid
	Sum     amount.Amount  `json:"sum"`            // of all payments
	// Adjusted is what the ledger moved beyond Sum, in µBTT; less than 0 if it
	// moved less.
	Adjusted int64     `json:"adjusted_microbtt,omitempty"`
	Channels []Channel `json:"channels,omitempty"`
	// Free is what the same account sent us without a price.
	Free        Traffic `json:"free"`
	PaidSeconds int64   `json:"paid_seconds,omitempty"`
	Deals       int     `json:"deals,omitempty"` // prices that were told
	Last        Deal    `json:"last"`
	Lowest      Price   `json:"lowest,omitempty"`
	Highest     Price   `json:"highest,omitempty"`
	// Rounds is how often a provider's price was looked at beside our bid, Parts the
	// sum over them of price / bid, in parts per million. A part that is always near
	// the whole may be an invented losing bid, or another's that is as high.
	Rounds int   `json:"rounds,omitempty"`
	Parts  int64 `json:"parts,omitempty"`

	of *entry // the receipt that the line is in
}

// Price is a price in receipts: µBTT per GiB, as a number.
type Price int64

// Share is price / bid on average over the rounds that were looked at, in parts per
// million; false without any.
func (l *Line) Share() (ppm int64, ok bool) {
	if l.Rounds <= 0 {
		return 0, false
	}
	return l.Parts / int64(l.Rounds), true
}

// Deal is one price and what it rests on.
type Deal struct {
	Price Price `json:"price"`
	// Bid is what was bid when the price was told. For a line that earned it
	// is the other side's.
	Bid Price `json:"bid"`
	// Reserve is the reserve price that the provider had told; -1 = none.
	Reserve Price `json:"reserve"`
}

// Losing is the highest losing bid that the price implies: a price above the
// reserve price can come from a losing bid only (R10.20). known is false for
// a price that the reserve alone explains.
func (d Deal) Losing() (losing Price, known bool) {
	if d.Price > max(d.Reserve, 0) {
		return d.Price, true
	}
	return 0, false
}

// Channel is what a line moved in one payment channel.
type Channel struct {
	ID    ID            `json:"id"`
	Sum   amount.Amount `json:"sum"`
	Ended bool          `json:"ended,omitempty"` // counted against the ledger
	// Order counts the ends of the receipt's channels; 0 = it was not counted, or it did
	// not end.
	Order int64 `json:"order,omitempty"`
}

// ID is a channel's id, in hexadecimal in JSON.
type ID channel.ID

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("read channel id: %d characters, want %d", len(text), 2*len(id))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Total is what the line moved by now.
func (l *Line) Total() amount.Amount { return l.Sum + amount.Amount(l.Adjusted) }

// Totals are the sums of a receipt, or of several.
type Totals struct {
	Paid        amount.Amount `json:"paid"`
	Earned      amount.Amount `json:"earned"`
	PaidBytes   int64         `json:"paid_bytes"`
	EarnedBytes int64         `json:"earned_bytes"`
	FreeBytes   int64         `json:"free_bytes"` // came for nothing
	PaidSeconds int64         `json:"paid_seconds"`
	FreeSeconds int64         `json:"free_seconds"`
}

// Totals returns the receipt's sums.
func (r *Receipt) Totals() Totals {
	t := Totals{FreeBytes: r.Plain.Bytes, FreeSeconds: r.Plain.Seconds}
	for _, l := range r.Lines {
		t.FreeBytes += l.Free.Bytes
		t.FreeSeconds += l.Free.Seconds
		t.PaidSeconds += l.PaidSeconds
		if l.Role == Paid {
			t.Paid += l.Total()
			t.PaidBytes += l.Bytes
		} else {
			t.Earned += l.Total()
			t.EarnedBytes += l.Bytes
		}
	}
	return t
}

// Since returns what moved since an earlier state of the receipt, nil = none, without
// what made good for it: where the ledger moved more than was booked, a crash lost what an
// earlier run of the node had booked.
func (r *Receipt) Since(old *Receipt) Totals {
	type key struct {
		role    Role
		account ledger.Address
	}
	before, adjusted := Totals{}, map[key]int64{}
	if old != nil {
		before = old.Totals()
		for _, l := range old.Lines {
			adjusted[key{l.Role, l.Account}] = l.Adjusted
		}
	}
	t := r.Totals()
	for _, l := range r.Lines {
		late := amount.Amount(max(l.Adjusted-adjusted[key{l.Role, l.Account}], 0))
		if l.Role == Paid {
			t.Paid -= late
		} else {
			t.Earned -= late
		}
	}
	return Totals{Paid: max(t.Paid-before.Paid, 0), Earned: max(t.Earned-before.Earned, 0), PaidBytes: max(t.PaidBytes-before.PaidBytes, 0),
		EarnedBytes: max(t.EarnedBytes-before.EarnedBytes, 0), FreeBytes: max(t.FreeBytes-before.FreeBytes, 0),
		PaidSeconds: max(t.PaidSeconds-before.PaidSeconds, 0), FreeSeconds: max(t.FreeSeconds-before.FreeSeconds, 0)}
}

// Encode returns the receipt's file.
func (r *Receipt) Encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("encode receipt of %s: %d bytes, its limit is %d", r.InfoHash, len(b), MaxFile)
	}
	return append(b, '\n'), nil
}

// Decode reads a receipt's file. Bad input is an error that wraps
// [ErrFormat].
func Decode(b []byte) (*Receipt, error) {
	if len(b) > MaxFile+1 {
		return nil, fmt.Errorf("read receipt: %w: longer than %d bytes", ErrFormat, MaxFile)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	r := new(Receipt)
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("read receipt: %w: %w", ErrFormat, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read receipt: %w: data after its end", ErrFormat)
	}
	return r, r.check()
}

func (r *Receipt) check() error {
	bad := func(what string) error { return fmt.Errorf("read receipt: %w: %s", ErrFormat, what) }
	switch {
	case r.Version != formatVersion:
		return bad("unknown version")
	case len(r.Name) > MaxName:
		return bad("name is too long")
	case len(r.Lines) > MaxLines+2:
		return bad("too many lines")
	}
	open, ended := 0, 0
	for _, l := range r.Lines {
		o, n := lineChannels(l)
		open, ended = open+o, ended+n
		switch {
		case l == nil || l.Role != Paid && l.Role != Earned:
			return bad("line without a role")
		case l.Sum < 0 || l.Sum > amount.Supply || l.Adjusted < -int64(amount.Supply) || l.Adjusted > int64(amount.Supply):
			return bad("sum out of range")
		case l.Rounds < 0 || l.Parts < 0 || l.Parts > int64(l.Rounds)*1_000_000:
			return bad("price and bid out of range")
		case l.Bytes < 0 || l.Free.Bytes < 0 || open > maxOpen || ended > MaxChannels:
			return bad("count out of range")
		}
	}
	return nil
}

func lineChannels(l *Line) (open, ended int) {
	if l == nil {
		return 0, 0
	}
	for i := range l.Channels {
		if l.Channels[i].Ended {
			ended++
		}
	}
	return len(l.Channels) - ended, ended
}
