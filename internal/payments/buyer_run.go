package payments

import (
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// closeWait bounds how long a shutdown waits for a payee's answer; a payee
// that is gone settles later, or the refund comes at the lock. The books tell what
// came of it after the next start.
const closeWait = 2 * time.Second

// flush does what a channel's machine wants, in the order that package
// channel demands. It reports false when the journal failed.
func (b *buyer) flush(c *bought, l *Link) bool {
	rd := c.m.Ready()
	if rd.Empty() {
		return true
	}
	mark, ok := b.store(rd.Records, rd.Sync)
	if !ok {
		return false
	}
	b.ceilings(c, rd.Records, mark)
	if l == nil || l.closed.Load() {
		l = c.via
	}
	for _, m := range rd.Messages {
		l.send(m)
		if t := m.Type(); t == channel.TypeFund || t == channel.TypePay {
			c.shown[l] = struct{}{}
		}
	}
	for _, t := range rd.Tasks {
		b.ask(c.m.ID(), t)
	}
	for _, e := range rd.Events {
		c.bytes += e.Delta
		b.follow(c, e)
		if kind := eventKinds[e.Kind]; kind != 0 {
			x := Event{Kind: kind, Channel: c.m.ID(), Tag: e.Tag, Sum: e.Sum, Bytes: e.Delta, Amount: e.Amount, Code: e.Code, Reason: e.Reason}
			b.publish(l, x)
			if kind == EventOpened { // each may have heard that there are no funds
				b.tellOthers(l, x)
			}
		}
	}
	b.report(c.m, c.bytes)
	if c.m.Stage().Final() {
		b.end(c)
	}
	return true
}

// follow keeps what was signed in step with what counted.
func (b *buyer) follow(c *bought, e channel.Event) {
	switch e.Kind {
	case channel.EventOpened:
		b.vain = 0
	case channel.EventPaid:
		c.signed = e.Amount
		b.spent = min(b.spent+e.Sum, amount.Supply)
	case channel.EventResumed:
		c.signed = e.Amount
	case channel.EventSettled:
		b.lose(c.signed - e.Amount)
	case channel.EventRefunded:
		b.lose(c.signed)
	case channel.EventRefused:
		c.code = e.Code
	case channel.EventDetached:
		for _, o := range b.orders {
			if o.ch == c && o.lane == e.Lane && e.From < o.pos {
				o.behind, o.told = true, e.From
			}
		}
	}
}

// lose notes that so much of what was signed did not go over.
func (b *buyer) lose(sum amount.Amount) {
	b.lost += max(0, sum)
	b.spent = max(0, b.spent-max(0, sum))
}

// locked is what deposits with this provider hold that was not paid.
func (b *buyer) locked() (sum amount.Amount) {
	for _, c := range b.channels {
		if !c.m.Stage().Final() {
			sum += c.m.Remaining() // of coins of ours, so at most the supply
		}
	}
	return sum
}

// moved takes another connection to talk about a channel. While that opens, what was said
// on the one that ended may be lost.
func (b *buyer) moved(c *bought) {
	if c.via = b.anyLink(); c.via != nil && c.m.Stage() < channel.Opened {
		c.m.Resend()
		b.flush(c, c.via)
	}
}

// ceilings tells the machine which recorded ceilings are durable by now.
func (b *buyer) ceilings(c *bought, records []channel.Record, mark int64) {
	for _, r := range records {
		if r.Ceiling != nil && len(c.ceilings) < 8 {
			c.ceilings = append(c.ceilings, pendingCeiling{mark: mark, ceiling: *r.Ceiling})
		}
	}
	for len(c.ceilings) > 0 && b.book.journal.Durable(c.ceilings[0].mark) {
		c.m.Stable(c.ceilings[0].ceiling)
		c.ceilings = slices.Delete(c.ceilings, 0, 1)
	}
}

// end forgets a channel that is final.
func (b *buyer) end(c *bought) {
	if c.m.Stage() == channel.Abandoned {
		if t1, err := c.m.T1(); err == nil {
			b.book.cfg.Purse.Release(t1)
		}
		now := b.book.cfg.Now()
		b.retry = now.Add(fundRetry)
		switch {
		case c.code == channel.CodeLedger: // K2 is as good as it was
			contract := c.m.Contract()
			b.fresh = b.fresh || b.terms.K2 == contract.K2
			b.retry = now.Add(outageEvery)
		case b.fresh: // the payee sent other terms: try again at once
			b.retry = now.Add(b.again())
		}
	}
	b.channels = slices.DeleteFunc(b.channels, func(x *bought) bool { return x == c })
	b.book.release(c.m.ID())
	for _, o := range b.orders {
		if o.ch == c {
			o.ch = nil
		}
	}
	for tag, left := range b.carries {
		if left.ch == c {
			delete(b.carries, tag)
		}
	}
}

// again is how long to wait after a proposal of which nothing came.
func (b *buyer) again() time.Duration {
	if b.vain++; b.vain <= freeTries {
		return 0
	}
	return min(fundRetry<<min(b.vain-freeTries-1, 10), fundMost)
}

func (b *buyer) answer(o *op) {
	c := b.find(o.id)
	if c == nil {
		return
	}
	if o.task == channel.TaskLookup {
		c.m.LookedUp(o.state, o.spender, o.err)
	} else {
		c.m.Submitted(o.task, o.err, rejected(o.err))
	}
	b.flush(c, c.via)
}

// ledger follows what the watcher saw: a spent output ends the channel.
func (b *buyer) ledger(id channel.ID, parked bool) {
	if c := b.find(id); c != nil && !parked {
		c.m.Look()
		b.flush(c, c.via)
	}
}

func (b *buyer) restore(s *channel.Snapshot, signer ledger.Signer) {
	c := b.bought(channel.RestorePayer(s, signer, b.book.head.exact()), nil)
	b.channels = append(b.channels, c)
	if c.m.Stage() == channel.Proposed {
		c.m.Abandon(channel.CodeClosing, "restart") // T1 was never shown
	} else {
		c.m.Look()
	}
	b.flush(c, nil)
	b.report(c.m, 0)
}

func (b *buyer) bought(m *channel.Payer, via *Link) *bought {
	now := b.book.cfg.Now()
	return &bought{m: m, via: via, begun: now, since: now, looked: now, shown: make(map[*Link]struct{})}
}

// clock gives up openings that hang, and lets machines look at the ledger's
// time.
func (b *buyer) clock(tick bool) {
	now := b.book.cfg.Now()
	out := b.book.head.out(now)
	for _, c := range slices.Clone(b.channels) {
		if !c.retired.IsZero() && c.m.Stage() < channel.Closing && now.Sub(c.retired) >= retireAfter {
			b.close(c)
		}
		if late := now.Sub(c.since) > openTimeout && (!out || now.Sub(c.begun) > maxOpening); late {
			c.since = now
			switch c.m.Stage() {
			case channel.Proposed:
				c.m.Abandon(channel.CodeTimeout, "no answer")
			case channel.Funded:
				c.m.Fund()
			}
		}
		if tick || c.m.Stage() == channel.Closing && now.Sub(c.looked) > statusEvery/5 {
			c.looked = now
			c.m.Tick(b.book.head.exact())
		}
		b.flush(c, c.via)
	}
	b.tellOutage(out)
}

// retireAfter is how long the Close of a full channel waits for payments that are on
// their way on other connections.
const retireAfter = 2 * time.Second

// retire ends the use of a channel that is too full for a link. Its Close must not
// overtake what other connections pay in it: the payee would refuse that.
func (b *buyer) retire(c *bought, full *Link) {
	for l := range c.shown {
		if l != full && !l.closed.Load() {
			c.retired = b.book.cfg.Now()
			return
		}
	}
	b.close(c)
}

// tellOutage tells providers once that no channel can open because this node
// does not reach the ledger: the payment is late, and it is nobody's failure.
func (b *buyer) tellOutage(out bool) {
	blocked := out && b.usable() == nil
	for l, o := range b.orders {
		if blocked && !o.excused && o.order.price > 0 {
			l.send(outage("the requester cannot reach the ledger; the channel opens when it can"))
		}
		o.excused = blocked
	}
}

// outage is the message that a ledger is out of a side's reach. It names no
// channel.
func outage(reason string) *channel.Refuse {
	return &channel.Refuse{Code: channel.CodeLedger, Reason: reason}
}

// waits takes the payee's word that it cannot reach the ledger.
func (b *buyer) waits(l *Link) {
	now := b.book.cfg.Now()
	for _, c := range b.channels {
		if c.via == l && c.m.Stage() < channel.Opened && now.Sub(c.begun) < maxOpening {
			c.since = now
		}
	}
}

func (b *buyer) shutdown() {
	b.stopping, b.stopped = true, time.Now()
	for _, o := range b.orders {
		b.read(o)
		b.pay(o)
	}
	for _, c := range slices.Clone(b.channels) {
		b.close(c)
		b.look(c)
	}
}

// look asks the ledger once more what became of an open channel whose payee is not
// there, before this node leaves: it may have settled, and its word of that is lost.
func (b *buyer) look(c *bought) {
	if c.m.Stage() >= channel.Opened && !b.talks(c) {
		c.m.Look()
		b.flush(c, nil)
	}
}

// talks reports whether a channel's payee is connected.
func (b *buyer) talks(c *bought) bool { return c.via != nil && !c.via.closed.Load() }

func (b *buyer) count() int { return len(b.channels) }

// waiting counts channels whose payee can still settle them and say so, and those
// whose end is being looked up; it is not waited for longer than closeWait.
func (b *buyer) waiting() (n int) {
	if b.stopping && time.Since(b.stopped) > b.book.cfg.closeWait {
		return 0
	}
	for _, c := range b.channels {
		if b.talks(c) || c.m.Busy() {
			n++
		}
	}
	return n
}

// payNow pays one link in the place of the pair's goroutine, if that takes no
// disk; else the pair does.
func (b *buyer) payNow(l *Link) {
	o := b.orders[l]
	if o == nil || o.ch == nil || b.book.closing.Load() {
		return
	}
	b.read(o)
	if b.ahead(o) {
		b.settle(o)
	}
}

// ahead reports whether all that is due of a link can be paid in its channel
// without anything that is written down.
func (b *buyer) ahead(o *purchase) bool {
	if _, left := b.carries[o.link.cfg.Infohash]; left || o.behind || !o.quoted || o.ch == nil || o.ch != b.usable() {
		return false
	}
	due := o.due()
	return o.ch.m.Fit(o.lane, due) == due && o.ch.m.Ahead(o.lane, due)
}

// uncertain reports whether the payee may have got less than was signed.
func (b *buyer) uncertain() bool {
	return b.lost > 0 || slices.ContainsFunc(b.channels, func(c *bought) bool { return c.m.Stage() == channel.Closing && c.signed > 0 })
}

// goBack pays a stream again from where the payee stands, but for no more than
// what ended channels really did not pay: the ledger has told that.
func (b *buyer) goBack(o *purchase) bool {
	cost, err := o.tariff.Owed(o.told, o.pos)
	switch {
	case o.ch == nil:
		o.behind = false // that channel is gone; the next one tells
		return true
	case err == nil && cost <= b.lost:
		b.lost -= cost
		o.pos, o.behind, o.ch = o.told, false, nil
		return true
	case b.uncertain() && slices.ContainsFunc(b.channels, func(c *bought) bool { return c.m.Stage() == channel.Closing }):
		return false // until the ledger told
	}
	b.deny(o)
	return false
}

// deny ends the buying on a connection whose provider counts less as paid than it
// settled: the next channel would end with the same denial, and each costs two
// transactions.
func (b *buyer) deny(o *purchase) {
	const reason = "the provider denies payments that it settled"
	o.behind, o.denied = false, true
	b.refused(o.ch, o.link, &channel.Refusal{Code: channel.CodeAmount, Reason: reason})
	b.publish(o.link, Event{Kind: EventDenied, Channel: o.ch.m.ID(), Code: channel.CodeAmount, Reason: reason})
	b.close(o.ch)
}
