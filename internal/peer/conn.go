package peer

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/wire"
)

// Named limits of a connection.
const (
	// MaxQueued is the greatest number of requests a peer may have waiting; we
	// tell it as `reqq` (BEP 10) and reject what comes beyond.
	MaxQueued = 1024
	// maxOut is the greatest number of control bytes waiting for a peer that
	// does not read; beyond it the connection ends.
	maxOut = 4 << 20
	// maxEvents is the number of undelivered events at which the reader waits
	// for the owner.
	maxEvents = 4096
	// maxEventData is the number of bytes that undelivered events may carry
	// before the reader waits.
	maxEventData = 1 << 20
	// maxStale is the number of requests that we gave up and for which a block
	// may still arrive: of those to be taken then, and of those to be dropped.
	maxStale = 2048
	// maxUnasked is the number of blocks never asked for that end a connection.
	maxUnasked = 64

	// startDepth is the number of requests in flight to a peer whose rate is not
	// known yet, minDepth the least. What is asked of a slow peer is missing where
	// a fast one could send it, so both are small; the pipeline doubles each round
	// trip while blocks come.
	startDepth = 16
	minDepth   = 4
	// bufferSize holds the longest message and many blocks.
	bufferSize = 256 << 10
	// maxBatch is the number of blocks written with one system call.
	maxBatch = 16
)

// Owner is who a connection's events belong to.
type Owner interface {
	// Ready says that c has events; it is called from c's goroutines, once
	// until the owner calls [Conn.Events], and must not block for long.
	Ready(c *Conn)
}

// Store is where blocks go and come from; [disk.Store] is one.
type Store interface {
	// BlockFrom takes a block; author is the connection that brought it.
	BlockFrom(author, piece, begin uint32, data []byte) (disk.Result, error)
	Read(buf []byte, piece, begin uint32) error
}

// Gate bounds what a connection may serve; internal/payments' links are gates
// (R12.5: the provider's exposure is one quantum).
type Gate interface {
	// Allowance is the greatest cumulative number of served bytes permitted.
	Allowance() *atomic.Int64
	// Served tells of n more bytes put on the wire.
	Served(n int64)
}

// Config is what a connection is made of.
type Config struct {
	ID        uint32 // the owner's number for it
	Net       net.Conn
	Handshake wire.Handshake // the peer's
	Outgoing  bool
	Addr      netip.AddrPort // where the peer is
	Owner     Owner
	Pieces    *Pieces              // what we have; only that is served
	Up, Down  []*ratelimit.Limiter // every one must grant; nil entries are unlimited
}

// Conn is one connection to a peer. Its methods may be called from any
// goroutine; events are for its owner.
type Conn struct {
	Config

	// Payload counters, read by anyone.
	Received, Sent atomic.Int64
	// lastBlock is when the newest wanted block came, in Unix nanoseconds.
	lastBlock atomic.Int64
	writing   atomic.Int64 // when the running write began; 0 = none
	// reads counts where the reader is: odd while it waits for the peer.
	reads atomic.Uint64
	// blocks counts those that came, unwaited the bytes that did not wait for the
	// download limits; both are the reader's.
	blocks   uint64
	unwaited int

	mu       sync.Mutex // leaf lock over all below
	wake     sync.Cond  // for the writer: something to send, or closed
	room     sync.Cond  // for the reader: events were taken
	closed   bool
	err      error
	out      []byte
	store    Store
	trim     Trimmer // nil = blocks end with their piece
	have     *Pieces // what we have; only that is served
	pieceLen int64
	total    int64

	events   []Event
	carried  int // bytes of Data in events
	signaled bool

	// What we ask of the peer.
	choked  bool // by the peer
	chokes  uint32
	leases  []picker.Lease
	queued  int       // blocks in leases
	pending []request // sent, oldest at head
	head    int
	stale   []request // given up, perhaps still to be answered
	void    []request // likewise, and not to be taken then
	depth   int
	bound   int         // of depth, by what waits in our socket; see pace
	streak  int         // blocks that came since our socket was found empty
	seen    int         // of streak, at the last look
	since   int64       // when the streak began, as lastBlock
	unpaced atomic.Bool // bound does not hold
	weight  int         // blocks written at a time under a rate limit; 0 is 1
	reqq    int
	unasked int
	stopped bool // blocks are not taken any more
	storing bool // the reader has a block with the store
	hashes  int  // hash requests that are to be answered
	quick   allowed

	// What the peer asks of us.
	choking bool                                 // the peer is choked by us
	fence   func(sub uint8, payload []byte) bool // lifts it; nil = there is none
	uploads []request
	uphead  int
	gate    Gate
	served  int64
}

