package channel

import (
	"context"
	"fmt"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// packet is a message, or so many bytes of data.
type packet struct {
	raw  []byte
	data int64
}

// checkStored holds that nothing leaves before its record is durable.
func (l *life) checkStored(side int, m Message) {
	s := l.fold(side)
	switch m := m.(type) {
	case *Pay:
		if s == nil || m.Payment.Amount > s.Ceiling.Amount || m.Payment.Sequence > s.Ceiling.Sequence {
			panic(fmt.Sprintf("payment %d of %v leaves above the stored ceiling", m.Payment.Sequence, m.Payment.Amount))
		}
	case *Fund:
		if s == nil || s.Refund == (ledger.Signature{}) {
			panic("T1 leaves before T2's signature is stored")
		}
	case *RefundSig:
		if s == nil || s.Stage < Accepted {
			panic("T2's signature leaves before the contract is stored")
		}
	}
}

// send puts a packet on the line; it may be doubled or overtaken.
func (l *life) send(to int, p packet) {
	if !l.open {
		return
	}
	q := append(l.line[to], p)
	if !l.calm {
		switch l.rng.IntN(40) {
		case 0:
			q = append(q, packet{raw: p.raw}) // data is not doubled: it would be other data
			if p.data > 0 {
				q = q[:len(q)-1]
			}
		case 1:
			i := l.rng.IntN(len(q))
			q[i], q[len(q)-1] = q[len(q)-1], q[i]
		}
	}
	l.line[to] = q
}

func (l *life) event(side int, e Event) {
	switch {
	case side == 1 && e.Kind == EventAttached && e.From <= l.paid:
		if l.payee.Tariff(e.Lane, e.Bytes, e.From, Tariff{{0, worldPrice}}) == nil {
			l.lane, l.selling = e.Lane, true
		}
		l.flush(1)
	case side == 1 && e.Kind == EventAttached:
		l.payee.Detached(e.Lane, l.paid)
		l.flush(1)
	case e.Kind == EventEarned:
		l.held = max(l.held, e.Amount)
		if l.selling && e.Lane == l.lane {
			l.paid = max(l.paid, e.From)
		}
	}
}

func (l *life) deliver(side int) {
	if len(l.line[side]) == 0 || !l.up[side] {
		return
	}
	p := l.line[side][0]
	l.line[side] = l.line[side][1:]
	if p.data > 0 {
		l.position += p.data
		l.verified += p.data
		l.pay()
		return
	}
	m, err := Decode(p.raw)
	if err != nil {
		panic(err)
	}
	if side == 0 {
		if l.payer != nil {
			_ = l.payer.Step(m) // refusals are answers
			l.flush(0)
			l.pay()
		}
		return
	}
	l.toPayee(m)
}

func (l *life) toPayee(m Message) {
	if l.payee == nil {
		open, ok := m.(*Open)
		if !ok || len(l.logs[1].durable) > 0 {
			return
		}
		p, err := NewPayee(PayeeConfig{Terms: l.terms, Signer: l.keys[1], MinOutput: testMin, Now: l.now()}, open)
		if err != nil {
			return
		}
		l.payee = p
		l.flush(1)
		return
	}
	pay, ok := m.(*Pay)
	if !ok {
		_ = l.payee.Step(m)
		l.flush(1)
		return
	}
	c, err := l.payee.Check(pay)
	if c == nil || err != nil {
		return
	}
	if c.Pay != nil { // stored while it is verified
		r := c.Record()
		l.append(1, &r)
		l.boundary(1)
		if !c.Verify() {
			return
		}
		l.sync(1)
		l.boundary(1)
	}
	if err := l.payee.Accept(c); err != nil {
		panic(err)
	}
	l.flush(1)
}

// pay pays what is verified on the line.
func (l *life) pay() {
	if l.payer == nil || l.payer.Stage() != Opened || !l.open || l.position == 0 {
		return
	}
	if !l.attached {
		lane, err := l.payer.Attach(Tag{1}, 0, Tariff{{0, worldPrice}})
		if err != nil {
			return
		}
		l.lane, l.attached = lane, true
		l.flush(0)
	}
	if l.payer.Awaits(l.lane) || l.payer.NeedsState() {
		return
	}
	if l.rng.IntN(3) == 0 {
		l.payer.Presign(l.lane, l.position)
	}
	if l.payer.Pay(l.lane, l.payer.Fit(l.lane, l.position)) == nil {
		l.flush(0)
	}
}

// serve sends one unit if no other is unpaid.
func (l *life) serve() {
	if l.up[0] && l.up[1] && l.open && l.served-l.paid < worldUnit && len(l.line[0]) < 8 {
		l.served += worldUnit
		l.send(0, packet{data: worldUnit})
	}
}

func (l *life) connect() {
	if l.open || !l.up[0] || !l.up[1] {
		return
	}
	l.open = true
	if l.payer != nil {
		l.payer.Resend()
		l.flush(0)
	}
}

// ask asks the ledger, which may die before its answer: nothing, a part or all of
// the block that it was writing is on its disk then, and it starts again from
// there. What it ever acknowledged must be there still.
func (s *sim) ask(task Task) (state ledger.OutpointState, spender *ledger.Tx, err error) {
	before := s.ledger.LogSize()
	state, spender, err = simTask(s.ledger, task)
	s.audit()
	after := s.ledger.LogSize()
	if s.calm || after == before || s.rng.IntN(8) > 0 {
		if tx, bad := ledger.DecodeTx(task.Raw); err == nil && bad == nil {
			s.durable[tx.ID(s.net)] = true
		}
		return state, spender, err
	}
	size := before + s.rng.IntN(after-before+1)
	if s.rng.IntN(3) == 0 {
		size = after
	}
	s.trace("the ledger dies with %d of %d bytes of a block", size-before, after-before)
	if err := s.ledger.Crash(size); err != nil {
		panic(err)
	}
	s.audit()
	for id := range s.durable {
		if r, err := s.ledger.Transaction(context.Background(), id); err != nil || r.State != ledger.Committed {
			panic(fmt.Sprintf("the ledger acknowledged %s and lost it: %v", id, err))
		}
	}
	return ledger.OutpointState{}, nil, errSimOutage
}

func simTask(m *ledgertest.Memory, task Task) (state ledger.OutpointState, spender *ledger.Tx, err error) {
	ctx := context.Background()
	if task.Kind != TaskLookup {
		r, err := m.Submit(ctx, task.Raw)
		if err == nil && r.State != ledger.Committed {
			err = fmt.Errorf("transaction is %v", r.State)
		}
		return state, nil, err
	}
	state, err = m.Outpoint(ctx, task.Outpoint)
	if err == nil && state.Status == ledger.OutpointSpent {
		if rec, err := m.Transaction(ctx, state.By); err == nil {
			spender, _ = ledger.DecodeTx(rec.Raw)
		}
	}
	return state, spender, err
}
