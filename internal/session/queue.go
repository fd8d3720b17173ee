package session

import (
	"fmt"
	"sync"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/queue"
)

// openers is how many torrents open their files at once, and how many are
// started side by side.
const openers = 8

// plans carry out the queue.
type plans struct {
	mu     sync.Mutex    // one plan at a time; never taken with a torrent's lock held
	signal chan struct{} // another plan is due
}

// replan asks the session's goroutine for a plan; it does not block.
func (s *Session) replan() {
	if !s.limited() {
		return
	}
	select {
	case s.plans.signal <- struct{}{}:
	default:
	}
}

func (s *Session) limited() bool { return s.active().Any() }

// active are the limits of how many torrents run.
func (s *Session) active() queue.Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return queue.Limits{Downloads: s.cfg.MaxDownloads, Seeds: s.cfg.MaxSeeds}
}

// plan decides after a change of one torrent, and starts and stops what follows
// from it beside the caller, who is not to wait for a disk. Without limits it
// touches no other.
func (s *Session) plan(t *Torrent) {
	if s.limited() {
		s.planAll()
		return
	}
	s.plans.mu.Lock()
	changed := t.want(t.mayRun())
	s.plans.mu.Unlock()
	if changed {
		s.spawn(t.settle)
	}
}

// planAll is plan after a change of any number of them.
func (s *Session) planAll() {
	if changed := s.decide(); len(changed) > 0 {
		s.spawn(func() { s.carryOut(changed) }) // ends when they have started
	}
}

// decide decides for all torrents which of them run, and returns those that are
// to start or stop.
func (s *Session) decide() []*Torrent {
	s.plans.mu.Lock()
	defer s.plans.mu.Unlock()
	list, limits := s.Torrents(), s.active()
	entries := make([]queue.Entry, len(list))
	for i, t := range list {
		entries[i] = t.entry()
	}
	changed := list[:0]
	for i, run := range queue.Plan(make([]bool, 0, len(list)), limits, entries) {
		if list[i].want(run) {
			changed = append(changed, list[i])
		}
	}
	return changed
}

// carryOut starts and stops torrents. Stopping takes leave of trackers, so it
// is not waited for.
func (s *Session) carryOut(list []*Torrent) {
	gate := make(chan struct{}, openers)
	var starts sync.WaitGroup
	for _, t := range list {
		if !t.wanted.Load() || !t.op.TryLock() { // who holds the lock settles after it
			s.spawn(t.settle)
			continue
		}
		gate <- struct{}{}
		starts.Go(func() { // ends with the start
			if t.wanted.Load() {
				t.launch()
			}
			t.op.Unlock()
			<-gate
		})
	}
	starts.Wait()
}

// want notes a decision and says whether it is a new one.
func (t *Torrent) want(run bool) bool { return t.wanted.Swap(run) != run }

// mayRun says whether the user lets the torrent run.
func (t *Torrent) mayRun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.rec.Stopped && !t.removed.Load() && !t.rests()
}

// rests says whether the torrent waits for somebody who pays; t.mu is held. Out of
// Speed nobody can, and it runs as others do.
func (t *Torrent) rests() bool {
	return t.rec.WhenPaid && t.complete.Load() && !t.called.Load() && t.s.trade.Load().demand != nil && !t.rec.Plain && !t.s.plain.Load()
}

// entry is what the queue has to know of the torrent.
func (t *Torrent) entry() queue.Entry {
	e := queue.Entry{May: t.mayRun(), Apart: t.broken.Load(), Whole: t.complete.Load()}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Apart = e.Apart || t.rec.Forced
	return e
}

// SetForced lets the torrent run whatever the queue says, without counting for
// it.
func (t *Torrent) SetForced(on bool) error {
	return t.change(func(r *catalog.Record) { r.Forced = on })
}

// SetPosition moves the torrent to a place in the queue: 0 is the first, and
// whatever is beyond the end the last.
func (t *Torrent) SetPosition(place int) error {
	if t.removed.Load() {
		return fmt.Errorf("move torrent %s in the queue: %w", t, ErrNotFound)
	}
	for _, o := range t.s.move(t, place) {
		o.mu.Lock()
		o.touch()
		o.mu.Unlock()
	}
	if t.s.limited() {
		t.s.planAll()
	}
	return nil
}

// move puts a torrent into its place and returns those whose position changed.
func (s *Session) move(t *Torrent, place int) []*Torrent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Move(&t.place, place)
}

// rank is a torrent's place in the queue.
func (s *Session) rank(t *Torrent) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Rank(&t.place)
}

// SetActive changes how many downloads and seeds run at once; 0 = all.
func (s *Session) SetActive(downloads, seeds int) {
	s.mu.Lock()
	s.cfg.MaxDownloads, s.cfg.MaxSeeds = max(downloads, 0), max(seeds, 0)
	s.mu.Unlock()
	s.planAll()
}
