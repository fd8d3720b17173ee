package payments

import (
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
