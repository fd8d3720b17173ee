package disk

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"math/bits"

	"github.com/bttnet/btt/internal/lanes"
)

// partial is a piece being received or written. Its fields are under Store.mu;
// the bytes of a block belong to the caller that claimed it until it is ready,
// those before the cursor and not yet queued to the hashing caller.
type partial struct {
	piece     uint32
	size      int64
	chunks    [][]byte // nil = not there yet, or handed to the writers
	claimed   []uint64 // blocks
	ready     []uint64
	kept      []uint64   // wait for the rest of their unit; see Store.SetUnits
	given     []uint64   // version 2: handed to the writers
	landed    []uint64   // and in the files by now
	earlier   bool       // some of it is of an earlier run and in the files alone: see Store.Restore
	cursor    int64      // bytes hashed
	hash      hash.Hash  // version 1
	both      lanes.Both // in its place where the store hashes together
	sum       [hashSize]byte
	leaves    []byte   // version 2: the hash of each block that is ready
	authors   []uint32 // who sent each block that is ready
	scratch   []byte   // see treeRoot
	hashing   bool
	done      bool  // verified or given up: no more blocks
	failed    bool  // hash is wrong, or forgotten
	forgotten bool  // out of the table: what is left of it is not to be written
	held      []job // wait for a write of an earlier attempt that is under way
	lost      bool  // a write failed
	err       error
	busy      int // Block calls inside
	pending   int // chunks queued or being written
}

// spareLimit bounds the partials kept for reuse.
const spareLimit = 256

// Block takes one whole block (16 KiB, shorter only at the end of a piece) at
// offset begin of a piece; data is not kept. It waits while the disk is behind
// by more than the Pool's budget. Verified and Failed are returned to the call
// that completed the hash, which need not be the last one.
func (s *Store) Block(piece, begin uint32, data []byte) (Result, error) {
	return s.BlockFrom(0, piece, begin, data)
}

// BlockFrom is Block with a note of who sent it, which [Store.Blame] returns
// when the piece fails.
func (s *Store) BlockFrom(author, piece, begin uint32, data []byte) (Result, error) {
	if int64(piece) >= int64(s.pieces) || begin%BlockSize != 0 || int64(begin) >= s.pieceSize(piece) ||
		int64(len(data)) != s.blockSize(piece, begin) {
		return Failed, fmt.Errorf("store block of %d bytes at %d of piece %d: %w", len(data), begin, piece, ErrBlock)
	}
	if s.pool.crowded(s) {
		s.pool.wait(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Failed, ErrClosed
	}
	if s.isDone(piece) {
		return Duplicate, nil
	}
	p := s.active[piece]
	if p == nil {
		p = s.newPartial(piece)
	}
	block := begin / BlockSize
	if p.done || p.claimed[block/64]&(1<<(block%64)) != 0 {
		return Duplicate, nil
	}
	chunk := int64(begin) / s.chunk
	if err := s.slab(p, chunk); err != nil {
		return Failed, err
	}
	dst := p.chunks[chunk][int64(begin)-chunk*s.chunk:]
	p.claimed[block/64] |= 1 << (block % 64)
	p.authors[block] = author
	p.busy++
	s.calls++
	s.mu.Unlock()
	copy(dst, data)
	if s.v2 && (!s.together || p.earlier) {
		leaf := sha256.Sum256(data[:min(int64(len(data)), s.ofFile(piece, begin))])
		copy(p.leaves[block*leafSize:], leaf[:])
	}
	s.mu.Lock()
	result, err := Stored, error(nil)
	if u := s.units[piece]; u == nil || p.done {
		p.ready[block/64] |= 1 << (block % 64)
	} else if p.kept[block/64] |= 1 << (block % 64); !s.judgeUnit(p, u, int(block)/u.blocks) {
		result = BadUnit
	}
	if result != BadUnit {
		if result, err = s.advance(p); result == Stored {
			s.sink(p)
		}
	}
	p.busy--
	s.calls--
	if p.err == nil {
		s.settle(p)
	}
	s.cond.Broadcast()
	return result, err
}

// slab gives a chunk its memory, with zeros where padding lies.
func (s *Store) slab(p *partial, chunk int64) error {
	if p.chunks[chunk] != nil {
		return nil
	}
	b, err := s.pool.slabs.get(min(s.chunk, p.size-chunk*s.chunk))
	if err != nil {
		return err
	}
	p.chunks[chunk] = b
	if len(s.pads) > 0 && s.v1 {
		s.padBlocks(p.piece, func(block int64) {
			if at := block*BlockSize - chunk*s.chunk; at >= 0 && at < s.chunk {
				clear(b[at:min(at+BlockSize, int64(len(b)))])
			}
		})
	}
	return nil
}

// Forget drops what came of a piece that is not complete, so that all its
// blocks are taken anew, from the next call of Block on. It waits for nothing:
// what waits to be written is dropped, and a write that is under way, however
// long it takes, ends before the first one of the next attempt begins.
func (s *Store) Forget(piece uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.active[piece]
	if p == nil || p.done {
		return
	}
	p.done, p.failed, p.forgotten = true, true, true
	delete(s.active, piece)
	s.endUnits(piece)
	p.pending -= s.pool.revoke(s, p)
	if p.pending > 0 {
		if s.stale == nil {
			s.stale = make(map[uint32]int)
		}
		s.stale[piece] += p.pending
	}
	s.cond.Broadcast() // nobody waits for what was revoked
	s.settle(p)
}

// Holds appends, for each block of a piece that is not written, who sent the one that
// is here ([Store.BlockFrom]); 0 where it would be taken.
func (s *Store) Holds(dst []uint32, piece uint32) []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.active[piece]
	if p == nil || p.failed {
		return dst
	}
	for b := range uint32((p.size + BlockSize - 1) / BlockSize) {
		who := uint32(0)
		if p.claimed[b/64]&(1<<(b%64)) != 0 {
			who = p.authors[b]
		}
		dst = append(dst, who)
	}
	return dst
}

