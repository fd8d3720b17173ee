package disk

import (
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/unitsums"
)

const (
	// DefaultBudget, DefaultWriters and DefaultOpenFiles fill a zero PoolConfig.
	DefaultBudget    = 64 << 20
	DefaultWriters   = 2
	DefaultOpenFiles = 256
	// MaxWriters and MaxOpenFiles bound a PoolConfig.
	MaxWriters   = 64
	MaxOpenFiles = 1 << 16
	// batchJobs bounds the slabs one writer takes at once.
	batchJobs = 64
)

// PoolConfig sizes a Pool; zero fields take the defaults.
type PoolConfig struct {
	// Budget is how many bytes verified but not yet written (and cached free
	// slabs) may reach before Block waits.
	Budget int64
	// Writers is the number of writer goroutines. One Store uses at most
	// Writers-1 of them (at least one), so a hung disk leaves others alive.
	Writers int
	// OpenFiles bounds the open descriptors.
	OpenFiles int
}

// Pool holds what the Stores of a session share: slabs, writer goroutines, the
// byte budget and open files. Close it after its Stores.
type Pool struct {
	budget  int64
	perUse  int // writers one Store may use
	slabs   slabs
	handles handles
	sums    *unitsums.Cache
	backlog atomic.Int64 // bytes queued or being written
	waiting atomic.Int32 // callers waiting for room
	// gatherDelay is the constant but in tests; 0 = small pieces are written at once.
	gatherDelay time.Duration

	mu     sync.Mutex
	work   sync.Cond // a store is ready, or closed
	room   sync.Cond // backlog fell, a queue emptied
	ready  []*Store
	closed bool
	ended  sync.WaitGroup
}

// NewPool starts a Pool's writers; Close ends them.
func NewPool(c PoolConfig) *Pool {
	if c.Budget <= 0 {
		c.Budget = DefaultBudget
	}
	if c.Writers <= 0 {
		c.Writers = DefaultWriters
	}
	if c.OpenFiles <= 0 {
		c.OpenFiles = DefaultOpenFiles
	}
	c.Writers = min(c.Writers, MaxWriters)
	p := &Pool{budget: c.Budget, perUse: max(c.Writers-1, 1), gatherDelay: gatherDelay,
		sums: unitsums.New(unitsums.DefaultBytes)}
	p.slabs.retain = c.Budget
	p.handles.init(min(c.OpenFiles, MaxOpenFiles))
	p.work.L = &p.mu
	p.room.L = &p.mu
	for range c.Writers {
		p.ended.Go(p.write) // ends after Close, when its batch is written
	}
	return p
}

// Close ends the writers and frees the slabs. All Stores must be closed.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.work.Broadcast()
	p.room.Broadcast()
	p.mu.Unlock()
	p.ended.Wait()
	p.slabs.close()
	return nil
}

// Backlog returns the bytes verified but not yet written.
func (p *Pool) Backlog() int64 { return p.backlog.Load() }

// crowded reports whether a Store must wait: it used up three quarters of the
// budget alone, or all Stores used it up and this one takes part in that.
func (p *Pool) crowded(s *Store) bool {
	total := p.backlog.Load()
	if total <= p.budget*3/4 {
		return false
	}
	own := s.queue.bytes.Load()
	return own > p.budget*3/4 || total > p.budget && own > 0
}

// wait holds a Block call back while the disk is behind.
func (p *Pool) wait(s *Store) {
	p.mu.Lock()
	p.waiting.Add(1)
	p.list(s)
	for p.crowded(s) && !s.queue.closing && !p.closed {
		p.room.Wait()
	}
	p.waiting.Add(-1)
	p.mu.Unlock()
}

// slabs hands out memory outside the Go heap in power-of-two sizes from
// BlockSize to chunkSize, cut from regions of chunkSize.
type slabs struct {
	mu      sync.Mutex
	retain  int64 // free bytes kept warm
	warm    int64
	free    [7][][]byte // by class; warm ones lie at the end
	cold    [7][][]byte
	regions [][]byte
	refuse  atomic.Bool // set by tests: there is no more memory
}

func class(n int64) int { return bits.Len64(uint64(n-1) / BlockSize) }

var errMemory = errors.New("no memory for a slab")

