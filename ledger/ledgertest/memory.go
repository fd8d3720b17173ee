// Package ledgertest has an in-memory ledger for tests and simulations, and a
// conformance suite for every ledger.Client.
//
// Memory runs the real state machine: each submitted transaction becomes a
// block of its own at once, and time moves only when the caller says so.
// Watch starts one goroutine per call, which ends with its context; nothing
// else runs in the background. Memory works inside testing/synctest bubbles.
package ledgertest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// StartTime is the genesis time of Genesis, in seconds.
const StartTime = 1_700_000_000

// Key returns a test key derived from a name. Such keys are public knowledge.
func Key(name string) *ledger.PrivateKey {
	scalar := sha256.Sum256([]byte("btt test key " + name))
	k, err := ledger.NewPrivateKey(scalar)
	if err != nil {
		panic(err) // a hash outside the group order: never seen
	}
	return k
}

// FaucetKey owns the whole supply of Genesis but what the shares took.
func FaucetKey() *ledger.PrivateKey { return Key("faucet") }

// OperatorKeys are the mint keys of Genesis, two of three.
func OperatorKeys() []ledger.Signer {
	keys := []ledger.Signer{Key("operator 0"), Key("operator 1"), Key("operator 2")}
	slices.SortFunc(keys, func(a, b ledger.Signer) int {
		ka, kb := a.PublicKey(), b.PublicKey()
		return slices.Compare(ka[:], kb[:])
	})
	return keys
}

// Genesis returns a valid genesis: the faucet owns the supply in eight coins.
func Genesis() ledger.Genesis {
	p := ledger.DefaultParams()
	for _, k := range OperatorKeys() {
		p.Operators = append(p.Operators, k.PublicKey())
	}
	p.Threshold = 2
	share := ledger.Share{Name: "faucet"}
	for range 8 {
		share.Grants = append(share.Grants, ledger.Grant{Address: FaucetKey().Address(), Amount: amount.Supply / 8})
	}
	return ledger.Genesis{Name: "test", Time: StartTime, Params: p, Shares: []ledger.Share{share}}
}

// Memory is a ledger.Client over a State in memory. Methods are safe for
// concurrent use.
type Memory struct {
	mu      sync.Mutex
	genesis ledger.Genesis
	log     []byte // the blocks, as Crash reads them
	state   *ledger.State
	store   *ledger.MemoryCoins
	clock   uint64 // block time
	outage  error
	records map[ledger.TxID]ledger.Record
	spent   map[ledger.OutPoint]ledger.TxID
	events  []ledger.Event
	more    chan struct{} // closed when events or the ledger grow
	books   memoryBooks
}

var (
	_ ledger.Client = (*Memory)(nil)
	_ books.Source  = (*Memory)(nil)
)

// NewMemory starts a ledger at the genesis. entropy lets it verify signatures
// in batches; nil is fine.
func NewMemory(g ledger.Genesis, entropy io.Reader) (*Memory, error) {
	store := ledger.NewMemoryCoins()
	s, err := ledger.NewStateOn(g, store)
	if err != nil {
		return nil, fmt.Errorf("start memory ledger: %w", err)
	}
	s.SetVerifier(ledger.BatchVerifier(entropy))
	return &Memory{
		genesis: g, state: s, store: store, clock: g.Time, records: map[ledger.TxID]ledger.Record{},
		spent: map[ledger.OutPoint]ledger.TxID{}, more: make(chan struct{}),
	}, nil
}

// New starts a ledger at Genesis.
func New() *Memory {
	m, err := NewMemory(Genesis(), nil)
	if err != nil {
		panic(err) // Genesis is valid
	}
	return m
}

// Advance moves ledger time by exactly the given seconds, with as many empty
// blocks as the clamp needs; parked transactions fall due on the way.
func (m *Memory) Advance(seconds uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for step := m.state.Params().Clamp; seconds > 0; {
		n := min(step, seconds)
		seconds -= n
		m.clock += n
		m.mustRun()
	}
}

// Jump moves the proposer's clock by any number of seconds (also back) and
// makes one empty block: ledger time moves by at most the clamp.
func (m *Memory) Jump(seconds int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = uint64(int64(m.clock) + seconds)
	m.mustRun()
}

