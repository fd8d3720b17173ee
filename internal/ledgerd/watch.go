package ledgerd

import (
	"context"
	"fmt"

	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
)

// DefaultEventsKept is how many of the newest events a server keeps for watchers
// that come back.
const DefaultEventsKept = ledgerdb.DefaultEventsKept

// watchBatch is how many events a watcher looks at under one lock.
const watchBatch = 256

// since returns events above a cursor (see ledgerdb.DB.Events).
func (s *Server) since(from uint64, limit int) ([]ledger.Event, <-chan struct{}, error) {
	list, changed, err := s.db.Events(from, limit)
	return list, changed, s.late(err)
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

// watch implements ledger.Client's Watch. A watcher reads from the database at its
// own pace and so never holds up a commit. Its goroutine ends, and the channel
// closes, when ctx ends, the server closes, or the watcher falls so far behind
// that its events are gone.
func (s *Server) watch(ctx context.Context, f ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	if f.Size() > ledger.MaxFilter {
		return nil, fmt.Errorf("%w: %d, at most %d", ledger.ErrFilter, f.Size(), ledger.MaxFilter)
	}
	if _, _, err := s.since(from, 1); err != nil {
		return nil, err
	}
	m := newMatcher(&f)
	out := make(chan ledger.Event)
	go func() {
		defer close(out)
		for {
			list, changed, err := s.since(from, watchBatch)
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