// Author says whether a block is here, and who sent it; 0 = that is not known any
// more, for its piece is complete.
func (s *Store) Author(piece, begin uint32) (author uint32, here bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(piece) >= int64(s.pieces) || int64(begin) >= s.pieceSize(piece) {
		return 0, false
	}
	block := begin / BlockSize
	if p := s.active[piece]; p != nil {
		if p.failed || p.claimed[block/64]&(1<<(block%64)) == 0 {
			return 0, false
		}
		return p.authors[block], true
	}
	return 0, s.isDone(piece)
}

// newPartial enters a piece into the active table.
func (s *Store) newPartial(piece uint32) *partial {
	var p *partial
	if n := len(s.spare); n > 0 {
		p, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		blocks := (min(s.pieceLength, s.total) + BlockSize - 1) / BlockSize
		p = &partial{
			chunks:  make([][]byte, (min(s.pieceLength, s.total)+s.chunk-1)/s.chunk),
			claimed: make([]uint64, (blocks+63)/64),
			ready:   make([]uint64, (blocks+63)/64),
			kept:    make([]uint64, (blocks+63)/64),
			authors: make([]uint32, blocks),
		}
		if s.v1 && !s.together {
			p.hash = sha1.New()
		}
		if s.v2 {
			p.leaves = make([]byte, blocks*leafSize)
			p.given, p.landed = make([]uint64, (blocks+63)/64), make([]uint64, (blocks+63)/64)
		}
	}
	clear(p.claimed)
	clear(p.ready)
	clear(p.kept)
	clear(p.given)
	clear(p.landed)
	clear(p.authors)
	switch {
	case s.together:
		p.both.Reset()
	case s.v1:
		p.hash.Reset()
	}
	if len(s.pads) > 0 && !s.isPadding(piece) {
		s.padBlocks(piece, func(block int64) {
			p.claimed[block/64] |= 1 << (block % 64)
			p.ready[block/64] |= 1 << (block % 64)
		})
	}
	p.piece, p.size, p.cursor = piece, s.pieceSize(piece), 0
	p.hashing, p.done, p.failed, p.forgotten, p.lost, p.earlier, p.err = false, false, false, false, false, false, nil
	s.active[piece] = p
	return p
}

// zeros stands for padding in a chunk that has no memory.
var zeros [BlockSize]byte

