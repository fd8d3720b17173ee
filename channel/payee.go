package channel

import (
	"slices"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Payee is the provider's side of a channel. It is driven as the package
// comment says and is not safe for concurrent use.
type Payee struct {
	core
	payments int                 // accepted in this run
	k1       *ledger.PreparedKey // once there were prepareAfter payments
}

// prepareAfter is the number of payments after which it pays to prepare K1.
const prepareAfter = 2

// PayeeConfig answers an Open.
type PayeeConfig struct {
	Terms     Terms         // as offered with K2
	Signer    ledger.Signer // K2; of no other channel, but for such as came to nothing with other T1s
	KeyIndex  uint32        // of K2, to find it again after a restart
	MinOutput amount.Amount
	Now       uint64 // ledger time, seconds
}

// NewPayee checks an Open against the terms (step 4). Its first task is the
// look-up of T1's output, which must be unknown. A *Refusal says what is
// wrong with the proposal.
func NewPayee(cfg PayeeConfig, open *Open) (*Payee, error) {
	if open.K2 != cfg.Terms.K2 || open.K2 != cfg.Signer.PublicKey() {
		return nil, refuse(CodeKeyUsed, "K2 is not the key on offer")
	}
	c := Contract{
		Network: cfg.Terms.Network, Payer: open.Payer, Payee: cfg.Terms.Account, K1: open.K1, K2: open.K2,
		Funding: open.Funding, Deposit: open.Deposit, MinOutput: cfg.MinOutput, LockTime: open.LockTime,
	}
	if !c.Payer.Valid() || !c.K1.Valid() {
		return nil, refuse(CodeFunding, "K1 or the payer's account is no key")
	}
	if err := c.checkTerms(&cfg.Terms, cfg.Now); err != nil {
		return nil, err
	}
	c.fix()
	p := &Payee{core: core{
		role: RolePayee, stage: Checking, contract: c, id: c.ID(), signer: cfg.Signer, keyIndex: cfg.KeyIndex,
		opened: cfg.Now, now: cfg.Now, lanes: make(map[uint32]*Lane),
	}}
	p.task(TaskLookup, nil)
	return p, nil
}

// RestorePayee continues a channel from its durable state after a restart.
func RestorePayee(s *Snapshot, signer ledger.Signer, now uint64) *Payee {
	return &Payee{core: restoreCore(s, signer, now)}
}

// Snapshot returns the durable state.
func (p *Payee) Snapshot() *Snapshot { return p.snapshot() }

// Earned returns what the payee holds a signature for, or was paid.
func (p *Payee) Earned() amount.Amount { return p.best.Amount }

// Surplus returns what was paid in this run beyond what is owed for lanes whose price is
// known: of a restored channel those of the run before are not, until they are attached.
func (p *Payee) Surplus() amount.Amount { return p.best.Amount - p.owed }

// Step takes a message of the payer. A *Refusal names what the payer gets to
// hear; the machine goes on as before unless it says otherwise.
func (p *Payee) Step(m Message) error {
	if m.Channel() != p.id {
		return refuse(CodeUnknown, "message of channel %v", m.Channel())
	}
	switch m := m.(type) {
	case *Open:
		return p.stepOpen(m)
	case *Fund:
		return p.stepFund(m)
	case *Attach:
		return p.stepAttach(m)
	case *Pay:
		return p.stepPay(m)
	case *Close:
		p.stepClose()
		return nil
	case *Refuse:
		p.event(Event{Kind: EventRefused, Code: m.Code, Reason: m.Reason})
		if p.stage == Accepted || p.stage == Checking {
			p.enter(Abandoned, p.Snapshot, false)
		}
		return nil
	}
	return refuse(CodeMalformed, "%v is no message for a payee", m.Type())
}

// Shows reports whether a message carries a signature of K1 that only the payer
// and this side know: the first settlement's, the newest payment held, or an older
// one, which another connection's may have overtaken on the way. A connection shows
// one before it may speak for the channel, since its id can be read on the ledger.
func (p *Payee) Shows(m Message) bool {
	switch m := m.(type) {
	case *Fund:
		return m.ID == p.id && ledger.VerifySignature(p.contract.K1, p.contract.paymentDigest(0, 1), m.First)
	case *Pay:
		if m.ID != p.id || p.best.Sequence == 0 || m.Payment.Sequence >= p.best.Sequence {
			return m.ID == p.id && p.best.Sequence > 0 && m.Payment == p.best
		}
		return ledger.VerifySignature(p.contract.K1, p.contract.paymentDigest(m.Payment.Amount, m.Payment.Sequence), m.Payment.Signature)
	}
	return false
}

// Funder reports whether the payer's account is known to be behind the channel:
// T1 is committed and that account signed it.
func (p *Payee) Funder() bool {
	if p.stage < Opened || p.stage == Abandoned {
		return false
	}
	t1, err := ledger.DecodeTx(p.t1)
	if err != nil {
		return false
	}
	for _, w := range t1.Witnesses {
		if slices.Contains(w.Keys, p.contract.Payer) {
			return true
		}
	}
	return false
}

// stepOpen answers a repetition of the Open that made this channel.
func (p *Payee) stepOpen(m *Open) error {
	c := &p.contract
	if m.K1 != c.K1 || m.K2 != c.K2 || m.Payer != c.Payer || m.Funding != c.Funding || m.Deposit != c.Deposit || m.LockTime != c.LockTime {
		return refuse(CodeKeyUsed, "the channel exists with other parameters")
	}
	if p.stage == Accepted {
		return p.sendRefundSig()
	}
	return nil
}

func (p *Payee) sendRefundSig() error {
	sig, err := p.signer.Sign(p.contract.refundDigest())
	if err != nil {
		return refuse(CodeSignature, "sign refund: %v", err)
	}
	p.send(&RefundSig{ID: p.id, Signature: sig})
	return nil
}

// stepFund checks T1 and the first T3 and submits T1 (steps 6-8).
func (p *Payee) stepFund(m *Fund) error {
	switch p.stage {
	case Accepted:
	case Funded:
		return nil
	case Opened:
		p.send(&Confirm{ID: p.id})
		return nil
	default:
		return refuse(CodeClosing, "channel is %v", p.stage)
	}
	if _, err := p.contract.checkFunding(m.T1); err != nil {
		return refuse(CodeFunding, "%v", err)
	}
	if !ledger.VerifySignature(p.contract.K1, p.contract.paymentDigest(0, 1), m.First) {
		return refuse(CodeSignature, "the first settlement's signature does not verify")
	}
	if p.expiring() {
		return refuse(CodeExpiring, "lock time %d is near", p.contract.LockTime)
	}
	p.t1 = m.T1
	p.best = Payment{Sequence: 1, Signature: m.First}
	p.enter(Funded, p.Snapshot, true)
	p.task(TaskFund, p.t1)
	return nil
}

// stepAttach binds a lane to a tag. The caller answers EventAttached with
// Tariff before the next Step.
func (p *Payee) stepAttach(m *Attach) error {
	if err := p.checkOpen(); err != nil {
		return err
	}
	l := p.lanes[m.Lane]
	if l == nil {
		if len(p.lanes) >= MaxLanes {
			return refuse(CodeLane, "all %d lanes are in use", MaxLanes)
		}
		l = &Lane{Tag: m.Tag}
		p.lanes[m.Lane] = l
		p.out.Records = append(p.out.Records, Record{Snapshot: p.Snapshot()})
	}
	if l.Tag != m.Tag {
		return refuse(CodeLane, "lane %d is bound to another service", m.Lane)
	}
	p.event(Event{Kind: EventAttached, Lane: m.Lane, Tag: m.Tag, From: m.From, Bytes: m.Bytes})
	return nil
}

// Tariff answers EventAttached with the prices of the stream that the lane
// pays from now on, and shows the payer the newest payment.
func (p *Payee) Tariff(lane uint32, base, from int64, tariff Tariff) error {
	l := p.lanes[lane]
	if l == nil {
		return refuse(CodeLane, "lane %d is not in use", lane)
	}
	count := max(l.Bytes, base)
	if err := l.attach(base, from, tariff); err != nil {
		return refuse(CodePrice, "%v", err)
	}
	p.send(&State{ID: p.id, Lane: lane, Bytes: count, Payment: p.best, Attached: true})
	return nil
}

// Detached answers EventAttached in the place of Tariff when less of the stream is
// paid than the payer believes, because payments of another channel were lost: it
// shows up to which position.
func (p *Payee) Detached(lane uint32, paid int64) {
	p.send(&State{ID: p.id, Lane: lane, Bytes: paid, Payment: p.best})
}

func (p *Payee) checkOpen() error {
	switch {
	case p.stage == Funded || p.stage == Accepted:
		return refuse(CodeFunding, "T1 is not committed yet")
	case p.stage != Opened:
		return refuse(CodeClosing, "channel is %v", p.stage)
	case p.expiring():
		return refuse(CodeExpiring, "lock time %d is near", p.contract.LockTime)
	}
	return nil
}

// Checked is a payment that passed every check but the signature's.
type Checked struct {
	Pay    *Pay // the newest; its record must be written before Accept
	digest [32]byte
	k1     ledger.PublicKey
	fast   *ledger.PreparedKey // of k1, or nil
	lanes  []laneClaim
	bytes  int64 // that they claim beyond what was paid
	owed   amount.Amount
}

type laneClaim struct {
	lane  uint32
	bytes int64
}

// Check looks at payments in order of arrival. Only the newest needs its
// signature verified: amounts are cumulative, and it must cover what all of
// them claim. Lanes may travel on several connections, so a payment can
// arrive after a newer one; its claim counts as far as what is held covers it,
// and Checked.Pay is nil if nothing newer came. It returns nil, nil when all
// are repetitions. The caller then stores the record of Checked.Pay, calls
// Verify (in parallel, if it likes) and, when both succeeded, Accept.
func (p *Payee) Check(pays ...*Pay) (*Checked, error) {
	if err := p.checkOpen(); err != nil {
		return nil, err
	}
	if p.k1 == nil && p.payments >= prepareAfter {
		p.k1, _ = ledger.Prepare(p.contract.K1) // the contract's keys are keys
	}
	c := Checked{k1: p.contract.K1, fast: p.k1, owed: p.owed}
	n := &p.best
	for _, m := range pays {
		if err := p.claim(&c, m); err != nil {
			return nil, err
		}
		if m.Payment.Sequence > n.Sequence {
			c.Pay, n = m, &m.Payment
		}
	}
	switch {
	case c.Pay == nil && (len(c.lanes) == 0 || c.owed > n.Amount):
		return nil, nil
	case n.Amount < p.best.Amount:
		return nil, refuse(CodeStale, "amount fell from %v to %v", p.best.Amount, n.Amount)
	case n.Amount > p.contract.Capacity():
		return nil, refuse(CodeAmount, "%v is more than the deposit covers (%v)", n.Amount, p.contract.Capacity())
	case n.Amount < c.owed:
		return nil, refuse(CodeAmount, "%v paid, %v owed for the bytes claimed", n.Amount, c.owed)
	}
	if c.Pay != nil {
		c.digest = p.contract.paymentDigest(n.Amount, n.Sequence)
	}
	return &c, nil
}

// claim adds what one payment claims to the sum owed.
func (p *Payee) claim(c *Checked, m *Pay) error {
	l := p.lanes[m.Lane]
	if l == nil {
		return nil // its Attach travels on another connection; the money is good
	}
	from := l.Bytes
	at := -1
	for i := range c.lanes {
		if c.lanes[i].lane == m.Lane {
			at, from = i, c.lanes[i].bytes
		}
	}
	if m.Bytes <= from {
		return nil
	}
	before, err := l.Owed(from)
	if err != nil {
		return refuse(CodeAmount, "%v", err)
	}
	after, err := l.Owed(m.Bytes)
	if err != nil {
		return refuse(CodeAmount, "%v", err)
	}
	if c.owed, err = c.owed.Add(after - before); err != nil {
		return refuse(CodeAmount, "%v", err)
	}
	c.bytes += m.Bytes - from
	if at < 0 {
		c.lanes = append(c.lanes, laneClaim{lane: m.Lane, bytes: m.Bytes})
		return nil
	}
	c.lanes[at].bytes = m.Bytes
	return nil
}

// Verify reports whether the signature is K1's. It reads only c and may run
// beside anything.
func (c *Checked) Verify() bool {
	if c.Pay != nil && c.fast != nil {
		return c.fast.Verify(c.digest, c.Pay.Payment.Signature)
	}
	return c.Pay == nil || ledger.VerifySignature(c.k1, c.digest, c.Pay.Payment.Signature)
}

// Bytes is what the payments claim beyond what is paid, over all lanes.
func (c *Checked) Bytes() int64 { return c.bytes }

// Record is what must be written before Accept, so that the end of the process does
// not lose it, and durable before more than the window rests on it (docs/rfcs/0042).
func (c *Checked) Record() Record { return Record{Pay: c.Pay} }

// Accept takes a payment that verified and whose record is written: now it is
// income. Each lane it covers gives one EventEarned; the first carries the
// sum.
func (p *Payee) Accept(c *Checked) error {
	var sum amount.Amount
	if c.Pay != nil {
		sum = c.Pay.Payment.Amount - p.best.Amount
		p.best = c.Pay.Payment
		p.payments++
	}
	p.owed = c.owed
	for _, claim := range c.lanes {
		l := p.lanes[claim.lane]
		before := l.Bytes
		if err := l.advance(claim.bytes); err != nil {
			return err
		}
		p.event(Event{Kind: EventEarned, Lane: claim.lane, Tag: l.Tag, From: l.position(), Bytes: l.Bytes, Delta: l.Bytes - before,
			Sum: sum, Amount: p.best.Amount})
		sum = 0
	}
	if sum > 0 {
		var tag Tag
		if l := p.lanes[c.Pay.Lane]; l != nil {
			tag = l.Tag
		}
		p.event(Event{Kind: EventEarned, Lane: c.Pay.Lane, Tag: tag, From: p.Position(c.Pay.Lane), Bytes: p.LaneBytes(c.Pay.Lane), Sum: sum, Amount: p.best.Amount})
	}
	return nil
}

// stepPay is Check, Verify and Accept in a row. The record is in the same
// Ready as the event, so a caller that follows the order counts the income
// only when it is durable.
func (p *Payee) stepPay(m *Pay) error {
	c, err := p.Check(m)
	if c == nil || err != nil {
		return err
	}
	if !c.Verify() {
		return refuse(CodeSignature, "payment %d does not verify", m.Payment.Sequence)
	}
	if c.Pay != nil {
		p.out.Records = append(p.out.Records, c.Record())
		p.out.Sync = true
	}
	return p.Accept(c)
}
