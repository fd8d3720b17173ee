package peer

import (
	"fmt"
	"net"
	"time"

	"github.com/bttnet/btt/wire"
)

// Unchoke lets the peer ask for blocks.
func (c *Conn) Unchoke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.choking {
		c.choking = false
		c.out = wire.AppendEmpty(c.out, wire.Unchoke)
		c.wake.Signal()
	}
}

// Fence rejects the requests of an unchoked peer until an extension message
// comes for which lifts is true: what the peer asked for before it saw the choke
// comes after our unchoke and belongs to an earlier price (R10.18). lifts runs on
// the reader's goroutine, in the order of the wire. nil takes the fence away.
func (c *Conn) Fence(lifts func(sub uint8, payload []byte) bool) {
	c.mu.Lock()
	c.fence = lifts
	c.mu.Unlock()
}

// SetGate sets what bounds the bytes served; nil = nothing. A connection has
// one gate in its life, which may be off and on: only bytes served under it
// are counted.
func (c *Conn) SetGate(g Gate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = g
	c.wake.Signal()
}

// Wake makes the writer look at its gate again.
func (c *Conn) Wake() {
	c.mu.Lock()
	c.wake.Signal()
	c.mu.Unlock()
}

// Choke stops serving the peer: waiting requests are rejected (BEP 6) or
// dropped.
func (c *Conn) Choke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.choking {
		return
	}
	c.choking = true
	c.out = wire.AppendEmpty(c.out, wire.Choke)
	if c.Fast() {
		for _, q := range c.uploads[c.uphead:] {
			c.out = wire.AppendBlock(c.out, wire.Reject, q.piece, q.begin, q.length)
		}
	}
	c.uploads, c.uphead = c.uploads[:0], 0
	c.wake.Signal()
}

// Waiting returns the number of the peer's requests that wait to be served.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.uploads) - c.uphead
}

// Gated says whether requests wait only because the gate is shut.
func (c *Conn) Gated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uphead < len(c.uploads) && !c.mayServe()
}

// Send queues bytes of control messages; a peer that does not read them ends
// its connection.
func (c *Conn) Send(msg []byte) {
	c.mu.Lock()
	slow := c.overflowing(len(msg))
	if !slow {
		c.out = append(c.out, msg...)
	}
	c.wake.Signal()
	c.mu.Unlock()
	if slow {
		c.Close(ErrSlow)
	}
}

// overflowing says whether n more control bytes are too many for a peer that
// does not read. The caller holds the lock.
func (c *Conn) overflowing(n int) bool { return len(c.out)+n > maxOut }

// reject queues BEP 6's answer to a request that is not served. The caller
// holds the lock.
func (c *Conn) reject(q request) error {
	if !c.Fast() {
		return nil
	}
	if c.overflowing(rejectLen) {
		return ErrSlow
	}
	c.out = wire.AppendBlock(c.out, wire.Reject, q.piece, q.begin, q.length)
	c.wake.Signal()
	return nil
}

// rejectLen is the length of a reject on the wire.
const rejectLen = 17

// Have tells the peer of a piece we have.
func (c *Conn) Have(piece uint32) {
	c.mu.Lock()
	c.out = wire.AppendIndex(c.out, wire.Have, piece)
	slow := len(c.out) > maxOut
	c.wake.Signal()
	c.mu.Unlock()
	if slow {
		c.Close(ErrSlow)
	}
}

