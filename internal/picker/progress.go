package picker

import (
	"bytes"
	"slices"
)

// Block states. A requested block has count-many owners in the owner table; a
// received block keeps its author first and the peers still owing it behind.
const (
	blockFree = iota
	blockRequested
	blockReceived
	blockPad // nothing to receive
)

// nobody marks an empty place in slot fields that name a peer.
const nobody = int64(-1)

// slot is a piece in progress. Its blocks lie at [slot*blocksPer, …) of the
// flat tables.
type slot struct {
	piece     int32 // -1 = unused
	open      int32 // place in progress.open, -1 = not there
	blocks    uint32
	free      uint32
	received  uint32 // padding counts
	pads      uint32
	hint      uint32 // no free block lies below
	exclusive int64  // peer ID of a whole-piece lease, or nobody
	last      int64  // peer ID that leased last, or nobody
}

// owners names the peers of one block; n of them are set.
type owners struct {
	id [MaxOwners]uint32
	n  uint32
}

// progress is the block state of the pieces in progress.
type progress struct {
	per      uint32
	slots    []slot
	unused   []int32 // free slots
	index    []int32 // slot of each piece, -1 = none; nil until first use
	state    []uint8
	owner    []owners
	open     []int32 // slots with free blocks of wanted pieces
	inUse    int
	active   int // slots with requested blocks
	limit    int // of active
	owed     map[uint32]int32
	culprits []uint32 // contributors of the piece Reset last
	reset    int32    // that piece, -1 = none
	suspect  []byte   // pieces that were Reset; nil until the first
}

func (g *progress) init(p *Picker) {
	g.per = max(p.blocksPer, 1)
	g.limit = int(min(max(activeBytes/p.pieceLength, activeFloor), MaxInProgress))
	g.owed = make(map[uint32]int32)
	g.reset = -1
}

func (p *Picker) slotOf(piece int) int32 {
	if p.index == nil {
		return -1
	}
	return p.index[piece]
}

// begin gives a piece block state, or returns -1 when MaxInProgress is reached or the
// piece is held.
func (p *Picker) begin(piece int) int32 {
	g := &p.progress
	if g.inUse >= MaxInProgress || p.isHeld(piece) {
		return -1
	}
	if g.index == nil {
		g.index = make([]int32, p.pieces)
		for i := range g.index {
			g.index[i] = -1
		}
	}
	if len(g.unused) == 0 {
		g.unused = append(g.unused, int32(len(g.slots)))
		g.slots = append(g.slots, slot{})
		g.state = append(g.state, make([]uint8, g.per)...)
		g.owner = append(g.owner, make([]owners, g.per)...)
	}
	s := g.unused[len(g.unused)-1]
	g.unused = g.unused[:len(g.unused)-1]
	n := p.Blocks(uint32(piece))
	g.slots[s] = slot{piece: int32(piece), open: -1, blocks: n, free: n, exclusive: nobody, last: nobody}
	clear(g.states(s))
	clear(g.ownersOf(s))
	if len(p.pads) > 0 {
		p.fillPads(s)
	}
	g.index[piece] = s
	g.inUse++
	p.leaveOrder(piece)
	clearBit(p.free, piece)
	p.refreshOpen(s)
	return s
}

func (g *progress) states(s int32) []uint8 {
	at := uint32(s) * g.per
	return g.state[at : at+g.slots[s].blocks]
}

func (g *progress) ownersOf(s int32) []owners {
	at := uint32(s) * g.per
	return g.owner[at : at+g.slots[s].blocks]
}

// refreshOpen enters or removes a slot from the list of open slots.
func (p *Picker) refreshOpen(s int32) {
	g := &p.progress
	v := &g.slots[s]
	open := v.free > 0 && bit(p.want, int(v.piece))
	switch {
	case open && v.open < 0:
		v.open = int32(len(g.open))
		g.open = append(g.open, s)
	case !open && v.open >= 0:
		last := g.open[len(g.open)-1]
		g.open[v.open] = last
		g.slots[last].open = v.open
		g.open = g.open[:len(g.open)-1]
		v.open = -1
	}
}

// dropSlot forgets the block state of a piece.
func (p *Picker) dropSlot(piece int) {
	s := p.slotOf(piece)
	if s < 0 {
		return
	}
	g := &p.progress
	v := &g.slots[s]
	owner := g.ownersOf(s)
	for b, st := range g.states(s) {
		from := uint32(0)
		if st == blockReceived {
			from = 1
		}
		for k := from; k < owner[b].n; k++ {
			g.owed[owner[b].id[k]]--
		}
	}
	if v.requested() > 0 {
		g.active--
	}
	v.free = 0
	p.refreshOpen(s)
	v.piece = -1
	g.index[piece] = -1
	g.inUse--
	g.unused = append(g.unused, s)
}

func (v *slot) requested() uint32 { return v.blocks - v.free - v.received }

// release puts an untouched piece back into the order; it reports whether it did.
func (p *Picker) release(s int32) bool {
	v := &p.slots[s]
	if v.free+v.pads < v.blocks {
		return false
	}
	piece := int(v.piece)
	p.dropSlot(piece)
	if bit(p.want, piece) {
		p.enterOrder(piece)
	}
	return true
}