// SetOutage makes every client call fail with err until it is set to nil.
func (m *Memory) SetOutage(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outage = err
}

// Audit adds up all coins and compares them with the totals (LR10).
func (m *Memory) Audit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum, err := ledger.SumCoins(m.store)
	if err != nil {
		return err
	}
	if t := m.state.Head().Totals; sum != t.Unspent || t.Minted-t.Burned != sum {
		return fmt.Errorf("audit: coins hold %s, totals %+v", sum, t)
	}
	return nil
}

// Fund pays sum from the faucet to an address and returns the coin. It works
// with Genesis only.
func (m *Memory) Fund(to ledger.Address, sum amount.Amount) (ledger.Coin, error) {
	tx, err := fundTx(context.Background(), m, m.state.Network(), ledger.PayTo(to), sum)
	if err != nil {
		return ledger.Coin{}, err
	}
	if _, err := m.Submit(context.Background(), tx.Encode()); err != nil {
		return ledger.Coin{}, fmt.Errorf("fund %s: %w", to, err)
	}
	st, err := m.Outpoint(context.Background(), tx.OutPoint(m.state.Network(), 0))
	return st.Coin, err
}

// fundTx builds a signed payment from the faucet, at output 0.
func fundTx(ctx context.Context, c ledger.Client, net ledger.Network, to ledger.Lock, sum amount.Amount) (*ledger.Tx, error) {
	key := FaucetKey()
	coins, err := c.Unspent(ctx, key.Address(), ledger.OutPoint{}, 0)
	if err != nil {
		return nil, fmt.Errorf("fund: %w", err)
	}
	for _, coin := range coins {
		rest := coin.Amount - sum
		if rest < 0 || (rest > 0 && rest < ledger.DefaultMinOutput) {
			continue
		}
		out := []ledger.Output{{Amount: sum, Lock: to}}
		if rest > 0 {
			out = append(out, ledger.Output{Amount: rest, Lock: coin.Lock})
		}
		tx := ledger.NewTransfer([]ledger.OutPoint{coin.OutPoint}, out)
		return tx, ledger.Sign(tx, net, coin.Lock, key)
	}
	return nil, errors.New("fund: no faucet coin is large enough")
}

// run executes one block and records what it did. m.mu is held.
func (m *Memory) run(txs ...*ledger.Tx) ([]ledger.Result, error) {
	h := m.state.Head()
	d, results, err := m.state.Prepare(ledger.Block{Height: h.Height + 1, Time: m.clock, Txs: txs})
	if err != nil {
		return nil, err
	}
	m.log = appendBlock(m.log, &d.Block)
	return results, m.take(d)
}

// take commits a block and makes it known. m.mu is held.
func (m *Memory) take(d *ledger.Delta) error {
	if err := m.state.Commit(d); err != nil {
		return err
	}
	for i, tx := range d.Block.Txs {
		m.records[d.TxIDs[i]] = ledger.Record{
			Receipt:    ledger.Receipt{TxID: d.TxIDs[i], State: ledger.Committed, Height: d.Head.Height, Index: uint32(i)},
			Raw:        tx.Encode(),
			LedgerTime: d.Head.LedgerTime,
		}
	}
	m.books.enter(d, m.state.Network())
	for _, list := range [][]ledger.Spend{d.Spent, d.Passed} {
		for _, s := range list {
			m.spent[s.Coin.OutPoint] = s.By
		}
	}
	for i := range d.Events {
		m.note(&d.Events[i])
	}
	m.events = append(m.events, d.Events...)
	close(m.more)
	m.more = make(chan struct{})
	return nil
}

// note keeps the state of records in step with an event.
func (m *Memory) note(e *ledger.Event) {
	r := m.records[e.TxID]
	switch e.Kind {
	case ledger.EventParked:
		r.State = ledger.Parked
	case ledger.EventDisplaced:
		r.State = ledger.Displaced
	case ledger.EventMatured:
		r.State, r.Height, r.Index, r.LedgerTime = ledger.Committed, e.Height, e.Index, e.LedgerTime
	default:
		return
	}
	m.records[e.TxID] = r
}

