package channel

import "github.com/bttnet/btt/ledger"

// stepClose settles on the payer's wish, or says again that it is settled.
func (p *Payee) stepClose() {
	switch {
	case p.stage.Final() && p.stage != Abandoned:
		p.send(&Closed{ID: p.id, Amount: p.best.Amount})
	case p.stage == Checking || p.stage == Accepted:
		p.enter(Abandoned, p.Snapshot, false)
	default:
		p.Close()
	}
}

// Close settles now: the newest T3 goes to the ledger (R11.15). A channel
// that earned nothing gives everything back to the payer.
func (p *Payee) Close() {
	if p.stage != Opened && p.stage != Funded {
		return
	}
	p.enter(Closing, p.Snapshot, false)
	p.event(Event{Kind: EventClosing, Amount: p.best.Amount})
	p.settle()
}

// Abandon gives up a proposal that was not funded; later it does nothing.
func (p *Payee) Abandon() {
	if p.stage == Checking || p.stage == Accepted {
		p.enter(Abandoned, p.Snapshot, false)
	}
}

// settle signs the newest T3 and submits it.
func (p *Payee) settle() {
	sig, err := p.signer.Sign(p.contract.paymentDigest(p.best.Amount, p.best.Sequence))
	if err != nil {
		return // the next Tick tries again
	}
	p.task(TaskSettle, p.settlementRaw(p.best, p.best.Signature, sig))
}

// Parked tells that an early close waits in the ledger's slot of T1's output:
// only T2 can, so the payee settles at once (R11.17, LR8).
func (p *Payee) Parked() { p.Close() }

// Tick tells the ledger's time in seconds. Near the lock the payee settles;
// open tasks without a verdict are tried again.
func (p *Payee) Tick(now uint64) {
	p.now = max(p.now, now)
	switch p.stage {
	case Checking:
		p.task(TaskLookup, nil)
	case Accepted:
		if p.expiring() {
			p.enter(Abandoned, p.Snapshot, false)
		}
	case Funded:
		p.task(TaskFund, p.t1)
	case Opened:
		if p.expiring() {
			p.event(Event{Kind: EventExpiring, Amount: p.best.Amount})
			p.send(&Close{ID: p.id})
			p.Close()
		}
	case Closing:
		p.settle()
	}
}

// LookedUp answers a TaskLookup; err means no verdict. spender is the
// transaction that spent T1's output, if it is spent and known.
func (p *Payee) LookedUp(s ledger.OutpointState, spender *ledger.Tx, err error) {
	defer p.answered()()
	if err != nil {
		return
	}
	switch {
	case p.stage == Checking && s.Status != ledger.OutpointUnknown:
		p.enter(Abandoned, p.Snapshot, false)
		p.send(&Refuse{ID: p.id, Code: CodeFunding, Reason: "T1's output exists already"})
		p.event(Event{Kind: EventRefused, Code: CodeFunding, Reason: "T1's output exists already"})
	case p.stage == Checking:
		if p.sendRefundSig() == nil {
			p.enter(Accepted, p.Snapshot, true)
		}
	case p.stage >= Funded && !p.stage.Final() && s.Status == ledger.OutpointSpent:
		p.ended(s.By, spender)
	case p.stage == Closing && s.Status == ledger.OutpointUnknown:
		// T1 was never committed: nothing was earned, nothing is locked.
		p.enter(Abandoned, p.Snapshot, false)
	case p.stage == Closing:
		p.settle()
	}
}

// ended notes what spent T1's output.
func (p *Payee) ended(by ledger.TxID, spender *ledger.Tx) {
	if by == p.contract.Refund().ID(p.contract.Network) {
		p.best.Amount = 0
		p.enter(Refunded, p.Snapshot, false)
		p.event(Event{Kind: EventRefunded})
		return
	}
	if spender != nil {
		p.best.Amount = p.contract.payeeShare(spender)
	}
	p.settled()
}

func (p *Payee) settled() {
	p.enter(Settled, p.Snapshot, false)
	sum := p.contract.Payout(p.best.Amount)
	p.send(&Closed{ID: p.id, Amount: sum})
	p.event(Event{Kind: EventSettled, Amount: sum})
}

// Submitted answers a submission; rejected means a final verdict of the
// ledger, err alone means no verdict (Tick tries again).
func (p *Payee) Submitted(kind TaskKind, err error, rejected bool) {
	defer p.answered()()
	switch {
	case p.stage.Final() || err != nil && !rejected:
	case kind == TaskFund && err == nil:
		if p.stage == Funded {
			p.enter(Opened, p.Snapshot, false)
			p.send(&Confirm{ID: p.id})
			p.event(Event{Kind: EventOpened, Amount: p.contract.Deposit})
		} else if p.stage == Closing {
			p.settle()
		}
	case kind == TaskFund:
		p.enter(Abandoned, p.Snapshot, false)
		p.send(&Refuse{ID: p.id, Code: CodeLedger, Reason: "the ledger refused T1"})
		p.event(Event{Kind: EventRefused, Code: CodeLedger, Reason: err.Error()})
	case kind == TaskSettle && err == nil:
		p.settled()
	case kind == TaskSettle:
		p.task(TaskLookup, nil) // spent already, or T1 is missing
	}
}
