package payments

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

type opKind uint8

const (
	opMessage opKind = iota + 1 // link, message
	opBind                      // link
	opUnbind                    // link
	opReprice                   // link, from, price, number
	opFunded                    // funding, err
	opTask                      // id, task kind, err, outpoint state, spender
	opLedger                    // id, parked
	opRestore                   // snapshot, signer
	opShutdown
	opBooked // link, then
)

// op is one entry of a pair's mailbox.
type op struct {
	kind     opKind
	link     *Link
	message  channel.Message
	from     int64
	price    amount.Price
	number   int64
	id       channel.ID
	parked   bool
	task     channel.TaskKind
	err      error
	state    ledger.OutpointState
	spender  *ledger.Tx
	funding  *funding
	snapshot *channel.Snapshot
	signer   ledger.Signer
	then     *func()
}

// side is what differs between the two roles. Its methods run in the pair's
// goroutine.
type side interface {
	bind(l *Link)
	unbind(l *Link)
	message(l *Link, m channel.Message)
	reprice(o *op)
	funded(f *funding, err error)
	answer(o *op)
	ledger(id channel.ID, parked bool)
	restore(s *channel.Snapshot, signer ledger.Signer)
	work()             // after each batch of the mailbox
	clock(tick bool)   // each second; tick: the ledger's time was looked at
	shutdown()         // settle everything
	count() (live int) // channels that are not final
	waiting() int      // channels that a shutdown waits for
}

// pair is all business with one account in one role.
//
// Its goroutine owns side and holds mu while it works. Link.Verified may take its
// place for one step, because a goroutine hop costs as much as the step: it pays, if
// mu is free at once and nothing is posted that must come first (posted is 0).
type pair struct {
	book    *Book
	key     pairKey
	address ledger.Address // of the account
	refs    int            // links; guarded by book.mu
	mailbox mailbox
	batch   []op         // being handled; belongs to run
	posted  atomic.Int32 // operations posted and not handled yet
	kick    chan struct{}
	tick    atomic.Bool
	short   atomic.Bool  // coins are needed where something is owed; of payers
	waiting atomic.Int32 // channels that Book.Close waits for; 1 before leaving
	leaving bool         // the shutdown was handled; belongs to run
	mu      sync.Mutex   // guards side
	side    side
}

func newPair(b *Book, key pairKey) *pair {
	p := &pair{book: b, key: key, address: key.account.Address(), kick: make(chan struct{}, 1)}
	p.waiting.Store(1) // until shutdown counted
	if key.role == channel.RolePayer {
		p.side = newBuyer(p)
	} else {
		p.side = newSeller(p)
	}
	return p
}

// post puts what came of a connection into the mailbox; ErrOverflow says that too
// much of it waits there.
func (p *pair) post(o op) error { return p.deliver(o, true) }

// postAlways posts what must not be lost and of which there is little.
func (p *pair) postAlways(o op) { _ = p.deliver(o, false) }

func (p *pair) deliver(o op, bounded bool) error {
	p.posted.Add(1)
	fresh, err := p.mailbox.put(o, bounded)
	if !fresh {
		p.posted.Add(-1)
		if _, pay := o.message.(*channel.Pay); pay && err == nil {
			o.link.taken() // the one that it superseded
		}
		return err
	}
	p.wake()
	return nil
}

// wake makes the pair look at its links.
func (p *pair) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// unbind posts the end of a link without blocking its owner.
func (p *pair) unbind(l *Link) { p.postAlways(op{kind: opUnbind, link: l}) }

// enter takes the place of the pair's goroutine if that is free and nothing
// was posted before. The caller must leave.
func (p *pair) enter() bool {
	if p.posted.Load() != 0 || !p.mu.TryLock() {
		return false
	}
	if p.posted.Load() != 0 || p.book.ctx.Err() != nil {
		p.mu.Unlock()
		return false
	}
	return true
}

func (p *pair) leave() { p.mu.Unlock() }

// run ends with the Book, or when nothing refers to the pair and no channel
// is live.
func (p *pair) run() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		clock := false
		select {
		case <-p.book.ctx.Done():
			return
		case <-p.kick:
		case <-second.C:
			clock = true
		}
		p.mu.Lock()
		p.batch = p.mailbox.take(p.batch)
		for i := range p.batch {
			p.handle(&p.batch[i])
		}
		if clock {
			p.side.clock(p.tick.Swap(false))
		}
		p.side.work()
		if p.leaving {
			p.waiting.Store(int32(p.side.waiting()))
		}
		end := clock && p.side.count() == 0 && p.posted.Load() == 0 && p.book.retire(p)
		p.mu.Unlock()
		if end {
			return
		}
	}
}