func (m *Memory) mustRun() {
	if _, err := m.run(); err != nil {
		panic(fmt.Sprintf("memory ledger: %v", err)) // a broken state machine
	}
}

// Status implements ledger.Client.
func (m *Memory) Status(ctx context.Context) (ledger.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.outage); err != nil {
		return ledger.Status{}, err
	}
	return m.state.Status(), nil
}

// Submit implements ledger.Client.
func (m *Memory) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	tx, err := ledger.DecodeTx(raw)
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := cmp.Or(ctx.Err(), m.outage, err); e != nil {
		return ledger.Receipt{}, e
	}
	id := tx.ID(m.state.Network())
	if r, ok := m.records[id]; ok && r.State != ledger.Displaced {
		return r.Receipt, nil
	}
	results, err := m.run(tx)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("submit: %w", err)
	}
	if rej := results[0].Rejection; rej != nil {
		return ledger.Receipt{}, m.explain(tx, rej)
	}
	return m.records[id].Receipt, nil
}

// explain turns a missing input into a conflict when its spender is known.
func (m *Memory) explain(tx *ledger.Tx, rej *ledger.Rejection) *ledger.Rejection {
	if rej.Code == ledger.CodeMissing {
		for _, o := range tx.Inputs {
			if by, ok := m.spent[o]; ok {
				return &ledger.Rejection{Code: ledger.CodeConflict, Reason: fmt.Sprintf("input %s is spent", o), By: by}
			}
		}
	}
	return rej
}

// Transaction implements ledger.Client.
func (m *Memory) Transaction(ctx context.Context, id ledger.TxID) (ledger.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.outage); err != nil {
		return ledger.Record{}, err
	}
	r, ok := m.records[id]
	if !ok {
		return ledger.Record{}, fmt.Errorf("look up %s: %w", id, ledger.ErrNotFound)
	}
	r.Raw = slices.Clone(r.Raw)
	return r, nil
}

// Outpoint implements ledger.Client.
func (m *Memory) Outpoint(ctx context.Context, o ledger.OutPoint) (ledger.OutpointState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.outage); err != nil {
		return ledger.OutpointState{}, err
	}
	if by, ok := m.spent[o]; ok {
		return ledger.OutpointState{Status: ledger.OutpointSpent, By: by}, nil
	}
	c, ok, err := m.store.Get(o)
	if err != nil || !ok {
		return ledger.OutpointState{}, err
	}
	st := ledger.OutpointState{Status: ledger.OutpointUnspent, Coin: c}
	if p, ok := m.state.Slot(o); ok {
		st.Status, st.By, st.Sequence, st.LockTime = ledger.OutpointParked, p.TxID, p.Tx.Sequence, p.Tx.LockTime
	}
	return st, nil
}

// Unspent implements ledger.Client.
func (m *Memory) Unspent(ctx context.Context, a ledger.Address, after ledger.OutPoint, limit int) ([]ledger.Coin, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.outage); err != nil {
		return nil, err
	}
	if limit < 1 || limit > ledger.MaxUnspentPage {
		limit = ledger.MaxUnspentPage
	}
	var list []ledger.Coin
	err := m.store.Coins(func(c ledger.Coin) error {
		if c.Lock == ledger.PayTo(a) && len(list) < limit && (after.IsZero() || c.OutPoint.Compare(after) > 0) {
			list = append(list, c)
		}
		return nil
	})
	return list, err
}

// Watch implements ledger.Client.
func (m *Memory) Watch(ctx context.Context, f ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	if f.Size() > ledger.MaxFilter {
		return nil, fmt.Errorf("watch: %d filter entries, at most %d", f.Size(), ledger.MaxFilter)
	}
	m.mu.Lock()
	err := cmp.Or(ctx.Err(), m.outage)
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := make(chan ledger.Event)
	go func() {
		defer close(out)
		for {
			m.mu.Lock()
			more := m.more
			// Cursors start at 1, so event k is at k-1.
			fresh := m.events[min(from, uint64(len(m.events))):]
			m.mu.Unlock()
			for i := range fresh {
				from = fresh[i].Cursor
				if !f.Match(&fresh[i]) {
					continue
				}
				select {
				case out <- fresh[i]:
				case <-ctx.Done():
					return
				}
			}
			if len(fresh) > 0 {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
