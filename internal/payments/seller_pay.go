package payments

import (
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

// settlePays checks the newest of the collected payments: its record becomes
// durable while its signature is verified.
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
	if checked.Pay != nil && !s.secure(checked, l) {
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

// secure makes the newest payment durable and verifies it at the same time.
func (s *seller) secure(checked *channel.Checked, l *Link) bool {
	mark, ok := s.store([]channel.Record{checked.Record()}, false)
	if !ok {
		return false
	}
	if !checked.Verify() {
		s.refuse(checked.Pay.ID, l, &channel.Refusal{Code: channel.CodeSignature, Reason: "payment does not verify"})
		return false
	}
	if err := s.book.journal.Wait(mark); err != nil {
		s.book.cfg.Notify(Event{Kind: EventFault, Role: s.key.role, Account: s.key.account, Reason: err.Error()})
		return false
	}
	return true
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
		s.debtor.history += e.Delta
		if to := c.lanes[e.Lane]; to != nil {
			l = to
			to.credit(e.From)
		} else {
			s.debtor.owe(e.Tag, -e.Delta)
		}
		clean = s.book.clean(s.debtor, l)
	case channel.EventOpened:
		for x := range c.shown {
			if c.m.Funder() {
				s.prove(x)
			}
		}
	}
	if kind := eventKinds[e.Kind]; kind != 0 {
		s.publish(l, Event{Kind: kind, Channel: c.m.ID(), Tag: e.Tag, Sum: e.Sum, Bytes: e.Delta, Amount: e.Amount, Code: e.Code, Reason: e.Reason,
			Clean: clean})
	}
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
	s.flush(c, l) // the State
	l.credit(c.m.Position(e.Lane))
	s.indebt(l, e.Tag)
}

// indebt settles what a former connection of the account left unpaid: it is
// forgiven within bounds, and beyond them a failed payment. Either way it is
// over with that; the window is never less than a quantum, which no requester
// could fill and pay.
func (s *seller) indebt(l *Link, tag channel.Tag) {
	debt := s.debtor.forgive(tag, l.quantum.Load())
	if debt <= 0 {
		return
	}
	s.book.strike(s.key.account)
	s.publish(l, Event{Kind: EventOverdue, Bytes: debt, Code: channel.CodeTimeout, Reason: "what was served on a former connection is not paid"})
}
