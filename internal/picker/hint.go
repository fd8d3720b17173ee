package picker

// LeaseOf is Lease from the given pieces alone, in their order: those that the
// peer allows while it chokes us, or suggests (BEP 6). What others have for
// themselves it leaves to them, and with Whole what others began too. Pieces that
// do not exist are passed over.
func (p *Picker) LeaseOf(dst []Lease, peer Peer, pieces []uint32, blocks int) []Lease {
	left := blocks
	for _, piece := range pieces {
		i := int(piece)
		if left <= 0 || i >= p.pieces || !bit(p.want, i) || !peer.has(i) {
			continue
		}
		if s := p.enter(i, &peer); s >= 0 {
			dst = p.take(dst, s, &peer, &left)
		}
	}
	return dst
}

// enter returns the slot of a piece if the peer can have blocks of it, or -1.
func (p *Picker) enter(piece int, peer *Peer) int32 {
	s := p.slotOf(piece)
	if s < 0 {
		if s = p.begin(piece); s >= 0 && peer.Whole {
			p.slots[s].exclusive = int64(peer.ID)
		}
		return s
	}
	v := &p.slots[s]
	if v.free > 0 && (v.exclusive == int64(peer.ID) || v.exclusive == nobody && !peer.Whole) {
		return s
	}
	return -1
}

// Ordered says whether pieces are asked for in their order, all or those of a
// window: then hints of others have no say.
func (p *Picker) Ordered() bool { return p.sequential || p.winCount > 0 }
