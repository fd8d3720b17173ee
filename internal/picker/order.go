package picker

// order is the banded flat array: band b holds pieces at[start[b]:end[b]],
// and a removed piece leaves a gap behind its band, so leaving costs O(1) and
// entering shifts one piece per band up to the nearest gap.
//
// The order is built lazily: while dirty, only availability and the bitmaps
// are kept.
type order struct {
	dirty      bool
	at         []int32 // capacity: one place a piece
	pos        []int32 // place of each piece, -1 = not pickable
	start, end []int32 // per band
	low        int     // no piece lies in a band below
	live       int
}

const (
	// unseen is the number of bands for pieces no peer but seeds has.
	unseen   = MaxPriority
	maxBands = unseen + maxRanked*MaxPriority
)

// band returns the band a piece belongs to; lower is picked sooner.
func (p *Picker) band(i int) int {
	weight := MaxPriority + 1 - int(p.prio[i])
	if p.avail[i] == 0 {
		return max(weight-1, 0)
	}
	return unseen - 1 + min(int(p.avail[i]), maxRanked)*weight
}

// enterOrder makes a piece pickable, unless it is held.
func (p *Picker) enterOrder(i int) {
	if p.isHeld(i) {
		return
	}
	setBit(p.free, i)
	if !p.order.dirty && p.pos[i] < 0 {
		p.insert(i, p.band(i))
	}
}

// leaveOrder takes a piece out of the array; the free bit stays the caller's.
func (p *Picker) leaveOrder(i int) {
	if !p.order.dirty && p.pos[i] >= 0 {
		p.remove(i, p.band(i))
	}
}

// moveOrder repairs the place of a piece whose band was old.
func (p *Picker) moveOrder(i, old int) {
	if p.order.dirty || p.pos[i] < 0 {
		return
	}
	if b := p.band(i); b != old {
		p.remove(i, old)
		p.insert(i, b)
	}
}

func (p *Picker) put(i int32, place int32) {
	p.at[place] = i
	p.pos[i] = place
}

func (p *Picker) remove(i, b int) {
	last := p.end[b] - 1
	p.put(p.at[last], p.pos[i])
	p.pos[i] = -1
	p.end[b] = last
	p.live--
}

// gap returns how many free places lie behind band b.
func (p *Picker) gap(b int) int32 {
	if b == maxBands-1 {
		return int32(p.pieces) - p.end[b]
	}
	return p.start[b+1] - p.end[b]
}

func (p *Picker) insert(i, b int) {
	p.low = min(p.low, b)
	p.live++
	place := int32(-1)
	for d := 0; place < 0; d++ {
		if right := b + d; right < maxBands && p.gap(right) > 0 {
			for k := right; k > b; k-- { // shift bands one place up
				if p.start[k] < p.end[k] {
					p.put(p.at[p.start[k]], p.end[k])
				}
				p.start[k]++
				p.end[k]++
			}
			place = p.end[b]
			p.end[b]++
		} else if left := b - d - 1; left >= 0 && p.gap(left) > 0 {
			for k := left + 1; k < b; k++ { // shift bands one place down
				p.start[k]--
				p.end[k]--
				if p.start[k] < p.end[k] {
					p.put(p.at[p.end[k]], p.start[k])
				}
			}
			p.start[b]--
			place = p.start[b]
		}
	}
	p.put(int32(i), place)
	if n := int(p.end[b] - p.start[b]); n > 1 { // keep the band's order random
		other := p.start[b] + int32(p.below(n))
		p.put(p.at[other], place)
		p.put(int32(i), other)
	}
}

// rebuild sorts all free pieces into bands, random inside each.
func (p *Picker) rebuild() {
	o := &p.order
	if o.at == nil {
		o.at = make([]int32, p.pieces)
		o.pos = make([]int32, p.pieces)
		o.start = make([]int32, maxBands)
		o.end = make([]int32, maxBands)
	}
	o.dirty = false
	o.live = 0
	o.low = maxBands - 1
	clear(o.end)
	for i := range p.pieces {
		o.pos[i] = -1
		if bit(p.free, i) {
			b := p.band(i)
			o.end[b]++
			o.low = min(o.low, b)
			o.live++
		}
	}
	sum := int32(0)
	for b := range o.end {
		n := o.end[b]
		o.start[b], o.end[b] = sum, sum
		sum += n
	}
	for i := range p.pieces {
		if bit(p.free, i) {
			b := p.band(i)
			place := o.end[b]
			o.end[b]++
			if n := place - o.start[b]; n > 0 { // inside-out shuffle
				other := o.start[b] + int32(p.below(int(n)+1))
				if other != place {
					p.put(o.at[other], place)
				}
				place = other
			}
			p.put(int32(i), place)
		}
	}
}

// unreachable returns how many free pieces no connected peer has.
func (p *Picker) unreachable() int {
	if p.seeds > 0 {
		return 0
	}
	n := 0
	for b := range unseen {
		n += int(p.end[b] - p.start[b])
	}
	return n
}
