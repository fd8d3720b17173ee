package channel

import (
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Ready is what a machine wants done; see the package comment for the order.
type Ready struct {
	Records  []Record
	Sync     bool // the records must be durable before the messages go out
	Messages []Message
	Tasks    []Task
	Events   []Event
}

// Empty reports whether there is nothing to do.
func (r *Ready) Empty() bool {
	return len(r.Records) == 0 && len(r.Messages) == 0 && len(r.Tasks) == 0 && len(r.Events) == 0
}

// TaskKind says what a task does at the ledger.
type TaskKind uint8

// Tasks. The answer goes back with LookedUp or Submitted of the machine.
const (
	TaskLookup TaskKind = 1 // the state of the funding outpoint
	TaskFund   TaskKind = 2 // submit T1
	TaskRefund TaskKind = 3 // submit T2
	TaskSettle TaskKind = 4 // submit T3
)

func (k TaskKind) String() string {
	return [...]string{"none", "lookup", "fund", "refund", "settle"}[min(k, 4)]
}

// Task is one request to the ledger. A machine has at most one open task; it
// asks again on a later Tick when the answer was no verdict.
type Task struct {
	Kind     TaskKind
	Outpoint ledger.OutPoint // TaskLookup
	Raw      []byte          // encoded transaction of the other kinds
}

// EventKind says what happened in a channel.
type EventKind uint8

// Events.
const (
	EventOpened   EventKind = 1 // T1 is committed, payments count
	EventAttached EventKind = 2 // payee: the caller must answer with Tariff
	EventPaid     EventKind = 3 // payer: a payment went out
	EventEarned   EventKind = 4 // payee: a payment was accepted
	EventRefused  EventKind = 5 // by the other side, or this side gave up
	EventExpiring EventKind = 6 // the lock time is near
	EventClosing  EventKind = 7 // settlement has begun
	EventSettled  EventKind = 8 // T3 is committed, or reported by the payee
	EventRefunded EventKind = 9 // T2 is committed
	EventResumed  EventKind = 10
	EventDetached EventKind = 11 // payer: the payee counts the stream paid up to From only
)

func (k EventKind) String() string {
	return [...]string{"none", "opened", "attached", "paid", "earned", "refused", "expiring", "closing",
		"settled", "refunded", "resumed", "detached"}[min(k, 11)]
}

// Event reports a change. Amount is the cumulative sum of the channel, Bytes
// the cumulative count of the lane, Delta and Sum what this payment added.
type Event struct {
	Kind   EventKind
	Lane   uint32
	Tag    Tag
	From   int64
	Bytes  int64
	Delta  int64
	Sum    amount.Amount
	Amount amount.Amount
	Code   Code
	Reason string
	Terms  *Terms // of a refusal that invites another try
}

// Stage is where a channel is in its life.
type Stage uint8

// Stages. A payer goes Proposed, Funded, Open, Closing, then Settled or
// Refunded; a payee Checking, Accepted, Funded, Open, Closing, then Settled
// or Refunded. Abandoned: T1 never reached the ledger and cannot any more, or
// the payer took it back.
const (
	Checking  Stage = 1
	Proposed  Stage = 2 // payer: Open sent, T1 withheld
	Accepted  Stage = 3 // payee: T2 signed
	Funded    Stage = 4 // T1 handed over, not known to be committed
	Opened    Stage = 5
	Closing   Stage = 6
	Settled   Stage = 7
	Refunded  Stage = 8
	Abandoned Stage = 9
)

func (s Stage) String() string {
	return [...]string{"none", "checking", "proposed", "accepted", "funded", "open", "closing", "settled",
		"refunded", "abandoned"}[min(s, 9)]
}

// Final reports whether nothing more happens to the channel.
func (s Stage) Final() bool { return s >= Settled }

// Role tells the two sides apart.
type Role uint8

// Roles.
const (
	RolePayer Role = 1
	RolePayee Role = 2
)

func (r Role) String() string { return [...]string{"none", "payer", "payee"}[min(r, 2)] }

// Limits of one channel.
const (
	MaxLanes = 1024 // lanes of one channel
	// MinMargin is the least time in seconds before the lock at which a payee
	// settles; see Margin.
	MinMargin = 600
)

// Margin returns how many seconds before the lock time the payee takes no
// more payment and settles (R11.14, R11.15, LR8): the greater of ten minutes
// and a tenth of the lock. It covers a settlement that is delayed by 18 blocks
// of the largest time step.
func Margin(lock uint64) uint64 { return max(MinMargin, lock/10) }
