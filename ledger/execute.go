package ledger

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"

	"github.com/bttnet/btt/amount"
)

// run executes one block over a state without changing it.
type run struct {
	s        *State
	now      uint64           // ledger time of the block
	made     map[OutPoint]int // index in created of coins of this block
	created  []Coin
	live     []bool // created[i] is still unspent
	spent    map[OutPoint]TxID
	slots    map[OutPoint]*Pending // nil: emptied in this block
	order    []OutPoint            // slots touched, in order
	parked   int                   // slots in use
	deposits map[Deposit]bool
	totals   Totals
	delta    *Delta
	last     TxState // of the transaction added last

	checks []SignatureCheck
	owners []int // transaction of each check
}

// begin applies LR6 and returns an empty run.
func (s *State) begin(b Block) *run {
	n := len(b.Txs)
	r := &run{
		s: s, now: s.NextTime(b.Time), totals: s.head.Totals, parked: len(s.slots),
		made: make(map[OutPoint]int, 2*n), spent: make(map[OutPoint]TxID, n),
		created: make([]Coin, 0, 2*n), live: make([]bool, 0, 2*n),
	}
	r.delta = &Delta{
		parent: s.head, Head: s.head, TxIDs: make([]TxID, 0, n), Events: make([]Event, 0, 2*n),
		Block: Block{Height: b.Height, Time: b.Time, Txs: make([]*Tx, 0, n)},
	}
	r.delta.Head.Height = b.Height
	r.delta.Head.BlockTime = b.Time
	r.delta.Head.LedgerTime = r.now
	return r
}

// add checks a transaction against the state so far and, when it is accepted,
// takes its effects over. Signature checks of owner are queued when sign.
func (r *run) add(owner int, tx *Tx, id TxID, sign bool) (*Rejection, error) {
	if rej := CheckShape(tx, &r.s.params); rej != nil {
		return rej, nil
	}
	coins, rej, err := r.inputs(tx, id)
	if rej != nil || err != nil {
		return rej, err
	}
	if rej, err = r.balance(tx, coins); rej != nil || err != nil {
		return rej, err
	}
	final := tx.LockTime <= r.now
	if !final {
		if rej := r.parkable(tx, coins); rej != nil {
			return rej, nil
		}
	}
	body := sha256.Sum256(tx.body())
	before := len(r.checks)
	if r.checks, rej = matchWitnesses(tx, r.s.net, coins, &r.s.params, body, r.checks); rej != nil || !sign {
		r.checks = r.checks[:before]
		if rej != nil {
			return rej, nil
		}
	}
	for range len(r.checks) - before {
		r.owners = append(r.owners, owner)
	}
	index := uint32(len(r.delta.TxIDs))
	r.delta.Block.Txs = append(r.delta.Block.Txs, tx)
	r.delta.TxIDs = append(r.delta.TxIDs, id)
	if final {
		r.last = Committed
		r.apply(tx, id, coins, index, EventCommitted)
	} else {
		r.last = Parked
		r.park(tx, id, coins, index)
	}
	return nil, nil
}

// inputs looks up the coins that tx spends (LR2).
func (r *run) inputs(tx *Tx, id TxID) ([]Coin, *Rejection, error) {
	coins := make([]Coin, len(tx.Inputs))
	for i, o := range tx.Inputs {
		if by, gone := r.spent[o]; gone {
			if by == id {
				return nil, refuse(CodeKnown, "already in this block"), nil
			}
			return nil, &Rejection{Code: CodeConflict, Reason: fmt.Sprintf("input %s is spent", o), By: by}, nil
		}
		if k, ok := r.made[o]; ok {
			coins[i] = r.created[k]
			continue
		}
		c, ok, err := r.s.coins.Get(o)
		if err != nil {
			return nil, nil, fmt.Errorf("look up input %s: %w", o, err)
		}
		if at := r.s.releases[o]; ok && at > r.now {
			return nil, refuse(CodeReleased, "input %s is released at ledger time %d, it is %d", o, at, r.now), nil
		}
		if !ok {
			return nil, refuse(CodeMissing, "input %s does not exist or was spent before", o), nil
		}
		coins[i] = c
	}
	return coins, nil, nil
}

