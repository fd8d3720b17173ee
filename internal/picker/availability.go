package picker

import (
	"encoding/binary"
	"math/bits"
)

// Availability returns the number of distributed copies among the connected
// peers (R1.12): seeds, plus the peer count of the rarest piece, plus the share
// of pieces more common than it. Our own pieces do not count. O(pieces).
func (p *Picker) Availability() float64 {
	if p.pieces == 0 {
		return float64(p.seeds)
	}
	low, above := p.avail[0], 0
	for _, a := range p.avail {
		low = min(low, a)
	}
	for _, a := range p.avail {
		if a > low {
			above++
		}
	}
	return float64(p.seeds) + float64(low) + float64(above)/float64(p.pieces)
}

// Rarest returns the rarest of the pieces that the peer has and we want, and how
// many connected peers have it, this one among them; false = it has none. O(pieces).
func (p *Picker) Rarest(peer Peer) (piece uint32, sources int, ok bool) {
	low := 0
	for at := range len(p.want) / 8 {
		w := binary.BigEndian.Uint64(p.want[at*8:])
		if w != 0 && !peer.Seed {
			w &= word(peer.Bits, at*8)
		}
		for ; w != 0; w &^= 1 << (63 - bits.LeadingZeros64(w)) {
			i := at*64 + bits.LeadingZeros64(w)
			if n := int(p.avail[i]); !ok || n < low {
				piece, low, ok = uint32(i), n, true
			}
		}
	}
	return piece, max(1, low+p.seeds), ok
}

// AddSeed counts a peer that has everything.
func (p *Picker) AddSeed() { p.seeds++ }

// RemoveSeed takes AddSeed back.
func (p *Picker) RemoveSeed() { p.seeds = max(p.seeds-1, 0) }

// AddHave counts one more peer that has the piece. The caller makes sure that
// a peer is counted once for each piece.
func (p *Picker) AddHave(piece uint32) {
	if int(piece) < p.pieces && p.avail[piece] < maxCounted {
		p.count(int(piece), 1)
	}
}

// RemoveHave takes AddHave back (BEP 54).
func (p *Picker) RemoveHave(piece uint32) {
	if int(piece) < p.pieces && p.avail[piece] > 0 {
		p.count(int(piece), -1)
	}
}

func (p *Picker) count(i, by int) {
	old := p.band(i)
	p.avail[i] = uint16(int(p.avail[i]) + by)
	p.moveOrder(i, old)
}

// AddBitfield counts every piece of a peer's bitfield. Missing bytes count as
// zero, spare bits are ignored.
func (p *Picker) AddBitfield(b []byte) { p.countBits(b, 1) }

// RemoveBitfield takes AddBitfield (and the peer's later haves) back.
func (p *Picker) RemoveBitfield(b []byte) { p.countBits(b, -1) }

func (p *Picker) countBits(b []byte, by int) {
	b = b[:min(len(b), (p.pieces+7)/8)]
	set := 0
	for _, c := range b {
		set += bits.OnesCount8(c)
	}
	if set > incremental {
		p.order.dirty = true
	}
	for at, c := range b {
		for ; c != 0; c &^= 1 << (7 - bits.LeadingZeros8(c)) {
			i := at*8 + bits.LeadingZeros8(c)
			if i >= p.pieces {
				return
			}
			if a := int(p.avail[i]) + by; a >= 0 && a <= maxCounted {
				p.count(i, by)
			}
		}
	}
}
