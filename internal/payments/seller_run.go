package payments

import (
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

func (s *seller) work() {
	s.settlePays()
	s.tell()
	if s.book.closing.Load() { // also what was still opening at the shutdown
		for _, c := range s.channels {
			if c.via == nil || c.via.closed.Load() {
				c.m.Abandon() // nobody is there to fund it
			}
			c.m.Close()
			s.flush(c, c.via)
		}
	}
}

// flush does what a channel's machine wants, in the order that package
// channel demands. What is sent to the payer or the ledger rests on payments that are
// durable.
func (s *seller) flush(c *sold, l *Link) {
	rd := c.m.Ready()
	if rd.Empty() {
		return
	}
	leaves := len(rd.Messages)+len(rd.Tasks) > 0 && !s.book.journal.Durable(s.mark)
	if _, ok := s.store(rd.Records, rd.Sync || leaves); !ok {
		return
	}
	s.tell()
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
	if len(s.untold) == 0 {
		s.report(c.m, c.bytes)
	} else if s.awaited < s.mark {
		s.awaited = s.mark
		s.book.journal.After(s.mark, s.wake)
	}
	if c.m.Stage().Final() {
		delete(s.channels, c.m.ID())
		s.book.release(c.m.ID())
		if contract := c.m.Contract(); c.m.Stage() == channel.Abandoned && c.k2.signer != nil {
			s.book.giveBack(c.k2, firstBytes(contract.Funding))
			c.k2.signer = nil
		}
	}
}

// reprice changes the price of a link's lane, unless it was attached with it.
func (s *seller) reprice(o *op) {
	s.settlePays()
	l := o.link
	l.mu.Lock()
	known := o.number <= l.sale.known
	l.mu.Unlock()
	for _, c := range s.channels {
		for lane, x := range c.lanes {
			if x != l || known {
				continue
			}
			if err := c.m.Reprice(lane, o.from, o.price); err != nil {
				s.refuse(c.m.ID(), l, err)
			}
			l.credit(c.m.Position(lane), s.debtor)
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
	c := &sold{m: channel.RestorePayee(snap, signer, s.book.head.time()), lanes: make(map[uint32]*Link),
		shown: make(map[*Link]struct{}), ended: make(map[uint32]*rest), old: true}
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
	out := s.book.head.out(now)
	gone := len(s.links) == 0 && now.Sub(s.idle) >= s.book.cfg.IdleSettle
	for _, c := range s.channels {
		if gone {
			c.m.Close()
		}
		if tick || gone {
			c.m.Tick(s.book.head.time())
		}
		s.flush(c, c.via)
		if out && c.m.Stage() < channel.Opened && now.Sub(c.told) >= statusEvery {
			c.told = now
			c.via.send(outage("the provider cannot reach the ledger; the channel opens when it can"))
		}
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