// balance checks sums (LR1) and the mint rules (LR9).
func (r *run) balance(tx *Tx, coins []Coin) (*Rejection, error) {
	out := tx.Reference.Amount
	for i := range tx.Outputs {
		out += tx.Outputs[i].Amount // CheckShape has bounded every partial sum
	}
	if tx.Kind == Mint {
		return r.mintable(tx, out)
	}
	var in amount.Amount
	var err error
	for i := range coins {
		if in, err = in.Add(coins[i].Amount); err != nil {
			return refuse(CodeOverflow, "inputs sum above the supply"), nil
		}
	}
	if in != out {
		return refuse(CodeBalance, "inputs hold %s, outputs take %s", in, out), nil
	}
	if tx.Kind == Redeem && r.totals.Burned > math.MaxInt64-tx.Reference.Amount {
		return refuse(CodeOverflow, "the count of destroyed coins is full"), nil
	}
	return nil, nil
}

func (r *run) mintable(tx *Tx, out amount.Amount) (*Rejection, error) {
	d := Deposit{tx.Reference.Chain, tx.Reference.Index}
	used := r.deposits[d]
	if !used {
		var err error
		if used, err = r.s.coins.Used(d); err != nil {
			return nil, fmt.Errorf("look up deposit: %w", err)
		}
	}
	if used {
		return refuse(CodeMinted, "deposit %x:%d was minted before", d.Chain, d.Index), nil
	}
	if out > amount.Supply-r.totals.Unspent {
		return refuse(CodeOverCap, "%s more would exceed the supply", out), nil
	}
	if r.totals.Minted > math.MaxInt64-out {
		return refuse(CodeOverflow, "the count of minted coins is full"), nil
	}
	return nil, nil
}

// slot returns what is parked on an outpoint at this point of the block.
func (r *run) slot(o OutPoint) *Pending {
	if p, touched := r.slots[o]; touched {
		return p
	}
	return r.s.slots[o]
}

// setSlot writes or (nil) empties a slot.
func (r *run) setSlot(o OutPoint, p *Pending) {
	if (r.slot(o) == nil) != (p == nil) {
		if p == nil {
			r.parked--
		} else {
			r.parked++
		}
	}
	if r.slots == nil {
		r.slots = map[OutPoint]*Pending{}
	}
	if _, touched := r.slots[o]; !touched {
		r.order = append(r.order, o)
	}
	r.slots[o] = p
}

// parkable checks LR4 and LR5.
func (r *run) parkable(tx *Tx, coins []Coin) *Rejection {
	if len(coins) != 1 || coins[0].Lock.Kind != JointLock || len(tx.Outputs) > 2 {
		return refuse(CodeNotFinal, "locked until %d (ledger time is %d) and not one 2-of-2 input with at most two outputs", tx.LockTime, r.now)
	}
	if tx.LockTime-r.now > r.s.params.MaxLock {
		return refuse(CodeLockFar, "locked until %d, at most %d is allowed now", tx.LockTime, r.now+r.s.params.MaxLock)
	}
	old := r.slot(coins[0].OutPoint)
	switch {
	case old == nil && r.parked >= int(r.s.params.MaxParked):
		return refuse(CodeParkFull, "%d transactions are parked; submit again after the lock time", r.parked)
	case old == nil:
		return nil
	case old.TxID == tx.ID(r.s.net):
		return refuse(CodeKnown, "already parked")
	case tx.Sequence <= old.Tx.Sequence:
		return &Rejection{Code: CodeStale, Reason: fmt.Sprintf("sequence %d is not above %d, parked", tx.Sequence, old.Tx.Sequence), By: old.TxID}
	case old.Replacements >= MaxReplacements:
		return refuse(CodeReplaced, "the parked transaction was replaced %d times; only a final one is taken now", MaxReplacements)
	}
	return nil
}

// apply is LR3: inputs go, outputs come, parked transactions on the inputs are
// dropped.
func (r *run) apply(tx *Tx, id TxID, coins []Coin, index uint32, kind EventKind) {
	var out amount.Amount
	for i := range coins {
		c := &coins[i]
		r.spent[c.OutPoint] = id
		if k, ok := r.made[c.OutPoint]; ok {
			delete(r.made, c.OutPoint)
			r.live[k] = false
			r.delta.Passed = append(r.delta.Passed, Spend{*c, id})
		} else {
			r.delta.Spent = append(r.delta.Spent, Spend{*c, id})
		}
		r.totals.Unspent -= c.Amount
		if c.Lock.Kind == JointLock {
			r.release(c.OutPoint, id, index)
		}
	}
	for i := range tx.Outputs {
		o := OutPoint{TxID: id, Index: uint16(i)}
		r.made[o] = len(r.created)
		r.created = append(r.created, Coin{OutPoint: o, Amount: tx.Outputs[i].Amount, Lock: tx.Outputs[i].Lock, Height: r.delta.Head.Height})
		r.live = append(r.live, true)
		out += tx.Outputs[i].Amount
	}
	r.totals.Unspent += out
	switch tx.Kind {
	case Mint:
		d := Deposit{tx.Reference.Chain, tx.Reference.Index}
		if r.deposits == nil {
			r.deposits = map[Deposit]bool{}
		}
		r.deposits[d] = true
		r.delta.Deposits = append(r.delta.Deposits, d)
		r.totals.Minted += out
	case Redeem:
		r.totals.Burned += tx.Reference.Amount
	}
	r.emit(Event{Kind: kind, TxID: id, Index: index, Sequence: tx.Sequence, LockTime: tx.LockTime, Addresses: touched(tx, coins)})
	for i := range coins {
		e := Event{Kind: EventSpent, TxID: id, Index: index, OutPoint: coins[i].OutPoint}
		if coins[i].Lock.Kind == AddressLock {
			e.Addresses = []Address{coins[i].Lock.Address}
		}
		r.emit(e)
	}
}

