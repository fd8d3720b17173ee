package payments

import (
	"fmt"
	"sync"

	"github.com/bttnet/btt/channel"
)

// mailbox is what waits for a pair's goroutine, in order of arrival. A payment gives
// way to a newer one of the same connection, channel and lane, and a ledger event to
// the same one: both say all that the older said. So what honest peers send is bounded
// by their lanes, however slow the disk is; other messages are bounded for each
// connection, so that nobody can fill the place of others.
type mailbox struct {
	mu      sync.Mutex // a leaf
	waiting []op
	links   map[*Link]*linkMail
	events  map[eventKey]bool
}

// linkMail is what waits of one connection.
type linkMail struct {
	count int
	// pays are the payments that a newer one may replace, by their place in
	// waiting: those behind the connection's last other message, which may
	// change what a payment means.
	pays map[payKey]int
}

type payKey struct {
	id   channel.ID
	lane uint32
}

type eventKey struct {
	id     channel.ID
	parked bool
}

// put appends o, or lets it take the place of what it supersedes; then it reports
// false. With bounded set, ErrOverflow tells that too much of o's connection waits.
func (b *mailbox) put(o op, bounded bool) (fresh bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.kind == opLedger {
		key := eventKey{o.id, o.parked}
		if b.events[key] {
			return false, nil
		}
		if b.events == nil {
			b.events = make(map[eventKey]bool)
		}
		b.events[key] = true
	}
	if o.link != nil {
		if fresh, err := b.putOf(&o, bounded); !fresh {
			return false, err
		}
	}
	b.waiting = append(b.waiting, o)
	return true, nil
}

// putOf keeps the books about o's connection and reports whether o is to be appended.
func (b *mailbox) putOf(o *op, bounded bool) (bool, error) {
	m := b.links[o.link]
	if m == nil {
		m = new(linkMail)
		if b.links == nil {
			b.links = make(map[*Link]*linkMail)
		}
		b.links[o.link] = m
	}
	pay, _ := o.message.(*channel.Pay)
	if pay == nil {
		clear(m.pays)
	} else if at, ok := m.pays[payKey{pay.ID, pay.Lane}]; ok && supersedes(pay, b.waiting[at].message.(*channel.Pay)) {
		b.waiting[at].message = pay
		return false, nil
	}
	if bounded && m.count >= MaxMailbox {
		return false, ErrOverflow
	}
	m.count++
	if pay != nil {
		if m.pays == nil {
			m.pays = make(map[payKey]int)
		}
		m.pays[payKey{pay.ID, pay.Lane}] = len(b.waiting)
	}
	return true, nil
}

// supersedes reports whether a payment of the same lane says all that an older one
// said.
func supersedes(pay, old *channel.Pay) bool {
	return pay.Bytes >= old.Bytes && pay.Payment.Sequence >= old.Payment.Sequence && pay.Payment.Amount >= old.Payment.Amount
}

// take empties the mailbox into a slice that takes the place of spare.
func (b *mailbox) take(spare []op) []op {
	clear(spare[:cap(spare)]) // nothing of what was handled is held
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.waiting
	b.waiting = spare[:0]
	clear(b.links)
	clear(b.events)
	return list
}

// Receive takes a channel message of the peer.
func (l *Link) Receive(payload []byte) error {
	if l.closed.Load() {
		return ErrClosed
	}
	m, err := channel.Decode(payload)
	if err != nil {
		return err
	}
	if r, ok := m.(*channel.Refuse); ok && r.ID == (channel.ID{}) && r.Code == channel.CodeLedger {
		return l.receiveOutage(r)
	}
	switch m := m.(type) {
	case *channel.Quote:
		return l.receiveQuote(m)
	case *channel.Pay:
		return l.receivePay(m)
	case *channel.Open, *channel.Fund, *channel.Attach:
		_, err := l.toSeller(m)
		return err
	case *channel.RefundSig, *channel.Confirm, *channel.State, *channel.Closed:
		return l.toBuyer(m)
	default: // Close and Refuse go to whoever has the channel
		if p := l.buyer.Load(); p != nil && l.book.ownedBy(m.Channel(), p) {
			return l.toBuyer(m)
		}
		_, err := l.toSeller(m)
		return err
	}
}

// receivePay has the pair's goroutine take a payment: that is written down, which
// may take as long as a disk likes.
func (l *Link) receivePay(m *channel.Pay) error {
	l.arrived.Add(1)
	taken, err := l.toSeller(m)
	if !taken || err != nil {
		l.taken()
	}
	return err
}

// taken notes that a payment was looked at.
func (l *Link) taken() { l.arrived.Add(-1) }

func (b *Book) ownedBy(id channel.ID, p *pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channels[id].pair == p
}

func (l *Link) receiveQuote(m *channel.Quote) error {
	l.mu.Lock()
	n := len(l.quotes)
	if n < MaxQuotes {
		l.quotes = append(l.quotes, *m)
	}
	l.mu.Unlock()
	if n >= MaxQuotes {
		return fmt.Errorf("receive price: %w", ErrOverflow)
	}
	if p := l.buyer.Load(); p != nil {
		p.wake()
	}
	return nil
}

// receiveOutage takes the word of the other side that it cannot reach the ledger:
// channels wait, and their opening counts for nothing until it can.
func (l *Link) receiveOutage(m *channel.Refuse) error {
	l.mu.Lock()
	l.sale.excused = true
	l.mu.Unlock()
	return l.toBuyer(m)
}

func (l *Link) toBuyer(m channel.Message) error {
	p := l.buyer.Load()
	if p == nil {
		return nil // about a channel of a purchase that is gone
	}
	return p.post(op{kind: opMessage, link: l, message: m})
}

// toSeller hands a payer's message to its pair, which the first message of a
// connection names: Open by account, the others by channel. It reports false if there
// is none.
func (l *Link) toSeller(m channel.Message) (bool, error) {
	l.mu.Lock()
	p := l.sale.pair
	l.mu.Unlock()
	if p == nil {
		if open, ok := m.(*channel.Open); !ok {
			p = l.book.owner(m.Channel(), l.cfg.Account)
		} else if open.Payer == l.cfg.Account {
			p = l.book.pair(open.Payer, channel.RolePayee)
		}
		if p == nil {
			if m.Type() != channel.TypeRefuse {
				l.send(&channel.Refuse{ID: m.Channel(), Code: channel.CodeUnknown, Reason: "no such channel here"})
			}
			return false, nil
		}
		l.mu.Lock()
		l.sale.pair = p
		l.mu.Unlock()
		p.postAlways(op{kind: opBind, link: l})
	}
	return true, p.post(op{kind: opMessage, link: l, message: m})
}

// Guard has a stream at a price begin with nothing ahead of payment until the
// connection proved to be an account's by its channel, and one quantum then. A stream
// that has begun goes on as it did: with its window cut in the middle of a quantum an
// honest payer could neither finish nor pay that. Call it before Sell.
func (l *Link) Guard(on bool) {
	l.mu.Lock()
	s := &l.sale
	s.guarded = on && (s.guarded || !s.begunAt(l.served.Load()))
	l.mu.Unlock()
}

// begunAt says whether any of what was served up to a position costs something and is
// not paid.
func (s *sale) begunAt(position int64) bool {
	from := s.tariff.SkipFree(s.paid)
	rest := s.tariff.Trim(from)
	return from < position && len(rest) > 0 && rest[0].Price > 0
}

// Guarded reports whether nothing is served at a price because no channel is shown.
func (l *Link) Guarded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sale.guarded && !l.sale.proven && l.sale.tariff.Price() > 0
}
