package speed

import (
	"net/netip"
	"time"

	"github.com/bttnet/btt/ledger"
)

// Defaults of payment penalties (R12.1-R12.3, A25).
const (
	// PenaltyBase is how long a first failure makes a peer ineligible; each
	// further one doubles it.
	PenaltyBase = time.Minute
	// PenaltyMax is the longest penalty.
	PenaltyMax = 24 * time.Hour
	// PenaltyForget is how long after its end a penalty is remembered, so
	// that the next one doubles it.
	PenaltyForget = 24 * time.Hour
	// BanAfter is the number of failures in a row from which a peer is also
	// disconnected and refused for the penalty's time.
	BanAfter = 3
	// MaxPenalties is the greatest number of accounts and, apart from them,
	// of addresses remembered. Beyond it the penalty that ends first gives
	// way.
	MaxPenalties = 4096
)

// ipv6Prefix is the part of an IPv6 address that is judged: the rest is the
// peer's to choose.
const ipv6Prefix = 64

// Penalties remembers who won a slot and did not open a channel or did not
// pay. A peer is judged by its account and by its address: a fresh account
// from the same address gets no fresh start, nor does the account elsewhere.
// The zero value is ready. Not safe for concurrent use; the client's session
// owns one.
type Penalties struct {
	accounts  map[ledger.Address]penalty
	addresses map[netip.Addr]penalty
}

// penalty is one record.
type penalty struct {
	failures int       // in a row
	until    time.Time // not eligible before
	excused  bool      // its one excuse is used
	pardoned time.Time // when it was let off last
	spoiled  time.Time // refused until then, for data that failed its hash
}

// Verdict says what a failure leads to.
type Verdict struct {
	Failures int       // in a row, the greater of account and address
	Until    time.Time // not eligible before
	Ban      bool      // disconnect now and refuse until then
}

// Fail records a payment failure: no channel in time, or a payment missed.
func (p *Penalties) Fail(now time.Time, account ledger.Address, addr netip.Addr) Verdict {
	if p.accounts == nil {
		p.accounts, p.addresses = map[ledger.Address]penalty{}, map[netip.Addr]penalty{}
	}
	var worst penalty
	if !account.IsZero() {
		worst = fail(p.accounts, account, now)
	}
	if addr.IsValid() {
		if r := fail(p.addresses, Block(addr), now); r.until.After(worst.until) {
			worst = r
		}
	}
	return Verdict{Failures: worst.failures, Until: worst.until, Ban: worst.failures >= BanAfter}
}

// Excuse records that a peer left a payment out for a reason that may be true and
// cannot be checked, such as a ledger out of its reach: it is not eligible for
// PenaltyBase, so that no connection brings another piece at once, and it is no
// failure. Each peer has one excuse until its record is forgotten or it paid; Excuse
// returns false, and records nothing, if that is used.
func (p *Penalties) Excuse(now time.Time, account ledger.Address, addr netip.Addr) bool {
	if p.used(now, account, addr) {
		return false
	}
	if p.accounts == nil {
		p.accounts, p.addresses = map[ledger.Address]penalty{}, map[netip.Addr]penalty{}
	}
	if !account.IsZero() {
		excuse(p.accounts, account, now)
	}
	if addr.IsValid() {
		excuse(p.addresses, Block(addr), now)
	}
	return true
}

// Pardon lets a peer off that left with something unpaid before it could prove to be a
// payer, as one does that was killed, and reports whether it may: not one that failed or
// was let off less than PenaltyForget ago, by its account or by its address. From then
// on it is [Penalties.Guarded].
func (p *Penalties) Pardon(now time.Time, account ledger.Address, addr netip.Addr) bool {
	a, b := p.accounts[account], p.addresses[Block(addr)]
	if p.Guarded(now, account, addr) || a.failures > 0 && !a.forgotten(now) || b.failures > 0 && !b.forgotten(now) {
		return false
	}
	if p.accounts == nil {
		p.accounts, p.addresses = map[ledger.Address]penalty{}, map[netip.Addr]penalty{}
	}
	if !account.IsZero() {
		pardon(p.accounts, account, now)
	}
	if addr.IsValid() {
		pardon(p.addresses, Block(addr), now)
	}
	return true
}

// SpoilFor is how long an address is refused that sent data that failed its hash (R12.4).
const SpoilFor = time.Hour

// Spoil records that an address sent data that failed its hash: connections with it are
// refused for SpoilFor. No payment ends that.
func (p *Penalties) Spoil(now time.Time, addr netip.Addr) {
	if !addr.IsValid() {
		return
	}
	if p.accounts == nil {
		p.accounts, p.addresses = map[ledger.Address]penalty{}, map[netip.Addr]penalty{}
	}
	key := Block(addr)
	r, known := p.addresses[key]
	if known && r.forgotten(now) {
		r = penalty{}
	}
	if !known && len(p.addresses) >= MaxPenalties {
		evict(p.addresses, now)
	}
	r.spoiled = now.Add(SpoilFor)
	p.addresses[key] = r
}

