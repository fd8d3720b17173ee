package peer

import (
	"fmt"
	"math"
	"slices"

	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// SetReqq sets how many requests the peer accepts (BEP 10).
func (c *Conn) SetReqq(n int) {
	c.mu.Lock()
	c.reqq = min(max(n, 1), MaxQueued)
	c.mu.Unlock()
}

// Grant leases runs of blocks to the connection, which asks for them in order
// as its pipeline allows. chokes is the number of chokes the owner knows of: when
// the peer choked us again meanwhile, the leases are void, and the [Choked]
// event that is on its way tells the owner to take them back.
func (c *Conn) Grant(leases []picker.Lease, chokes uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if chokes != c.chokes {
		return
	}
	for _, l := range leases {
		c.leases = append(c.leases, l)
		c.queued += int(l.Count)
	}
	c.fill()
	if len(c.out) > 0 {
		c.wake.Signal()
	}
}

// AskHashes sends a hash request (BEP 52); the answer is a [Hash] event. Hashes
// that nobody asked for end the connection.
func (c *Conn) AskHashes(r *wire.HashRange) {
	c.mu.Lock()
	c.hashes++
	c.out = wire.AppendHashRange(c.out, wire.HashRequest, r)
	c.wake.Signal()
	c.mu.Unlock()
}

// hashMessage takes a message of BEP 52 that is not longer than it may be. The
// caller holds the lock.
func (c *Conn) hashMessage(m *wire.Message) error {
	if m.ID != wire.HashRequest {
		if c.hashes == 0 {
			return fmt.Errorf("%w: sent hashes nobody asked for", ErrHostile)
		}
		c.hashes--
	}
	c.events = append(c.events, Event{Kind: Hash, Sub: uint8(m.ID), Data: slices.Clone(m.Payload)})
	return nil
}

// Want returns how many more blocks the connection could use now; 0 while
// the peer chokes us.
func (c *Conn) Want() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.choked || c.closed {
		return 0
	}
	return max(0, 2*c.depth-c.queued-c.inFlight())
}

// SetDepth sets how many requests are kept in flight, between a small minimum
// and what the peer accepts, or less while the reader is what bounds the rate.
func (c *Conn) SetDepth(n int) {
	c.mu.Lock()
	c.depth = min(max(n, minDepth), c.mostDepth())
	c.mu.Unlock()
}

// Outstanding returns the number of blocks leased to the peer that have not
// arrived.
func (c *Conn) Outstanding() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued + c.inFlight()
}

func (c *Conn) inFlight() int { return len(c.pending) - c.head }

// fill sends requests until the pipeline is full; it says whether the lease
// runs out. The caller holds the lock.
func (c *Conn) fill() (hungry bool) {
	if c.closed {
		return false
	}
	for c.inFlight() < c.depth && len(c.leases) > 0 && c.mayAsk(c.leases[0].Piece) {
		l := &c.leases[0]
		q := c.blockAt(l.Piece, l.Block)
		c.pending = append(c.pending, q)
		c.out = wire.AppendBlock(c.out, wire.Request, q.piece, q.begin, q.length)
		l.Block++
		l.Count--
		c.queued--
		if l.Count == 0 {
			c.leases = c.leases[:copy(c.leases, c.leases[1:])]
		}
	}
	if len(c.out) > 0 {
		c.wake.Signal()
	}
	return !c.choked && c.store != nil && c.queued < c.depth
}

// remove takes q out of a list and says whether it was there.
func remove(list *[]request, q request) bool {
	i := slices.Index(*list, q)
	if i < 0 {
		return false
	}
	*list = slices.Delete(*list, i, i+1)
	return true
}

// blockAt returns the request for a block, which is short at the torrent's end
// and at the end of odd pieces.
func (c *Conn) blockAt(piece, block uint32) request {
	begin := int64(block) * wire.BlockSize
	if c.trim != nil {
		return request{piece, uint32(begin), c.trim.BlockLength(piece, uint32(begin))}
	}
	size := min(c.pieceLen, c.total-int64(piece)*c.pieceLen)
	return request{piece, uint32(begin), uint32(min(wire.BlockSize, size-begin))}
}

// arrived takes a request off the books and says whether it was on them.
func (c *Conn) arrived(q request) bool {
	for i := c.head; i < len(c.pending); i++ {
		if c.pending[i] != q {
			continue
		}
		copy(c.pending[c.head+1:i+1], c.pending[c.head:i])
		c.head++
		if c.head == len(c.pending) {
			c.pending, c.head = c.pending[:0], 0
		} else if c.head >= MaxQueued {
			c.pending = c.pending[:copy(c.pending, c.pending[c.head:])]
			c.head = 0
		}
		if c.depth < c.mostDepth() {
			c.depth++ // slow start; the owner bounds it by the rate
		}
		c.streak++
		return true
	}
	return remove(&c.stale, q)
}

// dropRequests forgets leases and in-flight requests; blocks that arrive all
// the same are still taken. The caller holds the lock.
func (c *Conn) dropRequests() {
	for _, q := range c.pending[c.head:] {
		addLate(&c.stale, q)
	}
	c.pending, c.head = c.pending[:0], 0
	c.leases, c.queued = c.leases[:0], 0
	c.depth = c.firstDepth()
}

func addLate(list *[]request, q request) {
	if len(*list) >= maxStale {
		*list = (*list)[:copy(*list, (*list)[1:])]
	}
	*list = append(*list, q)
}

