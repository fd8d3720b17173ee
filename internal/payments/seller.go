package payments

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// seller is a pair's provider side.
type seller struct {
	*pair
	links    map[*Link]struct{}
	channels map[channel.ID]*sold
	debtor   *standing // of the account; outlives this pair
	idle     time.Time // when the last link went
	pays     []arrival // waiting for one check, all of one channel
	mark     int64     // of the newest payment's record
	awaited  int64     // the greatest mark at which the journal wakes this pair
	untold   []told    // of payments that are not durable yet, in order of marks
}

// maxUntold is the number of lanes' payments that may be untold for the next one to
// count: small ones would fill the window with many.
const maxUntold = 16

// told is an event of a channel that waits for its payment to be durable.
type told struct {
	c     *sold
	link  *Link
	event Event
	mark  int64 // of the payment's record
	bytes int64 // that the channel paid for with it
}

// arrival is a payment and where it came from.
type arrival struct {
	pay  *channel.Pay
	link *Link
}

// sold is one channel this node earns with.
type sold struct {
	m     *channel.Payee
	k2    offer // its signer is nil when an earlier process gave it out
	via   *Link
	lanes map[uint32]*Link
	shown map[*Link]struct{} // connections that showed a signature of K1
	at    time.Time          // of the proposal
	told  time.Time          // when the payer was last told of an outage
	bytes int64
	ended map[uint32]*rest // by lane, until that pays for another connection
	old   bool             // an earlier process began it, and knew what its lanes are owed
	// redeemed is what of its payments made debts of then good.
	redeemed amount.Amount
}

// rest is what was served on a connection that ended and was not paid for: of what its
// lanes pay later only that makes its debt good, at the prices at which it was served.
type rest struct {
	tariff       channel.Tariff
	paid, served int64
}

// pay returns how many of its bytes a payment up to a position is for.
func (r *rest) pay(position int64) (bytes int64) {
	if to := min(position, r.served); to > r.paid {
		bytes, r.paid = r.tariff.Priced(r.paid, to), to
	}
	return bytes
}

// worth is what is still owed of it; 0 if it cannot be told.
func (r *rest) worth() amount.Amount {
	owed, _ := r.tariff.Owed(r.paid, r.served) // of prices and bytes that were valid
	return owed
}

// newSeller runs under Book.mu.
func newSeller(p *pair) *seller {
	return &seller{pair: p, links: make(map[*Link]struct{}), channels: make(map[channel.ID]*sold),
		debtor: p.book.standing(p.key.account), idle: p.book.cfg.Now()}
}

func (s *seller) bind(l *Link) { s.links[l] = struct{}{} }

// unbind keeps what a proven account did not pay as its debt.
func (s *seller) unbind(l *Link) {
	s.settlePays()
	delete(s.links, l)
	if len(s.links) == 0 {
		s.idle = s.book.cfg.Now()
	}
	debt, left := l.rest()
	for _, c := range s.channels {
		delete(c.shown, l)
		for lane, x := range c.lanes {
			if x == l {
				delete(c.lanes, lane)
				if left != nil {
					c.ended[lane] = left
				}
			}
		}
		if c.via == l {
			c.via = c.anyLink()
		}
		if c.via == nil && c.m.Stage() == channel.Checking {
			c.m.Abandon()
			s.flush(c, nil)
		}
	}
	if debt > 0 {
		s.debtor.owe(l.tag(), debt, left.worth(), waitingQuanta*l.quantum.Load(), s.book.cfg.Now())
	}
	l.mu.Lock()
	l.fail(0)
	s.debtor.reserve(-l.sale.spared)
	l.sale.spared, l.sale.debtor = 0, nil
	l.sale.lent = s.debtor.lend(l.sale.lent, l.quantum.Load(), 0)
	l.mu.Unlock()
}

// anyLink returns another connection of the channel's payer.
func (c *sold) anyLink() *Link {
	for l := range c.shown {
		if !l.closed.Load() {
			return l
		}
	}
	return nil
}

// message collects payments and handles everything else at once. Only a
// connection that showed a signature of K1 speaks for a channel: its id is public
// once T1 is on the ledger.
func (s *seller) message(l *Link, m channel.Message) {
	if pay, ok := m.(*channel.Pay); ok {
		s.collect(l, pay)
		return
	}
	s.settlePays()
	c := s.channels[m.Channel()]
	if open, ok := m.(*channel.Open); ok && c == nil {
		s.open(l, open)
		return
	}
	if c == nil || !s.speaks(c, l, m) {
		if m.Type() != channel.TypeRefuse {
			l.send(&channel.Refuse{ID: m.Channel(), Code: channel.CodeUnknown, Reason: "this connection has no such channel here"})
		}
		return
	}
	if err := c.m.Step(m); err != nil {
		s.refuse(c.m.ID(), l, err)
	} else {
		c.via = l
	}
	s.flush(c, l)
}

