package payments

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

const (
	statusEvery  = 10 * time.Second // between looks at the ledger's time
	outageEvery  = time.Second      // between looks while the ledger is out of reach
	statusWait   = 5 * time.Second  // one look
	ledgerWait   = 15 * time.Second // one request
	watchBackoff = 2 * time.Second
	// slowLedger is how long a request may take before the ledger counts as out
	// of reach.
	slowLedger = 2 * time.Second
)

// head is the newest known status of the ledger, a leaf cache, and whether
// requests get an answer.
type head struct {
	now     func() time.Time
	mu      sync.Mutex
	known   bool
	status  ledger.Status
	at      time.Time
	failed  bool // the last request that ended got no answer
	number  uint64
	pending map[uint64]time.Time // requests under way, by number
}

// begin notes the start of a request, of which so much may be a wait for something else
// than the ledger; the result must be called with its error.
func (h *head) begin(other time.Duration) (done func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number++
	n := h.number
	if h.pending == nil {
		h.pending = make(map[uint64]time.Time)
	}
	h.pending[n] = h.now().Add(other)
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.pending, n)
		if !errors.Is(err, context.Canceled) {
			h.failed = unreachable(err)
		}
	}
}

// out reports whether the ledger is out of reach.
func (h *head) out(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed {
		return true
	}
	for _, t := range h.pending {
		if now.Sub(t) > slowLedger {
			return true
		}
	}
	return false
}

// unreachable tells a request without an answer from any answer of the ledger.
func unreachable(err error) bool {
	return err != nil && ledger.CodeOf(err) == "" && !errors.Is(err, ledger.ErrNotFound)
}

func (h *head) refresh(ctx context.Context, c ledger.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	done := h.begin(0)
	s, err := c.Status(ctx)
	done(err)
	if err != nil {
		return false
	}
	h.mu.Lock()
	h.known, h.status, h.at = true, s, h.now()
	h.mu.Unlock()
	return true
}

func (h *head) get() (ledger.Status, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status, h.known
}

// time returns the latest that the ledger's time can be: it never runs ahead
// of the clock (LR6), so payees err towards settling early.
func (h *head) time() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.known {
		return 0
	}
	return h.status.LedgerTime + uint64(max(0, h.now().Sub(h.at)/time.Second))
}

// exact returns the ledger's time as it was last told: payers take a refund
// only when the ledger says so.
func (h *head) exact() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status.LedgerTime
}

// clock keeps head fresh and lets all pairs look at it. While the ledger is out of
// reach it looks more often, and what waits is tried again as soon as it answers.
// It ends with the Book.
func (b *Book) clock() {
	tick := time.NewTicker(min(outageEvery, statusEvery))
	defer tick.Stop()
	last := b.cfg.Now()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		now := b.cfg.Now()
		out := b.head.out(now)
		if !out && now.Sub(last) < statusEvery {
			continue
		}
		last = now
		if !b.head.refresh(b.ctx, b.cfg.Ledger) && out {
			continue
		}
		for _, p := range b.all() {
			p.tick.Store(true)
			p.wake()
		}
	}
}

// watch follows the funding outpoints of live channels, so that an early
// close of the other side is seen at once (R11.18). It ends with the Book.
func (b *Book) watch() {
	status, _ := b.head.get()
	cursor := status.Cursor
	for b.ctx.Err() == nil {
		filter := b.filter()
		if filter.Size() == 0 {
			select {
			case <-b.ctx.Done():
			case <-b.changed:
			}
			continue
		}
		cursor = b.follow(filter, cursor)
	}
}

func (b *Book) filter() (f ledger.Filter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.channels {
		if len(f.Outpoints) < ledger.MaxFilter {
			f.Outpoints = append(f.Outpoints, c.outpoint)
		}
	}
	return f
}

// follow delivers events until the filter changes or the stream breaks.
func (b *Book) follow(f ledger.Filter, cursor uint64) uint64 {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	events, err := b.cfg.Ledger.Watch(ctx, f, cursor)
	if err != nil {
		events = nil
	}
	retry := time.NewTimer(watchBackoff)
	defer retry.Stop()
	if events != nil {
		retry.Stop()
	}
	for {
		select {
		case <-b.ctx.Done():
			return cursor
		case <-b.changed:
			return cursor
		case <-retry.C:
			return cursor
		case e, ok := <-events:
			if !ok {
				events = nil
				retry.Reset(watchBackoff)
				continue
			}
			cursor = max(cursor, e.Cursor)
			b.observe(e)
		}
	}
}

func (b *Book) observe(e ledger.Event) {
	if e.Kind != ledger.EventParked && e.Kind != ledger.EventSpent {
		return
	}
	id := channel.MakeID(e.OutPoint.TxID)
	b.mu.Lock()
	c := b.channels[id]
	b.mu.Unlock()
	if c.pair != nil && c.outpoint == e.OutPoint {
		c.pair.postAlways(op{kind: opLedger, id: id, parked: e.Kind == ledger.EventParked})
	}
}