// request queues a block that the peer asks for. Requests of choked peers and
// beyond the limit are rejected; senseless ones end the connection.
func (c *Conn) request(m *wire.Message) error {
	if m.Length == 0 || m.Length > wire.MaxRequest {
		return fmt.Errorf("%w: asked for %d bytes in one request", ErrHostile, m.Length)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store != nil {
		size := min(c.pieceLen, c.total-int64(m.Index)*c.pieceLen)
		if int64(m.Begin)+int64(m.Length) > size {
			return fmt.Errorf("%w: asked beyond the end of piece %d", ErrHostile, m.Index)
		}
	}
	q := request{m.Index, m.Begin, m.Length}
	if c.fence != nil || c.store == nil || !c.have.Has(m.Index) || len(c.uploads)-c.uphead >= MaxQueued || c.choking && !c.allows(q) {
		return c.reject(q)
	}
	if c.uphead == len(c.uploads) {
		c.uploads, c.uphead = c.uploads[:0], 0
	} else if c.uphead >= MaxQueued {
		c.uploads = c.uploads[:copy(c.uploads, c.uploads[c.uphead:])]
		c.uphead = 0
	}
	c.uploads = append(c.uploads, q)
	c.wake.Signal()
	return nil
}

func (c *Conn) cancelUpload(q request) error {
	for i := c.uphead; i < len(c.uploads); i++ {
		if c.uploads[i] == q {
			c.uploads = append(c.uploads[:i], c.uploads[i+1:]...)
			return c.reject(q)
		}
	}
	return nil
}

// mayServe says whether the gate lets the next request pass.
func (c *Conn) mayServe() bool {
	if c.uphead == len(c.uploads) {
		return false
	}
	return c.gate == nil || c.served+int64(c.uploads[c.uphead].length) <= c.gate.Allowance().Load()
}

// writer is the writer goroutine's own memory.
type writer struct {
	out   []byte
	batch []request
	heads []byte
	data  []byte
	vecs  net.Buffers
	send  net.Buffers // vecs, eaten by the write
	most  int         // blocks that one write carries
}

// slowWrite is the time that a write may take for the next one to carry more: what a
// write carries is not called back, and what we say next goes behind it.
const slowWrite = 10 * time.Millisecond

// learn sets how much the next write carries by how long the last one took.
func (w *writer) learn(took time.Duration) {
	if took > slowWrite {
		w.most = max(w.most/2, 1)
	} else {
		w.most = min(2*w.most, maxBatch)
	}
}

func (c *Conn) writeLoop() {
	w := writer{data: make([]byte, 0), most: 1}
	for {
		gate, ok := c.next(&w)
		if !ok {
			return
		}
		if err := c.flush(&w, gate); err != nil {
			c.Close(err)
			return
		}
	}
}

// next waits for something to send and takes it: all control bytes, and as
// many requests as one write carries.
func (c *Conn) next(w *writer) (Gate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) == 0 && !c.mayServe() && !c.closed {
		c.wake.Wait()
	}
	if c.closed {
		return nil, false
	}
	w.out, c.out = c.out, w.out[:0]
	w.batch = w.batch[:0]
	size, limit := 0, c.batchLimit(w.most)
	for c.mayServe() && len(w.batch) < limit && size < bufferSize {
		q := c.uploads[c.uphead]
		if size+int(q.length) > bufferSize {
			break
		}
		w.batch = append(w.batch, q)
		size += int(q.length)
		if c.gate != nil {
			c.served += int64(q.length)
		}
		c.uphead++
	}
	return c.gate, true
}

// SetWeight sets how much of a rate limit the connection gets beside others: it
// takes that many blocks at a time. 1 at the start.
func (c *Conn) SetWeight(blocks int) {
	c.mu.Lock()
	c.weight = max(blocks, 1)
	c.mu.Unlock()
}

// batchLimit is the number of blocks for one write, at most most: few where a rate
// limit asks for an even flow. The caller holds the lock.
func (c *Conn) batchLimit(most int) int {
	for _, l := range c.Up {
		if l.Bound() {
			return max(c.weight, 1)
		}
	}
	return most
}

// flush writes what next took: one read of the disk per run of neighbouring
// blocks, one system call for all of it.
func (c *Conn) flush(w *writer, gate Gate) error {
	total := 0
	for _, q := range w.batch {
		total += int(q.length)
	}
	if total > 0 {
		if gate != nil {
			gate.Served(int64(total))
		}
		if err := c.load(w, total); err != nil {
			return err
		}
		c.awaitUp(total)
	}
	w.vecs = w.vecs[:0]
	if len(w.out) > 0 {
		w.vecs = append(w.vecs, w.out)
	}
	w.heads = w.heads[:0]
	for _, q := range w.batch {
		w.heads = wire.AppendPieceHeader(w.heads, q.piece, q.begin, q.length)
	}
	off := 0
	for i, q := range w.batch {
		w.vecs = append(w.vecs, w.heads[i*wire.PieceHeaderLen:(i+1)*wire.PieceHeaderLen], w.data[off:off+int(q.length)])
		off += int(q.length)
	}
	w.send = w.vecs
	began := time.Now()
	c.writing.Store(began.UnixNano())
	_, err := writeBuffers(c.Net, &w.send)
	c.writing.Store(0)
	if err != nil {
		return fmt.Errorf("write to peer: %w", err)
	}
	if total > 0 {
		w.learn(time.Since(began))
	}
	c.Sent.Add(int64(total))
	return nil
}

// load reads the batch's blocks; neighbours are read together.
func (c *Conn) load(w *writer, total int) error {
	if cap(w.data) < total {
		w.data = make([]byte, bufferSize)
	}
	w.data = w.data[:total]
	off := 0
	for i := 0; i < len(w.batch); {
		q, n, j := w.batch[i], int(w.batch[i].length), i+1
		for j < len(w.batch) && w.batch[j].piece == q.piece && w.batch[j].begin == q.begin+uint32(n) {
			n += int(w.batch[j].length)
			j++
		}
		if err := c.store.Read(w.data[off:off+n], q.piece, q.begin); err != nil {
			return &ReadError{q.piece, err}
		}
		off, i = off+n, j
	}
	return nil
}

func (c *Conn) awaitUp(n int) {
	for _, l := range c.Up {
		if l == nil {
			continue
		}
		if d := l.Take(n, time.Now()); d > 0 {
			c.pause(d)
		}
	}
}
