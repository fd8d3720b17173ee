package peer

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/wire"
)

// Limits of what goes to and comes from peers that are choked (BEP 6).
const (
	// MaxAllowed is the number of pieces that a peer may let us ask for while it
	// chokes us, and of pieces that it may suggest; what comes beyond is not
	// remembered.
	MaxAllowed = 32
	// allowedDepth is how many blocks are asked for at once of a peer that chokes
	// us.
	allowedDepth = 16
)

// errNotFast ends a connection that uses messages of an extension that it does
// not announce, as BEP 6 asks.
var errNotFast = errors.New("peer sent a message of the fast extension, which it does not speak")

// allowed is a connection's part in BEP 6.
type allowed struct {
	may     []uint32   // pieces that the peer lets us ask for
	hinted  []uint32   // pieces that it suggests
	offered []uint32   // pieces that it may ask us for
	credit  int64      // bytes of these that it may still get
	shared  *Allowance // what all choked peers of the torrent get; nil = nothing
}

// fastMessage takes allowed fast and suggest. The caller holds the lock.
func (c *Conn) fastMessage(m *wire.Message) error {
	if !c.Fast() {
		return errNotFast
	}
	list, kind := &c.quick.may, AllowedFast
	if m.ID == wire.Suggest {
		list, kind = &c.quick.hinted, Suggested
	}
	if len(*list) < MaxAllowed && !slices.Contains(*list, m.Index) {
		*list = append(*list, m.Index)
		c.events = append(c.events, Event{Kind: kind, Piece: m.Index})
	}
	return nil
}

// mayAsk says whether a piece may be asked for now. The caller holds the lock.
func (c *Conn) mayAsk(piece uint32) bool { return !c.choked || slices.Contains(c.quick.may, piece) }

// WantAllowed is Want for the pieces that a peer gives though it chokes us.
func (c *Conn) WantAllowed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.choked || len(c.quick.may) == 0 {
		return 0
	}
	return max(0, min(allowedDepth, c.reqq)-c.queued-c.inFlight())
}

// Allow lets the peer ask for pieces while we choke it, up to so many bytes in
// all and as far as shared permits, and tells it. A peer is told once; nil takes
// all back.
func (c *Conn) Allow(pieces []uint32, bytes int64, shared *Allowance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quick.offered, c.quick.credit, c.quick.shared = pieces, bytes, shared
	for _, p := range pieces {
		c.out = wire.AppendIndex(c.out, wire.AllowedFast, p)
	}
	c.wake.Signal()
}

// allows says whether a choked peer gets a block, and books it. The caller holds
// the lock.
func (c *Conn) allows(q request) bool {
	if !slices.Contains(c.quick.offered, q.piece) || c.fence != nil || c.gate != nil ||
		c.quick.credit < int64(q.length) || !c.quick.shared.take(int64(q.length), time.Now()) {
		return false
	}
	c.quick.credit -= int64(q.length)
	return true
}

// Allowance is what the choked peers of one torrent get together: so many bytes
// at once, and so many more each second. Its methods are safe for concurrent use.
type Allowance struct {
	burst, rate int64

	mu   sync.Mutex // leaf lock
	left int64
	at   time.Time
}

// NewAllowance returns one that is full.
func NewAllowance(burst, rate int64) *Allowance {
	return &Allowance{burst: burst, rate: rate, left: burst}
}

// take books n bytes if there are so many left.
func (a *Allowance) take(n int64, now time.Time) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.at.IsZero() {
		more := min(now.Sub(a.at), time.Hour).Milliseconds() * a.rate / 1000
		if more == 0 && a.left < n {
			return false // a.at stays: small steps add up
		}
		a.left = min(a.burst, a.left+max(more, 0))
	}
	a.at = now
	if a.left < n {
		return false
	}
	a.left -= n
	return true
}
