package payments

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/chanlog"
	"github.com/bttnet/btt/ledger"
)

// Book holds a node's channels at run time. Its methods are safe for
// concurrent use.
type Book struct {
	cfg     Config
	journal *chanlog.Log
	ctx     context.Context // ends all goroutines
	cancel  context.CancelFunc
	running sync.WaitGroup
	head    head
	changed chan struct{} // the watched outpoints changed
	closing atomic.Bool
	broken  atomic.Bool // the journal failed: nothing is sold

	mu       sync.Mutex // guards what follows; never held while calling out
	pairs    map[pairKey]*pair
	channels map[channel.ID]live // live channels, both roles
	links    map[*Link]struct{}
	offers   []offer // K2 keys on offer, in turn
	spare    []offer // that came back
	turn     int
	accounts map[ledger.PublicKey]*standing // that bought here
	full     int                            // number of accounts at which some are forgotten

	statements statements
	funds      funds
}

type pairKey struct {
	account ledger.PublicKey
	role    channel.Role
}

// live tells who drives a channel and what to watch on the ledger.
type live struct {
	pair     *pair
	outpoint ledger.OutPoint
}

// offer is a K2 that no channel uses, and none did whose T1 came to the ledger.
type offer struct {
	index  uint32
	signer ledger.Signer
	key    ledger.PublicKey
	signed []uint64 // the first bytes of the T1s that it was proposed for, of which it may have signed the T2
}

// Open reads the journal in cfg.Dir and continues what it holds: channels of
// a provider are settled unless their payer comes back, those of a requester
// resumed or refunded. The Book's work ends with Close, not with ctx, which
// bounds the first look at the ledger; a ledger that cannot be reached only
// keeps new channels from opening.
func Open(ctx context.Context, cfg Config) (*Book, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open payments: %w", err)
	}
	b := &Book{
		cfg: cfg, changed: make(chan struct{}, 1), pairs: make(map[pairKey]*pair), channels: make(map[channel.ID]live),
		links: make(map[*Link]struct{}), accounts: make(map[ledger.PublicKey]*standing),
	}
	b.statements.entries = make(map[channel.ID]*Summary)
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.head.now = cfg.Now
	b.head.refresh(ctx, cfg.Ledger)
	live, err := b.recover()
	if err != nil {
		b.cancel()
		return nil, err
	}
	b.start(b.clock)
	b.start(b.watch)
	b.start(b.sweep)
	for _, s := range live {
		b.restore(s)
	}
	return b, nil
}

// start runs f until it returns, which it does when b.ctx ends.
func (b *Book) start(f func()) {
	b.running.Add(1)
	go func() {
		defer b.running.Done()
		f()
	}()
}

// Close settles what this node earned, asks for settlement of what it paid,
// and waits until the ledger answered or ctx ends. Channels that are left
// open go on with the next Open.
func (b *Book) Close(ctx context.Context) error {
	if b.closing.Swap(true) {
		return nil
	}
	for _, p := range b.all() {
		p.postAlways(op{kind: opShutdown})
	}
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	left := b.unsettled() // looked at once a turn: what changes after the last look is for the next start
	for left && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
		left = b.unsettled()
	}
	b.cancel()
	b.running.Wait()
	if err := b.journal.Close(); err != nil {
		return fmt.Errorf("close payments: %w", err)
	}
	if left {
		return fmt.Errorf("close payments: some channels are not settled yet; they are settled at the next start: %w", ctx.Err())
	}
	return nil
}

func (b *Book) all() []*pair {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*pair, 0, len(b.pairs))
	for _, p := range b.pairs {
		list = append(list, p)
	}
	return list
}

// halt stops selling for good: the journal failed.
func (b *Book) halt() {
	if b.broken.Swap(true) {
		return
	}
	b.mu.Lock()
	links := slices.Collect(maps.Keys(b.links))
	b.mu.Unlock()
	for _, l := range links {
		l.mu.Lock()
		l.allow()
		l.mu.Unlock()
		l.notify(Event{Kind: EventFault, Role: channel.RolePayee, Reason: "the journal of payments cannot be written"})
	}
}

// unsettled reports whether a shutdown has to wait for any channel.
func (b *Book) unsettled() bool {
	for _, p := range b.all() {
		if p.waiting.Load() > 0 {
			return true
		}
	}
	return false
}

// Terms returns what a bid response offers (R10.15). K2 is a key that no
// channel uses; up to 16 keys are on offer in turn.
func (b *Book) Terms() (channel.Terms, error) {
	if b.broken.Load() {
		return channel.Terms{}, fmt.Errorf("make channel terms: %w", chanlog.ErrBroken)
	}
	status, ok := b.head.get()
	if !ok {
		return channel.Terms{}, fmt.Errorf("make channel terms: the ledger has not been reached yet")
	}
	o, err := b.offer()
	if err != nil {
		return channel.Terms{}, fmt.Errorf("make channel terms: %w", err)
	}
	return b.terms(o, status), nil
}

