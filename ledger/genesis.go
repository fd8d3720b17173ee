package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bttnet/btt/amount"
)

// Limits of a genesis.
const (
	MaxGenesisBytes = 8 << 20 // of its JSON text
	MaxName         = 64      // bytes of a network or share name
	MaxShares       = 256
	MaxGrants       = 1 << 16 // outputs of all shares together
	// MaxRelease is the longest time until a grant may be spent, in seconds.
	MaxRelease = 100 * 365 * 86400
)

// Defaults of Params.
const (
	DefaultMinOutput amount.Amount = 1000       // micro-BTT
	DefaultMaxLock   uint64        = 30 * 86400 // seconds
	DefaultClamp     uint64        = 30         // seconds
	DefaultMaxParked uint32        = 1 << 20
)

// MaxReplacements is how often the parked transaction of one outpoint may be
// replaced (LR5).
const MaxReplacements = 64

// Params are the consensus parameters, fixed by the genesis. Times are in
// seconds of ledger time.
type Params struct {
	MinOutput amount.Amount `json:"min_output"` // smallest output
	MaxLock   uint64        `json:"max_lock"`   // farthest lock time of a parked transaction
	Clamp     uint64        `json:"clamp"`      // G: most that one block advances ledger time (LR6)
	MaxParked uint32        `json:"max_parked"` // most parked transactions
	Operators []PublicKey   `json:"operators"`  // mint keys, ascending (may be empty: no mint)
	Threshold int           `json:"threshold"`  // how many of them sign a mint
}

// DefaultParams returns the parameters of the reference design, without
// operators.
func DefaultParams() Params {
	return Params{MinOutput: DefaultMinOutput, MaxLock: DefaultMaxLock, Clamp: DefaultClamp, MaxParked: DefaultMaxParked}
}

// Grant is one output of a share.
type Grant struct {
	Address Address       `json:"address"`
	Amount  amount.Amount `json:"amount"`
	// NotBefore is the ledger time from which the coin may be spent; 0 = at once.
	// Several grants with rising times release a share gradually (R14.14).
	NotBefore uint64 `json:"not_before,omitempty"`
}

// Share is a named part of the supply.
type Share struct {
	Name   string  `json:"name"`
	Grants []Grant `json:"grants"`
}

// Genesis starts a network. Its shares sum to exactly amount.Supply (R3.2).
type Genesis struct {
	Name   string  `json:"name"`
	Time   uint64  `json:"time"` // seconds since 1970: first block and ledger time
	Params Params  `json:"params"`
	Shares []Share `json:"shares"`
}

