package picker

// Reset frees all blocks of a piece that is begun anew, owed ones too. Contributors keeps
// answering for it until the next Reset.
func (p *Picker) Reset(piece uint32) {
	if int(piece) >= p.pieces || bit(p.have, int(piece)) {
		return
	}
	p.doubt(piece)
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

// Retry is Reset for a piece of which the store may hold blocks again. Held says
// who sent each block that it holds, 0 where it holds none: those count as
// received and no others, and what peers owe stays owed.
func (p *Picker) Retry(piece uint32, held []uint32) {
	if int(piece) >= p.pieces || bit(p.have, int(piece)) {
		return
	}
	p.doubt(piece)
	s := p.slotOf(int(piece))
	if s >= 0 {
		p.culprits = p.Contributors(p.culprits[:0], piece)
		p.reset = int32(piece)
	}
	p.match(s, piece, 0, p.Blocks(piece), held)
}

// Unreceive is Retry for count blocks of a piece from first on. A late word about
// one of them counts no more than for a piece that was Reset.
func (p *Picker) Unreceive(piece, first, count uint32, held []uint32) {
	if int(piece) >= p.pieces || bit(p.have, int(piece)) {
		return
	}
	p.doubt(piece)
	p.match(p.slotOf(int(piece)), piece, first, count, held)
}

// Suspect says whether something of a piece that came was dropped, so that what is
// told of its blocks may be late. Ask who holds them, and Keep or Return them.
func (p *Picker) Suspect(piece uint32) bool { return bit(p.suspect, int(piece)) }

// Keep marks a block received from a peer, whatever was asked for.
func (p *Picker) Keep(piece, block, peer uint32) {
	if int(piece) >= p.pieces || bit(p.have, int(piece)) || block >= p.Blocks(piece) {
		return
	}
	s := p.slotOf(int(piece))
	if s < 0 {
		s = p.begin(int(piece))
	}
	if s >= 0 {
		p.mark(s, block, peer)
	}
}

func (p *Picker) doubt(piece uint32) {
	if p.suspect == nil {
		p.suspect = make([]byte, len(p.have))
	}
	setBit(p.suspect, int(piece))
}

// match makes the blocks of a part of a piece received that are held, and no
// others. Slot s is -1 if nothing of it is under way.
func (p *Picker) match(s int32, piece, first, count uint32, held []uint32) {
	end := min(first+count, p.Blocks(piece))
	at := func(b uint32) uint32 {
		if int(b) < len(held) {
			return held[b]
		}
		return 0
	}
	for b := first; s >= 0 && b < end; b++ {
		if p.state[uint32(s)*p.per+b] == blockReceived && at(b) != p.owner[uint32(s)*p.per+b].id[0] {
			p.unreceive(s, b)
		}
	}
	for b := first; b < end; b++ {
		if who := at(b); who != 0 {
			if s < 0 {
				if s = p.begin(int(piece)); s < 0 {
					return
				}
			}
			p.mark(s, b, who)
		}
	}
	if s < 0 {
		return
	}
	if v := &p.slots[s]; v.exclusive != nobody && !p.owes(s, uint32(v.exclusive)) {
		v.exclusive = nobody
	}
	if !p.release(s) {
		p.refreshOpen(s)
	}
}

// unreceive takes back that a block came. Whoever else owes it still does.
func (p *Picker) unreceive(s int32, block uint32) {
	g := &p.progress
	v, o := &g.slots[s], &g.owner[uint32(s)*g.per+block]
	v.received--
	if o.n--; o.n > 0 {
		copy(o.id[:], o.id[1:o.n+1])
		g.state[uint32(s)*g.per+block] = blockRequested
		if v.requested() == 1 {
			g.active++
		}
		return
	}
	g.state[uint32(s)*g.per+block] = blockFree
	v.free++
	v.hint = min(v.hint, block)
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
