package disk

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// job is one slab to be written at an offset of the torrent.
type job struct {
	partial *partial
	slab    []byte
	off     int64
	n       int
	skip    bool  // its piece was given up meanwhile
	fail    error // it could not be made
}

// writeQueue is a Store's share of the Pool's queue, under Pool.mu.
type writeQueue struct {
	jobs    []job
	bytes   atomic.Int64 // queued or being written
	writing int          // writers at work
	listed  bool         // in Pool.ready
	closing bool

	queued  int  // bytes of jobs
	ripe    bool // jobs are not to wait for more
	waiting bool // a timer makes them ripe
}

const (
	// gatherBytes is what small pieces are gathered to before they are written,
	// gatherDelay how long the first of them waits for the others at the most.
	gatherBytes = 256 << 10
	gatherDelay = 20 * time.Millisecond
)

// enqueue adds a job; Store.mu may be held.
func (p *Pool) enqueue(s *Store, j job) {
	p.reserve(s, j.n)
	p.push(s, j)
}

// reserve counts bytes that are to be written, or that are not any more.
func (p *Pool) reserve(s *Store, n int) {
	s.queue.bytes.Add(int64(n))
	p.backlog.Add(int64(n))
}

// push queues jobs whose bytes are counted; Store.mu may be held.
func (p *Pool) push(s *Store, jobs ...job) {
	p.mu.Lock()
	for _, j := range jobs {
		s.queue.queued += j.n
	}
	s.queue.jobs = append(s.queue.jobs, jobs...)
	p.list(s)
	p.mu.Unlock()
}

// ripen ends the gathering of what a Store has queued.
func (p *Pool) ripen(s *Store) {
	p.mu.Lock()
	s.queue.ripe = len(s.queue.jobs) > 0
	p.list(s)
	p.mu.Unlock()
}

// gathers says whether a Store's jobs wait for more, and sees to their end.
func (p *Pool) gathers(s *Store) bool {
	q := &s.queue
	if s.chunk >= gatherBytes || q.queued >= gatherBytes || q.ripe || q.closing || p.waiting.Load() > 0 || p.gatherDelay <= 0 {
		return false
	}
	if !q.waiting {
		q.waiting = true
		time.AfterFunc(p.gatherDelay, func() { // no more than a lock and a signal
			p.mu.Lock()
			q.waiting, q.ripe = false, len(q.jobs) > 0
			p.list(s)
			p.mu.Unlock()
		})
	}
	return true
}

// revoke takes the jobs of a piece out of the queue that no writer has begun,
// and says how many they were; Store.mu is held.
func (p *Pool) revoke(s *Store, of *partial) int {
	dropped := of.held
	p.mu.Lock()
	s.queue.jobs = slices.DeleteFunc(s.queue.jobs, func(j job) bool {
		if j.partial == of {
			dropped = append(dropped, j)
		}
		return j.partial == of
	})
	s.queue.queued = 0
	for _, j := range s.queue.jobs {
		s.queue.queued += j.n
	}
	for _, j := range dropped {
		p.reserve(s, -j.n)
	}
	if p.waiting.Load() > 0 {
		p.room.Broadcast()
	}
	p.mu.Unlock()
	for _, j := range dropped {
		if j.slab != nil {
			p.slabs.put(j.slab)
		}
	}
	n := len(dropped)
	clear(dropped)
	of.held = dropped[:0]
	return n
}

// list makes a Store ready when it has work and may use one more writer.
func (p *Pool) list(s *Store) {
	if q := &s.queue; !q.listed && len(q.jobs) > 0 && q.writing < p.perUse && !p.gathers(s) {
		q.listed = true
		p.ready = append(p.ready, s)
		p.work.Signal()
	}
}

// leave waits until a Store's queue is written and wakes its waiting callers.
func (p *Pool) leave(s *Store) {
	p.mu.Lock()
	s.queue.closing = true
	p.list(s)
	p.room.Broadcast()
	p.mu.Unlock()
	p.drain(s)
}

// drain waits until a Store's queue is written.
func (p *Pool) drain(s *Store) {
	p.mu.Lock()
	p.waiting.Add(1)
	p.list(s)
	for len(s.queue.jobs) > 0 || s.queue.writing > 0 {
		p.room.Wait()
	}
	p.waiting.Add(-1)
	p.mu.Unlock()
}

// write is a writer goroutine.
func (p *Pool) write() {
	w := writer{pool: p, batch: make([]job, 0, batchJobs)}
	for {
		p.mu.Lock()
		for len(p.ready) == 0 && !p.closed {
			p.work.Wait()
		}
		if len(p.ready) == 0 {
			p.mu.Unlock()
			return
		}
		s := p.ready[0]
		p.ready = slices.Delete(p.ready, 0, 1)
		q := &s.queue
		q.listed = false
		n, size := 0, 0
		for n < min(len(q.jobs), batchJobs) && (n == 0 || size+q.jobs[n].n <= chunkSize) {
			size += q.jobs[n].n
			n++
		}
		if n == 0 { // all was revoked
			p.mu.Unlock()
			continue
		}
		w.batch = append(w.batch[:0], q.jobs[:n]...)
		q.jobs = slices.Delete(q.jobs, 0, n)
		q.queued -= size
		q.ripe = q.ripe && len(q.jobs) > 0
		q.writing++
		p.list(s)
		p.mu.Unlock()

		w.run(s)

		p.mu.Lock()
		q.writing--
		q.bytes.Add(-int64(size))
		p.backlog.Add(-int64(size))
		p.list(s)
		if p.waiting.Load() > 0 || q.closing {
			p.room.Broadcast()
		}
		p.mu.Unlock()
	}
}

