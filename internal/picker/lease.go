package picker

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

const (
	// walkLimit bounds the places of the order one pick looks at.
	walkLimit = 512
	// sampleLimit bounds the candidates compared when the walk found nothing.
	sampleLimit = 1024
)

// Lease appends runs of blocks to ask from the peer, at most blocks blocks in
// total (with Whole the last piece is taken to its end), and records the peer
// as their owner. Order: the read-ahead window, pieces in progress, then the
// rarest piece (or the lowest with SetSequential); the first pieces of a
// torrent are random. When nothing reachable is left, blocks that other peers
// owe are handed out again (end game, at most MaxOwners owners a block, never
// those of an exclusive lease, nor to a peer that is Alone).
func (p *Picker) Lease(dst []Lease, peer Peer, blocks int) []Lease {
	if blocks <= 0 || p.missing == 0 || !peer.Seed && len(peer.Bits) == 0 {
		return dst
	}
	if p.order.dirty {
		p.rebuild()
	}
	before := len(dst)
	left := int(min(int64(blocks), int64(p.pieces)*int64(p.per)))
	for left > 0 {
		s := p.choose(&peer)
		if s < 0 {
			break
		}
		dst = p.take(dst, s, &peer, &left)
	}
	if len(dst) == before && p.endGame && !peer.Snubbed && !peer.Slow && !peer.Alone && p.exhausted() {
		dst = p.duplicate(dst, &peer, min(left, endGameRun))
	}
	return dst
}

// choose returns the slot to take the next blocks from, starting a piece when
// that is better, or -1.
func (p *Picker) choose(peer *Peer) int32 {
	if p.winCount > 0 {
		if s := p.chooseWindow(peer); s >= 0 {
			return s
		}
	}
	s, rank := p.choosePartial(peer)
	if s >= 0 && rank < rankShared {
		if peer.Whole {
			p.slots[s].exclusive = int64(peer.ID)
		}
		return s
	}
	if fresh := p.fresh(peer, s >= 0); fresh >= 0 {
		if n := p.begin(fresh); n >= 0 {
			if peer.Whole {
				p.slots[n].exclusive = int64(peer.ID)
			}
			return n
		}
	}
	return s
}

// Ranks of a partial piece for a peer; rankShared and worse lose against a
// fresh piece.
const (
	rankOwn    = iota // the peer leased from it last
	rankPlain         // partial pieces first
	rankShared        // a Fast peer would share it with others
	rankNone
)

// choosePartial returns the best open slot for a peer and its rank: own pieces
// first, then the most complete.
func (p *Picker) choosePartial(peer *Peer) (best int32, rank int) {
	g := &p.progress
	best, rank = -1, rankNone
	var least uint32
	for _, s := range g.open {
		v := &g.slots[s]
		if v.exclusive != nobody && v.exclusive != int64(peer.ID) || !peer.has(int(v.piece)) {
			continue
		}
		if peer.Whole && v.exclusive == nobody && (v.requested() > 0 || !p.sole(s, peer.ID)) {
			continue // it could not be finished, and so not be paid, alone; or others' bad blocks could spoil it
		}
		r := rankPlain
		switch {
		case v.exclusive == int64(peer.ID) || !peer.Whole && v.last == int64(peer.ID):
			r = rankOwn
		case peer.Fast && v.requested() > 0:
			r = rankShared
		}
		if r > rank || r == rank && (v.free >= least) != peer.Snubbed {
			continue
		}
		best, rank, least = s, r, v.free
	}
	return best, rank
}

// Earlier is the author of blocks of an earlier run: they are right.
const Earlier = math.MaxUint32

// sole says whether all that came of a piece came from this peer, or is known to be right.
func (p *Picker) sole(s int32, peer uint32) bool {
	owner := p.ownersOf(s)
	for b, st := range p.states(s) {
		if st == blockReceived && owner[b].id[0] != peer && owner[b].id[0] != Earlier {
			return false
		}
	}
	return true
}

