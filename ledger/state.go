package ledger

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bttnet/btt/amount"
)

// Verifier returns the indices of the bad signatures in ascending order.
// BatchVerifier makes one; a server may give one that uses several cores.
type Verifier func([]SignatureCheck) (bad []int)

// BatchVerifier verifies in batches with coefficients from entropy; nil means
// one by one.
func BatchVerifier(entropy io.Reader) Verifier {
	return func(c []SignatureCheck) []int { return BadSignatures(c, entropy) }
}

// State is the ledger's state machine. It is deterministic: the same blocks
// give the same state, events and errors everywhere. It belongs to one
// goroutine.
//
// A server takes the transactions that wait, calls Prepare, makes the accepted
// ones durable as a block, calls Commit and answers. Replicas call Apply and
// Commit; recovery calls Replay and Commit.
type State struct {
	net    Network
	params Params
	coins  Coins
	verify Verifier
	head   Head
	slots  map[OutPoint]*Pending
	due    dueIndex
	halted error
	// releases holds the coins of the genesis that may not be spent at once.
	releases map[OutPoint]uint64
}

// Result is Prepare's answer for one transaction.
type Result struct {
	TxID      TxID
	State     TxState // Committed or Parked when accepted, else 0
	Index     uint32  // in Delta.Block.Txs when accepted
	Rejection *Rejection
}

// NewState returns the state of a genesis in memory, checked by Validate.
func NewState(g Genesis) (*State, error) { return NewStateOn(g, NewMemoryCoins()) }

// NewStateOn returns the state of a genesis over an empty store.
func NewStateOn(g Genesis, coins Coins) (*State, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := coins.Apply(&Delta{Created: g.Coins()}); err != nil {
		return nil, fmt.Errorf("store genesis coins: %w", err)
	}
	return Resume(g, coins, Meta{Head: GenesisHead(g)})
}

// GenesisHead returns the head before the first block.
func GenesisHead(g Genesis) Head {
	return Head{
		BlockTime: g.Time, LedgerTime: g.Time, ActiveTime: g.Time,
		Totals: Totals{Minted: amount.Supply, Unspent: amount.Supply},
	}
}

// Resume returns a state over a store that already holds the coins and
// deposits that belong to meta.
func Resume(g Genesis, coins Coins, meta Meta) (*State, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	s := &State{
		net: g.Hash(), params: g.Params, coins: coins, head: meta.Head,
		verify: BatchVerifier(nil), slots: make(map[OutPoint]*Pending, len(meta.Pending)), releases: g.Releases(),
	}
	s.params.Operators = slices.Clone(g.Params.Operators)
	if err := conserved(meta.Head.Totals); err != nil {
		return nil, err
	}
	for _, p := range meta.Pending {
		q := p
		if len(p.Tx.Inputs) != 1 || p.Tx.Inputs[0] != p.OutPoint || p.Tx.ID(s.net) != p.TxID || s.slots[p.OutPoint] != nil {
			return nil, fmt.Errorf("restore slot of %s: %w", p.OutPoint, ErrSnapshot)
		}
		s.slots[p.OutPoint] = &q
		heap.Push(&s.due, &q)
	}
	return s, nil
}

// SetVerifier replaces the one-by-one default.
func (s *State) SetVerifier(v Verifier) { s.verify = v }

// Network returns the genesis hash.
func (s *State) Network() Network { return s.net }

// Params returns the consensus parameters; do not change Operators.
func (s *State) Params() Params { return s.params }

// Head returns the current head.
func (s *State) Head() Head { return s.head }

// Status returns the head as clients see it.
func (s *State) Status() Status {
	return Status{
		Network: s.net, Height: s.head.Height, LedgerTime: s.head.LedgerTime, Params: s.params,
		Totals: s.head.Totals, AppHash: s.head.AppHash(), Cursor: s.head.Cursor,
	}
}

// Slot returns the parked transaction of an outpoint.
func (s *State) Slot(o OutPoint) (Pending, bool) {
	p, ok := s.slots[o]
	if !ok {
		return Pending{}, false
	}
	return *p, true
}

// Coin returns an unspent coin.
func (s *State) Coin(o OutPoint) (Coin, bool, error) { return s.coins.Get(o) }

// NextTime returns the ledger time of a next block with the given time (LR6).
func (s *State) NextTime(blockTime uint64) uint64 {
	if blockTime <= s.head.BlockTime {
		return s.head.LedgerTime
	}
	return s.head.LedgerTime + min(blockTime-s.head.BlockTime, s.params.Clamp)
}

// Check reports whether tx would be accepted as the next transaction at the
// current ledger time. A refusal is a *Rejection; other errors are faults of
// the store.
func (s *State) Check(tx *Tx) error {
	r := s.begin(Block{Height: s.head.Height + 1, Time: s.head.BlockTime})
	rej, err := r.add(0, tx, tx.ID(s.net), true)
	if err != nil {
		return err
	}
	if rej != nil {
		return rej
	}
	if bad := s.verify(r.checks); len(bad) > 0 {
		return badSignature(r.checks[bad[0]].Key)
	}
	return nil
}

// Prepare executes the valid ones of b.Txs in order and leaves the state as it
// is. Results are in the order of b.Txs. Errors are faults of the store, a
// wrong height, or ErrHalted.
func (s *State) Prepare(b Block) (*Delta, []Result, error) {
	return s.execute(b, s.verify)
}