type request struct{ piece, begin, length uint32 }

// New makes a connection from cfg; nothing runs before [Conn.Start].
func New(cfg Config) *Conn {
	c := &Conn{Config: cfg, choked: true, choking: true, bound: MaxQueued, reqq: defaultReqq}
	c.depth = c.firstDepth()
	c.wake.L = &c.mu
	c.room.L = &c.mu
	return c
}

// defaultReqq is what a peer is taken to accept when it says nothing.
const defaultReqq = 250

// Start starts the reader and the writer goroutine. Both end when the
// connection fails or [Conn.Close] is called; the last event is then
// [Closed].
func (c *Conn) Start() {
	c.lastBlock.Store(time.Now().UnixNano())
	go c.readLoop()
	go c.writeLoop()
}

// SetStore tells the connection the torrent's layout; before that (magnet
// links) no block can be asked for or served.
func (c *Conn) SetStore(s Store, have *Pieces, pieceLength, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store, c.have, c.pieceLen, c.total = s, have, pieceLength, total
	if t, ok := s.(Trimmer); ok && t.Trimmed() {
		c.trim = t
	}
}

// Trimmer is a [Store] whose blocks may end before their piece does: in version 2
// alone they end with their file (BEP 52). What wraps such a store has to be one.
type Trimmer interface {
	Trimmed() bool
	BlockLength(piece, begin uint32) uint32
}

// Close ends the connection because of err, which the [Closed] event carries.
func (c *Conn) Close(err error) {
	c.mu.Lock()
	if !c.closed {
		c.closed, c.err = true, err
	}
	c.wake.Broadcast()
	c.room.Broadcast()
	c.mu.Unlock()
	c.Net.Close()
}

// Fast says whether both sides speak BEP 6.
func (c *Conn) Fast() bool { return c.Handshake.Reserved.Fast() }

// Extended says whether both sides speak BEP 10.
func (c *Conn) Extended() bool { return c.Handshake.Reserved.Extended() }

// LastBlock is when the newest wanted block arrived.
func (c *Conn) LastBlock() time.Time { return time.Unix(0, c.lastBlock.Load()) }

// WriteStuck says for how long the running write has not returned.
func (c *Conn) WriteStuck(now time.Time) time.Duration {
	began := c.writing.Load()
	if began == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, began))
}

// Reads tells whether the reader waits for the peer now, and a mark that is the
// same at two calls when not a byte came between them. An owner that asks at
// its own pace learns how long a peer was silent, without a look at the clock
// for each read, and does not take for silence that our own disk, limits or
// events hold the reader back.
func (c *Conn) Reads() (mark uint64, waiting bool) {
	n := c.reads.Load()
	return n, n%2 == 1
}

// Kind is an event's kind.
type Kind uint8

// Events of a connection.
const (
	Closed        Kind = iota + 1 // Err; the last one
	Choked                        // by the peer; Piece: the number of chokes so far
	Unchoked                      // by the peer
	Interested                    // the peer in us
	NotInterested                 // the peer in us
	Have                          // Piece
	HaveAll
	HaveNone
	Bitfield    // Data: a copy of the bits
	Block       // Piece, Begin, Length, Result: a block we asked for was stored
	Rejected    // Piece, Begin: the peer will not send it
	Extended    // Sub, Data: a copy of the payload
	Port        // Piece: the UDP port of the peer's DHT node
	Hungry      // the peer's lease runs out: grant more blocks
	AllowedFast // Piece: may be asked for while the peer chokes us (BEP 6)
	Suggested   // Piece: the peer would like to send it (BEP 6)
	Hash        // Sub: the message's id, Data: a copy of its payload (BEP 52)
)

// Event is one thing a peer did.
type Event struct {
	Kind                 Kind
	Sub                  uint8
	Result               disk.Result
	Piece, Begin, Length uint32
	Data                 []byte
	Err                  error
}

// Events takes the waiting events into dst's place and returns them; the
// caller hands the slice back with the next call.
func (c *Conn) Events(dst []Event) []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.events
	clear(dst[:cap(dst)])
	c.events, c.carried, c.signaled = dst[:0], 0, false
	c.room.Signal()
	return got
}

// Pending says whether more events wait, so that the owner is told again.
func (c *Conn) Pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events) > 0
}

// signal must be called without the lock, after events were appended.
func (c *Conn) signal() {
	c.mu.Lock()
	tell := !c.signaled && len(c.events) > 0
	c.signaled = c.signaled || tell
	c.mu.Unlock()
	if tell {
		c.Owner.Ready(c)
	}
}