// Mixed appends the pieces of the peer's that nobody works on and that hold
// blocks of others: with Whole they are not leased to it.
func (p *Picker) Mixed(dst []uint32, peer Peer) []uint32 {
	for _, s := range p.open {
		v := &p.slots[s]
		if v.received > v.pads && v.requested() == 0 && peer.has(int(v.piece)) && !p.sole(s, peer.ID) {
			dst = append(dst, uint32(v.piece))
		}
	}
	return dst
}

// Contested appends the peer's wanted pieces that others work on and nobody has
// for itself: those of which least has come first. Who owes what of them,
// OthersWaiting tells.
func (p *Picker) Contested(dst []uint32, peer Peer) []uint32 {
	from := len(dst)
	for i := range p.slots {
		v := &p.slots[i]
		if v.piece >= 0 && v.exclusive == nobody && v.requested() > 0 && bit(p.want, int(v.piece)) && peer.has(int(v.piece)) {
			dst = append(dst, uint32(v.piece))
		}
	}
	slices.SortFunc(dst[from:], func(a, b uint32) int {
		return cmp.Or(cmp.Compare(p.Progress(a), p.Progress(b)), cmp.Compare(a, b))
	})
	return dst
}

// chooseWindow returns the slot of the first usable piece of the window.
func (p *Picker) chooseWindow(peer *Peer) int32 {
	for i := p.winFrom; i < p.winFrom+p.winCount; i++ {
		if !bit(p.want, i) || !peer.has(i) || p.isHeld(i) {
			continue
		}
		if s := p.enter(i, peer); s >= 0 || p.slotOf(i) < 0 {
			return s // -1: too many are in progress
		}
	}
	return -1
}

// fresh returns a piece to start for a peer, or -1. With an alternative at hand
// the number of active pieces is bounded.
func (p *Picker) fresh(peer *Peer, alternative bool) int {
	switch {
	case p.live == 0 || alternative && p.active >= p.progress.limit:
		return -1
	case p.sequential:
		return p.scan(peer, 0)
	case p.got < randomFirst && !p.varied && p.pieces > randomFirst:
		return p.scan(peer, p.below(p.pieces))
	case peer.Snubbed:
		return p.walkBack(peer)
	}
	return p.walk(peer)
}

// scan returns the first free piece from index from on, wrapping around.
func (p *Picker) scan(peer *Peer, from int) int {
	words := len(p.free) / 8
	at := from / 64
	mask := ^uint64(0) >> (from % 64)
	for range words + 1 {
		if w := p.candidates(peer, at) & mask; w != 0 {
			return at*64 + bits.LeadingZeros64(w)
		}
		mask = ^uint64(0)
		if at++; at == words {
			at = 0
		}
	}
	return -1
}

// candidates returns 64 pieces' bits: free here and had by the peer.
func (p *Picker) candidates(peer *Peer, at int) uint64 {
	w := binary.BigEndian.Uint64(p.free[at*8:])
	if w != 0 && !peer.Seed {
		w &= word(peer.Bits, at*8)
	}
	return w
}

// walk returns the first piece in the order that the peer has.
func (p *Picker) walk(peer *Peer) int {
	b, budget := p.low, walkLimit
	for b < maxBands && p.start[b] == p.end[b] {
		b++
	}
	p.low = min(b, maxBands-1)
	if !peer.Seed {
		b = max(b, unseen)
	}
	for ; b < maxBands; b++ {
		for _, i := range p.at[p.start[b]:p.end[b]] {
			if peer.has(int(i)) {
				return int(i)
			}
			if budget--; budget == 0 {
				return p.sample(peer, false)
			}
		}
	}
	return -1
}

// walkBack is walk from the common end.
func (p *Picker) walkBack(peer *Peer) int {
	budget := walkLimit
	for b := maxBands - 1; b >= p.low; b-- {
		for k := p.end[b] - 1; k >= p.start[b]; k-- {
			if i := p.at[k]; peer.has(int(i)) {
				return int(i)
			}
			if budget--; budget == 0 {
				return p.sample(peer, true)
			}
		}
	}
	return -1
}

