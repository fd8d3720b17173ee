package picker

// Reset frees all blocks of a piece that failed its hash. Contributors keeps
// answering for it until the next Reset.
func (p *Picker) Reset(piece uint32) {
	if int(piece) >= p.pieces || bit(p.have, int(piece)) {
		return
	}
	if p.suspect == nil {
		p.suspect = make([]byte, len(p.have))
	}
	setBit(p.suspect, int(piece))
	if p.slotOf(int(piece)) < 0 {
		return
	}
	p.culprits = p.Contributors(p.culprits[:0], piece)
	p.reset = int32(piece)
	p.dropSlot(int(piece))
	if bit(p.want, int(piece)) {
		p.enterOrder(int(piece))
	}
}

// Unreceive frees the blocks of a part of a piece that came and were dropped. A
// late word about one of them counts no more than for a piece that was Reset.
func (p *Picker) Unreceive(piece, first, count uint32) {
	if int(piece) >= p.pieces || p.slotOf(int(piece)) < 0 {
		return
	}
	if p.suspect == nil {
		p.suspect = make([]byte, len(p.have))
	}
	setBit(p.suspect, int(piece))
	g := &p.progress
	s := p.slotOf(int(piece))
	v, states, owner := &g.slots[s], g.states(s), g.ownersOf(s)
	for b := first; b < min(first+count, v.blocks); b++ {
		if states[b] != blockReceived {
			continue
		}
		for _, id := range owner[b].id[1:owner[b].n] {
			g.owed[id]--
		}
		states[b], owner[b] = blockFree, owners{}
		v.received--
		v.free++
		v.hint = min(v.hint, b)
	}
	if !p.release(s) {
		p.refreshOpen(s)
	}
}

// Contributors appends the distinct peers that delivered blocks of a piece in
// progress, or of the piece that was Reset last.
func (p *Picker) Contributors(dst []uint32, piece uint32) []uint32 {
	if int(piece) >= p.pieces {
		return dst
	}
	s := p.slotOf(int(piece))
	if s < 0 || p.slots[s].received == p.slots[s].pads {
		if p.reset == int32(piece) {
			dst = append(dst, p.culprits...)
		}
		return dst
	}
	from := len(dst)
	owner := p.ownersOf(s)
next:
	for b, st := range p.states(s) {
		if st != blockReceived {
			continue
		}
		id := owner[b].id[0]
		for k := len(dst) - 1; k >= from; k-- {
			if dst[k] == id {
				continue next
			}
		}
		dst = append(dst, id)
	}
	return dst
}

// Authors appends who sent each block of a piece in progress; 0 where that is
// not known or nobody did.
func (p *Picker) Authors(dst []uint32, piece uint32) []uint32 {
	if int(piece) >= p.pieces {
		return dst
	}
	s := p.slotOf(int(piece))
	if s < 0 {
		return dst
	}
	owner := p.ownersOf(s)
	for b, st := range p.states(s) {
		id := uint32(0)
		if st == blockReceived {
			id = owner[b].id[0]
		}
		dst = append(dst, id)
	}
	return dst
}

// OthersWaiting appends the peers that still owe a block after its Received:
// in end game these get a cancel.
func (p *Picker) OthersWaiting(dst []uint32, piece, block uint32) []uint32 {
	if int(piece) >= p.pieces || block >= p.Blocks(piece) {
		return dst
	}
	s := p.slotOf(int(piece))
	if s < 0 {
		return dst
	}
	at := uint32(s)*p.per + block
	o := &p.owner[at]
	switch p.state[at] {
	case blockRequested:
		return append(dst, o.id[:o.n]...)
	case blockReceived:
		return append(dst, o.id[1:o.n]...)
	}
	return dst
}