// release empties the slot of a spent outpoint.
func (r *run) release(o OutPoint, by TxID, index uint32) {
	old := r.slot(o)
	if old == nil {
		return
	}
	r.setSlot(o, nil)
	if old.TxID != by {
		r.displace(old, by, index)
	}
}

func (r *run) displace(old *Pending, by TxID, index uint32) {
	r.delta.Displaced = append(r.delta.Displaced, Displacement{old.OutPoint, old.TxID, by})
	r.emit(Event{
		Kind: EventDisplaced, TxID: old.TxID, By: by, OutPoint: old.OutPoint, Index: index,
		Sequence: old.Tx.Sequence, LockTime: old.Tx.LockTime, Addresses: touched(old.Tx, nil),
	})
}

// park is LR5 for a transaction that parkable has admitted.
func (r *run) park(tx *Tx, id TxID, coins []Coin, index uint32) {
	o := coins[0].OutPoint
	p := &Pending{OutPoint: o, Tx: tx, TxID: id, Height: r.delta.Head.Height, Index: index}
	if old := r.slot(o); old != nil {
		p.Replacements = old.Replacements + 1
		r.displace(old, id, index)
	}
	r.setSlot(o, p)
	r.emit(Event{
		Kind: EventParked, TxID: id, OutPoint: o, Index: index,
		Sequence: tx.Sequence, LockTime: tx.LockTime, Addresses: touched(tx, nil),
	})
}

func (r *run) emit(e Event) {
	h := &r.delta.Head
	h.Cursor++
	e.Cursor, e.Height, e.LedgerTime = h.Cursor, h.Height, h.LedgerTime
	r.delta.Events = append(r.delta.Events, e)
}

// touched lists the address locks of coins and outputs, each once.
func touched(tx *Tx, coins []Coin) []Address {
	list := make([]Address, 0, 1+len(tx.Outputs))
	add := func(l *Lock) {
		if l.Kind == AddressLock && !slices.Contains(list, l.Address) {
			list = append(list, l.Address)
		}
	}
	for i := range coins {
		add(&coins[i].Lock)
	}
	for i := range tx.Outputs {
		add(&tx.Outputs[i].Lock)
	}
	return list
}

// finish applies what is due (LR7), fills the delta and checks LR10.
func (r *run) finish() error {
	due := r.s.due.upTo(r.now, nil)
	due = slices.DeleteFunc(due, func(p *Pending) bool { return r.slot(p.OutPoint) != p })
	slices.SortFunc(due, comparePending)
	var matured []TxID
	for _, p := range due {
		c, ok, err := r.s.coins.Get(p.OutPoint)
		if err != nil {
			return fmt.Errorf("look up input %s: %w", p.OutPoint, err)
		}
		if !ok {
			return fmt.Errorf("%w: parked transaction %s lost its input", ErrHalted, p.TxID)
		}
		r.apply(p.Tx, p.TxID, []Coin{c}, uint32(len(r.delta.TxIDs)+len(matured)), EventMatured)
		matured = append(matured, p.TxID)
		r.delta.Matured = append(r.delta.Matured, p)
	}
	d := r.delta
	for i := range r.created {
		if r.live[i] {
			d.Created = append(d.Created, r.created[i])
		}
	}
	for _, o := range r.order {
		switch p := r.slots[o]; {
		case p != nil:
			d.Parked = append(d.Parked, p)
		case r.s.slots[o] != nil:
			d.Freed = append(d.Freed, o)
		}
	}
	d.Head.Totals = r.totals
	if len(d.TxIDs) > 0 || len(matured) > 0 {
		d.Head.ActiveTime = r.now
		d.Head.History = extendHistory(d.Head.History, d.Head.Height, r.now, d.TxIDs, matured)
	}
	return d.audit()
}
