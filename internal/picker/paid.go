package picker

import "slices"

// Owing is a block that a peer owes.
type Owing struct{ Block, Peer uint32 }

// Owed appends what peers owe of a piece, without what one of them does.
func (p *Picker) Owed(dst []Owing, piece, but uint32) []Owing {
	s := int32(-1)
	if int(piece) < p.pieces {
		s = p.slotOf(int(piece))
	}
	if s < 0 {
		return dst
	}
	owner := p.ownersOf(s)
	for b, st := range p.states(s) {
		if st != blockRequested {
			continue
		}
		for _, id := range owner[b].id[:owner[b].n] {
			if id != but {
				dst = append(dst, Owing{uint32(b), id})
			}
		}
	}
	return dst
}

// Finish leases what nobody owes of a begun piece to one peer alone.
func (p *Picker) Finish(dst []Lease, peer Peer, piece uint32) []Lease {
	s := int32(-1)
	if int(piece) < p.pieces {
		s = p.slotOf(int(piece))
	}
	if s < 0 || p.slots[s].free == 0 || !bit(p.want, int(piece)) || !peer.has(int(piece)) {
		return dst
	}
	left := int(p.slots[s].free)
	p.slots[s].exclusive = int64(peer.ID)
	return p.take(dst, s, &peer, &left)
}

// Held appends the wanted pieces that the peer has and that somebody works on for
// itself, in their order. Who owes what of them, Owed tells.
func (p *Picker) Held(dst []uint32, peer Peer) []uint32 {
	from := len(dst)
	for i := range p.slots {
		v := &p.slots[i]
		if v.piece >= 0 && v.exclusive != nobody && v.requested() > 0 &&
			bit(p.want, int(v.piece)) && peer.has(int(v.piece)) {
			dst = append(dst, uint32(v.piece))
		}
	}
	slices.Sort(dst[from:])
	return dst
}
