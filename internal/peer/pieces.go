package peer

import "sync/atomic"

// Pieces is the set of pieces we have, written by one owner and read by every
// connection without a lock.
type Pieces struct {
	words []atomic.Uint32
	count atomic.Int64
}

// NewPieces returns an empty set for n pieces.
func NewPieces(n int) *Pieces { return &Pieces{words: make([]atomic.Uint32, (n+31)/32)} }

// Has says whether piece i is in the set; a nil set is empty.
func (p *Pieces) Has(i uint32) bool {
	return p != nil && int(i>>5) < len(p.words) && p.words[i>>5].Load()&(1<<(i&31)) != 0
}

// Set adds piece i, which must be one of the torrent's.
func (p *Pieces) Set(i uint32) {
	if old := p.words[i>>5].Or(1 << (i & 31)); old&(1<<(i&31)) == 0 {
		p.count.Add(1)
	}
}

// Clear takes piece i out.
func (p *Pieces) Clear(i uint32) {
	if old := p.words[i>>5].And(^uint32(1 << (i & 31))); old&(1<<(i&31)) != 0 {
		p.count.Add(-1)
	}
}

// Count returns the number of pieces in the set.
func (p *Pieces) Count() int {
	if p == nil {
		return 0
	}
	return int(p.count.Load())
}
