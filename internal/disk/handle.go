package disk

import "sync"

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
