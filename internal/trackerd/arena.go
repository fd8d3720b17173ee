package trackerd

import (
	"math/bits"
	"unsafe"
)

// key is a peer's address and port in network order: 6 bytes for IPv4, 18 for IPv6.
type key interface{ [6]byte | [18]byte }

// record is one peer: 12 bytes for IPv4, 24 for IPv6, and no pointer, so that
// the garbage collector never looks at peers.
type record[K key] struct {
	key   K
	flags uint8
	tick  uint8  // when it announced, in the server's ticks, wrapping
	bid   uint16 // tracker.BidCode, 0 for none
	told  uint8  // when it told the bid, in minutes, wrapping
	_     uint8
}

const (
	used   = 1 << iota // 0 marks an empty place
	seed               // has everything
	paused             // BEP 21: wants no more
)

// bytes is the compact form of a record's key.
func (r *record[K]) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&r.key)), unsafe.Sizeof(r.key))
}

// mum mixes two words; with secret seeds nobody outside can aim for collisions.
func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func hashKey[K key](k *K, seeds *[2]uint64) uint32 {
	x := uint64((*k)[0]) | uint64((*k)[1])<<8 | uint64((*k)[2])<<16 | uint64((*k)[3])<<24 |
		uint64((*k)[4])<<32 | uint64((*k)[5])<<40
	y := uint64(0)
	for i := 6; i < len(*k); i++ {
		y = (y ^ uint64((*k)[i])) * 0x100000001b3
	}
	return uint32(mum(x^seeds[0], y^seeds[1]) >> 16)
}

// place maps a 32-bit hash to one of n places.
func place(hash uint32, n int) int { return int(uint64(hash) * uint64(n) >> 32) }

// Blocks of an arena hold 4, 6, 8, 12, 16, 24, … records, each a small hash
// table with linear probing, at most seven eighths full.
const (
	chunkBits  = 10
	chunkSize  = 1 << chunkBits // records
	maxClass   = 42             // 8 M records
	noFree     = ^uint32(0)
	classCount = maxClass + 1
)

func classSize(class uint8) int { return (4 + 2*int(class&1)) << (class >> 1) }

// arena hands out blocks of records. Not safe for concurrent use.
type arena[K key] struct {
	chunks  [][]record[K]
	current int                // chunk that small blocks are cut from, -1 for none
	cut     int                // records of it in use
	free    [classCount]uint32 // first free block of each class, noFree for none
	spare   []uint32           // chunk numbers without memory
	live    int                // records in blocks handed out
	unused  int                // records on the free lists
}

func (a *arena[K]) init() {
	a.current = -1
	for i := range a.free {
		a.free[i] = noFree
	}
}

// block is the memory of a block.
func (a *arena[K]) block(ref uint32, class uint8) []record[K] {
	offset := int(ref & (chunkSize - 1))
	return a.chunks[ref>>chunkBits][offset : offset+classSize(class)]
}

// alloc returns an empty block.
func (a *arena[K]) alloc(class uint8) uint32 {
	size := classSize(class)
	a.live += size
	if size > chunkSize {
		return a.newChunk(size)
	}
	if ref := a.free[class]; ref != noFree {
		a.unused -= size
		b := a.block(ref, class)
		a.free[class] = nextFree(b)
		clear(b)
		return ref
	}
	if a.current < 0 || a.cut+size > chunkSize {
		a.recycleRest()
		a.current, a.cut = int(a.newChunk(chunkSize)>>chunkBits), 0
	}
	ref := uint32(a.current)<<chunkBits | uint32(a.cut)
	a.cut += size
	return ref
}

// recycleRest puts the rest of the current chunk on the free lists.
func (a *arena[K]) recycleRest() {
	if a.current < 0 {
		return
	}
	for class := maxClass; class >= 0; class-- {
		for size := classSize(uint8(class)); a.cut+size <= chunkSize; a.cut += size {
			a.putFree(uint32(a.current)<<chunkBits|uint32(a.cut), uint8(class))
		}
	}
}

func (a *arena[K]) newChunk(size int) uint32 {
	chunk := make([]record[K], size)
	if n := len(a.spare); n > 0 {
		i := a.spare[n-1]
		a.spare = a.spare[:n-1]
		a.chunks[i] = chunk
		return i << chunkBits
	}
	a.chunks = append(a.chunks, chunk)
	return uint32(len(a.chunks)-1) << chunkBits
}

// release takes a block back.
func (a *arena[K]) release(ref uint32, class uint8) {
	a.live -= classSize(class)
	if classSize(class) > chunkSize {
		a.chunks[ref>>chunkBits] = nil
		a.spare = append(a.spare, ref>>chunkBits)
		return
	}
	a.putFree(ref, class)
}

func (a *arena[K]) putFree(ref uint32, class uint8) {
	a.unused += classSize(class)
	b := a.block(ref, class)
	setNextFree(b, a.free[class])
	a.free[class] = ref
}

// wasteful reports whether so much lies on the free lists, as when many swarms
// grow alike, that moving all blocks together is worth its copying.
func (a *arena[K]) wasteful() bool { return a.unused > a.live/4+chunkSize/4 }

// adopt moves a block of another arena into this one. Places inside a block
// stay, so that its hash table stays right.
func (a *arena[K]) adopt(from *arena[K], ref uint32, class uint8) uint32 {
	if classSize(class) > chunkSize {
		moved := a.newChunk(0)
		a.live += classSize(class)
		a.chunks[moved>>chunkBits] = from.chunks[ref>>chunkBits]
		return moved
	}
	moved := a.alloc(class)
	copy(a.block(moved, class), from.block(ref, class))
	return moved
}

// A free block keeps the next one's number in its first two records' bid,
// tick and told, which have the same place in both record sizes.
func nextFree[K key](b []record[K]) uint32 {
	return uint32(b[0].bid) | uint32(b[1].bid)<<16
}

func setNextFree[K key](b []record[K], ref uint32) {
	b[0].bid, b[1].bid = uint16(ref), uint16(ref>>16)
}
