package ledgerd

import (
	"context"
	"fmt"

	"github.com/bttnet/btt/ledger"
)

// DefaultEventsKept is how many of the newest events a server keeps for watchers
// that come back.
const DefaultEventsKept = 1 << 18

// watchBatch is how many events a watcher looks at under one lock.
const watchBatch = 256

// eventRing holds the newest events. Cursors grow by one (ledger.Event), so the
// place of an event follows from its cursor.
type eventRing struct {
	list []ledger.Event // list[cursor % cap]
	keep uint64
	last uint64 // newest cursor
}

func newEventRing(keep int) eventRing {
	if keep <= 0 {
		keep = DefaultEventsKept
	}
	return eventRing{keep: uint64(keep)}
}

func (r *eventRing) append(events []ledger.Event) {
	for _, e := range events {
		if uint64(len(r.list)) < r.keep {
			r.list = append(r.list, e)
		} else {
			r.list[(e.Cursor-1)%r.keep] = e
		}
		r.last = e.Cursor
	}
}

func (r *eventRing) since(from uint64, limit int) ([]ledger.Event, error) {
	if from >= r.last {
		return nil, nil
	}
	if r.last-from > uint64(len(r.list)) {
		return nil, ledger.ErrCursorGone
	}
	n := min(r.last-from, uint64(limit))
	out := make([]ledger.Event, 0, n)
	for c := from; c < from+n; c++ {
		out = append(out, r.list[c%r.keep])
	}
	return out, nil
}

// matcher is a ledger.Filter with sets in place of lists.
type matcher struct {
	all       bool
	addresses map[ledger.Address]bool
	outpoints map[ledger.OutPoint]bool
	txids     map[ledger.TxID]bool
}

func newMatcher(f *ledger.Filter) *matcher {
	m := &matcher{all: f.Size() == 0, addresses: map[ledger.Address]bool{}, outpoints: map[ledger.OutPoint]bool{}, txids: map[ledger.TxID]bool{}}
	for _, a := range f.Addresses {
		m.addresses[a] = true
	}
	for _, o := range f.Outpoints {
		m.outpoints[o] = true
	}
	for _, id := range f.TxIDs {
		m.txids[id] = true
	}
	return m
}

func (m *matcher) match(e *ledger.Event) bool {
	if m.all || m.txids[e.TxID] || (!e.By.IsZero() && m.txids[e.By]) || (!e.OutPoint.IsZero() && m.outpoints[e.OutPoint]) {
		return true
	}
	for _, a := range e.Addresses {
		if m.addresses[a] {
			return true
		}
	}
	return false
}

// watch implements ledger.Client's Watch. A watcher reads from the index at its
// own pace and so never holds up a commit. Its goroutine ends, and the channel
// closes, when ctx ends, the server closes, or the watcher falls so far behind
// that its events are gone.
func (s *Server) watch(ctx context.Context, f ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	if f.Size() > ledger.MaxFilter {
		return nil, fmt.Errorf("%w: %d, at most %d", ledger.ErrFilter, f.Size(), ledger.MaxFilter)
	}
	if _, _, err := s.index.since(from, 1); err != nil {
		return nil, err
	}
	m := newMatcher(&f)
	out := make(chan ledger.Event)
	go func() {
		defer close(out)
		for {
			list, changed, err := s.index.since(from, watchBatch)
			if err != nil {
				return
			}
			for i := range list {
				if m.match(&list[i]) {
					select {
					case out <- list[i]:
					case <-ctx.Done():
						return
					case <-s.stopped:
						return
					}
				}
				from = list[i].Cursor
			}
			if len(list) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-s.stopped:
				return
			}
		}
	}()
	return out, nil
}