// Apply executes a block of which every transaction must be valid, and leaves
// the state as it is. The error wraps the first *Rejection.
func (s *State) Apply(b Block) (*Delta, error) { return s.strict(b, s.verify) }

// Replay is Apply without signature checks, for blocks that this node has
// itself verified and made durable before.
func (s *State) Replay(b Block) (*Delta, error) { return s.strict(b, nil) }

func (s *State) strict(b Block, v Verifier) (*Delta, error) {
	d, results, err := s.execute(b, v)
	if err != nil {
		return nil, err
	}
	for i := range results {
		if r := results[i].Rejection; r != nil {
			return nil, fmt.Errorf("block %d, transaction %d: %w", b.Height, i, r)
		}
	}
	return d, nil
}

// Execute is Apply and Commit: the whole step for callers without a store of
// their own.
func (s *State) Execute(b Block) ([]Event, error) {
	d, err := s.Apply(b)
	if err != nil {
		return nil, err
	}
	if err := s.Commit(d); err != nil {
		return nil, err
	}
	return d.Events, nil
}

// execute runs a block until every accepted transaction has verified
// signatures. A transaction whose signatures fail is left out, and the rest
// runs again, since it may have had effects; signatures are checked once.
func (s *State) execute(b Block, v Verifier) (*Delta, []Result, error) {
	if s.halted != nil {
		return nil, nil, s.halted
	}
	if b.Height != s.head.Height+1 {
		return nil, nil, fmt.Errorf("execute block %d on height %d: not the next block", b.Height, s.head.Height)
	}
	ids := make([]TxID, len(b.Txs))
	for i, tx := range b.Txs {
		ids[i] = tx.ID(s.net)
	}
	bad := map[int]*Rejection{}
	checked := make([]bool, len(b.Txs))
	for {
		r := s.begin(b)
		results := make([]Result, len(b.Txs))
		for i, tx := range b.Txs {
			results[i].TxID = ids[i]
			if results[i].Rejection = bad[i]; bad[i] != nil {
				continue
			}
			at := uint32(len(r.delta.TxIDs))
			rej, err := r.add(i, tx, ids[i], v != nil && !checked[i])
			if err != nil {
				return nil, nil, err
			}
			if results[i].Rejection = rej; rej == nil {
				results[i].State, results[i].Index = r.last, at
			}
		}
		if len(r.checks) > 0 {
			for _, o := range r.owners {
				checked[o] = true
			}
			if list := v(r.checks); len(list) > 0 {
				for _, k := range list {
					bad[r.owners[k]] = badSignature(r.checks[k].Key)
				}
				continue
			}
		}
		if err := r.finish(); err != nil {
			if errors.Is(err, ErrHalted) {
				s.halted = err
			}
			return nil, nil, err
		}
		return r.delta, results, nil
	}
}

func badSignature(key PublicKey) *Rejection {
	return refuse(CodeSignature, "signature of key %s does not verify on this network", key)
}

// Commit makes a delta of Prepare, Apply or Replay the new state. The caller
// has made the block durable. Sums that do not add up give ErrHalted, and the
// state takes no more blocks.
func (s *State) Commit(d *Delta) error {
	if s.halted != nil {
		return s.halted
	}
	if d.parent != s.head {
		return errors.New("commit block: made for another state")
	}
	if err := d.audit(); err != nil {
		s.halted = err
		return err
	}
	if err := s.coins.Apply(d); err != nil {
		return fmt.Errorf("commit block %d: %w", d.Head.Height, err)
	}
	for _, o := range d.Freed {
		if p := s.slots[o]; p != nil {
			s.due.remove(p)
			delete(s.slots, o)
		}
	}
	for _, p := range d.Parked {
		if old := s.slots[p.OutPoint]; old != nil {
			s.due.remove(old)
		}
		s.slots[p.OutPoint] = p
		heap.Push(&s.due, p)
	}
	s.head = d.Head
	return nil
}

// audit checks LR10 on the coins that really change, not on what the
// transactions claim.
func (d *Delta) audit() error {
	sum := d.parent.Totals.Unspent
	var err error
	for i := range d.Spent {
		if sum, err = sum.Sub(d.Spent[i].Coin.Amount); err != nil {
			return fmt.Errorf("%w: block %d: %w", ErrHalted, d.Head.Height, err)
		}
	}
	for i := range d.Created {
		if sum, err = sum.Add(d.Created[i].Amount); err != nil {
			return fmt.Errorf("%w: block %d: %w", ErrHalted, d.Head.Height, err)
		}
	}
	if sum != d.Head.Totals.Unspent {
		return fmt.Errorf("%w: block %d: coins hold %s, totals say %s", ErrHalted, d.Head.Height, sum, d.Head.Totals.Unspent)
	}
	return conserved(d.Head.Totals)
}

func conserved(t Totals) error {
	if !t.Unspent.Valid() || t.Minted < 0 || t.Burned < 0 || t.Minted-t.Burned != t.Unspent {
		return fmt.Errorf("%w: minted %s, burned %s, unspent %s", ErrHalted, t.Minted, t.Burned, t.Unspent)
	}
	return nil
}
