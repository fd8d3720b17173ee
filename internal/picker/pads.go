package picker

import "sort"

// Content is the bytes of a piece that are no padding.
func (p *Picker) Content(piece uint32) int64 { return p.content(int(piece)) }

// content is the bytes of a piece that are no padding.
func (p *Picker) content(piece int) int64 {
	size := p.pieceSize(piece)
	n := size
	p.padding(piece, func(from, to int64) { n -= to - from })
	return n
}

// padding calls f for each run of padding in a piece, by offsets in the piece.
func (p *Picker) padding(piece int, f func(from, to int64)) {
	if len(p.pads) == 0 {
		return
	}
	start := int64(piece) * p.pieceLength
	end := start + p.pieceSize(piece)
	k := sort.Search(len(p.pads), func(k int) bool { return p.pads[k].To > start })
	for ; k < len(p.pads) && p.pads[k].From < end; k++ {
		f(max(p.pads[k].From, start)-start, min(p.pads[k].To, end)-start)
	}
}

// fillPads books the blocks of a slot that are nothing but padding as received
// from nobody. They count for Progress.
func (p *Picker) fillPads(s int32) {
	v := &p.slots[s]
	st := p.states(s)
	size := p.pieceSize(int(v.piece))
	p.padding(int(v.piece), func(from, to int64) {
		for b := (from + BlockSize - 1) / BlockSize; b < int64(v.blocks) && min((b+1)*BlockSize, size) <= to; b++ {
			st[b] = blockPad
			v.free--
			v.received++
			v.pads++
		}
	})
}
