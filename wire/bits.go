package wire

import "math/bits"

// Bits is a bitfield of pieces, the first piece in the highest bit of the first
// byte (BEP 3). It is not safe for concurrent use.
type Bits []byte

// NewBits returns a bitfield for n pieces, all clear.
func NewBits(n int) Bits { return make(Bits, (n+7)/8) }

// Has says whether piece i is set; pieces beyond the field are not.
func (b Bits) Has(i int) bool {
	return i>>3 < len(b) && b[i>>3]&(0x80>>(i&7)) != 0
}

// Set sets piece i, which must lie inside the field.
func (b Bits) Set(i int) { b[i>>3] |= 0x80 >> (i & 7) }

// Clear clears piece i, which must lie inside the field.
func (b Bits) Clear(i int) { b[i>>3] &^= 0x80 >> (i & 7) }

// Count returns the number of set pieces.
func (b Bits) Count() int {
	n := 0
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// SetAll sets the first n pieces.
func (b Bits) SetAll(n int) {
	for i := range n {
		b.Set(i)
	}
}

// ValidFor says whether b is a legal bitfield for n pieces: the right length
// and no bit beyond the last piece.
func (b Bits) ValidFor(n int) bool {
	if len(b) != (n+7)/8 {
		return false
	}
	return n%8 == 0 || b[len(b)-1]&(0xff>>(n%8)) == 0
}
