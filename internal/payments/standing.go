package payments

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// What a provider bears of bytes that stay unpaid: those that a broken connection left,
// and those that the payer of a connection in use dropped, for they came twice or were
// of a part that failed its hash with another peer's.
const (
	// share: of so many bytes paid one is lent, and forgiven, besides one quantum.
	share = 64
	// cleanQuanta is how many quanta an account pays until its failures are
	// forgotten.
	cleanQuanta = 16
	// waitingQuanta is how many quanta an account may owe that wait for the return of
	// their torrents, to be paid or judged.
	waitingQuanta = 16
)

// loose is the tag of what was served on connections that ended before a lane paid for
// them: no later one can pay it, so it is judged as soon as the payer shows itself again.
var loose = func() (t channel.Tag) {
	for i := range t {
		t[i] = 0xff
	}
	return t
}()

// standing is what this node knows of an account that buys here. It outlives the
// account's pair, or a new channel would wipe debts out.
type standing struct {
	history  atomic.Int64          // bytes paid in this run
	mu       sync.Mutex            // guards what follows; a leaf below Link.mu
	debts    map[channel.Tag]int64 // unpaid rests of closed connections
	debt     int64                 // their sum
	worth    amount.Amount         // of that, at the prices at which it was served; 0 = not known
	lent     int64                 // bytes that windows have beyond a quantum each, summed over connections
	spared   int64                 // bytes of connections in use that may stay unpaid, or failed; summed
	forgiven int64                 // bytes written off
	changed  time.Time             // when something of this, or of strikes, was last added
	beyond   int64                 // bytes beyond what is forgiven that no failure stands for yet
	// Guarded by Book.mu.
	strikes int // in a row
	bans    int
	since   int64 // history at the last failure
	until   time.Time
}

// standing returns the record of an account, made if need be. The caller holds mu.
func (b *Book) standing(account ledger.PublicKey) *standing {
	if s := b.accounts[account]; s != nil {
		return s
	}
	if len(b.accounts) >= max(b.full, maxAccounts) {
		b.forget()
	}
	s := &standing{debts: make(map[channel.Tag]int64)}
	b.accounts[account] = s
	return s
}

// owe changes what the account owes for a torrent by so many bytes; those that are added
// are worth so much. What comes on top of
// more torrents than are remembered, or of so many bytes as may wait for their torrents,
// is owed for no torrent in particular: the next connection that a channel pays for has
// it judged.
func (s *standing) owe(tag channel.Tag, bytes int64, worth amount.Amount, most int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes > 0 && (s.debt+bytes > most || s.debts[tag] == 0 && len(s.debts) >= MaxDebts) {
		tag = channel.Tag{}
	}
	old := s.debts[tag]
	if debt := old + bytes; debt > 0 {
		s.debts[tag] = debt
	} else {
		delete(s.debts, tag)
	}
	s.add(s.debts[tag]-old, worth)
	if bytes > 0 {
		s.changed = now
	}
}

