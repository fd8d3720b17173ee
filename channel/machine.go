package channel

import (
	"encoding/binary"
	"slices"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// core is what both machines share.
type core struct {
	role     Role
	stage    Stage
	contract Contract
	id       ID
	signer   ledger.Signer
	keyIndex uint32
	opened   uint64 // ledger time when the contract was made
	now      uint64 // newest ledger time told
	best     Payment
	owed     amount.Amount // sum over lanes, at their paid counts
	lanes    map[uint32]*Lane
	t1       []byte
	busy     bool // a task is out
	again    bool // a look-up was asked for meanwhile
	out      Ready
}

// ID returns the channel's id.
func (c *core) ID() ID { return c.id }

// Stage returns where the channel is in its life.
func (c *core) Stage() Stage { return c.stage }

// Contract returns what both sides agreed on.
func (c *core) Contract() Contract { return c.contract }

// Paid returns the cumulative sum of the newest payment.
func (c *core) Paid() amount.Amount { return c.best.Amount }

// Remaining returns what can still be paid.
func (c *core) Remaining() amount.Amount { return max(0, c.contract.Capacity()-c.best.Amount) }

// LaneBytes returns the cumulative count paid on a lane.
func (c *core) LaneBytes(lane uint32) int64 {
	if l := c.lanes[lane]; l != nil {
		return l.Bytes
	}
	return 0
}

// Position returns up to which position of the stream it was attached to a
// lane is paid or free.
func (c *core) Position(lane uint32) int64 {
	if l := c.lanes[lane]; l != nil {
		return l.position()
	}
	return 0
}

// Busy reports whether an answer to a task is awaited.
func (c *core) Busy() bool { return c.busy }

// Ready takes what has to be done, leaving nothing.
func (c *core) Ready() Ready {
	out := c.out
	c.out = Ready{}
	return out
}

func (c *core) margin() uint64 {
	return Margin(c.contract.LockTime - min(c.opened, c.contract.LockTime))
}

// expiring reports whether the lock is nearer than the margin (LR8).
func (c *core) expiring() bool { return c.now+c.margin() >= c.contract.LockTime }

func (c *core) send(m Message) { c.out.Messages = append(c.out.Messages, m) }
func (c *core) event(e Event)  { c.out.Events = append(c.out.Events, e) }

func (c *core) task(kind TaskKind, raw []byte) {
	if c.busy {
		return
	}
	c.busy = true
	t := Task{Kind: kind, Raw: raw}
	if kind == TaskLookup {
		t.Outpoint, c.again = c.contract.Funding, false
	}
	c.out.Tasks = append(c.out.Tasks, t)
}

// enter moves to a stage and records it.
func (c *core) enter(s Stage, snapshot func() *Snapshot, sync bool) {
	c.stage = s
	c.out.Records = append(c.out.Records, Record{Snapshot: snapshot()})
	c.out.Sync = c.out.Sync || sync
}

// snapshot returns the shared part of the durable state.
func (c *core) snapshot() *Snapshot {
	s := &Snapshot{
		Role: c.role, Stage: c.stage, KeyIndex: c.keyIndex, Contract: c.contract, Opened: c.opened,
		Best: c.best, T1: c.t1, Ceiling: Ceiling{ID: c.id},
	}
	for n, l := range c.lanes {
		s.Lanes = append(s.Lanes, LaneState{Number: n, Tag: l.Tag, Bytes: l.Bytes})
	}
	slices.SortFunc(s.Lanes, func(a, b LaneState) int { return int(int64(a.Number) - int64(b.Number)) })
	return s
}

// Reprice sets the price of a lane from a stream position on, which must not
// lie before what is paid.
func (c *core) Reprice(lane uint32, from int64, price amount.Price) error {
	l := c.lanes[lane]
	if l == nil {
		return refuse(CodeLane, "lane %d is not in use", lane)
	}
	if err := l.reprice(from+l.shift, price); err != nil {
		return refuse(CodePrice, "%v", err)
	}
	return nil
}

func restoreCore(s *Snapshot, signer ledger.Signer, now uint64) core {
	c := core{
		role: s.Role, stage: s.Stage, contract: s.Contract, id: s.Contract.ID(), signer: signer, keyIndex: s.KeyIndex,
		opened: s.Opened, now: now, best: s.Best, owed: s.Best.Amount, lanes: make(map[uint32]*Lane), t1: s.T1,
	}
	c.contract.fix()
	for _, l := range s.Lanes {
		c.lanes[l.Number] = &Lane{Tag: l.Tag, Bytes: l.Bytes, tariff: Tariff{{From: l.Bytes}}}
	}
	return c
}

// settlementRaw is a T3 with both signatures in wire form.
func (c *core) settlementRaw(p Payment, k1, k2 ledger.Signature) []byte {
	return c.contract.complete(c.contract.Settlement(p.Amount, p.Sequence), k1, k2).Encode()
}

// tagNumber is the lane number that a payer prefers for a tag: it survives a
// restart without being stored.
func tagNumber(t Tag) uint32 { return binary.BigEndian.Uint32(t[:4]) }

// Look asks the ledger what became of T1's output, after a restart or when the
// ledger or the other side reported a change. While a task is out it asks when that
// is answered: the answer may be older than the change.
func (c *core) Look() {
	if c.stage >= Funded && !c.stage.Final() {
		c.again = c.busy
		c.task(TaskLookup, nil)
	}
}

// answered ends a task. What it returns is to be called when the answer was read.
func (c *core) answered() func() {
	c.busy = false
	return func() {
		if c.again {
			c.Look()
		}
	}
}
