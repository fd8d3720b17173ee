package peer

import (
	"time"

	"github.com/bttnet/btt/wire"
)

const (
	// pacedDepth is the number of requests, 2 MiB, that stay in flight to a peer that
	// sends faster than its blocks are taken: what lies in our socket then, and lasts until
	// the peer has answered the next request.
	pacedDepth = 128
	// paceTime is the time in which more blocks than are in flight have to come, or the
	// pipeline is left alone: so it is on each line of a longer delay.
	paceTime = 100 * time.Millisecond
)

// Pace says whether the requests in flight may be bounded by what the line holds, as
// they are at first. What is bought is bounded by the window that the seller lends, and
// must be asked for beyond what is paid, unless that window is wide.
func (c *Conn) Pace(on bool) { c.unpaced.Store(!on) }

// mostDepth is the greatest number of requests in flight. The caller holds the lock.
func (c *Conn) mostDepth() int {
	if c.unpaced.Load() {
		return c.reqq
	}
	return min(c.reqq, c.bound, c.limitDepth())
}

// limitTime is how long what is in flight may take under a download limit. All that the
// peer says meanwhile comes behind it.
const limitTime = time.Second

// limitDepth is the greatest number of requests in flight under the download limits.
func (c *Conn) limitDepth() int {
	depth := int64(MaxQueued)
	for _, l := range c.Down {
		if rate := l.Rate(); rate > 0 {
			depth = min(depth, max(minDepth, rate*int64(limitTime/time.Second)/wire.BlockSize))
		}
	}
	return int(depth)
}

// firstDepth is the number of requests in flight to a peer whose rate is not known.
func (c *Conn) firstDepth() int { return min(startDepth, c.limitDepth()) }

// pace bounds the requests in flight while what bounds the rate is how fast we take blocks,
// and not the peer or the line. What is asked for beyond what the line holds waits in our
// socket then, where it makes nothing faster: it fills the kernel's window, and what the
// peer sends is worked off by the reader, on whose time all waits, instead of by the sender.
// more says that a read filled its room, so that more waited. When more blocks than are in
// flight came and our socket was never empty between them, an eighth less is asked for; as
// many more as come when it was. The caller holds the lock.
func (c *Conn) pace(more bool) {
	if c.unpaced.Load() {
		return
	}
	last := c.lastBlock.Load()
	switch {
	case !more:
		c.bound = min(c.bound+c.streak-c.seen, MaxQueued)
		c.streak, c.since = 0, last
	case c.streak > c.depth+c.depth/4:
		if last-c.since < int64(paceTime) {
			c.bound = max(c.depth-c.depth/8, pacedDepth)
			c.depth = min(c.depth, c.bound)
		}
		c.streak, c.since = 0, last
	}
	c.seen = c.streak
}