// speaks reports whether a connection may say m of a channel.
func (s *seller) speaks(c *sold, l *Link, m channel.Message) bool {
	if _, ok := c.shown[l]; ok {
		return true
	}
	switch m.(type) {
	case *channel.Open: // whoever repeats it word for word made it
		return true
	case *channel.Fund:
		if c.m.Shows(m) {
			s.show(c, l)
			return true
		}
	}
	return c.via == l && c.m.Stage() < channel.Funded
}

// show notes that a connection is the payer's. Once T1 is committed the
// connection stands for the account (see Link.prove).
func (s *seller) show(c *sold, l *Link) {
	c.shown[l] = struct{}{}
	if c.m.Funder() {
		s.prove(l)
	}
}

func (s *seller) prove(l *Link) {
	l.mu.Lock()
	known := l.sale.proven
	l.sale.proven, l.sale.account, l.sale.debtor = true, s.key.account, s.debtor
	rose := l.allow()
	l.mu.Unlock()
	if rose {
		l.wake()
	}
	if !known {
		s.publish(l, Event{Kind: EventProven})
		s.indebt(l, loose)
	}
}

// refuse tells the payer and this node why.
func (s *seller) refuse(id channel.ID, l *Link, err error) {
	var r *channel.Refusal
	if !errors.As(err, &r) {
		r = &channel.Refusal{Code: channel.CodeMalformed, Reason: err.Error()}
	}
	m := &channel.Refuse{ID: id, Code: r.Code, Reason: r.Reason}
	if r.Code == channel.CodeKeyUsed {
		m.Terms = s.next()
	}
	l.send(m)
	s.publish(l, Event{Kind: EventRefused, Channel: id, Code: r.Code, Reason: r.Reason})
}

// next makes terms for another channel of the payer, nil if it cannot.
func (s *seller) next() *channel.Terms {
	t, err := s.book.Terms()
	if err != nil {
		return nil
	}
	return &t
}

// open answers a proposal.
func (s *seller) open(l *Link, m *channel.Open) {
	id := m.Channel()
	status, known := s.book.head.get()
	_, banned := s.book.Banned(s.key.account)
	switch {
	case !known:
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeLedger, Reason: "the ledger has not been reached yet"})
		return
	case banned:
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeBanned, Reason: "payments failed too often"})
		return
	case m.Payer != s.key.account:
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeUnknown, Reason: "this connection pays from another account"})
		return
	case s.crowded(l) || s.book.closing.Load():
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeLimit, Reason: "too many open channels"})
		return
	}
	o, ok := s.book.take(m.K2)
	if !ok {
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeKeyUsed, Reason: "K2 is not on offer any more"})
		return
	}
	if slices.Contains(o.signed, firstBytes(m.Funding)) {
		s.book.giveBack(o)
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeKeyUsed, Reason: "K2 was proposed for this T1 before"})
		return
	}
	p, err := channel.NewPayee(channel.PayeeConfig{
		Terms: s.book.terms(o, status), Signer: o.signer, KeyIndex: o.index,
		MinOutput: status.Params.MinOutput, Now: s.book.head.exact(),
	}, m)
	if err != nil {
		s.book.giveBack(o)
		s.refuse(id, l, err)
		return
	}
	contract := p.Contract()
	if !s.book.claim(&contract, s.pair) {
		s.book.giveBack(o)
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeFunding, Reason: "the channel exists already"})
		return
	}
	c := &sold{m: p, k2: o, via: l, at: s.book.cfg.Now(),
		lanes: make(map[uint32]*Link), shown: make(map[*Link]struct{}), ended: make(map[uint32]*rest)}
	s.channels[id] = c
	s.flush(c, l)
}

// firstBytes tells a T1 from most others.
func firstBytes(t1 ledger.OutPoint) uint64 { return binary.BigEndian.Uint64(t1.TxID[:]) }

// crowded reports whether a connection may propose no other channel. One that is
// not funded costs its maker nothing, and who it is for is not proven: there is one
// for each connection, they take no place from funded ones, and those that were
// left give way.
func (s *seller) crowded(l *Link) bool {
	funded, left := 0, (*sold)(nil)
	for _, c := range s.channels {
		switch {
		case c.m.Stage() >= channel.Funded:
			funded++
		case c.via == l:
			return true
		case c.via == nil && (left == nil || c.at.Before(left.at)):
			left = c
		}
	}
	if len(s.channels)-funded >= maxProposals && left != nil {
		left.m.Abandon()
		s.flush(left, nil)
	}
	return funded >= MaxChannels || len(s.channels)-funded >= maxProposals
}
