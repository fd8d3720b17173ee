package disk

import (
	"crypto/sha1"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// What is verified of a piece by units (version 2, [Store.SetUnits]) is paid, so it is
// written at once, and not with the rest of its piece, which may never come; and the
// journal gets the hashes of the units, so that the next process finds what there is.

// Earlier is the author of blocks that are in the files from an earlier run.
const Earlier = math.MaxUint32

func hasBit(b []uint64, i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }

func setBit(b []uint64, i int) { b[i/64] |= 1 << (i % 64) }

func newUnits(blocks int, sums []byte) *units {
	n := (len(sums)/leafSize + 63) / 64
	return &units{blocks: blocks, sums: append([]byte(nil), sums...), good: make([]uint64, n), given: make([]uint64, n), landed: make([]uint64, n)}
}

// sink hands the units of a piece that are right to the writers, unless they are on
// their way with a chunk. Whoever hashes the piece calls it next. s.mu is held.
func (s *Store) sink(p *partial) {
	u := s.units[p.piece]
	if u == nil || p.done || p.hashing {
		return
	}
	for w := range u.good {
		for due := u.good[w] &^ u.given[w]; due != 0; due &= due - 1 {
			unit := w*64 + bits.TrailingZeros64(due)
			if !s.sinkUnit(p, u, unit) {
				s.sinkLater()
				return
			}
			setBit(u.given, unit)
		}
	}
}

// sinkRetry is when units that no memory was there to write are tried again. The next block
// of their piece does so too, but may not come before they are paid.
const sinkRetry = 100 * time.Millisecond

// sinkLater tries all begun pieces again. s.mu is held.
func (s *Store) sinkLater() {
	if s.starved {
		return
	}
	s.starved = true
	time.AfterFunc(sinkRetry, func() { // copies a few units, or is due again
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.starved = false; s.closed {
			return
		}
		for _, p := range s.active {
			s.sink(p)
		}
	})
}

// sinkUnit hands one unit over: chunks that nothing else needs, copies of what lies
// in others.
func (s *Store) sinkUnit(p *partial, u *units, unit int) bool {
	from, to := s.unitRange(p.piece, u, unit)
	per, fresh := int(s.chunk/BlockSize), false
	for b := from; b < to; {
		chunk, end := b/per, min(to, (b/per+1)*per)
		slab := p.chunks[chunk]
		switch {
		case slab == nil:
		case !s.v1 && b == chunk*per && (end == b+per || end == s.leaves(p.piece)):
			s.enqueue(p, int64(chunk))
			fresh = true
		default:
			gave, err := s.giveCopies(p, slab, int64(chunk)*s.chunk, b, end)
			if err != nil {
				return false
			}
			fresh = fresh || gave
		}
		b = end
	}
	if !fresh && s.allLanded(p, from, to) { // a writer is to tell the journal
		s.give(p, nil, int64(from)*BlockSize, 0)
	}
	return true
}

// unitRange are the first block of a unit and the one after its last.
func (s *Store) unitRange(piece uint32, u *units, unit int) (from, to int) {
	return unit * u.blocks, min((unit+1)*u.blocks, s.leaves(piece))
}

// enqueue gives one hashed chunk to the writers.
func (s *Store) enqueue(p *partial, chunk int64) {
	off := chunk * s.chunk
	slab := p.chunks[chunk]
	p.chunks[chunk] = nil
	n := int(min(s.chunk, p.size-off))
	if slab != nil && s.v2 && s.giveRest(p, slab, off, n) {
		s.pool.slabs.put(slab)
		slab = nil
	}
	if slab == nil { // padding alone, or given by parts: queued for what follows the last write
		n = 0
	}
	s.give(p, slab, off, n)
	if s.verified == s.pieces { // nothing follows
		s.pool.ripen(s)
	}
}

// give queues bytes at an offset of a piece, which are the writers' from here on.
func (s *Store) give(p *partial, slab []byte, off int64, n int) {
	p.pending++
	j := job{partial: p, slab: slab, off: int64(p.piece)*s.pieceLength + off, n: n}
	if s.stale[p.piece] > 0 {
		p.held = append(p.held, j)
		s.pool.reserve(s, n)
		return
	}
	s.pool.enqueue(s, j)
}

// giveRest marks a chunk's blocks as given. If some were before, it gives copies of the
// others and says so: the chunk is not to be written.
func (s *Store) giveRest(p *partial, slab []byte, off int64, n int) bool {
	from, to := int(off/BlockSize), int((off+int64(n)+BlockSize-1)/BlockSize)
	some := false
	for b := from; b < to && !some; b++ {
		some = hasBit(p.given, b)
	}
	if some {
		if _, err := s.giveCopies(p, slab, off, from, to); err != nil {
			p.pending++
			s.pool.enqueue(s, job{partial: p, off: int64(p.piece)*s.pieceLength + off, fail: fmt.Errorf("write piece %d: %w", p.piece, err)})
		}
		return true
	}
	for b := from; b < to; b++ {
		setBit(p.given, b)
	}
	return false
}

// giveCopies gives copies of the blocks from one to another that were not given; the
// slab begins at an offset of the piece.
func (s *Store) giveCopies(p *partial, slab []byte, off int64, from, to int) (gave bool, err error) {
	for from < to {
		if hasBit(p.given, from) {
			from++
			continue
		}
		end := from + 1
		for end < to && !hasBit(p.given, end) {
			end++
		}
		at := int64(from) * BlockSize
		n := min(int64(end)*BlockSize, p.size) - at
		b, err := s.pool.slabs.get(n)
		if err != nil {
			return gave, err
		}
		copy(b, slab[at-off:][:n])
		for ; from < end; from++ {
			setBit(p.given, from)
		}
		s.give(p, b, at, int(n))
		gave = true
	}
	return gave, nil
}

func (s *Store) allLanded(p *partial, from, to int) bool {
	for b := from; b < to; b++ {
		if !hasBit(p.landed, b) {
			return false
		}
	}
	return true
}

// land notes what a job has written, and says whether there is a unit more in the files.
// s.mu is held.
func (s *Store) land(p *partial, j *job) (more bool) {
	if !s.v2 || j.skip || p.forgotten {
		return false
	}
	at := j.off - int64(p.piece)*s.pieceLength
	first, end := int(at/BlockSize), int((at+int64(j.n)+BlockSize-1)/BlockSize)
	for b := first; b < end; b++ {
		setBit(p.landed, b)
	}
	u := s.units[p.piece]
	if u == nil || p.done || s.active[p.piece] != p {
		return false
	}
	for unit := first / u.blocks; unit*u.blocks < max(end, first+1); unit++ {
		from, to := s.unitRange(p.piece, u, unit)
		switch {
		case !u.isGood(unit) || hasBit(u.landed, unit) || !s.allLanded(p, from, to):
		case s.journal != nil && !u.noted: // its hashes came while it was written
			s.give(p, nil, int64(from)*BlockSize, 0)
		default:
			setBit(u.landed, unit)
			more = true
		}
	}
	return more
}

// Landed says whether a part of a piece, from one offset to another, is verified and in
// the files, where the next process finds it.
func (s *Store) Landed(piece, from, to uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(piece) >= int64(s.pieces) || from >= to {
		return false
	}
	if s.isDone(piece) {
		return s.active[piece] == nil
	}
	u := s.units[piece]
	if u == nil {
		return false
	}
	size := u.blocks * BlockSize
	to = min(to, uint32(s.leaves(piece))*BlockSize)
	for unit := int(from) / size; unit*size < int(to); unit++ {
		if !hasBit(u.landed, unit) {
			return false
		}
	}
	return true
}

// note is what the journal is to know of a piece's units.
type note struct {
	piece uint32
	units *units
	begun uint32 // see Store.begun
}

// take keeps what the journal does not know yet of the units of a job's piece. s.mu is
// held.
func (w *writer) take(s *Store, j *job) {
	if u := s.units[j.partial.piece]; s.journal != nil && u != nil && !u.noted && !j.skip {
		if n := len(w.notes); n == 0 || w.notes[n-1].units != u {
			w.notes = append(w.notes, note{j.partial.piece, u, s.begun})
		}
	}
}

// tell has the journal know them.
func (w *writer) tell(s *Store) {
	if len(w.notes) == 0 {
		return
	}
	for _, n := range w.notes {
		s.journal.Units(n.piece, n.units.blocks, n.units.sums)
	}
	s.mu.Lock()
	for _, n := range w.notes {
		n.units.noted = n.begun == s.begun // else the journal may have begun anew
	}
	s.mu.Unlock()
	clear(w.notes)
	w.notes = w.notes[:0]
}

// blockOf returns a block of a piece that is partly in memory, partly in its files,
// perhaps in buf; nil if it cannot be read.
func (s *Store) blockOf(p *partial, at int64, buf []byte) []byte {
	b := buf[:min(BlockSize, p.size-at)]
	if chunk := p.chunks[at/s.chunk]; chunk != nil && !hasBit(p.landed, int(at/BlockSize)) {
		return chunk[at%s.chunk:][:len(b)]
	}
	if s.readAt(b, int64(p.piece)*s.pieceLength+at) != nil {
		return nil
	}
	return b
}

// readSum is the version 1 hash of a piece that is partly in memory, partly in its
// files; of one that cannot be read it is wrong.
func (s *Store) readSum(p *partial) []byte {
	h, buf := sha1.New(), make([]byte, BlockSize)
	for at := int64(0); at < p.size; at += BlockSize {
		b := s.blockOf(p, at, buf)
		if b == nil {
			break
		}
		_, _ = h.Write(b)
	}
	return h.Sum(nil)
}