// writer is one goroutine's working memory.
type writer struct {
	pool  *Pool
	batch []job
	flat  []byte // adjacent slabs, joined
	notes []note
	record
}

// run writes a batch: adjacent slabs in one write.
func (w *writer) run(s *Store) {
	s.mu.Lock()
	for i := range w.batch {
		j := &w.batch[i]
		j.skip = j.partial.forgotten || j.partial.err != nil // forgotten since the writer took it
		w.take(s, j)
	}
	s.mu.Unlock()
	w.tell(s)
	slices.SortFunc(w.batch, func(a, b job) int { return cmp.Compare(a.off, b.off) })
	if s.journal != nil {
		id := w.begin(s.journal, w.batch)
		defer func() { s.journal.End(id, w.touched, w.done) }()
	}
	for first := 0; first < len(w.batch); {
		end, size := first+1, w.batch[first].n
		for end < len(w.batch) && w.batch[end].skip == w.batch[first].skip &&
			w.batch[end].off == w.batch[first].off+int64(size) {
			size += w.batch[end].n
			end++
		}
		group := w.batch[first:end]
		var err error
		if !group[0].skip && size > 0 {
			err = s.writeAt(w.join(group, size), group[0].off, &w.record)
		}
		for i := range group {
			if group[i].slab != nil {
				w.pool.slabs.put(group[i].slab)
			}
			if piece := group[i].partial.piece; s.written(&group[i], cmp.Or(err, group[i].fail)) {
				w.done = append(w.done, piece)
			}
		}
		first = end
	}
	clear(w.batch)
}

// join returns the bytes of adjacent jobs as one slice.
func (w *writer) join(group []job, size int) []byte {
	if len(group) == 1 {
		return group[0].slab[:size]
	}
	if w.flat == nil {
		w.flat = make([]byte, 0, chunkSize)
	}
	w.flat = w.flat[:0]
	for _, j := range group {
		w.flat = append(w.flat, j.slab[:j.n]...)
	}
	return w.flat
}

// written settles one job and tells the piece's fate after its last one. A
// failed piece is told only when it is out of the table, so that whatever the
// owner asks for again meets a fresh attempt.
func (s *Store) written(j *job, err error) (whole bool) {
	s.mu.Lock()
	p := j.partial
	p.pending--
	if err != nil && p.err == nil && !p.failed {
		p.err = err
		p.done = true
		s.setDone(p.piece, false)
	}
	p.lost = p.lost || err != nil
	if p.forgotten {
		s.overtake(p.piece)
	}
	part := err == nil && s.land(p, j)
	event := Event{Kind: Written, Piece: p.piece}
	tell := p.done && !p.failed && p.pending == 0
	if tell && p.err != nil {
		event.Kind, event.Err = Failed, p.err
		for p.busy > 0 { // copies and hashing end by themselves
			s.cond.Wait()
		}
	}
	s.settle(p)
	s.cond.Broadcast()
	s.mu.Unlock()
	if tell {
		s.notify(event)
	} else if part {
		s.notify(Event{Kind: WrittenPart, Piece: event.Piece})
	}
	return tell && event.Kind == Written
}

// overtake books the end of a write of a forgotten attempt; after the last one
// the piece's next attempt may be written. s.mu is held.
func (s *Store) overtake(piece uint32) {
	if s.stale[piece]--; s.stale[piece] > 0 {
		return
	}
	delete(s.stale, piece)
	if p := s.active[piece]; p != nil && len(p.held) > 0 {
		s.pool.push(s, p.held...)
		clear(p.held)
		p.held = p.held[:0]
	}
}

// writeAt writes a range of the torrent.
func (s *Store) writeAt(b []byte, off int64, r *record) error {
	i := s.fileAt(off)
	for ; len(b) > 0; i++ {
		at := off - s.starts[i]
		n := min(s.files[i].Length-at, int64(len(b)))
		if n <= 0 {
			continue
		}
		if !s.files[i].Pad {
			if err := s.writeFile(i, b[:n], at, r); err != nil {
				return err
			}
		}
		b, off = b[n:], off+n
	}
	return nil
}

func (s *Store) writeFile(i int, b []byte, at int64, r *record) error {
	h, err := s.pool.handles.acquire(s, i, true)
	if err != nil {
		return err
	}
	_, err = h.file.WriteAt(b, at)
	if s.journal != nil {
		r.note(i, h.file)
	}
	s.pool.handles.release(h)
	s.markDirty(i)
	if err != nil {
		return ioError("write", s.path(i), err)
	}
	return nil
}