// Received marks a block received from a peer. It returns false for a duplicate
// (also when the piece is had). A missing block nobody was asked for counts as
// well (it was on its way when its peer was Returned): the caller decides what
// it accepts. Of a piece that was Reset it does not count and is false: it may
// be a late word about data that was dropped.
func (p *Picker) Received(piece, block, peer uint32) (first bool) {
	i := int(piece)
	if i >= p.pieces || bit(p.have, i) || block >= p.Blocks(piece) {
		return false
	}
	g := &p.progress
	s := p.slotOf(i)
	if s < 0 {
		if bit(g.suspect, i) {
			return false
		}
		if s = p.begin(i); s < 0 {
			return false
		}
	}
	if g.state[uint32(s)*g.per+block] == blockFree && bit(g.suspect, i) {
		return false
	}
	return p.mark(s, block, peer)
}

// mark makes a block of a slot a received one and says whether it was not yet.
func (p *Picker) mark(s int32, block, peer uint32) bool {
	g := &p.progress
	v := &g.slots[s]
	o := &g.owner[uint32(s)*g.per+block]
	st := &g.state[uint32(s)*g.per+block]
	switch *st {
	case blockPad:
		return false
	case blockReceived:
		g.disown(o, peer, 1)
		return false
	case blockFree:
		v.free--
		v.received++
		p.refreshOpen(s)
	case blockRequested:
		g.disown(o, peer, 0)
		v.received++
		if v.requested() == 0 {
			g.active--
			v.exclusive = nobody // its owner rejected what is still free
		}
	}
	*st = blockReceived
	if o.n == MaxOwners { // an unasked author displaces the last owner
		o.n--
		g.owed[o.id[o.n]]--
	}
	copy(o.id[1:], o.id[:o.n])
	o.id[0] = peer
	o.n++
	return true
}

// disown removes a peer from the owners from index from on.
func (g *progress) disown(o *owners, peer uint32, from uint32) bool {
	for k := from; k < o.n; k++ {
		if o.id[k] == peer {
			o.n--
			copy(o.id[k:], o.id[k+1:o.n+1])
			g.owed[peer]--
			return true
		}
	}
	return false
}

// Return frees all outstanding blocks of a peer that choked us or left. Its
// received blocks stay.
func (p *Picker) Return(peer uint32) {
	g := &p.progress
	for s := int32(0); int(s) < len(g.slots) && g.owed[peer] > 0; s++ {
		if g.slots[s].piece < 0 {
			continue
		}
		for b := range g.states(s) {
			p.giveBack(s, uint32(b), peer)
		}
		p.settle(s, peer)
	}
	delete(g.owed, peer)
}

// ReturnBlock frees one rejected or cancelled request.
func (p *Picker) ReturnBlock(piece, block, peer uint32) {
	if int(piece) >= p.pieces || block >= p.Blocks(piece) {
		return
	}
	if s := p.slotOf(int(piece)); s >= 0 && p.giveBack(s, block, peer) {
		p.settle(s, peer)
	}
}

// giveBack removes a peer from the owners of one block.
func (p *Picker) giveBack(s int32, block, peer uint32) bool {
	g := &p.progress
	at := uint32(s)*g.per + block
	switch o := &g.owner[at]; g.state[at] {
	case blockReceived:
		return g.disown(o, peer, 1)
	case blockRequested:
		if !g.disown(o, peer, 0) {
			return false
		}
		if o.n == 0 {
			v := &g.slots[s]
			g.state[at] = blockFree
			v.free++
			v.hint = min(v.hint, block)
			if v.requested() == 0 {
				g.active--
			}
		}
		return true
	}
	return false
}

// settle repairs a slot after blocks came back from peer: a piece of which its
// exclusive owner owes nothing any more loses it, an untouched one goes back into
// the order.
func (p *Picker) settle(s int32, peer uint32) {
	v := &p.slots[s]
	if v.exclusive == int64(peer) && (v.requested() == 0 || !p.owes(s, peer)) {
		v.exclusive = nobody
	}
	if !p.release(s) {
		p.refreshOpen(s)
	}
}

// Outstanding returns how many blocks a peer owes.
func (p *Picker) Outstanding(peer uint32) int { return int(p.owed[peer]) }

// InProgress returns the pieces with block state, in no order. It allocates.
func (p *Picker) InProgress() []int {
	out := make([]int, 0, p.inUse)
	for _, v := range p.slots {
		if v.piece >= 0 {
			out = append(out, int(v.piece))
		}
	}
	return out
}

// Progress returns the blocks received of a piece in progress (0 otherwise).
func (p *Picker) Progress(piece uint32) uint32 {
	if s := p.slotOf(int(piece)); s >= 0 {
		return p.slots[s].received
	}
	return 0
}

// nextRun returns the first run of free blocks, at most limit long.
func (g *progress) nextRun(s int32, limit uint32) (first, n uint32) {
	v := &g.slots[s]
	st := g.states(s)
	at := bytes.IndexByte(st[v.hint:], blockFree)
	if at < 0 {
		v.hint = v.blocks
		return v.blocks, 0
	}
	first = v.hint + uint32(at)
	for n < limit && first+n < v.blocks && st[first+n] == blockFree {
		n++
	}
	v.hint = first
	return first, n
}

// owes says whether a peer owes a block of a slot.
func (p *Picker) owes(s int32, peer uint32) bool {
	owner := p.ownersOf(s)
	for b, st := range p.states(s) {
		if o := &owner[b]; st == blockRequested && slices.Contains(o.id[:o.n], peer) {
			return true
		}
	}
	return false
}
