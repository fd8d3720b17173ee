package payments

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// Errors of Link.Receive; the connection should be closed on any of them.
var (
	ErrOverflow = errors.New("peer sends payment messages faster than they can be handled")
	ErrClosed   = errors.New("payments are closed")
)

// LinkConfig describes one peer connection and torrent.
type LinkConfig struct {
	// Account is the other side's, as it proved on this connection: it speaks for
	// no other's channels.
	Account  ledger.PublicKey
	Infohash [20]byte // the lane's tag
	// Quantum is the unit in bytes that the requester can verify and pay,
	// so the least window: the piece length of the torrent, until
	// [Link.SetQuantum]. 0 means Config.Quantum.
	Quantum int64
	Send    func(payload []byte) // sends a channel message to the peer; must not block
	Notify  func(LinkEvent)      // may be nil; must not block
	Wake    func()               // the allowance rose; may be nil; must not block
}

// Link is the payment side of one peer connection and torrent. No method
// waits for the network, the ledger or a disk. Verified may sign one payment;
// Send, Notify and Wake may be called inside Verified and Receive. Receive, Buy
// and Sell come from the connection's owner, one at a time; Verified, Served and
// Allowance from any goroutine.
type Link struct {
	book   *Book
	cfg    LinkConfig
	closed atomic.Bool

	buyer    atomic.Pointer[pair] // set by Buy
	verified atomic.Int64         // bytes of the stream
	reached  atomic.Int64         // paid or free up to here
	left     atomic.Int64         // bytes still wanted from the torrent
	last     atomic.Int64         // increment that is likely to be the next payment's
	gather   gather

	served    atomic.Int64
	allowance atomic.Int64
	arrived   atomic.Int64 // payments that came and were not looked at yet
	untold    atomic.Int64 // payments that count and are not told as earned yet

	quantum atomic.Int64 // bytes; the window's unit

	mu     sync.Mutex // guards what follows; a leaf
	quotes []channel.Quote
	order  order
	sale   sale
}

// order is what Buy asked for.
type order struct {
	terms  channel.Terms
	price  amount.Price
	number int // of the call
}

// sale is the provider's side of a link; positions count served bytes.
type sale struct {
	pair    *pair // set by the first message of the payer
	tariff  channel.Tariff
	paid    int64     // stream position paid or free
	counted int64     // up to here it is in the account's history
	lent    int64     // bytes of the window beyond the quantum; set by the pair
	spared  int64     // bytes that may stay unpaid: the window begins behind them
	failed  int64     // bytes that failed payments stand for: likewise, once that is over
	debtor  *standing // of the account; nil while not proven, and when closed
	opened  bool      // Sell was called
	joined  bool      // a lane pays for it
	account ledger.PublicKey
	proven  bool // the connection is account's; see EventProven
	excused bool // the payer says that it cannot reach the ledger
	guarded bool // nothing ahead of payment until proven

	changes int64 // number of price changes
	known   int64 // those that the attached lane knows

	begun    time.Time     // of the first paid byte, about
	owing    bool          // the window is spent, since:
	since    time.Time     // then
	told     bool          // that is overdue was reported
	struck   bool          // and counted
	latency  time.Duration // from "window spent" to payment, smoothed
	measured bool          // latency is of payments
}

// Link makes the payment side of a connection. Close must be called.
func (b *Book) Link(cfg LinkConfig) *Link {
	l := &Link{book: b, cfg: cfg}
	if l.cfg.Quantum <= 0 {
		l.cfg.Quantum = b.cfg.Quantum
	}
	l.quantum.Store(l.cfg.Quantum)
	b.mu.Lock()
	b.links[l] = struct{}{}
	b.mu.Unlock()
	return l
}

// send encodes and sends unless the link is closed.
func (l *Link) send(m channel.Message) {
	if l != nil && !l.closed.Load() {
		l.cfg.Send(channel.Encode(m))
	}
}

func (l *Link) notify(e Event) {
	if l != nil && l.cfg.Notify != nil && !l.closed.Load() {
		e.Tag = l.cfg.Infohash
		l.cfg.Notify(e)
	}
}

// Excused reports whether the payer says that it cannot reach the ledger, and did
// not pay since.
func (l *Link) Excused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sale.excused
}