// DropRequests gives up everything leased to the peer, in flight or not.
func (c *Conn) DropRequests() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.pending[c.head:] {
		c.out = wire.AppendBlock(c.out, wire.Cancel, q.piece, q.begin, q.length)
	}
	c.dropRequests()
	c.wake.Signal()
}

// Stop gives up everything leased to the peer, for good: blocks that still arrive
// are dropped unread. It is for an owner that leaves.
func (c *Conn) Stop() {
	c.DropRequests()
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
}

// Still reports whether after [Conn.Stop] no block is being stored and no event
// waits for the owner.
func (c *Conn) Still() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped && !c.storing && len(c.events) == 0
}

// Cancel gives up one block, because another peer sent it. If it comes all the
// same, it is taken.
func (c *Conn) Cancel(piece, block uint32) { c.giveUp(piece, block, &c.stale) }

// Withdraw gives up one block because another peer is to send it: if it comes
// all the same, it is dropped, so that the piece has one author.
func (c *Conn) Withdraw(piece, block uint32) { c.giveUp(piece, block, &c.void) }

// Reclaim has what was asked for of a piece, and given up since, taken if it comes all
// the same, and says whether an answer to any of it is still due: a peer with BEP 6
// sends the block or rejects it, another may do neither. A block that came and that the
// owner has not seen counts as due.
func (c *Conn) Reclaim(piece uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.void = slices.DeleteFunc(c.void, func(q request) bool {
		if q.piece == piece {
			addLate(&c.stale, q)
		}
		return q.piece == piece
	})
	return c.storing || slices.ContainsFunc(c.events, func(e Event) bool { return e.Kind == Block && e.Piece == piece }) ||
		c.Fast() && slices.ContainsFunc(c.stale, func(q request) bool { return q.piece == piece })
}

// Disclaim has what the peer was asked for of a piece, and that was given up since,
// dropped if it comes all the same: another peer alone is to send the piece.
func (c *Conn) Disclaim(piece uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = slices.DeleteFunc(c.stale, func(q request) bool {
		if q.piece == piece {
			addLate(&c.void, q)
		}
		return q.piece == piece
	})
}

// Owes says whether a block that was leased to the peer has not come.
func (c *Conn) Owes(piece, block uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.pending[c.head:], c.blockAt(piece, block)) ||
		slices.ContainsFunc(c.leases, func(l picker.Lease) bool {
			return l.Piece == piece && block >= l.Block && block < l.Block+l.Count
		})
}

// Place says how many blocks were asked of the peer before one that it owes, and came
// not yet; one that was not asked for yet is behind all.
func (c *Conn) Place(piece, block uint32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.pending[c.head:], c.blockAt(piece, block)); i >= 0 {
		return i
	}
	return math.MaxInt
}

// Shed gives up what the peer was asked for, but for the first keep blocks, and what
// it was not asked for yet: gone is called for each block, without the lock. One that
// comes all the same is taken.
func (c *Conn) Shed(keep int, gone func(piece, block uint32)) {
	c.mu.Lock()
	from := min(c.head+max(keep, 0), len(c.pending))
	shed := slices.Clone(c.pending[from:])
	c.pending = c.pending[:from]
	leases := slices.Clone(c.leases)
	c.leases, c.queued = c.leases[:0], 0
	for _, q := range shed {
		addLate(&c.stale, q)
		c.out = wire.AppendBlock(c.out, wire.Cancel, q.piece, q.begin, q.length)
	}
	c.wake.Signal()
	c.mu.Unlock()
	for _, q := range shed {
		gone(q.piece, q.begin/wire.BlockSize)
	}
	for _, l := range leases {
		for b := range l.Count {
			gone(l.Piece, l.Block+b)
		}
	}
}

// giveUp takes a block off the books; what was asked for already goes to late.
func (c *Conn) giveUp(piece, block uint32, late *[]request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.blockAt(piece, block)
	for i := c.head; i < len(c.pending); i++ {
		if c.pending[i] == q {
			copy(c.pending[c.head+1:i+1], c.pending[c.head:i])
			c.head++
			addLate(late, q)
			c.out = wire.AppendBlock(c.out, wire.Cancel, q.piece, q.begin, q.length)
			c.wake.Signal()
			return
		}
	}
	c.cancelLeased(piece, block)
}

// cancelLeased takes a block that was not asked for yet out of the leases.
func (c *Conn) cancelLeased(piece, block uint32) {
	for i, l := range c.leases {
		if l.Piece != piece || block < l.Block || block >= l.Block+l.Count {
			continue
		}
		c.queued--
		before, after := block-l.Block, l.Block+l.Count-block-1
		repl := make([]picker.Lease, 0, 2)
		if before > 0 {
			repl = append(repl, picker.Lease{Piece: piece, Block: l.Block, Count: before})
		}
		if after > 0 {
			repl = append(repl, picker.Lease{Piece: piece, Block: block + 1, Count: after})
		}
		c.leases = append(c.leases[:i], append(repl, c.leases[i+1:]...)...)
		return
	}
}

// rejected handles BEP 6's reject. A request that was given up is answered
// before one for the same block that was sent later. The caller holds the lock.
func (c *Conn) rejected(q request) {
	if remove(&c.stale, q) || remove(&c.void, q) {
		return
	}
	for i := c.head; i < len(c.pending); i++ {
		if c.pending[i] == q {
			copy(c.pending[c.head+1:i+1], c.pending[c.head:i])
			c.head++
			c.events = append(c.events, Event{Kind: Rejected, Piece: q.piece, Begin: q.begin})
			return
		}
	}
}
