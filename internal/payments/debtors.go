package payments

import (
	"cmp"
	"slices"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

const (
	// MaxDebtors is the number of accounts that [Book.Debtors] returns, and
	// [Book.SetDebtors] takes.
	MaxDebtors = maxAccounts
	// DebtorForget is how long after its last debt or failure an account is remembered
	// over restarts.
	DebtorForget = MaxBanTime
	// maxCounted bounds each count of bytes, maxStrikes the others.
	maxCounted = 1 << 50
	maxStrikes = 1 << 10
)

// Debtor is what is remembered over a restart of an account that left something unpaid.
type Debtor struct {
	Account  ledger.PublicKey `json:"account"`
	Paid     int64            `json:"paid,omitempty"`     // bytes, of all runs that knew it
	Unpaid   int64            `json:"unpaid,omitempty"`   // of connections that ended, not judged yet
	Forgiven int64            `json:"forgiven,omitempty"` // written off
	Beyond   int64            `json:"beyond,omitempty"`   // beyond what is forgiven, no failure yet
	Strikes  int              `json:"strikes,omitempty"`  // failed payments in a row
	Bans     int              `json:"bans,omitempty"`     // that followed
	Since    int64            `json:"since,omitempty"`    // Paid at the last failure
	Until    time.Time        `json:"until,omitzero"`     // no channel opens before
	Changed  time.Time        `json:"changed"`            // when the last of this came
}

// Debtors returns the accounts that left something unpaid or failed, at most MaxDebtors,
// those that did of late before the others. What was paid alone makes nobody a debtor.
func (b *Book) Debtors() (list []Debtor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	for account, s := range b.accounts {
		d := Debtor{Account: account, Paid: s.history.Load(), Strikes: s.strikes, Bans: s.bans, Since: s.since, Until: s.until}
		s.mu.Lock()
		d.Unpaid, d.Forgiven, d.Beyond, d.Changed = s.debt, s.forgiven, s.beyond, s.changed
		s.mu.Unlock()
		if !d.Changed.IsZero() && now.Sub(d.Changed) < DebtorForget {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b Debtor) int {
		return cmp.Or(b.Changed.Compare(a.Changed), slices.Compare(a.Account[:], b.Account[:]))
	})
	return list[:min(len(list), MaxDebtors)]
}

// SetDebtors takes what an earlier run remembered, before anybody is served. What is
// over, makes no sense or is more than MaxDebtors is left out. An account that paid and owed
// before may be lent, spared and forgiven now what is left of that. What it owes is judged
// with its first connection that a channel pays for.
func (b *Book) SetDebtors(list []Debtor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	for _, d := range list[:min(len(list), MaxDebtors)] {
		if d.Account.IsZero() || d.Changed.After(now) || now.Sub(d.Changed) >= DebtorForget || !d.sane() {
			continue
		}
		if d.Until.After(now.Add(MaxBanTime)) {
			d.Until = now.Add(MaxBanTime)
		}
		s := b.standing(d.Account)
		s.strikes, s.bans, s.since, s.until = d.Strikes, d.Bans, min(d.Since, d.Paid), d.Until
		s.history.Store(d.Paid)
		s.mu.Lock()
		s.forgiven, s.beyond, s.changed = d.Forgiven, d.Beyond, d.Changed
		clear(s.debts)
		if s.debt = d.Unpaid; d.Unpaid > 0 {
			s.debts[channel.Tag{}] = d.Unpaid // of no torrent in particular
		}
		s.mu.Unlock()
	}
}

func (d *Debtor) sane() bool {
	for _, n := range [...]int64{d.Paid, d.Unpaid, d.Forgiven, d.Beyond, d.Since} {
		if n < 0 || n > maxCounted {
			return false
		}
	}
	return d.Strikes >= 0 && d.Strikes <= maxStrikes && d.Bans >= 0 && d.Bans <= maxStrikes
}