// Owing reports whether all that may be served ahead of payment was, so that a
// payment is due.
func (l *Link) Owing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spent()
}

// telling counts payments that are not told as earned yet.
func (l *Link) telling(n int64) {
	if l != nil {
		l.untold.Add(n)
	}
}

// Booking says whether a payment came that is not told as earned yet.
func (l *Link) Booking() bool { return l.arrived.Load() > 0 || l.untold.Load() > 0 }

// Booked calls f when the payments that came so far were looked at: at once if none
// waits, else on a goroutine of the Book, which f must not hold up, unless that ends
// before. Close is to follow.
func (l *Link) Booked(f func()) {
	l.mu.Lock()
	p := l.sale.pair
	l.mu.Unlock()
	if p == nil || l.arrived.Load() == 0 {
		f()
		return
	}
	p.postAlways(op{kind: opBooked, link: l, then: &f})
}

// Unpaid returns the verified bytes that are not paid yet, and whether they still
// may be: the link and the Book are open.
func (l *Link) Unpaid() (bytes int64, payable bool) {
	if l.buyer.Load() == nil {
		return 0, false
	}
	return max(0, l.verified.Load()-l.reached.Load()), !l.closed.Load() && !l.book.closing.Load()
}

// Owe adds n verified bytes that are not to be paid on this link any more: the next one
// of the same account and torrent pays them first. Close is to follow.
func (l *Link) Owe(n int64) { l.verified.Add(n) }

// Delay tells the provider that what is due comes late for a reason that is neither
// side's doing: until it comes, its being late is nobody's failure.
func (l *Link) Delay(reason string) { l.send(outage(reason)) }

// Left tells how many bytes are still wanted from the torrent; it bounds the deposit
// of the next channel.
func (l *Link) Left(n int64) { l.left.Store(n) }

// Close ends the link; what is unpaid is kept for the next connection of the
// same peer and torrent. Channels stay open.
func (l *Link) Close() {
	if l.closed.Swap(true) {
		return
	}
	l.book.mu.Lock()
	delete(l.book.links, l)
	l.book.mu.Unlock()
	l.mu.Lock()
	seller := l.sale.pair
	l.mu.Unlock()
	for _, p := range [...]*pair{l.buyer.Load(), seller} {
		if p != nil {
			p.unbind(l)
		}
	}
}

// Buy agrees to pay price for the stream of this link, as the bid response
// said: it opens or reuses a channel to terms.Account. left is how many bytes
// are still wanted from this torrent; it bounds the deposit (see Left). Later calls
// change price and left. A price of 0 needs no channel.
func (l *Link) Buy(terms channel.Terms, price amount.Price, left int64) {
	if l.closed.Load() {
		return
	}
	if terms.Account != l.cfg.Account {
		l.notify(Event{Kind: EventRefused, Role: channel.RolePayer, Code: channel.CodeUnknown, Reason: "the terms are of another account than the connection's"})
		return
	}
	l.mu.Lock()
	l.order = order{terms: terms, price: price, number: l.order.number + 1}
	l.mu.Unlock()
	l.left.Store(left)
	p := l.buyer.Load()
	if p == nil {
		p = l.book.pair(terms.Account, channel.RolePayer)
		if p == nil {
			l.notify(Event{Kind: EventRefused, Code: channel.CodeLimit, Reason: "too many payment partners"})
			return
		}
		l.buyer.Store(p)
		p.postAlways(op{kind: opBind, link: l})
	}
	p.wake()
}

// Arrived adds n bytes that came at a price and are not verified yet; less than 0 takes
// such back that never will be.
func (l *Link) Arrived(n int64) { l.gather.under.Add(n) }

// Wide says whether the provider seems to lend several times what its line holds: what
// is asked for ahead need not be more than that.
func (l *Link) Wide() bool { return l.gather.wide.Load() }