// Guarded reports whether a peer is to be served nothing before its channel is open: it
// left before that less than PenaltyForget ago. A payment does not end it, for it costs
// nothing to who pays.
func (p *Penalties) Guarded(now time.Time, account ledger.Address, addr netip.Addr) bool {
	return now.Before(p.accounts[account].pardoned.Add(PenaltyForget)) || now.Before(p.addresses[Block(addr)].pardoned.Add(PenaltyForget))
}

// used reports whether a peer has no excuse any more.
func (p *Penalties) used(now time.Time, account ledger.Address, addr netip.Addr) bool {
	a, b := p.accounts[account], p.addresses[Block(addr)]
	return a.excused && !a.forgotten(now) || b.excused && !b.forgotten(now)
}

// Eligible reports whether the peer may take part in auctions now. Set
// choker.Candidate.Speed by it.
func (p *Penalties) Eligible(now time.Time, account ledger.Address, addr netip.Addr) bool {
	return !now.Before(p.accounts[account].until) && !now.Before(p.addresses[Block(addr)].until)
}

// Banned reports whether a connection is to be refused or closed now. account
// is zero while it is not known.
func (p *Penalties) Banned(now time.Time, account ledger.Address, addr netip.Addr) bool {
	return p.accounts[account].bans(now) || p.addresses[Block(addr)].bans(now)
}

// Paid forgives the peer: a payment in full ends the row of failures. It reports whether
// there was one.
func (p *Penalties) Paid(account ledger.Address, addr netip.Addr) bool {
	forgiven := forgive(p.accounts, account)
	return forgive(p.addresses, Block(addr)) || forgiven
}

func forgive[K comparable](m map[K]penalty, key K) bool {
	r, known := m[key]
	left := penalty{pardoned: r.pardoned, spoiled: r.spoiled}
	switch {
	case !known || r == left:
		return false
	case left == penalty{}:
		delete(m, key)
	default:
		m[key] = left
	}
	return true
}

// Len returns the number of records kept, for metrics.
func (p *Penalties) Len() int { return len(p.accounts) + len(p.addresses) }

func (r penalty) bans(now time.Time) bool {
	return r.failures >= BanAfter && now.Before(r.until) || now.Before(r.spoiled)
}

// end is when the last bar of the record is over.
func (r penalty) end() time.Time {
	if r.spoiled.After(r.until) {
		return r.spoiled
	}
	return r.until
}

// forgotten reports whether the record has no effect any more.
func (r penalty) forgotten(now time.Time) bool {
	return !now.Before(r.until.Add(PenaltyForget)) && !now.Before(r.pardoned.Add(PenaltyForget)) && !now.Before(r.spoiled)
}

// fail adds one failure to a record and keeps the map within MaxPenalties.
func fail[K comparable](m map[K]penalty, key K, now time.Time) penalty {
	r, known := m[key]
	if known && r.forgotten(now) {
		r = penalty{}
	}
	if !known && len(m) >= MaxPenalties {
		evict(m, now)
	}
	length := PenaltyMax
	if r.failures < 16 {
		length = min(PenaltyMax, PenaltyBase<<r.failures)
	}
	r.failures++
	if until := now.Add(length); until.After(r.until) {
		r.until = until
	}
	m[key] = r
	return r
}

func excuse[K comparable](m map[K]penalty, key K, now time.Time) {
	r, known := m[key]
	if known && r.forgotten(now) {
		r = penalty{}
	}
	if !known && len(m) >= MaxPenalties {
		evict(m, now)
	}
	r.excused = true
	if until := now.Add(PenaltyBase); until.After(r.until) {
		r.until = until
	}
	m[key] = r
}

func pardon[K comparable](m map[K]penalty, key K, now time.Time) {
	r, known := m[key]
	if known && r.forgotten(now) {
		r = penalty{}
	}
	if !known && len(m) >= MaxPenalties {
		evict(m, now)
	}
	r.pardoned = now
	m[key] = r
}

// evict drops forgotten records, or else the one that ends first.
func evict[K comparable](m map[K]penalty, now time.Time) {
	var first K
	var least penalty
	found := false
	for k, r := range m {
		if r.forgotten(now) {
			delete(m, k)
			continue
		}
		if !found || r.end().Before(least.end()) {
			first, least, found = k, r, true
		}
	}
	if len(m) >= MaxPenalties {
		delete(m, first)
	}
}

// Block returns the unit of addresses that is judged: an IPv4 address, or the
// network part of an IPv6 address.
func Block(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		prefix, _ := a.Prefix(ipv6Prefix) // cannot fail: 64 ≤ 128
		return prefix.Addr()
	}
	return a
}
