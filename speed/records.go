package speed

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bttnet/btt/ledger"
)

// Penalty is the record of one account, or of one address, as it is kept over a
// restart.
type Penalty struct {
	Account  ledger.Address // zero = the record is of Addr
	Addr     netip.Addr     // as [Block] has it
	Failures int            // in a row
	Until    time.Time      // not eligible before
	Excused  bool           // its one excuse is used
	Pardoned time.Time      // see [Penalties.Pardon]
	Spoiled  time.Time      // refused until then, see [Penalties.Spoil]; of an address
}

// Records returns what is remembered at a time, at most MaxPenalties of accounts and
// as many of addresses, those that end first before the others.
func (p *Penalties) Records(now time.Time) []Penalty {
	var list []Penalty
	keep := func(r penalty, of Penalty) {
		if !r.forgotten(now) {
			of.Failures, of.Until, of.Excused, of.Pardoned, of.Spoiled = r.failures, r.until, r.excused, r.pardoned, r.spoiled
			list = append(list, of)
		}
	}
	for account, r := range p.accounts {
		keep(r, Penalty{Account: account})
	}
	for addr, r := range p.addresses {
		keep(r, Penalty{Addr: addr})
	}
	slices.SortFunc(list, func(a, b Penalty) int {
		if c := a.end().Compare(b.end()); c != 0 {
			return c
		}
		if c := a.Account.Compare(b.Account); c != 0 {
			return c
		}
		return a.Addr.Compare(b.Addr)
	})
	return list
}

func (p *Penalty) end() time.Time { return penalty{until: p.Until, spoiled: p.Spoiled}.end() }

// Restore takes records of an earlier run in the place of all that is remembered. What
// is over, names nobody or is more than MaxPenalties of a kind is left out, the first of
// the list before the others; no penalty is longer than PenaltyMax from now, whatever
// the clock said then.
func (p *Penalties) Restore(list []Penalty, now time.Time) {
	p.accounts, p.addresses = map[ledger.Address]penalty{}, map[netip.Addr]penalty{}
	for _, r := range slices.Backward(list) {
		if r.Until.After(now.Add(PenaltyMax)) {
			r.Until = now.Add(PenaltyMax)
		}
		if r.Pardoned.After(now) {
			r.Pardoned = now
		}
		if r.Spoiled.After(now.Add(SpoilFor)) {
			r.Spoiled = now.Add(SpoilFor)
		}
		kept := penalty{failures: max(0, r.Failures), until: r.Until, excused: r.Excused, pardoned: r.Pardoned, spoiled: r.Spoiled}
		switch {
		case kept.forgotten(now):
		case !r.Account.IsZero():
			restore(p.accounts, r.Account, kept)
		case r.Addr.IsValid():
			restore(p.addresses, Block(r.Addr), kept)
		}
	}
}

func restore[K comparable](m map[K]penalty, key K, r penalty) {
	if _, known := m[key]; !known && len(m) < MaxPenalties {
		m[key] = r
	}
}