// run returns the bytes ready at the cursor, up to the end of the chunk; of
// padding, a block at a time.
func (s *Store) run(p *partial) []byte {
	if p.cursor >= p.size {
		return nil
	}
	chunk := p.cursor / s.chunk
	end := min((chunk+1)*s.chunk, p.size)
	to := p.cursor
	for block := to / BlockSize; to < end && p.ready[block/64]&(1<<(block%64)) != 0; {
		n := min(int64(bits.TrailingZeros64(^(p.ready[block/64] >> (block % 64)))), 64-block%64)
		block += n
		to = min(block*BlockSize, end)
	}
	if to == p.cursor {
		return nil
	}
	if p.chunks[chunk] == nil {
		return zeros[:min(to-p.cursor, BlockSize)]
	}
	return p.chunks[chunk][p.cursor-chunk*s.chunk : to-chunk*s.chunk]
}

// advance hashes what is ready at the cursor unless another call does it, and
// hands finished chunks to the writers. s.mu is held but for the hashing.
func (s *Store) advance(p *partial) (Result, error) {
	if p.hashing || p.done {
		return Stored, nil
	}
	p.hashing = true
	for run := s.run(p); run != nil && !p.done; run = s.run(p) {
		if s.v1 && !p.earlier {
			s.mu.Unlock()
			s.hashRun(p, run)
			s.mu.Lock()
		}
		p.cursor += int64(len(run))
		if p.cursor%s.chunk == 0 && p.cursor < p.size && !p.done && p.chunks[p.cursor/s.chunk-1] != nil {
			s.enqueue(p, p.cursor/s.chunk-1) // a prefix of a large piece
		}
	}
	if p.done || p.cursor < p.size {
		p.hashing = false
		return Stored, nil
	}
	var sum []byte
	var root [leafSize]byte
	for p.earlier && s.v1 && p.pending > 0 && !p.done { // it is hashed from the files
		s.cond.Wait()
	}
	s.mu.Unlock()
	switch {
	case s.v1 && p.earlier:
		sum = s.readSum(p)
	case s.together:
		p.sum, _ = p.both.Sum()
		sum = p.sum[:]
	case s.v1:
		sum = p.hash.Sum(p.sum[:0])
	}
	if s.v2 {
		root = s.treeRoot(p.piece, p.leaves[:s.leaves(p.piece)*leafSize], &p.scratch)
	}
	s.mu.Lock()
	p.hashing = false
	if p.done { // given up meanwhile
		return Stored, nil
	}
	p.done = true
	ok, err := s.verdict(p.piece, sum, &root)
	if !ok {
		p.failed = true
		for p.pending > 0 { // a late write must not meet the next attempt
			s.cond.Wait()
		}
		s.blame(p)
		return Failed, err
	}
	s.setDone(p.piece, true)
	s.keepUnits(p.piece, p.scratch)
	s.enqueue(p, (p.size-1)/s.chunk)
	return Verified, nil
}

// hashRun hashes what lies at the cursor; of a hybrid each block for itself as well, where
// that costs little more.
func (s *Store) hashRun(p *partial, run []byte) {
	if !s.together {
		_, _ = p.hash.Write(run)
		return
	}
	for at := p.cursor; len(run) > 0; {
		b := run[:min(BlockSize, len(run))]
		leaf := p.both.Block(b)
		data := s.ofFile(p.piece, uint32(at))
		if 0 < data && data < int64(len(b)) { // padding follows
			leaf = sha256.Sum256(b[:data])
		}
		if data > 0 {
			copy(p.leaves[at/BlockSize*leafSize:], leaf[:])
		}
		at, run = at+int64(len(b)), run[len(b):]
	}
}

// settle ends a piece that nobody uses any more. s.mu is held. A piece with an
// I/O error is settled by the writer that tells it.
func (s *Store) settle(p *partial) {
	if !p.done || p.busy > 0 || p.pending > 0 || !p.forgotten && s.active[p.piece] != p {
		return
	}
	s.freeChunks(p)
	if !p.forgotten {
		delete(s.active, p.piece)
		s.endUnits(p.piece)
	}
	if len(s.spare) < spareLimit {
		s.spare = append(s.spare, p)
	}
}

func (s *Store) freeChunks(p *partial) {
	for i, c := range p.chunks {
		if c != nil {
			s.pool.slabs.put(c)
			p.chunks[i] = nil
		}
	}
}