// repay books a payment for bytes that a connection which ended was not paid for. The
// account owes them, or they were judged by now: then they are not written off any more,
// as if they had been paid in time; a failure that stands for them stays one.
func (s *standing) repay(tag channel.Tag, bytes int64) {
	for _, t := range [...]channel.Tag{tag, {}} {
		bytes -= s.take(t, bytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(bytes, s.forgiven)
	s.history.Add(n)
	s.forgiven -= n
	s.beyond = max(0, s.beyond-n)
}

// take books a payment for so much of what is owed for a torrent, and returns how many
// bytes that is.
func (s *standing) take(tag channel.Tag, bytes int64) int64 {
	s.mu.Lock()
	n := min(bytes, s.debts[tag])
	s.history.Add(n)
	s.mu.Unlock()
	s.owe(tag, -n, 0, 0, time.Time{})
	return n
}

// lend returns how many bytes beyond its quantum a connection may owe that had so
// many before: whole quanta, up to the limit of a window. All connections of the
// account share a 64th of what it paid, less what was ever left unpaid: what that
// account can take for nothing is never more than a quantum and that 64th,
// however often it comes back. What goes beyond is a failed payment (see forgive).
func (s *standing) lend(had, quantum, limit int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lent -= had
	n := max(0, min(limit-quantum, s.history.Load()/share-s.forgiven-s.debt-s.lent-s.spared))
	n -= n % quantum
	s.lent += n
	return n
}

// spare bears bytes that a connection left unpaid, whose window is spent and whose
// payment is late: with as much room beyond them an honest payer can finish what it
// has begun, and pay. All connections together are spared what broken ones are
// forgiven, a quantum and a share of what was paid, and only a payer is that paid so
// much that its failures would be forgotten. The connection had so much lent and
// spared before, which is part of it; spare returns what it is spared now, no more
// than before if its window would not grow by least bytes.
func (s *standing) spare(unpaid, lent, spared, quantum, least int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	paid := s.history.Load()
	n := min(unpaid, quantum+paid/share-s.forgiven-s.debt-(s.lent-lent)-(s.spared-spared))
	if paid < cleanQuanta*quantum || n < spared+lent+least {
		return spared
	}
	s.lent -= lent
	s.spared += n - spared
	return n
}

// reserve changes what connections in use may leave unpaid.
func (s *standing) reserve(bytes int64) {
	if s == nil || bytes == 0 {
		return
	}
	s.mu.Lock()
	s.spared += bytes
	s.mu.Unlock()
}

// forgive writes the debt of a torrent off. What goes beyond what broken
// connections may cost, a quantum and a share of what was paid, adds up; each whole
// quantum of it is a failed payment, of which forgive returns the bytes. A payer
// that is killed leaves a part of a piece each time, which is nobody's choice.
func (s *standing) forgive(tag channel.Tag, quantum int64) (failed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	debt := s.debts[tag]
	if debt <= 0 {
		return 0
	}
	delete(s.debts, tag)
	s.add(-debt, 0)
	grace := max(0, quantum+s.history.Load()/share-s.forgiven-s.spared)
	s.forgiven += debt
	s.beyond += max(0, debt-grace)
	if s.beyond < quantum {
		return 0
	}
	failed = s.beyond - s.beyond%quantum
	s.beyond -= failed
	return failed
}

// strike counts a failed payment of an account (R12.2). An account that no
// connection proved to be its own is zero and cannot fail.
func (b *Book) strike(account ledger.PublicKey) {
	if account.IsZero() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.standing(account)
	s.mu.Lock()
	s.changed = b.cfg.Now()
	s.mu.Unlock()
	s.since = s.history.Load()
	if s.strikes++; s.strikes%BanAfter == 0 {
		d := BanTime << min(s.bans, 20)
		s.bans++
		s.until = b.cfg.Now().Add(min(d, MaxBanTime))
	}
}

// clean reports whether the account paid enough since its last failure for its
// row of failures to end, and ends it.
func (b *Book) clean(s *standing, l *Link) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.strikes > 0 && s.history.Load()-s.since < cleanQuanta*l.quantum.Load() {
		return false
	}
	s.strikes = 0
	return true
}

// Strikes returns how many payments of an account failed in a row.
func (b *Book) Strikes(account ledger.PublicKey) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.accounts[account]; s != nil {
		return s.strikes
	}
	return 0
}

// Banned returns until when new channels of an account are refused, and whether
// they are now (R12.3).
func (b *Book) Banned(account ledger.PublicKey) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.accounts[account]
	if s == nil {
		return time.Time{}, false
	}
	return s.until, b.cfg.Now().Before(s.until)
}

// sweep finds links whose payer is late, each second (R12.1). It ends with
// the Book, or when its journal fails.
func (b *Book) sweep() {
	every := min(time.Second, max(time.Millisecond, b.cfg.PaymentTimeout/4))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		if b.broken.Load() {
			return // nobody's payment can be kept
		}
		b.mu.Lock()
		links := slices.Collect(maps.Keys(b.links))
		b.mu.Unlock()
		now := b.cfg.Now()
		for _, l := range links {
			l.sweep(now)
		}
	}
}