// ParseGenesis reads the JSON form strictly and checks it; errors wrap
// ErrGenesis.
func ParseGenesis(raw []byte) (Genesis, error) {
	var g Genesis
	if len(raw) > MaxGenesisBytes {
		return Genesis{}, fmt.Errorf("parse genesis of %d bytes (at most %d): %w", len(raw), MaxGenesisBytes, ErrGenesis)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		return Genesis{}, fmt.Errorf("parse genesis: %w: %w", ErrGenesis, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Genesis{}, fmt.Errorf("parse genesis: text after the end: %w", ErrGenesis)
	}
	if err := g.Validate(); err != nil {
		return Genesis{}, err
	}
	return g, nil
}

// Validate checks names, parameters, grants and the exact sum of all shares;
// errors wrap ErrGenesis.
func (g *Genesis) Validate() error {
	if err := g.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	return nil
}

func (g *Genesis) validate() error {
	if g.Name == "" || len(g.Name) > MaxName {
		return fmt.Errorf("network name of %d bytes, want 1 to %d", len(g.Name), MaxName)
	}
	if g.Time > 1<<62 {
		return errors.New("time is too far in the future")
	}
	if err := g.Params.validate(); err != nil {
		return err
	}
	if len(g.Shares) > MaxShares {
		return fmt.Errorf("%d shares, at most %d", len(g.Shares), MaxShares)
	}
	names := make(map[string]bool, len(g.Shares))
	grants, total := 0, amount.Amount(0)
	for _, s := range g.Shares {
		if s.Name == "" || len(s.Name) > MaxName || names[s.Name] {
			return fmt.Errorf("share name %.64q is empty, too long or used twice", s.Name)
		}
		names[s.Name] = true
		if grants += len(s.Grants); grants > MaxGrants {
			return fmt.Errorf("more than %d grants", MaxGrants)
		}
		for _, c := range s.Grants {
			if c.Amount < g.Params.MinOutput || c.Address.IsZero() {
				return fmt.Errorf("share %q has a grant under the smallest output or to nobody", s.Name)
			}
			if c.NotBefore > g.Time+MaxRelease {
				return fmt.Errorf("share %q has a grant that is released more than a hundred years after the genesis", s.Name)
			}
			var err error
			if total, err = total.Add(c.Amount); err != nil {
				return fmt.Errorf("share %q exceeds the supply: %w", s.Name, err)
			}
		}
	}
	if total != amount.Supply {
		return fmt.Errorf("shares sum to %s, not to the supply of %s", total, amount.Supply)
	}
	return nil
}

func (p *Params) validate() error {
	if p.MinOutput < 1 || p.MinOutput > amount.BTT {
		return fmt.Errorf("min_output %s outside 0.000001 .. 1 BTT", p.MinOutput)
	}
	if p.MaxLock < 1 || p.MaxLock > 10*365*86400 || p.Clamp < 1 || p.Clamp > 3600 {
		return errors.New("max_lock outside 1 s .. 10 years or clamp outside 1 s .. 1 h")
	}
	if p.MaxParked < 1 {
		return errors.New("max_parked is 0")
	}
	if len(p.Operators) > MaxOperators || p.Threshold < 0 || p.Threshold > len(p.Operators) ||
		(len(p.Operators) > 0 && p.Threshold < 1) {
		return fmt.Errorf("threshold %d of %d operators (at most %d)", p.Threshold, len(p.Operators), MaxOperators)
	}
	for i, k := range p.Operators {
		if !k.Valid() {
			return fmt.Errorf("operator %d is no public key", i)
		}
		if i > 0 && bytes.Compare(p.Operators[i-1][:], k[:]) >= 0 {
			return errors.New("operators are not in ascending order")
		}
	}
	return nil
}

// scheduled reports whether any grant is released later.
func (g *Genesis) scheduled() bool {
	return slices.ContainsFunc(g.Shares, func(s Share) bool {
		return slices.ContainsFunc(s.Grants, func(c Grant) bool { return c.NotBefore != 0 })
	})
}

// Hash returns the network identifier: tagged SHA-256 over the canonical
// binary form of all fields. Its first byte is 2 when any grant is released
// later: each grant has its NotBefore then.
func (g *Genesis) Hash() Network {
	b := []byte{txVersion}
	scheduled := g.scheduled()
	if scheduled {
		b[0] = 2
	}
	b = appendText(b, g.Name)
	b = binary.BigEndian.AppendUint64(b, g.Time)
	b = binary.BigEndian.AppendUint64(b, uint64(g.Params.MinOutput))
	b = binary.BigEndian.AppendUint64(b, g.Params.MaxLock)
	b = binary.BigEndian.AppendUint64(b, g.Params.Clamp)
	b = binary.BigEndian.AppendUint32(b, g.Params.MaxParked)
	b = binary.BigEndian.AppendUint32(b, uint32(g.Params.Threshold))
	b = binary.BigEndian.AppendUint32(b, uint32(len(g.Params.Operators)))
	for _, k := range g.Params.Operators {
		b = append(b, k[:]...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(g.Shares)))
	for _, s := range g.Shares {
		b = appendText(b, s.Name)
		b = binary.BigEndian.AppendUint32(b, uint32(len(s.Grants)))
		for _, c := range s.Grants {
			b = append(b, c.Address[:]...)
			b = binary.BigEndian.AppendUint64(b, uint64(c.Amount))
			if scheduled {
				b = binary.BigEndian.AppendUint64(b, c.NotBefore)
			}
		}
	}
	h := tagged(tagGenesis)
	h.Write(b)
	var n Network
	h.Sum(n[:0])
	return n
}

// Coins returns the outputs of all shares in order. Their transaction id is
// derived from the network; no transaction has it.
func (g *Genesis) Coins() []Coin {
	net := g.Hash()
	h := tagged(tagShare)
	h.Write(net[:])
	var id TxID
	h.Sum(id[:0])
	var list []Coin
	for _, s := range g.Shares {
		for _, c := range s.Grants {
			o := OutPoint{TxID: id, Index: uint16(len(list))}
			list = append(list, Coin{OutPoint: o, Amount: c.Amount, Lock: PayTo(c.Address), NotBefore: c.NotBefore})
		}
	}
	return list
}

// Releases returns the coins that may not be spent at once and the ledger time
// from which they may; nil when there are none.
func (g *Genesis) Releases() map[OutPoint]uint64 {
	if !g.scheduled() {
		return nil
	}
	list := map[OutPoint]uint64{}
	for _, c := range g.Coins() {
		if c.NotBefore != 0 {
			list[c.OutPoint] = c.NotBefore
		}
	}
	return list
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
