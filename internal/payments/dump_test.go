package payments

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// dump tells the state of both sides of a wire, for a test that stalled.
func (w *wire) dump() string {
	var b strings.Builder
	for _, l := range []*Link{w.requester, w.provider} {
		l.mu.Lock()
		fmt.Fprintf(&b, "link: served %d verified %d allowance %d order %v quotes %v sale: opened %v paid %d owing %v tariff %v\n",
			l.served.Load(), l.verified.Load(), l.allowance.Load(), l.order.price, l.quotes, l.sale.opened, l.sale.paid,
			l.sale.owing, l.sale.tariff)
		l.mu.Unlock()
		fmt.Fprintf(&b, "  journal: %v\n", l.book.journal)
		for _, p := range l.book.all() {
			p.dump(&b)
		}
	}
	return b.String()
}

func (p *pair) dump(b *strings.Builder) {
	free := p.mu.TryLock()
	fmt.Fprintf(b, "  pair %v: posted %d mailbox %d kick %d free %v\n", p.key.role, p.posted.Load(), len(p.mailbox.waiting), len(p.kick), free)
	if !free {
		return
	}
	defer p.mu.Unlock()
	switch s := p.side.(type) {
	case *buyer:
		fmt.Fprintf(b, "   opening %v fresh %v retry %v\n", s.opening, s.fresh, s.retry)
		for _, o := range s.orders {
			fmt.Fprintf(b, "   purchase pos %d limit %d quoted %v price %v tariff %v attached %v lane %d\n", o.pos, o.limit, o.quoted,
				o.order.price, o.tariff, o.ch != nil, o.lane)
			if o.ch != nil {
				fmt.Fprintf(b, "    awaits %v fit %d position %d\n", o.ch.m.Awaits(o.lane), o.ch.m.Fit(o.lane, o.due()), o.ch.m.Position(o.lane))
			}
		}
		for _, c := range s.channels {
			fmt.Fprintf(b, "   channel %v usable %v live %v needs state %v paid %v left %v\n", c.m.Stage(), c.m.Usable(), c.m.Live(),
				c.m.NeedsState(), c.m.Paid(), c.m.Remaining())
		}
	case *seller:
		fmt.Fprintf(b, "   %d links, %d waiting payments, debts %v forgiven %d spared %d\n", len(s.links), len(s.pays), s.debtor.debts, s.debtor.forgiven, s.debtor.spared)
		for _, c := range s.channels {
			fmt.Fprintf(b, "   channel %v earned %v lanes %d\n", c.m.Stage(), c.m.Earned(), len(c.lanes))
			for n := range c.lanes {
				fmt.Fprintf(b, "    lane %d bytes %d position %d\n", n, c.m.LaneBytes(n), c.m.Position(n))
			}
		}
	}
}

// stalled ends a test with all that is known.
func stalled(t testing.TB, w *wire, nodes []*node, format string, args ...any) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, n := range nodes {
		n.mu.Lock()
		tail := n.seen[max(0, len(n.seen)-8):]
		t.Logf("%s saw %d events, last %+v", n.purse.name, len(n.seen), tail)
		for _, e := range n.seen {
			if e.Kind != EventPaid && e.Kind != EventEarned {
				t.Logf("%s: %v %v %s", n.purse.name, e.Kind, e.Code, e.Reason)
			}
		}
		n.mu.Unlock()
	}
	t.Fatalf(format+"\n%s\n%s", append(args, w.dump(), stacks)...)
}