func (b *Book) terms(o offer, status ledger.Status) channel.Terms {
	return channel.Terms{
		Account: b.cfg.Purse.Account(), K2: o.key, Network: status.Network,
		MinLock: uint32(b.cfg.MinLock / time.Second), MaxLock: uint32(b.cfg.MaxLock / time.Second),
		MinDeposit: b.cfg.MinDeposit, MaxDeposit: b.cfg.MaxDeposit, Quantum: uint32(b.cfg.Quantum),
	}
}

// offer returns the next key in turn, making keys up to the limit.
func (b *Book) offer() (offer, error) {
	b.mu.Lock()
	if len(b.offers) >= maxOffers {
		b.turn++
		o := b.offers[b.turn%len(b.offers)]
		b.mu.Unlock()
		return o, nil
	}
	if n := len(b.spare); n > 0 {
		o := b.spare[n-1]
		b.spare, b.offers = b.spare[:n-1], append(b.offers, o)
		b.mu.Unlock()
		return o, nil
	}
	b.mu.Unlock()
	index, signer, err := b.cfg.Purse.NewChannelKey()
	if err != nil {
		return offer{}, fmt.Errorf("make channel key: %w", err)
	}
	o := offer{index: index, signer: signer, key: signer.PublicKey()}
	b.mu.Lock()
	b.offers = append(b.offers, o)
	b.mu.Unlock()
	return o, nil
}

// take removes a key from the offers: from now on one channel uses it.
func (b *Book) take(key ledger.PublicKey) (offer, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, o := range b.offers {
		if o.key == key {
			b.offers = slices.Delete(b.offers, i, i+1)
			return o, true
		}
	}
	return offer{}, false
}

// giveBack takes back a key that nothing came of on the ledger: keys are 2^31, and a
// proposal costs a stranger nothing. It signed a T2 that spends one output alone, blindly,
// so it is never again for that T1, nor for one that begins alike (docs/rfcs/0008).
func (b *Book) giveBack(o offer, proposed ...uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.signed = append(o.signed, proposed...); len(o.signed) < maxSigned && len(b.spare) < MaxPairs {
		b.spare = append(b.spare, o)
	}
}

// pair returns the pair of an account and role, made if need be, with one
// more reference; drop gives it back.
func (b *Book) pair(account ledger.PublicKey, role channel.Role) *pair {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := pairKey{account, role}
	p := b.pairs[key]
	if p == nil {
		if len(b.pairs) >= MaxPairs || b.closing.Load() {
			return nil
		}
		p = newPair(b, key)
		b.pairs[key] = p
		b.start(p.run)
	}
	p.refs++
	return p
}

// owner returns the pair that an account's channel to us belongs to, with one more
// reference.
func (b *Book) owner(id channel.ID, account ledger.PublicKey) *pair {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.channels[id].pair
	if p == nil || p.key != (pairKey{account, channel.RolePayee}) {
		return nil
	}
	p.refs++
	return p
}

// retire ends a pair that has neither references nor channels.
func (b *Book) retire(p *pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.refs > 0 {
		return false
	}
	delete(b.pairs, p.key)
	return true
}

func (b *Book) drop(p *pair) {
	b.mu.Lock()
	p.refs--
	b.mu.Unlock()
}

// claim makes a channel known; it fails when another channel has its id.
func (b *Book) claim(c *channel.Contract, p *pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.channels[c.ID()].pair != nil {
		return false
	}
	b.channels[c.ID()] = live{pair: p, outpoint: c.Funding}
	b.rewatch()
	return true
}

func (b *Book) release(id channel.ID) {
	b.mu.Lock()
	delete(b.channels, id)
	b.rewatch()
	b.mu.Unlock()
}

func (b *Book) rewatch() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Summary is one channel for statements.
type Summary struct {
	Channel  channel.ID
	Role     channel.Role
	Account  ledger.PublicKey // of the other side
	Deposit  amount.Amount
	Paid     amount.Amount // cumulative; requester: signed, provider: earned
	Bytes    int64         // paid for in this run
	Stage    channel.Stage
	LockTime uint64 // ledger seconds
	Funding  ledger.OutPoint
}

// statements is a leaf: pairs write it, Summary reads it.
type statements struct {
	mu      sync.Mutex
	entries map[channel.ID]*Summary
	ended   []channel.ID // oldest first, at most MaxHistory
}

func (s *statements) put(n Summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.entries[n.Channel]
	if old == nil {
		old = new(Summary)
		s.entries[n.Channel] = old
	}
	if n.Stage.Final() && !old.Stage.Final() {
		s.ended = append(s.ended, n.Channel)
		if len(s.ended) > MaxHistory {
			delete(s.entries, s.ended[0])
			s.ended = slices.Delete(s.ended, 0, 1)
		}
	}
	*old = n
}

// Summary returns all live channels and the newest ended ones, ordered by
// lock time.
func (b *Book) Summary() []Summary {
	s := &b.statements
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Summary, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b Summary) int {
		return cmp.Or(cmp.Compare(a.LockTime, b.LockTime), slices.Compare(a.Channel[:], b.Channel[:]))
	})
	return list
}