func (p *pair) handle(o *op) {
	defer p.posted.Add(-1)
	switch o.kind {
	case opMessage:
		p.side.message(o.link, o.message)
	case opBind:
		p.side.bind(o.link)
	case opUnbind:
		p.side.unbind(o.link)
		p.book.drop(p)
	case opReprice:
		p.side.reprice(o)
	case opFunded:
		p.side.funded(o.funding, o.err)
	case opTask:
		p.side.answer(o)
	case opLedger:
		p.side.ledger(o.id, o.parked)
	case opRestore:
		p.side.restore(o.snapshot, o.signer)
	case opShutdown:
		p.leaving = true
		p.side.shutdown()
	case opBooked:
		p.side.work() // payments before it in the batch wait for each other
		(*o.then)()
	}
}

// ask runs one ledger task and posts the answer.
func (p *pair) ask(id channel.ID, t channel.Task) {
	p.book.start(func() { // ends with the request, at most ledgerWait
		ctx, cancel := context.WithTimeout(p.book.ctx, ledgerWait)
		defer cancel()
		o := op{kind: opTask, id: id, task: t.Kind}
		done := p.book.head.begin(0)
		if t.Kind == channel.TaskLookup {
			o.state, o.spender, o.err = p.book.lookup(ctx, t.Outpoint)
			done(o.err)
		} else {
			var r ledger.Receipt
			r, o.err = p.book.cfg.Ledger.Submit(ctx, t.Raw)
			done(o.err)
			if o.err == nil && r.State != ledger.Committed {
				o.err = fmt.Errorf("transaction %v is %v", r.TxID, r.State)
			}
		}
		p.postAlways(o)
	})
}

func (b *Book) lookup(ctx context.Context, at ledger.OutPoint) (ledger.OutpointState, *ledger.Tx, error) {
	state, err := b.cfg.Ledger.Outpoint(ctx, at)
	if err != nil || state.Status != ledger.OutpointSpent {
		return state, nil, err
	}
	rec, err := b.cfg.Ledger.Transaction(ctx, state.By)
	if err != nil {
		return state, nil, nil
	}
	spender, err := ledger.DecodeTx(rec.Raw)
	if err != nil {
		return state, nil, nil
	}
	return state, spender, nil
}

// rejected tells a verdict of the ledger from a failure to reach it.
func rejected(err error) bool {
	switch ledger.CodeOf(err) {
	case "", ledger.CodeBusy, ledger.CodeNotFinal, ledger.CodeParkFull, ledger.CodeReplaced, ledger.CodeStale:
		return false // another try may succeed
	}
	return true
}

// store appends records and waits, if sync is set, for them and for all that
// this pair appended before: what needs the sync may be an earlier record. After
// an error nothing more may be sent.
func (p *pair) store(records []channel.Record, sync bool) (int64, bool) {
	if len(records) == 0 && !sync {
		return 0, true
	}
	mark, err := p.book.journal.Append(records...)
	if err == nil && sync {
		err = p.book.journal.Wait(mark)
	}
	if err != nil {
		p.fault(err)
		return 0, false
	}
	return mark, true
}

// fault tells of a journal that cannot be written any more. Whoever buys here gets
// nothing more at a price: what it paid could not be kept.
func (p *pair) fault(err error) {
	p.book.halt()
	p.book.cfg.Notify(Event{Kind: EventFault, Role: p.key.role, Account: p.key.account, Reason: err.Error()})
}

// publish turns a machine's event into the Book's and the link's.
func (p *pair) publish(l *Link, e Event) {
	e.Role, e.Account = p.key.role, p.key.account
	if l != nil && e.Tag == (channel.Tag{}) {
		e.Tag = l.cfg.Infohash
	}
	p.book.cfg.Notify(e)
	l.notify(e)
}

// machine is the common part of both machines, for statements.
type machine interface {
	ID() channel.ID
	Contract() channel.Contract
	Stage() channel.Stage
	Paid() amount.Amount
}

func (p *pair) report(m machine, bytes int64) { p.state(m, m.Paid(), bytes) }

// state says in statements that so much was paid in a channel, for so many bytes.
func (p *pair) state(m machine, paid amount.Amount, bytes int64) {
	c := m.Contract()
	if m.Stage() == channel.Settled {
		paid = c.Payout(paid) // statements say what the ledger moved
	}
	if p.key.role == channel.RolePayee {
		left := amount.Amount(-1) // nothing can be paid with it
		if s := m.Stage(); s == channel.Funded || s == channel.Opened {
			left = max(0, c.Capacity()-paid)
		}
		p.book.funds.room(p.address, m.ID(), left)
	}
	p.book.statements.put(Summary{
		Channel: m.ID(), Role: p.key.role, Account: p.key.account, Deposit: c.Deposit, Paid: paid, Bytes: bytes,
		Stage: m.Stage(), LockTime: c.LockTime, Funding: c.Funding,
	})
}

// eventKinds maps a machine's events to the Book's; 0 is not published.
var eventKinds = [...]EventKind{
	channel.EventOpened: EventOpened, channel.EventPaid: EventPaid, channel.EventEarned: EventEarned,
	channel.EventRefused: EventRefused, channel.EventClosing: EventClosing, channel.EventSettled: EventSettled,
	channel.EventRefunded: EventRefunded, channel.EventResumed: EventResumed, channel.EventDetached: 0,
}
