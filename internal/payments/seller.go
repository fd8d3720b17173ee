package payments

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// forgiveShare: of each so many bytes paid, one lost with a broken connection
// is forgiven, besides one quantum.
const forgiveShare = 64

// seller is a pair's provider side.
type seller struct {
	*pair
	links    map[*Link]struct{}
	channels map[channel.ID]*sold
	debts    map[channel.Tag]int64 // unpaid rests of closed links
	forgiven int64                 // bytes written off for this account
	history  int64                 // bytes paid by this account in this run
	idle     time.Time             // when the last link went
	pays     []*channel.Pay        // waiting for one check, all of one channel
	payLink  *Link
}

// sold is one channel this node earns with.
type sold struct {
	m     *channel.Payee
	via   *Link
	lanes map[uint32]*Link
	bytes int64
}

func newSeller(p *pair) *seller {
	return &seller{pair: p, links: make(map[*Link]struct{}), channels: make(map[channel.ID]*sold),
		debts: make(map[channel.Tag]int64), idle: p.book.cfg.Now()}
}

func (s *seller) bind(l *Link) {
	s.links[l] = struct{}{}
	l.mu.Lock()
	l.sale.history = s.history
	l.mu.Unlock()
}

// unbind writes the unpaid rest off, as far as that is allowed, or keeps it
// as a debt of the tag.
func (s *seller) unbind(l *Link) {
	delete(s.links, l)
	if len(s.links) == 0 {
		s.idle = s.book.cfg.Now()
	}
	for _, c := range s.channels {
		for lane, x := range c.lanes {
			if x == l {
				delete(c.lanes, lane)
			}
		}
		if c.via == l {
			c.via = s.anyLink()
		}
	}
	l.mu.Lock()
	debt := int64(0)
	if l.sale.tariff.Price() > 0 {
		debt = max(0, l.served.Load()-l.sale.paid) + l.sale.debt
	}
	l.mu.Unlock()
	tag := channel.Tag(l.cfg.Infohash)
	if debt += s.debts[tag]; debt > 0 && (len(s.debts) < MaxDebts || s.debts[tag] > 0) {
		s.debts[tag] = debt
	}
}

func (s *seller) anyLink() *Link {
	for l := range s.links {
		if !l.closed.Load() {
			return l
		}
	}
	return nil
}

// message collects payments and handles everything else at once.
func (s *seller) message(l *Link, m channel.Message) {
	if pay, ok := m.(*channel.Pay); ok {
		if len(s.pays) > 0 && s.pays[0].ID != pay.ID {
			s.settlePays()
		}
		s.pays, s.payLink = append(s.pays, pay), l
		return
	}
	s.settlePays()
	c := s.channels[m.Channel()]
	switch m := m.(type) {
	case *channel.Open:
		if c == nil {
			s.open(l, m)
			return
		}
	case *channel.Refuse:
		if c == nil {
			return
		}
	}
	if c == nil {
		l.send(&channel.Refuse{ID: m.Channel(), Code: channel.CodeUnknown, Reason: "no such channel here"})
		return
	}
	c.via = l
	if err := c.m.Step(m); err != nil {
		s.refuse(c.m.ID(), l, err)
	}
	s.flush(c, l)
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
	case len(s.channels) >= MaxChannels || s.book.closing.Load():
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeLimit, Reason: "too many open channels"})
		return
	}
	o, ok := s.book.take(m.K2)
	if !ok {
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeKeyUsed, Reason: "K2 is not on offer any more"})
		return
	}
	p, err := channel.NewPayee(channel.PayeeConfig{
		Terms: s.book.terms(o, status), Signer: o.signer, KeyIndex: o.index,
		MinOutput: status.Params.MinOutput, Now: s.book.head.exact(),
	}, m)
	if err != nil {
		s.refuse(id, l, err)
		return
	}
	contract := p.Contract()
	if !s.book.claim(&contract, s.pair) {
		s.refuse(id, l, &channel.Refusal{Code: channel.CodeFunding, Reason: "the channel exists already"})
		return
	}
	c := &sold{m: p, via: l, lanes: make(map[uint32]*Link)}
	s.channels[id] = c
	s.flush(c, l)
}

