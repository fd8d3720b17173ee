// Package picker decides which blocks to ask from which peer.
//
// It is a passive policy: no goroutine, no lock, no clock, no I/O. One owner
// (internal/swarm) calls it from a single goroutine and tells it what peers
// have, what was received and what was verified.
//
// Shape: all pieces that may be started lie in one flat array, ordered by
// availability times priority, with an array of band boundaries and a random
// order inside a band (rarest first, R1.11). Seeds are one counter. A HAVE
// moves one piece over a few band edges; a large bitfield only marks the order
// dirty, and it is rebuilt in O(pieces) at the next Lease. State per block
// exists only for pieces in progress, in pooled arrays without pointers.
// Peers lease runs of blocks, or whole pieces exclusively (A23), so that a
// failed or paid piece has one author.
package picker

import (
	"encoding/binary"
	"math/bits"
)

const (
	// BlockSize is the unit of a request in bytes (BEP 3 practice, BEP 52).
	BlockSize = 16384
	// MaxPieces is the largest number of pieces a Picker accepts.
	MaxPieces = 1 << 26
	// DefaultPriority is every piece's priority at the start.
	DefaultPriority = 4
	// MaxPriority is the highest priority; 0 skips a piece.
	MaxPriority = 7
	// MaxOwners bounds how many peers may owe the same block in end game.
	MaxOwners = 3
	// MaxInProgress bounds the pieces with block state, stuck ones included.
	MaxInProgress = 4096
	// MaxWindow bounds the read-ahead window in pieces.
	MaxWindow = 1024

	// activeBytes and activeFloor bound the pieces with outstanding requests.
	activeBytes = 256 << 20
	activeFloor = 64
	// randomFirst is how many pieces are picked at random before rarest first.
	randomFirst = 4
	// incremental is the largest bitfield (set bits) applied piece by piece.
	incremental = 50
	// maxRanked is the availability from which on all pieces rank the same.
	maxRanked = 255
	// maxCounted is where the per-piece peer count stops.
	maxCounted = 1<<16 - 1
	// endGameRun bounds the duplicates one Lease call hands out.
	endGameRun = 16
)

// Config describes a torrent's geometry.
type Config struct {
	// PieceLength is the piece length in bytes (> 0), TotalLength the sum of
	// all files (>= 0).
	PieceLength, TotalLength int64
	// Seed is the entropy for shuffles; equal seeds and calls give equal picks.
	Seed uint64
	// Pads are the runs of padding in order, which neither touch nor overlap:
	// blocks of nothing else are not leased, and padding is not Left.
	Pads []Span
	// NoEndGame switches duplicate requests at the end off.
	NoEndGame bool
}

// Span is a run of bytes of the torrent, from From to before To.
type Span struct{ From, To int64 }

// Peer is what Lease needs to know about a remote.
type Peer struct {
	// ID names the peer in Received, Return and Contributors.
	ID uint32
	// Bits is the remote bitfield in wire order; nil when Seed.
	Bits []byte
	// Seed says the remote has every piece.
	Seed bool
	// Whole leases whole pieces exclusively (A23).
	Whole bool
	// Alone leases nothing that others owe (no end game).
	Alone bool
	// Fast prefers a fresh piece to one other peers are working on.
	Fast bool
	// Slow gets no block that others owe (end game).
	Slow bool
	// Snubbed picks from the far end: most common pieces, no end game.
	Snubbed bool
}

// Lease is a run of Count blocks of one piece, starting at block Block.
type Lease struct {
	Piece, Block, Count uint32
}

// Picker holds the state of one torrent. It is not safe for concurrent use.
type Picker struct {
	pieceLength int64
	totalLength int64
	pieces      int
	blocksPer   uint32
	endGame     bool
	sequential  bool
	varied      bool // some priority is not the default
	rng         uint64
	pads        []Span

	seeds   int
	got     int // pieces had
	missing int // wanted and not had
	left    int64
	avail   []uint16 // peers (not seeds) that have the piece
	prio    []uint8
	have    []byte // wire bit order
	want    []byte // wanted and not had
	free    []byte // wanted, not had, not in progress, not held
	held    []byte // nil until something is
	holds   int    // bits of held

	winFrom, winCount int

	order
	progress
}