// sweep reports a link that served all it may and got no payment in time, once for
// each payment that is missing; if its payer may be spared that, it goes on in
// silence. While a ledger is out of reach the slot is lost and nobody is blamed.
func (l *Link) sweep(now time.Time) {
	l.mu.Lock()
	s := &l.sale
	if !l.spent() || l.arrived.Load() > 0 { // a payment waits for this node
		s.owing = s.owing && l.spent()
		l.mu.Unlock()
		return
	}
	if !s.owing {
		s.owing, s.since = true, now
	}
	if s.told || now.Sub(s.since) < l.timeout() {
		l.mu.Unlock()
		return
	}
	excused := l.book.head.out(now) || s.excused
	if !excused && !s.struck && l.spare() {
		l.mu.Unlock()
		l.wake()
		return
	}
	fresh := !s.struck && !excused
	s.told, s.struck = true, s.struck || !excused
	account, unpaid := ledger.PublicKey{}, l.served.Load()-s.paid
	if s.proven {
		account = s.account
	}
	if fresh {
		l.fail(unpaid - s.spared)
	}
	l.mu.Unlock()
	if fresh {
		l.book.strike(account)
	}
	e := Event{Kind: EventOverdue, Role: channel.RolePayee, Account: account, Tag: l.cfg.Infohash, Bytes: unpaid, Code: channel.CodeTimeout}
	if excused {
		e.Code, e.Reason = channel.CodeLedger, "a ledger cannot be reached"
	}
	l.book.cfg.Notify(e)
	l.notify(e)
}

// spare has the payer go on though a payment is missing, if what it owes may be
// borne. The caller holds mu.
func (l *Link) spare() bool {
	s := &l.sale
	if s.debtor == nil {
		return false
	}
	served := l.served.Load()
	least := blockSize - (l.allowance.Load() - served)
	n := s.debtor.spare(served-s.paid-s.failed, s.lent, s.spared, l.quantum.Load(), least)
	if n == s.spared {
		return false
	}
	s.spared, s.lent, s.owing = n, 0, false
	l.allow()
	return true
}

// fail sets the bytes that failed payments stand for. The caller holds mu.
func (l *Link) fail(bytes int64) {
	if s := &l.sale; s.debtor != nil {
		s.debtor.reserve(bytes - s.failed)
		s.failed = bytes
	}
}

// spent reports whether all that may be served unpaid was. The caller holds mu.
func (l *Link) spent() bool {
	served, allowance := l.served.Load(), l.allowance.Load()
	return allowance != unlimited && served > l.sale.paid && allowance-served < blockSize
}

// timeout is how long the payment may take from when the window is spent:
// PaymentTimeout and latencyFactor times the latency that was measured, at most
// MaxTimeoutFactor times PaymentTimeout (R12.1, A25). The caller holds mu.
func (l *Link) timeout() time.Duration {
	base := l.book.cfg.PaymentTimeout
	return min(base+latencyFactor*l.sale.latency, MaxTimeoutFactor*base)
}

// begin starts the clock of a payment when the window is spent. Before the first
// payment the time that serving took stands for the latency: on a slow line what
// was served is still under way.
func (l *Link) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.sale
	if s.owing || !l.spent() {
		return
	}
	s.owing, s.since = true, l.book.cfg.Now()
	if !s.measured {
		s.latency = s.since.Sub(s.begun)
	}
}

// measure takes the time that a payment took into account, smoothed as in RFC
// 6298. The caller holds mu.
func (l *Link) measure(now time.Time) {
	s := &l.sale
	d := max(0, now.Sub(s.since))
	if !s.measured {
		s.measured, s.latency = true, d
		return
	}
	s.latency += (d - s.latency) / 8
}