// settlePays checks the newest of the collected payments: its record becomes
// durable while its signature is verified.
func (s *seller) settlePays() {
	if len(s.pays) == 0 {
		return
	}
	pays, l := s.pays, s.payLink
	s.pays = s.pays[:0]
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
	if checked == nil {
		return // repetitions
	}
	if checked.Pay != nil && !s.secure(checked, l) {
		return
	}
	if err := c.m.Accept(checked); err != nil {
		s.refuse(id, l, err)
	}
	c.via = l
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
	if err := s.book.journal.wait(mark); err != nil {
		s.book.cfg.Notify(Event{Kind: EventFault, Role: s.key.role, Account: s.key.account, Reason: err.Error()})
		return false
	}
	return true
}

func (s *seller) work() {
	s.settlePays()
	if s.book.closing.Load() { // also what was still opening at the shutdown
		for _, c := range s.channels {
			c.m.Close()
			s.flush(c, c.via)
		}
	}
}

// flush does what a channel's machine wants, in the order that package
// channel demands.
func (s *seller) flush(c *sold, l *Link) {
	rd := c.m.Ready()
	if rd.Empty() {
		return
	}
	if _, ok := s.store(rd.Records, rd.Sync); !ok {
		return
	}
	if l == nil || l.closed.Load() {
		l = c.via
	}
	for _, m := range rd.Messages {
		if m, ok := m.(*channel.Confirm); ok {
			m.Next = s.next()
		}
		l.send(m)
	}
	for _, t := range rd.Tasks {
		s.ask(c.m.ID(), t)
	}
	for _, e := range rd.Events {
		s.event(c, l, e)
	}
	s.report(c.m, c.bytes)
	if c.m.Stage().Final() {
		delete(s.channels, c.m.ID())
		s.book.release(c.m.ID())
	}
}

// event follows one event of a channel.
func (s *seller) event(c *sold, l *Link, e channel.Event) {
	switch e.Kind {
	case channel.EventAttached:
		s.attached(c, l, e)
		return
	case channel.EventEarned:
		c.bytes += e.Delta
		s.history += e.Delta
		if to := c.lanes[e.Lane]; to != nil {
			l = to
			to.credit(e.From)
		} else if d := s.debts[e.Tag]; d > 0 {
			s.debts[e.Tag] = max(0, d-e.Delta)
		}
	}
	if kind := eventKinds[e.Kind]; kind != 0 {
		s.publish(l, Event{Kind: kind, Channel: c.m.ID(), Tag: e.Tag, Sum: e.Sum, Bytes: e.Delta, Amount: e.Amount, Code: e.Code, Reason: e.Reason})
	}
}

// attached lets a lane pay for a link's stream from position e.From on.
func (s *seller) attached(c *sold, l *Link, e channel.Event) {
	if e.Tag != channel.Tag(l.cfg.Infohash) {
		s.refuse(c.m.ID(), l, &channel.Refusal{Code: channel.CodeLane, Reason: "this connection is for another torrent"})
		return
	}
	l.mu.Lock()
	tariff := slices.Clone(l.sale.tariff)
	paid, selling := l.sale.paid, l.sale.opened
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
	s.indebt(l, e.Tag)
	s.flush(c, l) // the State
	l.credit(c.m.Position(e.Lane))
}

// indebt takes the unpaid rest of a former connection off the link's window,
// after forgiving what broken connections are allowed to cost.
func (s *seller) indebt(l *Link, tag channel.Tag) {
	debt := s.debts[tag]
	if debt <= 0 {
		return
	}
	delete(s.debts, tag)
	grace := max(0, min(debt, l.cfg.Quantum+s.history/forgiveShare-s.forgiven))
	s.forgiven += grace
	l.mu.Lock()
	l.sale.debt += debt - grace
	l.mu.Unlock()
}

