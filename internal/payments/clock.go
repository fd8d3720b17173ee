package payments

import (
	"context"
	"sync"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

const (
	statusEvery  = 10 * time.Second // between looks at the ledger's time
	ledgerWait   = 15 * time.Second // one request
	watchBackoff = 2 * time.Second
)

// head is the newest known status of the ledger, a leaf cache.
type head struct {
	now    func() time.Time
	mu     sync.Mutex
	known  bool
	status ledger.Status
	at     time.Time
}

func (h *head) refresh(ctx context.Context, c ledger.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	s, err := c.Status(ctx)
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

// clock keeps head fresh and lets all pairs look at it. It ends with the Book.
func (b *Book) clock() {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		b.head.refresh(b.ctx, b.cfg.Ledger)
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
		c.pair.postWait(op{kind: opLedger, id: id, parked: e.Kind == ledger.EventParked})
	}
}