// sample compares up to sampleLimit candidates from a random place of the
// bitmaps: it serves peers that have few of the pieces the order starts with.
func (p *Picker) sample(peer *Peer, common bool) int {
	words := len(p.free) / 8
	at := p.below(words)
	best, bestBand, seen := -1, 0, 0
	for range words {
		for w := p.candidates(peer, at); w != 0; seen++ {
			z := bits.LeadingZeros64(w)
			w &^= 1 << (63 - z)
			i := at*64 + z
			if b := p.band(i); best < 0 || (b < bestBand) != common && b != bestBand {
				best, bestBand = i, b
			}
		}
		if seen >= sampleLimit {
			break
		}
		if at++; at == words {
			at = 0
		}
	}
	return best
}

// take leases free runs of a slot.
func (p *Picker) take(dst []Lease, s int32, peer *Peer, left *int) []Lease {
	g := &p.progress
	v := &g.slots[s]
	idle := v.requested() == 0
	whole := peer.Whole && v.exclusive == int64(peer.ID)
	for v.free > 0 && (*left > 0 || whole) {
		limit := uint32(max(*left, 0))
		if whole {
			limit = v.blocks
		}
		first, n := g.nextRun(s, limit)
		at := uint32(s)*g.per + first
		for k := at; k < at+n; k++ {
			g.state[k] = blockRequested
			g.owner[k] = owners{id: [MaxOwners]uint32{peer.ID}, n: 1}
		}
		g.owed[peer.ID] += int32(n)
		v.free -= n
		v.hint = first + n
		*left -= int(n)
		dst = append(dst, Lease{Piece: uint32(v.piece), Block: first, Count: n})
	}
	v.last = int64(peer.ID)
	if idle && v.requested() > 0 {
		g.active++
	}
	p.refreshOpen(s)
	return dst
}

// exhausted reports whether every reachable wanted block is owed by somebody.
func (p *Picker) exhausted() bool {
	if p.live > p.unreachable() || p.holds > 0 {
		return false
	}
	for _, s := range p.open {
		v := &p.slots[s]
		if v.exclusive == nobody && (p.seeds > 0 || p.avail[v.piece] > 0) {
			return false
		}
	}
	return true
}

// duplicate leases blocks that others owe, those with fewest owners first.
func (p *Picker) duplicate(dst []Lease, peer *Peer, left int) []Lease {
	g := &p.progress
	if len(g.slots) == 0 {
		return dst
	}
	turn, from := p.below(len(g.slots)), len(dst)
	for depth := uint32(1); depth < MaxOwners && left > 0; depth++ {
		for k := 0; k < len(g.slots) && left > 0; k++ {
			s := int32((turn + k) % len(g.slots))
			v := &g.slots[s]
			if v.piece < 0 || v.requested() == 0 || v.exclusive != nobody ||
				!bit(p.want, int(v.piece)) || !peer.has(int(v.piece)) {
				continue
			}
			dst = p.duplicateSlot(dst, from, s, peer, depth, &left)
		}
	}
	return dst
}

// duplicateSlot adds the peer as one more owner of blocks with depth owners.
func (p *Picker) duplicateSlot(dst []Lease, from int, s int32, peer *Peer, depth uint32, left *int) []Lease {
	g := &p.progress
	owner := g.ownersOf(s)
	piece := uint32(g.slots[s].piece)
	for b, st := range g.states(s) {
		o := &owner[b]
		if st != blockRequested || o.n != depth || o.owns(peer.ID) {
			continue
		}
		o.id[o.n] = peer.ID
		o.n++
		g.owed[peer.ID]++
		if n := len(dst) - 1; n >= from && dst[n].Piece == piece && dst[n].Block+dst[n].Count == uint32(b) {
			dst[n].Count++
		} else {
			dst = append(dst, Lease{Piece: piece, Block: uint32(b), Count: 1})
		}
		if *left--; *left == 0 {
			break
		}
	}
	return dst
}

func (o *owners) owns(peer uint32) bool {
	for _, id := range o.id[:o.n] {
		if id == peer {
			return true
		}
	}
	return false
}
