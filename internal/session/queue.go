package session

import (
	"slices"
	"sync"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/swarm"
)

const (
	// openers is how many torrents open their files at once, and how many are
	// started side by side.
	openers = 8
	// positionGap is the distance of two torrents in the queue: room to move
	// others in between without touching all.
	positionGap = 1 << 20
)

// queue decides which torrents run.
type queue struct {
	mu     sync.Mutex    // one plan at a time; never taken with a torrent's lock held
	signal chan struct{} // another plan is due
}

// replan asks the session's goroutine for a plan; it does not block.
func (s *Session) replan() {
	if !s.limited() {
		return
	}
	select {
	case s.queue.signal <- struct{}{}:
	default:
	}
}

func (s *Session) limited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.MaxDownloads > 0 || s.cfg.MaxSeeds > 0
}

// plan carries out a change of one torrent. Without limits it touches no other.
func (s *Session) plan(t *Torrent) {
	if s.limited() {
		s.planAll()
		return
	}
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if t.want(t.mayRun()) {
		s.carryOut([]*Torrent{t})
	}
}

// planAll decides for all torrents: in the order of the queue as many as the
// limits permit, and those that are forced.
func (s *Session) planAll() {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	s.mu.Lock()
	list, downloads, seeds := slices.Clone(s.order), s.cfg.MaxDownloads, s.cfg.MaxSeeds
	s.mu.Unlock()
	left := map[bool]int{false: unlimited(downloads), true: unlimited(seeds)}
	var changed []*Torrent
	for _, t := range list {
		run := t.mayRun()
		if run && !t.forced() && !t.broken.Load() {
			whole := t.complete.Load()
			run = left[whole] > 0
			left[whole]--
		}
		if t.want(run) {
			changed = append(changed, t)
		}
	}
	s.carryOut(changed)
}

func unlimited(n int) int {
	if n <= 0 {
		return MaxTorrents
	}
	return n
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
			t.launch()
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
	rests := t.rec.WhenPaid && t.complete.Load() && !t.called.Load() && t.s.cfg.Demand != nil
	return !t.rec.Stopped && !t.removed.Load() && !rests
}

func (t *Torrent) forced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Forced
}

// SetForced lets the torrent run whatever the queue says, without counting for
// it.
func (t *Torrent) SetForced(on bool) error {
	return t.change(func(r *catalog.Record) { r.Forced = on })
}

// SetPosition moves the torrent to a place in the queue: 0 is the first, and
// whatever is beyond the end the last.
func (t *Torrent) SetPosition(place int) error {
	renumbered := t.s.move(t, place)
	var first error
	for _, o := range renumbered {
		if err := o.save(); err != nil && first == nil {
			first = err
		}
	}
	if t.s.limited() {
		t.s.planAll()
	}
	return first
}

// move puts a torrent into its place and returns those whose position changed.
func (s *Session) move(t *Torrent, place int) []*Torrent {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.order, t)
	if at < 0 {
		return nil
	}
	s.order = slices.Delete(s.order, at, at+1)
	place = min(max(place, 0), len(s.order))
	s.order = slices.Insert(s.order, place, t)
	low, high := int64(0), int64(0)
	if place > 0 {
		low = s.order[place-1].position.Load()
	}
	if place+1 < len(s.order) {
		high = s.order[place+1].position.Load()
	} else {
		high = low + 2*positionGap
	}
	if mid := low + (high-low)/2; mid > low && mid < high {
		t.position.Store(mid)
		return []*Torrent{t}
	}
	for i, o := range s.order {
		o.position.Store(int64(i+1) * positionGap)
	}
	return slices.Clone(s.order)
}

// rank is a torrent's place in the queue.
func (s *Session) rank(t *Torrent) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.order, t.position.Load(), func(o *Torrent, at int64) int {
		return int(max(-1, min(1, o.position.Load()-at)))
	})
	return i
}

// SetActive changes how many downloads and seeds run at once; 0 = all.
func (s *Session) SetActive(downloads, seeds int) {
	s.mu.Lock()
	s.cfg.MaxDownloads, s.cfg.MaxSeeds = max(downloads, 0), max(seeds, 0)
	s.mu.Unlock()
	s.planAll()
}

// swarms returns the running swarms.
func (s *Session) swarms() []*swarm.Swarm {
	list := make([]*swarm.Swarm, 0, 16)
	for _, t := range s.Torrents() {
		if sw := t.running(); sw != nil {
			list = append(list, sw)
		}
	}
	return list
}

// backlog holds torrents whose record is to be written soon. Its methods are
// safe for concurrent use.
type backlog struct {
	mu     sync.Mutex // leaf lock
	list   []*Torrent
	signal chan struct{}
}

func (b *backlog) add(t *Torrent) {
	b.mu.Lock()
	b.list = append(b.list, t)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *backlog) take() []*Torrent {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

// saveBacklog writes what changed by itself; choke rounds do not wait for it.
func (s *Session) saveBacklog() {
	list := s.unsaved.take()
	s.spawn(func() { // ends when the disk has them
		for _, t := range list {
			if err := t.save(); err != nil {
				s.cfg.Log.Warn("save torrent", "torrent", t, "err", err)
			}
		}
	})
}
