package channel

import "github.com/bttnet/btt/ledger"

// Close asks the payee to settle (cooperative close). A proposal is given up.
func (p *Payer) Close() {
	switch p.stage {
	case Proposed:
		p.abandon(CodeClosing, "the requester gave up")
	case Funded, Opened:
		if !p.closing {
			p.closing = true
			p.send(&Close{ID: p.id})
		}
	}
}

// Tick tells the ledger's time in seconds. At the lock time the payer takes
// the refund (R11.16).
func (p *Payer) Tick(now uint64) {
	p.now = max(p.now, now)
	switch {
	case p.stage < Funded || p.stage.Final():
		return
	case p.now >= p.contract.LockTime:
		p.task(TaskLookup, nil) // T3 may have been first
		return
	case p.stage == Closing:
		p.task(TaskLookup, nil)
	case !p.reported && p.now+2*p.margin() >= p.contract.LockTime:
		p.reported = true
		p.event(Event{Kind: EventExpiring, Amount: p.best.Amount})
	}
}

// Fund submits T1 from this side, for a payee that took T1 and went silent:
// then the refund is certain. It does nothing in other stages than Funded.
func (p *Payer) Fund() {
	if p.stage == Funded {
		p.task(TaskFund, p.t1)
	}
}

// Resend repeats the message that the payee's next step needs, for a new
// connection. Receivers take repetitions for what they are. Of an open channel it
// is the newest payment, or after a restart the funding: either shows that the
// connection is the payer's (see [Payee.Shows]). Tell of connections that ended by
// [Payer.Leave] before: what the newest payment is for is said in full only then.
func (p *Payer) Resend() {
	c := &p.contract
	switch p.stage {
	case Proposed:
		p.send(&Open{Payer: c.Payer, K1: c.K1, K2: c.K2, Funding: c.Funding, Deposit: c.Deposit, LockTime: c.LockTime})
	case Funded:
		p.sendFund()
	case Opened:
		if p.last != nil {
			p.send(p.newest())
		} else {
			p.sendFund()
		}
	}
	if p.closing {
		p.send(&Close{ID: p.id})
	}
}

// Show says on a connection what only the payer can: the newest payment, or the
// funding. It must come before the connection's first Attach.
func (p *Payer) Show() {
	if p.stage == Opened && p.last == nil {
		p.sendFund() // Attach repeats the newest payment by itself
	}
}

func (p *Payer) sendFund() {
	if first, err := p.sign(0, 1); err == nil {
		p.send(&Fund{ID: p.id, First: first.Signature, T1: p.t1})
	}
}

// LookedUp answers a TaskLookup; err means no verdict. spender is the
// transaction that spent T1's output, if it is spent and known.
func (p *Payer) LookedUp(s ledger.OutpointState, spender *ledger.Tx, err error) {
	defer p.answered()()
	if err != nil || p.stage.Final() {
		return
	}
	switch s.Status {
	case ledger.OutpointSpent:
		if spender != nil {
			p.best.Amount = p.contract.payeeShare(spender)
		}
		p.ended(s.By)
	case ledger.OutpointUnknown:
		if p.stage == Funded || p.stage == Closing {
			p.task(TaskFund, p.t1) // T1 was never submitted: make the refund possible
		}
	case ledger.OutpointUnspent, ledger.OutpointParked:
		if p.stage == Funded {
			p.open()
		}
		if p.now >= p.contract.LockTime {
			p.task(TaskRefund, p.refundRaw())
		}
	}
}

// ended notes what spent T1's output.
func (p *Payer) ended(by ledger.TxID) {
	if by == p.contract.Refund().ID(p.contract.Network) {
		p.enter(Refunded, p.Snapshot, false)
		p.event(Event{Kind: EventRefunded, Amount: p.contract.Deposit})
		return
	}
	p.enter(Settled, p.Snapshot, false)
	p.event(Event{Kind: EventSettled, Amount: p.contract.Payout(p.best.Amount)})
}

// Submitted answers a submission; rejected means a final verdict of the
// ledger, err alone means no verdict.
func (p *Payer) Submitted(kind TaskKind, err error, rejected bool) {
	defer p.answered()()
	switch {
	case p.stage.Final():
	case err != nil && !rejected:
	case kind == TaskRefund && err == nil:
		p.ended(p.contract.Refund().ID(p.contract.Network))
	case kind == TaskRefund:
		p.task(TaskLookup, nil)
	case kind == TaskFund && err == nil:
		if p.stage == Funded {
			p.open()
		}
	case kind == TaskFund:
		// T1's inputs are gone: it can never be committed, nothing is locked.
		p.enter(Abandoned, p.Snapshot, false)
		p.event(Event{Kind: EventRefused, Code: CodeLedger, Reason: err.Error()})
	}
}

// refundRaw is T2 with both signatures.
func (p *Payer) refundRaw() []byte {
	sig, err := p.signer.Sign(p.contract.refundDigest())
	if err != nil {
		return nil
	}
	return p.contract.complete(p.contract.Refund(), sig, p.refund).Encode()
}

// T1 returns the funding transaction, to release its inputs when the channel
// was abandoned.
func (p *Payer) T1() (*ledger.Tx, error) { return ledger.DecodeTx(p.t1) }
