package payments

import (
	"slices"

	"github.com/bttnet/btt/channel"
)

// collect keeps a payment for one check with those that come with it. What a
// connection pays that showed no signature yet is checked alone: a forgery must
// not take honest payments with it.
func (s *seller) collect(l *Link, pay *channel.Pay) {
	c := s.channels[pay.ID]
	if c != nil {
		if _, ok := c.shown[l]; !ok {
			s.settlePays()
			if c.m.Shows(pay) {
				s.show(c, l)
			}
			s.pays = append(s.pays, arrival{pay, l})
			s.settlePays()
			return
		}
	}
	if len(s.pays) > 0 && s.pays[0].pay.ID != pay.ID {
		s.settlePays()
	}
	s.pays = append(s.pays, arrival{pay, l})
}

// settlePays checks the newest of the collected payments.
func (s *seller) settlePays() {
	if len(s.pays) == 0 {
		return
	}
	arrived := s.pays
	s.pays = s.pays[:0]
	pays := make([]*channel.Pay, 0, len(arrived))
	for _, a := range arrived {
		pays = append(pays, a.pay)
		defer a.link.taken() // also if refused
	}
	l := arrived[len(arrived)-1].link
	id := pays[0].ID
	c := s.channels[id]
	if c == nil {
		l.send(&channel.Refuse{ID: id, Code: channel.CodeUnknown, Reason: "no such channel here"})
		return
	}
	checked, err := c.m.Check(pays...)
	if err != nil {
		s.refuse(id, l, err)
		return
	}
	_, shown := c.shown[l]
	if checked == nil || checked.Pay == nil && !shown {
		return // repetitions, or an old payment of a stranger
	}
	if checked.Pay != nil && !s.secure(checked, l) || checked.Pay == nil && !s.settled() {
		return
	}
	if err := c.m.Accept(checked); err != nil {
		s.refuse(id, l, err)
	}
	c.via = l
	if !shown {
		s.show(c, l)
	}
	s.flush(c, l)
}

// secure verifies the newest payment and writes it down. It counts from here on:
// an end of this process loses nothing of it. What is not durable with it is for no more
// than the window, or the payments before it must be durable first: so an end of
// the machine loses payments for a window at most, and that only if their payer never
// pays again, since the next one says all that they said (docs/rfcs/0042).
func (s *seller) secure(checked *channel.Checked, l *Link) bool {
	if !checked.Verify() {
		s.refuse(checked.Pay.ID, l, &channel.Refusal{Code: channel.CodeSignature, Reason: "payment does not verify"})
		return false
	}
	mark, ok := s.store([]channel.Record{checked.Record()}, false)
	if !ok {
		return false
	}
	if s.tell(); !s.fits(checked.Bytes(), l) && !s.settled() {
		return false
	}
	s.mark = mark
	return true
}

// fits says whether a payment for so many bytes may count while those before it are not
// durable: a connection's window is for all of them.
func (s *seller) fits(bytes int64, l *Link) bool {
	for _, x := range s.untold {
		bytes += x.event.Bytes
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(s.untold) < maxUntold && bytes <= l.quantum.Load()+l.sale.lent
}

// settled waits until the payments before are durable, and tells of them.
func (s *seller) settled() bool {
	if err := s.book.journal.Wait(s.mark); err != nil {
		s.fault(err)
		return false
	}
	s.tell()
	return true
}

// tell reports the payments that are durable by now, and a journal that failed
// before they were.
func (s *seller) tell() {
	if len(s.untold) == 0 {
		return
	}
	n := 0
	for n < len(s.untold) && s.book.journal.Durable(s.untold[n].mark) {
		x := &s.untold[n]
		s.publish(x.link, x.event)
		s.state(x.c.m, x.event.Amount, x.bytes)
		n++
	}
	s.forget(n)
	if len(s.untold) == 0 {
		return
	}
	if err := s.book.journal.Fault(); err != nil {
		s.forget(len(s.untold)) // nobody may count on them
		s.fault(err)
	}
}

// forget takes the oldest n payments off the list of those to tell of.
func (s *seller) forget(n int) {
	for _, x := range s.untold[:n] {
		x.link.telling(-1)
	}
	s.untold = slices.Delete(s.untold, 0, n)
}

// event follows one event of a channel.
func (s *seller) event(c *sold, l *Link, e channel.Event) {
	clean := false
	switch e.Kind {
	case channel.EventAttached:
		s.attached(c, l, e)
		return
	case channel.EventEarned:
		c.bytes += e.Delta
		if to := c.lanes[e.Lane]; to != nil {
			l = to
			to.credit(e.From, s.debtor)
		} else if left := c.ended[e.Lane]; left != nil { // of a connection that ended
			s.debtor.repay(e.Tag, left.pay(e.From))
		} else if c.old {
			c.redeemed += s.debtor.redeem(e.Delta, max(0, c.m.Surplus()-c.redeemed))
		}
		clean = s.book.clean(s.debtor, l)
	case channel.EventOpened:
		for x := range c.shown {
			if c.m.Funder() {
				s.prove(x)
			}
		}
	}
	kind := eventKinds[e.Kind]
	if kind == 0 {
		return
	}
	x := Event{Kind: kind, Channel: c.m.ID(), Tag: e.Tag, Sum: e.Sum, Bytes: e.Delta, Amount: e.Amount, Code: e.Code, Reason: e.Reason, Clean: clean}
	if kind == EventEarned {
		l.telling(1)
		s.untold = append(s.untold, told{c: c, link: l, event: x, mark: s.mark, bytes: c.bytes})
		return
	}
	s.publish(l, x)
}

// attached lets a lane pay for a link's stream from position e.From on.
func (s *seller) attached(c *sold, l *Link, e channel.Event) {
	if e.Tag != channel.Tag(l.cfg.Infohash) {
		s.refuse(c.m.ID(), l, &channel.Refusal{Code: channel.CodeLane, Reason: "this connection is for another torrent"})
		return
	}
	l.mu.Lock()
	tariff := l.sale.tariff
	paid, selling := l.sale.paid, l.sale.opened
	l.sale.known = l.sale.changes
	l.mu.Unlock()
	switch {
	case !selling:
		s.refuse(c.m.ID(), l, &channel.Refusal{Code: channel.CodeUnavailable, Reason: "nothing is sold on this connection"})
		return
	case e.From > paid: // payments of another channel did not arrive
		c.m.Detached(e.Lane, paid)
		s.flush(c, l)
		return
	}
	if err := c.m.Tariff(e.Lane, e.Bytes, e.From, tariff); err != nil {
		s.refuse(c.m.ID(), l, err)
		return
	}
	c.lanes[e.Lane] = l
	delete(c.ended, e.Lane)
	l.mu.Lock()
	l.sale.joined = true
	l.mu.Unlock()
	s.flush(c, l)                     // the State
	s.indebt(l, e.Tag, channel.Tag{}) // and what an earlier run was left with
	l.credit(c.m.Position(e.Lane), s.debtor)
}

// indebt settles what a former connection of the account left unpaid: it is
// forgiven within bounds, and beyond them a failed payment. Either way it is
// over with that; the window is never less than a quantum, which no requester
// could fill and pay.
func (s *seller) indebt(l *Link, tags ...channel.Tag) {
	debt := int64(0)
	for _, tag := range tags {
		debt += s.debtor.forgive(tag, l.quantum.Load())
	}
	if debt <= 0 {
		return
	}
	s.book.strike(s.key.account)
	s.publish(l, Event{Kind: EventOverdue, Bytes: debt, Code: channel.CodeTimeout, Reason: "what was served on a former connection is not paid"})
}