// get returns a slab of at least n bytes, n <= chunkSize. Its content is
// undefined.
func (m *slabs) get(n int64) ([]byte, error) {
	c := class(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := len(m.free[c]); k > 0 {
		b := m.free[c][k-1]
		m.free[c] = m.free[c][:k-1]
		m.warm -= int64(len(b))
		return b, nil
	}
	if len(m.cold[c]) == 0 {
		if m.refuse.Load() {
			return nil, errMemory
		}
		region, err := mapMemory(chunkSize)
		if err != nil {
			return nil, errors.Join(errMemory, err)
		}
		m.regions = append(m.regions, region)
		for size := BlockSize << c; len(region) > 0; region = region[size:] {
			m.cold[c] = append(m.cold[c], region[:size:size])
		}
	}
	k := len(m.cold[c])
	b := m.cold[c][k-1]
	m.cold[c] = m.cold[c][:k-1]
	return b, nil
}

// put takes a slab back.
func (m *slabs) put(b []byte) {
	c := class(int64(len(b)))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warm+int64(len(b)) > m.retain {
		coolMemory(b)
		m.cold[c] = append(m.cold[c], b)
		return
	}
	m.warm += int64(len(b))
	m.free[c] = append(m.free[c], b)
}

func (m *slabs) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.regions {
		unmapMemory(r)
	}
	m.regions, m.warm = nil, 0
	clear(m.free[:])
	clear(m.cold[:])
}

// handles is a bounded set of open files, least recently used first to go. A
// handle in use is never closed; when all are in use, acquire waits.
type handles struct {
	mu    sync.Mutex
	freed sync.Cond
	max   int
	count int // open, or being opened
	table map[handleKey]*handle
	lru   handle // ring: lru.next is the most recently used
}

type handleKey struct {
	store *Store
	index int32
	write bool
}

type handle struct {
	key        handleKey
	file       file
	refs       int
	doomed     bool // close with the last release
	prev, next *handle
}

func (h *handles) init(limit int) {
	h.max = limit
	h.freed.L = &h.mu
	h.table = make(map[handleKey]*handle)
	h.lru.prev, h.lru.next = &h.lru, &h.lru
}

func (e *handle) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

func (h *handles) push(e *handle) {
	e.prev, e.next = &h.lru, h.lru.next
	e.prev.next, e.next.prev = e, e
}

// acquire returns an open file of a Store; release it after use. A file open
// for writing serves reads too.
func (h *handles) acquire(s *Store, index int, write bool) (*handle, error) {
	key := handleKey{s, int32(index), write}
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		e := h.table[key]
		if e == nil && !write {
			e = h.table[handleKey{s, int32(index), true}]
		}
		if e != nil {
			e.refs++
			e.unlink()
			h.push(e)
			return e, nil
		}
		if h.count < h.max {
			break
		}
		if !h.evict() {
			h.freed.Wait()
		}
	}
	h.count++
	h.mu.Unlock()
	f, err := s.open(s.localPath(index), s.files[index].Length, write)
	h.mu.Lock()
	if err != nil {
		h.count--
		h.freed.Signal()
		return nil, ioError("open", s.path(index), err)
	}
	if e := h.table[key]; e != nil { // somebody else was faster
		h.count--
		h.freed.Signal()
		_ = f.Close()
		e.refs++
		return e, nil
	}
	e := &handle{key: key, file: f, refs: 1}
	h.table[key] = e
	h.push(e)
	return e, nil
}

// evict closes the least recently used idle handle; h.mu is held but for the
// close itself.
func (h *handles) evict() bool {
	for e := h.lru.prev; e != &h.lru; e = e.prev {
		if e.refs == 0 {
			h.forget(e)
			h.mu.Unlock()
			_ = e.file.Close()
			h.mu.Lock()
			h.count--
			return true
		}
	}
	return false
}

func (h *handles) forget(e *handle) {
	e.unlink()
	delete(h.table, e.key)
}

func (h *handles) release(e *handle) {
	h.mu.Lock()
	e.refs--
	last := e.refs == 0 && e.doomed
	if e.refs == 0 && h.count >= h.max {
		h.freed.Signal()
	}
	h.mu.Unlock()
	if last {
		_ = e.file.Close()
		h.mu.Lock()
		h.count--
		h.freed.Signal()
		h.mu.Unlock()
	}
}

// use opens a file for the time of one call.
func (h *handles) use(s *Store, index int, write bool, fn func(file) error) error {
	e, err := h.acquire(s, index, write)
	if err != nil {
		return err
	}
	defer h.release(e)
	return fn(e.file)
}

// drop closes all files of a Store; those in use close with their release.
func (h *handles) drop(s *Store) error {
	h.mu.Lock()
	var idle []*handle
	for key, e := range h.table {
		if key.store != s {
			continue
		}
		h.forget(e)
		if e.refs > 0 {
			e.doomed = true
		} else {
			idle = append(idle, e)
		}
	}
	h.mu.Unlock()
	var first error
	for _, e := range idle {
		if err := e.file.Close(); err != nil && first == nil {
			first = ioError("close", s.path(int(e.key.index)), err)
		}
	}
	h.mu.Lock()
	h.count -= len(idle)
	h.freed.Broadcast()
	h.mu.Unlock()
	return first
}
