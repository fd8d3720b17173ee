package channel

import (
	"errors"
	"math"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Ceilings rise in steps of this share of the deposit.
const ceilingSteps = 4

// ErrFull means that the deposit does not cover a payment; the rest belongs
// to a successor channel.
var ErrFull = errors.New("deposit does not cover the payment; open a successor channel")

// Payer is the requester's side of a channel. It is driven as the package
// comment says and is not safe for concurrent use.
type Payer struct {
	core
	refund   ledger.Signature // K2's signature on T2
	ceiling  Ceiling          // durable bound
	asked    Ceiling          // recorded, durable once Stable was told
	resync   bool             // restored: the newest payment is known to the payee only
	restored bool             // a former run made payments that this one does not know
	ahead    presigned
	last     *Pay // newest payment sent, to repeat it on a new connection
	closing  bool // Close was sent
	reported bool // Expiring was reported
}

// presigned is a payment signed before it is due.
type presigned struct {
	valid   bool
	lane    uint32
	bytes   int64
	payment Payment
}

// PayerConfig makes a payer's channel.
type PayerConfig struct {
	Terms     Terms            // of the payee, from its bid response
	Account   ledger.PublicKey // of the payer
	Signer    ledger.Signer    // K1
	KeyIndex  uint32           // of K1, to find it again after a restart
	T1        *ledger.Tx       // signed; one output is locked to K1 and Terms.K2
	Network   ledger.Network
	MinOutput amount.Amount
	Now       uint64 // ledger time, seconds
	LockTime  uint64 // of T2, ledger seconds
}

// NewPayer starts a channel (steps 1-3). A *Refusal says that the terms do
// not fit; T1 was not shown to anybody then.
func NewPayer(cfg PayerConfig) (*Payer, error) {
	c := Contract{
		Network: cfg.Network, Payer: cfg.Account, Payee: cfg.Terms.Account, K1: cfg.Signer.PublicKey(), K2: cfg.Terms.K2,
		MinOutput: cfg.MinOutput, LockTime: cfg.LockTime,
	}
	index := -1
	for i, o := range cfg.T1.Outputs {
		if o.Lock == c.Lock() {
			index, c.Deposit = i, o.Amount
		}
	}
	if index < 0 || index > math.MaxUint16 {
		return nil, refuse(CodeFunding, "T1 has no output for both channel keys")
	}
	c.Funding = cfg.T1.OutPoint(cfg.Network, index)
	if err := c.checkTerms(&cfg.Terms, cfg.Now); err != nil {
		return nil, err
	}
	c.fix()
	p := &Payer{core: core{
		role: RolePayer, contract: c, id: c.ID(), signer: cfg.Signer, keyIndex: cfg.KeyIndex,
		opened: cfg.Now, now: cfg.Now, lanes: make(map[uint32]*Lane), t1: cfg.T1.Encode(),
	}}
	if len(p.t1) > MaxFunding {
		return nil, refuse(CodeFunding, "T1 has %d bytes, at most %d", len(p.t1), MaxFunding)
	}
	p.ceiling.ID, p.asked.ID = p.id, p.id
	p.enter(Proposed, p.Snapshot, true)
	p.send(&Open{Payer: c.Payer, K1: c.K1, K2: c.K2, Funding: c.Funding, Deposit: c.Deposit, LockTime: c.LockTime})
	return p, nil
}

// checkTerms compares a contract with a provider's terms at ledger time now.
func (c *Contract) checkTerms(t *Terms, now uint64) error {
	switch {
	case c.Network != t.Network:
		return refuse(CodeNetwork, "channel on ledger %v, terms on ledger %v", c.Network, t.Network)
	case c.Deposit < t.MinDeposit || c.Deposit > t.MaxDeposit:
		return refuse(CodeDeposit, "deposit %v outside %v to %v", c.Deposit, t.MinDeposit, t.MaxDeposit)
	case c.Capacity() <= 0:
		return refuse(CodeDeposit, "deposit %v is not above the least output %v", c.Deposit, c.MinOutput)
	case c.LockTime < now || c.LockTime-now < uint64(t.MinLock) || c.LockTime-now > uint64(t.MaxLock):
		return refuse(CodeLock, "lock %d s after ledger time %d, want %d to %d s", int64(c.LockTime-now), now, t.MinLock, t.MaxLock)
	case c.LockTime-now < 2*Margin(c.LockTime-now):
		return refuse(CodeLock, "lock of %d s is shorter than two safety margins", c.LockTime-now)
	case c.K1 == c.K2:
		return refuse(CodeFunding, "K1 and K2 are the same key")
	}
	return nil
}

// RestorePayer continues a channel from its durable state after a restart.
// The newest payment may have left this node without being stored; the
// machine pays again once the payee showed it (see NeedsState).
func RestorePayer(s *Snapshot, signer ledger.Signer, now uint64) *Payer {
	p := &Payer{core: restoreCore(s, signer, now), refund: s.Refund, ceiling: s.Ceiling, asked: s.Ceiling, resync: true, restored: true}
	p.ceiling.ID, p.asked.ID = p.id, p.id
	return p
}

// Snapshot returns the durable state.
func (p *Payer) Snapshot() *Snapshot {
	s := p.snapshot()
	s.Refund, s.Ceiling = p.refund, p.asked
	return s
}

// NeedsState reports whether payments wait for the payee's State: attach a
// lane to get it.
func (p *Payer) NeedsState() bool { return p.resync }

// Awaits reports whether a lane's payments wait for the payee's State.
func (p *Payer) Awaits(lane uint32) bool {
	l := p.lanes[lane]
	return l != nil && l.await
}

// Usable reports whether payments can be made now.
func (p *Payer) Usable() bool {
	return p.stage == Opened && !p.resync && !p.closing && p.now+2*p.margin() < p.contract.LockTime
}

// Live reports whether the channel may still become or be Usable.
func (p *Payer) Live() bool {
	return p.stage < Closing && !p.closing && p.now+2*p.margin() < p.contract.LockTime
}

// Bound returns the most that the payee may hold a signature for.
func (p *Payer) Bound() amount.Amount {
	if p.resync {
		return max(p.asked.Amount, p.best.Amount)
	}
	return p.best.Amount
}

// Step takes a message of the payee. A *Refusal says why it was not followed.
func (p *Payer) Step(m Message) error {
	if m.Channel() != p.id {
		return refuse(CodeUnknown, "message of channel %v", m.Channel())
	}
	switch m := m.(type) {
	case *RefundSig:
		return p.stepRefundSig(m)
	case *Confirm:
		if p.stage == Funded {
			p.open()
		}
		return nil // the caller keeps m.Next
	case *State:
		return p.stepState(m)
	case *Close:
		p.stepClose()
		return nil
	case *Closed:
		p.stepClose()
		return nil
	case *Refuse:
		return p.stepRefuse(m)
	}
	return refuse(CodeMalformed, "%v is no message for a payer", m.Type())
}

// stepRefundSig checks T2 (step 5) and hands over T1 (step 6) and T3 (step 7).
func (p *Payer) stepRefundSig(m *RefundSig) error {
	if p.stage != Proposed {
		return nil // a repetition
	}
	if !ledger.VerifySignature(p.contract.K2, p.contract.refundDigest(), m.Signature) {
		p.abandon(CodeSignature, "the refund's signature does not verify")
		return refuse(CodeSignature, "the refund's signature does not verify")
	}
	first, err := p.sign(0, 1)
	if err != nil {
		return err
	}
	p.refund = m.Signature
	p.best = first
	p.asked.Amount, p.asked.Sequence = p.step(), math.MaxUint32/ceilingSteps
	p.ceiling = p.asked // durable with this snapshot, before any payment
	p.enter(Funded, p.Snapshot, true)
	p.send(&Fund{ID: p.id, First: first.Signature, T1: p.t1})
	return nil
}

func (p *Payer) step() amount.Amount { return p.contract.Capacity()/ceilingSteps + 1 }

func (p *Payer) open() {
	p.enter(Opened, p.Snapshot, false)
	p.event(Event{Kind: EventOpened, Amount: p.contract.Deposit})
}

// stepState adopts a newer payment of ours that the payee shows.
func (p *Payer) stepState(m *State) error {
	if p.stage == Funded && p.resync {
		p.open() // the payee counts the channel as open, so T1 is committed
	}
	if m.Payment.Sequence > p.best.Sequence {
		switch {
		case !p.resync || m.Payment.Sequence > p.asked.Sequence || m.Payment.Amount > p.asked.Amount || m.Payment.Amount < p.best.Amount:
			return refuse(CodeStale, "payee shows payment %d of %v, which this side cannot have made", m.Payment.Sequence, m.Payment.Amount)
		case !p.verify(m.Payment):
			return refuse(CodeSignature, "the payment that the payee shows does not verify")
		}
		p.best = m.Payment
		p.owed = m.Payment.Amount
		p.ahead.valid = false
		p.out.Records = append(p.out.Records, Record{Snapshot: p.Snapshot()})
	}
	if l := p.lanes[m.Lane]; l != nil && !m.Attached {
		l.await = true
		p.event(Event{Kind: EventDetached, Lane: m.Lane, Tag: l.Tag, From: m.Bytes})
	} else if l != nil && l.await {
		if m.Bytes > math.MaxInt64/4 {
			return refuse(CodeAmount, "lane count %d is out of range", m.Bytes)
		}
		l.move(max(0, m.Bytes-l.base))
		l.await, l.told = false, true
	}
	if p.resync {
		p.resync = false
		p.owed = p.best.Amount
		p.event(Event{Kind: EventResumed, Amount: p.best.Amount})
	}
	return nil
}

func (p *Payer) verify(s Payment) bool {
	return ledger.VerifySignature(p.contract.K1, p.contract.paymentDigest(s.Amount, s.Sequence), s.Signature)
}

func (p *Payer) stepClose() {
	if p.stage == Opened || p.stage == Funded {
		p.enter(Closing, p.Snapshot, false)
		p.event(Event{Kind: EventClosing, Amount: p.best.Amount})
	}
	if p.stage == Closing {
		p.Look()
	}
}

func (p *Payer) stepRefuse(m *Refuse) error {
	if p.stage == Proposed {
		p.stage = Abandoned
		p.out.Records = append(p.out.Records, Record{Snapshot: p.Snapshot()})
	}
	p.event(Event{Kind: EventRefused, Code: m.Code, Reason: m.Reason, Terms: m.Terms, Amount: p.best.Amount})
	switch p.stage {
	case Opened: // one refusal ends the channel: have it settled now
		p.Close()
		p.stepClose()
	case Funded:
		p.task(TaskLookup, nil)
	}
	return nil
}

// Abandon gives up a proposal; T1 was never shown, so its inputs are free.
// It does nothing once T1 was handed over.
func (p *Payer) Abandon(code Code, reason string) {
	if p.stage == Proposed {
		p.abandon(code, reason)
	}
}

func (p *Payer) abandon(code Code, reason string) {
	p.enter(Abandoned, p.Snapshot, false)
	p.send(&Refuse{ID: p.id, Code: code, Reason: reason})
	p.event(Event{Kind: EventRefused, Code: code, Reason: reason})
}