func (s *seller) reprice(l *Link, from int64, price amount.Price) {
	s.settlePays()
	for _, c := range s.channels {
		for lane, x := range c.lanes {
			if x != l {
				continue
			}
			if err := c.m.Reprice(lane, from, price); err != nil {
				s.refuse(c.m.ID(), l, err)
			}
			l.credit(c.m.Position(lane))
		}
	}
}

func (s *seller) funded(*funding, error) {}

func (s *seller) answer(o *op) {
	c := s.channels[o.id]
	if c == nil {
		return
	}
	s.settlePays()
	if o.task == channel.TaskLookup {
		if o.err == nil && o.state.Status == ledger.OutpointParked {
			c.m.Parked()
		}
		c.m.LookedUp(o.state, o.spender, o.err)
	} else {
		c.m.Submitted(o.task, o.err, rejected(o.err))
	}
	s.flush(c, c.via)
}

// ledger follows what the watcher saw: an early T2 makes this side settle.
func (s *seller) ledger(id channel.ID, parked bool) {
	c := s.channels[id]
	if c == nil {
		return
	}
	s.settlePays()
	if parked {
		c.m.Parked()
	} else {
		c.m.Look()
	}
	s.flush(c, c.via)
}

func (s *seller) restore(snap *channel.Snapshot, signer ledger.Signer) {
	c := &sold{m: channel.RestorePayee(snap, signer, s.book.head.time()), lanes: make(map[uint32]*Link)}
	s.channels[c.m.ID()] = c
	c.m.Look()
	c.m.Tick(s.book.head.time())
	s.flush(c, nil)
	s.report(c.m, 0)
}

// clock settles channels whose payer is gone, and lets machines look at the
// ledger's time.
func (s *seller) clock(tick bool) {
	now := s.book.cfg.Now()
	gone := len(s.links) == 0 && now.Sub(s.idle) >= s.book.cfg.IdleSettle
	for _, c := range s.channels {
		if gone {
			c.m.Close()
		}
		if tick || gone {
			c.m.Tick(s.book.head.time())
		}
		s.flush(c, c.via)
	}
}

func (s *seller) shutdown() {
	s.settlePays()
	for _, c := range s.channels {
		c.via.send(&channel.Close{ID: c.m.ID()})
		c.m.Close()
		s.flush(c, c.via)
	}
}

func (s *seller) count() int { return len(s.channels) }

func (s *seller) waiting() (n int) {
	for _, c := range s.channels {
		if c.m.Stage() >= channel.Funded {
			n++
		}
	}
	return n
}

// sweep finds links whose payer is late, each second (R12.1). It ends with
// the Book.
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
		b.mu.Lock()
		links := make([]*Link, 0, len(b.links))
		for l := range b.links {
			links = append(links, l)
		}
		b.mu.Unlock()
		now := b.cfg.Now()
		for _, l := range links {
			l.sweep(now)
		}
	}
}

// sweep reports a link that served all it may and got no payment in time.
func (l *Link) sweep(now time.Time) {
	l.mu.Lock()
	s := &l.sale
	served := l.served.Load()
	allowance := l.allowance.Load()
	exhausted := allowance != math.MaxInt64 && served > s.paid && allowance-served < blockSize
	switch {
	case !exhausted:
		s.owing = false
	case !s.owing:
		s.owing, s.since = true, now
	case now.Sub(s.since) >= l.book.cfg.PaymentTimeout:
		s.since = now
		account, unpaid := s.account, served-s.paid
		l.mu.Unlock()
		l.book.strike(account)
		e := Event{Kind: EventOverdue, Role: channel.RolePayee, Account: account, Tag: l.cfg.Infohash, Bytes: unpaid, Code: channel.CodeTimeout}
		l.book.cfg.Notify(e)
		l.notify(e)
		return
	}
	l.mu.Unlock()
}
