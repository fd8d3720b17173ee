package payments

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
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
	Worth    amount.Amount    `json:"worth,omitzero"`     // of Unpaid, at the prices of then; 0 = not known
	Forgiven int64            `json:"forgiven,omitempty"` // written off
	Beyond   int64            `json:"beyond,omitempty"`   // beyond what is forgiven, no failure yet
	Strikes  int              `json:"strikes,omitempty"`  // failed payments in a row
	Bans     int              `json:"bans,omitempty"`     // that followed
	Since    int64            `json:"since,omitempty"`    // Paid at the last failure
	Until    time.Time        `json:"until,omitzero"`     // no channel opens before
	Changed  time.Time        `json:"changed"`            // when the last of this came
}

// weight says how much is lost with the record of an account when it is forgotten.
type weight struct {
	bans, strikes int
	taken         int64 // bytes left unpaid beyond the share of what was paid
	paid          int64
	changed       time.Time
}

// compare orders by weight, the least first. Of equal ones the later counts for less: who
// comes in numbers pushes out its own.
func (w weight) compare(o weight) int {
	return cmp.Or(cmp.Compare(w.bans, o.bans), cmp.Compare(w.strikes, o.strikes), cmp.Compare(w.taken, o.taken),
		cmp.Compare(w.paid, o.paid), o.changed.Compare(w.changed))
}

func (d *Debtor) weight() weight {
	return weight{bans: d.Bans, strikes: d.Strikes, taken: max(0, d.Unpaid+d.Forgiven-d.Paid/share), paid: d.Paid, changed: d.Changed}
}

// weigh is the weight of a record; whatever was long ago has none. The caller holds
// Book.mu.
func (s *standing) weigh(now time.Time) weight {
	d := s.debtor()
	if !now.Before(d.Until) && now.Sub(d.Changed) >= DebtorForget {
		return weight{paid: d.Paid}
	}
	return d.weight()
}

// debtor is what a record says. The caller holds Book.mu.
func (s *standing) debtor() Debtor {
	d := Debtor{Paid: s.history.Load(), Strikes: s.strikes, Bans: s.bans, Since: s.since, Until: s.until}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Unpaid, d.Worth, d.Forgiven, d.Beyond, d.Changed = s.debt, s.worth, s.forgiven, s.beyond, s.changed
	return d
}

// forget makes room for more records. Those of accounts that are connected or have channels
// stay, of which there are MaxPairs at most. Such as say nothing go, which is all that names
// bring that never paid; and of more than maxAccounts others those of the least weight. To
// push a debtor out so costs as many accounts as are remembered, each of which paid for a
// channel and left more unpaid. The caller holds mu.
func (b *Book) forget() {
	type record struct {
		account ledger.PublicKey
		weight  weight
	}
	var list []record
	now := b.cfg.Now()
	for account, s := range b.accounts {
		if b.pairs[pairKey{account, channel.RolePayee}] != nil {
			continue
		}
		if w := s.weigh(now); w != (weight{}) {
			list = append(list, record{account, w})
		} else {
			delete(b.accounts, account)
		}
	}
	if surplus := len(list) - maxAccounts; surplus > 0 {
		slices.SortFunc(list, func(a, b record) int { return a.weight.compare(b.weight) })
		for _, r := range list[:surplus] {
			delete(b.accounts, r.account)
		}
	}
	b.full = len(b.accounts) + moreAccounts
}

// Debtors returns the accounts that left something unpaid or failed, at most MaxDebtors,
// those that weigh most before the others. What was paid alone makes nobody a debtor.
func (b *Book) Debtors() (list []Debtor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	for account, s := range b.accounts {
		d := s.debtor()
		d.Account = account
		if !d.Changed.IsZero() && now.Sub(d.Changed) < DebtorForget {
			list = append(list, d)
		}
	}
	if len(list) > MaxDebtors {
		slices.SortFunc(list, func(a, b Debtor) int { return b.weight().compare(a.weight()) })
		list = list[:MaxDebtors]
	}
	slices.SortFunc(list, func(a, b Debtor) int {
		return cmp.Or(b.Changed.Compare(a.Changed), slices.Compare(a.Account[:], b.Account[:]))
	})
	return list
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
		if s.debt, s.worth = d.Unpaid, 0; d.Unpaid > 0 {
			s.worth = d.Worth
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
	return d.Worth.Valid() && d.Strikes >= 0 && d.Strikes <= maxStrikes && d.Bans >= 0 && d.Bans <= maxStrikes
}

// add changes the sum of the debts, and what they are worth: of those that go their part.
// The caller holds mu.
func (s *standing) add(bytes int64, worth amount.Amount) {
	if bytes < 0 {
		worth = -s.worthOf(-bytes)
	}
	s.debt += bytes
	s.worth = min(max(0, s.worth+worth), amount.Supply)
}

// worthOf is what so many of the bytes that are owed are worth, rounded down. The caller
// holds mu.
func (s *standing) worthOf(bytes int64) amount.Amount {
	switch {
	case bytes <= 0:
		return 0
	case bytes >= s.debt:
		return s.worth
	}
	hi, lo := bits.Mul64(uint64(s.worth), uint64(bytes))
	part, _ := bits.Div64(hi, lo, uint64(s.debt)) // less than worth
	return amount.Amount(part)
}

// redeem books a payment for a connection that ended in an earlier run: what may be owed
// since then is owed for no torrent in particular, and this run does not know at what price
// it was served. So it makes good no more than such a part of the debts as their worth is
// of money; redeem returns how much of that it took.
func (s *standing) redeem(bytes int64, money amount.Amount) (taken amount.Amount) {
	s.mu.Lock()
	bytes = min(bytes, s.debts[channel.Tag{}])
	if 0 <= money && money < s.worth { // of none that an earlier version wrote
		hi, lo := bits.Mul64(uint64(money), uint64(s.debt))
		most, _ := bits.Div64(hi, lo, uint64(s.worth)) // less than debt
		bytes = min(bytes, int64(most))
	}
	if bytes > 0 {
		taken = s.worthOf(bytes)
	}
	s.mu.Unlock()
	s.take(channel.Tag{}, bytes)
	return taken
}

// Unclaimed returns the bytes served at a price to a peer that never proved to be
// an account on this link. While this node cannot reach the ledger it is 0.
func (l *Link) Unclaimed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sale.proven || l.book.head.out(l.book.cfg.Now()) {
		return 0
	}
	return l.due()
}

// Untrusted reports whether a payer leaves with more unpaid than its account ever paid
// here: as far as is known, that was made for it. While this node cannot reach the ledger
// it is false.
func (l *Link) Untrusted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sale.debtor != nil && l.due() > l.sale.debtor.history.Load() && !l.book.head.out(l.book.cfg.Now())
}

// rest returns what a proven account did not pay of this link, which ends, in bytes and by
// its place in the stream; nil = nothing.
func (l *Link) rest() (debt int64, left *rest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if debt = l.due(); debt <= 0 || !l.sale.proven {
		return 0, nil
	}
	return debt, &rest{tariff: l.sale.tariff, paid: l.sale.paid, served: l.served.Load()}
}

// Due returns the bytes served at a price that are not paid yet.
func (l *Link) Due() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due()
}

// due is Due. What was served at a price stays due when the price falls to 0. The caller
// holds mu.
func (l *Link) due() int64 { return l.sale.tariff.Priced(l.sale.paid, l.served.Load()) }

// tag is what a connection that ends owes for.
func (l *Link) tag() channel.Tag {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sale.joined {
		return channel.Tag(l.cfg.Infohash)
	}
	return loose
}