// Verified adds n verified bytes; they are paid at once, mostly inside this
// call with a signature made before, or, while data come on, with the next ones within
// gatherLong. Calls that come while a payment is being made are paid together.
func (l *Link) Verified(n int64) {
	if n <= 0 {
		return
	}
	p := l.buyer.Load()
	if p == nil {
		l.verified.Add(n)
		return
	}
	off, next := l.gather.puts(n, l.left.Load(), p.wake)
	l.last.Store(next)
	l.verified.Add(n)
	if off {
		return
	}
	if p.enter() {
		p.side.(*buyer).payNow(l)
		p.leave()
	}
	p.wake() // it signs ahead and provides channels
}

// Sell starts a price segment at the bytes served so far and quotes it to the
// peer. At price 0 the allowance is unlimited. A payment that failed is over with
// that: whoever may buy again has a window again. Call it before the unchoke and
// while nothing is being served (R10.18).
func (l *Link) Sell(price amount.Price) error {
	if l.closed.Load() {
		return ErrClosed
	}
	from := l.served.Load()
	l.mu.Lock()
	s := &l.sale
	tariff, err := s.tariff.Trim(s.paid).Set(from, price)
	if err != nil {
		l.mu.Unlock()
		return fmt.Errorf("change price: %w", err)
	}
	s.opened, s.told, s.owing = true, false, false
	s.struck = s.struck && s.failed == 0
	s.changes++
	change := s.changes
	s.tariff = tariff
	s.paid = tariff.SkipFree(s.paid)
	s.counted = max(s.counted, min(s.paid, from))
	s.begun = l.book.cfg.Now()
	p := s.pair
	l.allow()
	l.mu.Unlock()
	l.send(&channel.Quote{From: from, Price: price})
	if p != nil {
		return p.post(op{kind: opReprice, link: l, from: from, price: price, number: change})
	}
	return nil
}

// Served adds n bytes put on the wire.
func (l *Link) Served(n int64) {
	if allowance := l.allowance.Load(); l.served.Add(n)+blockSize > allowance && allowance != unlimited {
		l.begin()
	}
}

// Allowance is the greatest cumulative count of served bytes permitted right
// now; read it with one atomic load.
func (l *Link) Allowance() *atomic.Int64 { return &l.allowance }

// allow computes the allowance anew. The caller holds mu.
func (l *Link) allow() bool {
	s := &l.sale
	next := int64(unlimited)
	switch {
	case s.tariff.Price() <= 0:
	case l.book.broken.Load(): // it could not keep the payment
		next = min(l.allowance.Load(), l.served.Load())
	case s.guarded && !s.proven:
		next = s.paid
	default:
		next = s.paid + s.spared + l.quantum.Load() + s.lent // the window (A24)
		if !s.struck {
			next += s.failed
		}
	}
	return l.allowance.Swap(next) < next
}

// SetQuantum changes the unit in bytes that the requester verifies and pays, and
// so the least window. Call it before the first Sell.
func (l *Link) SetQuantum(quantum int64) {
	if quantum <= 0 {
		return
	}
	l.mu.Lock()
	l.quantum.Store(quantum)
	l.allow()
	l.mu.Unlock()
}

// credit notes that the stream is paid up to position and sets anew what the
// account may owe beyond a quantum. It is called by the account's pair. What is paid and
// was not served counts for nothing yet: at a low price it would buy credit at a high
// one.
func (l *Link) credit(position int64, d *standing) {
	l.mu.Lock()
	s := &l.sale
	rose := false
	if n := position - s.paid; n > 0 {
		s.paid = s.tariff.SkipFree(position)
		rose = l.allow()
		if n >= min(blockSize, l.quantum.Load()) || !l.spent() { // else it is no payment that was waited for
			if s.owing {
				l.measure(l.book.cfg.Now())
			}
			s.owing, s.told, s.struck, s.excused = false, false, false, false
		}
		l.fail(max(0, min(s.failed, l.served.Load()-s.paid-s.spared))) // the rest is paid after all
	}
	if now := min(s.paid, l.served.Load()); now > s.counted {
		d.history.Add(now - s.counted)
		s.counted = now
	}
	s.lent = d.lend(s.lent, l.quantum.Load(), l.book.cfg.Credit)
	rose = l.allow() || rose
	l.mu.Unlock()
	if rose {
		l.wake()
	}
}

func (l *Link) wake() {
	if l.cfg.Wake != nil && !l.closed.Load() {
		l.cfg.Wake()
	}
}