// New returns a Picker with nothing had, every piece at DefaultPriority. It
// panics on a geometry that metainfo must have refused (PieceLength <= 0,
// negative length, more than MaxPieces pieces).
func New(c Config) *Picker {
	if c.PieceLength <= 0 || c.TotalLength < 0 {
		panic("picker: bad geometry")
	}
	n := (c.TotalLength + c.PieceLength - 1) / c.PieceLength
	if n > MaxPieces {
		panic("picker: too many pieces")
	}
	p := &Picker{
		pieceLength: c.PieceLength,
		totalLength: c.TotalLength,
		pieces:      int(n),
		blocksPer:   uint32((min(c.PieceLength, c.TotalLength) + BlockSize - 1) / BlockSize),
		endGame:     !c.NoEndGame,
		rng:         c.Seed ^ 0x9e3779b97f4a7c15,
		missing:     int(n),
		left:        c.TotalLength,
		pads:        c.Pads,
	}
	padded := (p.pieces + 63) / 64 * 8 // whole words, so scans need no tail
	p.avail = make([]uint16, p.pieces)
	p.prio = make([]uint8, p.pieces)
	p.have = make([]byte, padded)
	p.want = make([]byte, padded)
	p.free = make([]byte, padded)
	for i := range p.pieces {
		p.prio[i] = DefaultPriority
		setBit(p.want, i)
		setBit(p.free, i)
	}
	for _, pad := range p.pads {
		p.left -= pad.To - pad.From
	}
	p.order.dirty = true
	p.progress.init(p)
	return p
}

// Pieces returns the number of pieces.
func (p *Picker) Pieces() int { return p.pieces }

// Blocks returns the number of blocks of a piece.
func (p *Picker) Blocks(piece uint32) uint32 {
	return uint32((p.pieceSize(int(piece)) + BlockSize - 1) / BlockSize)
}

// BlockLength returns the length in bytes of one block (the last may be short).
func (p *Picker) BlockLength(piece, block uint32) uint32 {
	return uint32(min(BlockSize, p.pieceSize(int(piece))-int64(block)*BlockSize))
}

func (p *Picker) pieceSize(piece int) int64 {
	return min(p.pieceLength, p.totalLength-int64(piece)*p.pieceLength)
}

// Have reports whether the piece is written and verified.
func (p *Picker) Have(piece uint32) bool {
	return int(piece) < p.pieces && bit(p.have, int(piece))
}

// SetHave records that the piece is written and verified. Its block state is
// dropped: ask Contributors before.
func (p *Picker) SetHave(piece uint32) {
	i := int(piece)
	if i >= p.pieces || bit(p.have, i) {
		return
	}
	p.dropSlot(i)
	p.leaveOrder(i)
	setBit(p.have, i)
	clearBit(p.free, i)
	if p.suspect != nil {
		clearBit(p.suspect, i)
	}
	p.got++
	if bit(p.want, i) {
		clearBit(p.want, i)
		p.missing--
		p.left -= p.content(i)
	}
}

// Lost takes a piece back that was had (found bad or missing on disk).
func (p *Picker) Lost(piece uint32) {
	i := int(piece)
	if i >= p.pieces || !bit(p.have, i) {
		return
	}
	clearBit(p.have, i)
	p.got--
	if p.prio[i] > 0 {
		setBit(p.want, i)
		p.missing++
		p.left += p.content(i)
		p.enterOrder(i)
	}
}

// Priority returns a piece's priority.
func (p *Picker) Priority(piece uint32) uint8 { return p.prio[piece] }

// SetPriority sets a piece's priority, 1 to MaxPriority; 0 skips the piece.
// Higher values are cut to MaxPriority. Outstanding blocks stay outstanding.
func (p *Picker) SetPriority(piece uint32, prio uint8) {
	i := int(piece)
	prio = min(prio, MaxPriority)
	if i >= p.pieces || p.prio[i] == prio {
		return
	}
	p.leaveOrder(i)
	p.prio[i] = prio
	p.varied = p.varied || prio != DefaultPriority
	if bit(p.have, i) {
		return
	}
	switch wanted := bit(p.want, i); {
	case prio == 0 && wanted:
		clearBit(p.want, i)
		clearBit(p.free, i)
		p.missing--
		p.left -= p.content(i)
	case prio > 0 && !wanted:
		setBit(p.want, i)
		p.missing++
		p.left += p.content(i)
	}
	if s := p.slotOf(i); s >= 0 {
		p.refreshOpen(s)
	} else if prio > 0 {
		p.enterOrder(i)
	}
}

