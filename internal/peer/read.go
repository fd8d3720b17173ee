package peer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/wire"
)

// Reasons for ending a connection that the owner may punish.
var (
	// ErrHostile marks what no honest client does.
	ErrHostile = errors.New("peer broke the protocol")
	// ErrSlow marks a peer that does not read what it is sent.
	ErrSlow = errors.New("peer does not read what it is sent")
)

// ReadError says that a piece we told of could not be read.
type ReadError struct {
	Piece uint32
	Err   error
}

func (e *ReadError) Error() string { return fmt.Sprintf("read piece %d for peer: %v", e.Piece, e.Err) }

// Unwrap returns the cause.
func (e *ReadError) Unwrap() error { return e.Err }

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

func (c *Conn) readLoop() {
	err := c.read()
	c.Close(err)
	c.mu.Lock()
	c.events = append(c.events, Event{Kind: Closed, Err: c.err})
	c.mu.Unlock()
	c.signal()
}

// read reads until the connection fails. The buffer goes back to the pool
// when it ends.
func (c *Conn) read() error {
	bp := buffers.Get().(*[]byte)
	defer buffers.Put(bp)
	buf := *bp
	r, w := 0, 0
	for {
		c.reads.Add(1)
		room := c.portion(len(buf) - w)
		n, err := c.Net.Read(buf[w : w+room])
		c.reads.Add(1)
		if err != nil {
			return fmt.Errorf("read from peer: %w", err)
		}
		w += n
		blocks := c.blocks
		if r, err = c.batch(buf, r, w, n == room); err != nil {
			return err
		}
		c.throttle(n, c.blocks == blocks && r == w)
		if r == w {
			r, w = 0, 0
		} else if bufferSize-w < bufferSize/2 {
			w = copy(buf, buf[r:w])
			r = 0
		}
	}
}

const (
	// leastRead is the fewest bytes asked for at once under a download limit: a block.
	leastRead = 16 << 10
	// freeControl is how much a peer may say between two waits for a download limit
	// without waiting for it, if no block is in it.
	freeControl = 16 << 10
)

// portion is how much of room is read at once: under a limit what passes in
// ratelimit.BurstTime, so that connections that share it take turns, and no one
// waits for seconds behind what another read.
func (c *Conn) portion(room int) int {
	for _, l := range c.Down {
		if rate := l.Rate(); rate > 0 {
			room = int(min(int64(room), max(leastRead, rate/int64(time.Second/ratelimit.BurstTime))))
		}
	}
	return room
}

// throttle takes n bytes of every download limiter and waits until they are granted.
// Messages without a block (control) count and do not wait: a peer that says little,
// and waits for an answer to each word, must not wait each time for all that others
// sent. A channel is opened by such words.
func (c *Conn) throttle(n int, control bool) {
	c.unwaited += n
	waits := !control || c.unwaited > freeControl
	if waits {
		c.unwaited = 0
	}
	for _, l := range c.Down {
		if d := l.Take(n, time.Now()); d > 0 && waits {
			c.pause(d)
		}
	}
}

// batch handles the complete messages of buf[r:w] and returns the new r. more says
// that what was read filled the room there was for it.
func (c *Conn) batch(buf []byte, r, w int, more bool) (int, error) {
	var failure error
	for failure == nil {
		m, n, err := wire.Next(buf[r:w])
		if err != nil {
			failure = fmt.Errorf("%w: %w", ErrHostile, err)
			break
		}
		if n == 0 {
			break
		}
		r += n
		failure = c.handle(&m)
	}
	c.mu.Lock()
	c.pace(more)
	if c.fill() && !slices.ContainsFunc(c.events, func(e Event) bool { return e.Kind == Hungry }) {
		c.events = append(c.events, Event{Kind: Hungry})
	}
	tell := !c.signaled && len(c.events) > 0
	c.signaled = c.signaled || tell
	c.mu.Unlock()
	if tell {
		c.Owner.Ready(c)
	}
	if failure == nil {
		c.backpressure()
	}
	return r, failure
}

// backpressure waits while the owner is far behind.
func (c *Conn) backpressure() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.events) > maxEvents || c.carried > maxEventData) && !c.closed {
		c.room.Wait()
	}
}

func (c *Conn) handle(m *wire.Message) error {
	switch m.ID {
	case wire.Piece:
		c.blocks++
		return c.block(m)
	case wire.Request:
		return c.request(m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m.ID {
	case wire.Choke:
		c.choked = true
		c.chokes++
		c.dropRequests()
		c.events = append(c.events, Event{Kind: Choked, Piece: c.chokes})
	case wire.Unchoke:
		c.choked = false
		c.events = append(c.events, Event{Kind: Unchoked})
	case wire.Interested:
		c.events = append(c.events, Event{Kind: Interested})
	case wire.NotInterested:
		c.events = append(c.events, Event{Kind: NotInterested})
	case wire.Have:
		c.events = append(c.events, Event{Kind: Have, Piece: m.Index})
	case wire.HaveAll:
		c.events = append(c.events, Event{Kind: HaveAll})
	case wire.HaveNone:
		c.events = append(c.events, Event{Kind: HaveNone})
	case wire.Bitfield:
		c.events = append(c.events, Event{Kind: Bitfield, Data: slices.Clone(m.Payload)})
		c.carried += len(m.Payload)
	case wire.Extended:
		if c.fence != nil && c.fence(m.Sub, m.Payload) {
			c.fence = nil
		}
		c.events = append(c.events, Event{Kind: Extended, Sub: m.Sub, Data: slices.Clone(m.Payload)})
		c.carried += len(m.Payload)
	case wire.HashRequest, wire.Hashes, wire.HashReject:
		return c.hashMessage(m)
	case wire.Port:
		c.events = append(c.events, Event{Kind: Port, Piece: uint32(wire.ParsePort(m.Payload))})
	case wire.AllowedFast, wire.Suggest:
		return c.fastMessage(m)
	case wire.Cancel:
		return c.cancelUpload(request{m.Index, m.Begin, m.Length})
	case wire.Reject:
		c.rejected(request{m.Index, m.Begin, m.Length})
	}
	return nil
}

// block stores a block that arrived; the hash runs here, while it is hot.
func (c *Conn) block(m *wire.Message) error {
	q := request{m.Index, m.Begin, m.Length}
	c.mu.Lock()
	asked, store, stopped := c.arrived(q), c.store, c.stopped
	if !asked && !remove(&c.void, q) {
		c.unasked++
	}
	unasked := c.unasked
	c.storing = asked && store != nil && !stopped
	c.mu.Unlock()
	if !asked || store == nil || stopped {
		if unasked > maxUnasked {
			return fmt.Errorf("%w: sent %d blocks nobody asked for", ErrHostile, unasked)
		}
		return nil
	}
	c.Received.Add(int64(len(m.Payload)))
	c.lastBlock.Store(time.Now().UnixNano())
	res, err := store.BlockFrom(c.ID, m.Index, m.Begin, m.Payload)
	c.mu.Lock()
	c.storing = false
	if err == nil {
		c.events = append(c.events, Event{Kind: Block, Piece: q.piece, Begin: q.begin, Length: q.length, Result: res})
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store block: %w", err)
	}
	if res == disk.Verified || res == disk.Failed {
		c.signal()
	}
	return nil
}

// maxPause is the longest sleep before a closed connection is noticed.
const maxPause = 50 * time.Millisecond

// pause waits for d or until the connection is closed, whichever is first.
func (c *Conn) pause(d time.Duration) {
	for d > 0 {
		step := min(d, maxPause)
		time.Sleep(step)
		d -= step
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return
		}
	}
}