// Hold keeps a piece from being started, though it may be wanted: it cannot be
// verified yet. A piece in progress goes on.
func (p *Picker) Hold(piece uint32) {
	i := int(piece)
	if i >= p.pieces || p.isHeld(i) {
		return
	}
	if p.held == nil {
		p.held = make([]byte, len(p.want))
	}
	p.leaveOrder(i)
	clearBit(p.free, i)
	setBit(p.held, i)
	p.holds++
}

// Admit ends a Hold.
func (p *Picker) Admit(piece uint32) {
	i := int(piece)
	if i >= p.pieces || !p.isHeld(i) {
		return
	}
	clearBit(p.held, i)
	p.holds--
	if bit(p.want, i) && p.slotOf(i) < 0 {
		p.enterOrder(i)
	}
}

func (p *Picker) isHeld(i int) bool { return p.held != nil && bit(p.held, i) }

// SetSequential switches between rarest first and lowest index first.
func (p *Picker) SetSequential(on bool) { p.sequential = on }

// SetWindow asks for count pieces from piece from before everything else, in
// index order (streaming). Count is cut to MaxWindow; 0 ends it.
func (p *Picker) SetWindow(from uint32, count int) {
	p.winFrom = min(int(from), p.pieces)
	p.winCount = min(max(count, 0), MaxWindow, p.pieces-p.winFrom)
}

// Missing returns the number of wanted pieces not had.
func (p *Picker) Missing() int { return p.missing }

// Left returns the bytes of the wanted pieces not had, without padding.
func (p *Picker) Left() int64 { return p.left }

// Got returns the number of pieces had, wanted or not.
func (p *Picker) Got() int { return p.got }

// Bitfield appends the pieces had in wire order (BEP 3) to dst.
func (p *Picker) Bitfield(dst []byte) []byte {
	return append(dst, p.have[:(p.pieces+7)/8]...)
}

// Interesting reports whether a peer has a wanted piece that we lack.
func (p *Picker) Interesting(b []byte, seed bool) bool {
	if seed || p.missing == 0 {
		return p.missing > 0
	}
	for at := 0; at < len(p.want); at += 8 {
		if binary.BigEndian.Uint64(p.want[at:])&word(b, at) != 0 {
			return true
		}
	}
	return false
}

// FilePriorities maps priorities of files (in torrent order, with their
// lengths) to pieces: a piece takes the highest priority of its files.
func FilePriorities(pieceLength int64, lengths []int64, prios []uint8) []uint8 {
	var total int64
	for _, l := range lengths {
		total += l
	}
	out := make([]uint8, (total+pieceLength-1)/pieceLength)
	var at int64
	for i, l := range lengths {
		for q := at / pieceLength; l > 0 && q*pieceLength < at+l; q++ {
			out[q] = max(out[q], min(prios[i], MaxPriority))
		}
		at += l
	}
	return out
}

// word returns 8 bytes of a remote bitfield, zeros beyond its end.
func word(b []byte, at int) uint64 {
	if at+8 <= len(b) {
		return binary.BigEndian.Uint64(b[at:])
	}
	var tail [8]byte
	if at < len(b) {
		copy(tail[:], b[at:])
	}
	return binary.BigEndian.Uint64(tail[:])
}

func bit(b []byte, i int) bool {
	return i>>3 < len(b) && b[i>>3]&(0x80>>(i&7)) != 0
}

func setBit(b []byte, i int)   { b[i>>3] |= 0x80 >> (i & 7) }
func clearBit(b []byte, i int) { b[i>>3] &^= 0x80 >> (i & 7) }

func (peer *Peer) has(i int) bool { return peer.Seed || bit(peer.Bits, i) }

// random returns the next number of a splitmix64 sequence.
func (p *Picker) random() uint64 {
	p.rng += 0x9e3779b97f4a7c15
	z := p.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a random number in [0, n), n > 0.
func (p *Picker) below(n int) int {
	hi, _ := bits.Mul64(p.random(), uint64(n))
	return int(hi)
}
