package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/bttnet/btt/metainfo"
)

// leafSize is the length of a hash of a version 2 tree.
const leafSize = sha256.Size

// maxBlamed bounds the failed pieces whose block hashes are kept.
const maxBlamed = 16

// pieceRoot returns what a version 2 piece must hash to; false while the file's
// layer is not known. s.mu is held.
func (s *Store) pieceRoot(piece uint32) (root [leafSize]byte, known bool) {
	i, data := s.dataOf(piece)
	f := &s.files[i]
	if data == 0 || f.Root == nil {
		return root, false
	}
	if f.Length <= s.pieceLength {
		return *f.Root, true
	}
	layer := f.Layer
	if layer == nil {
		layer = s.layers[i]
	}
	if layer == nil {
		return root, false
	}
	n := (int64(piece)*s.pieceLength - s.starts[i]) / s.pieceLength
	return [leafSize]byte(layer[n*leafSize:]), true
}

// verdict judges a piece by the hashes that the torrent has; sha1 is nil without
// version 1, root counts in version 2. s.mu is held.
func (s *Store) verdict(piece uint32, sha1 []byte, root *[leafSize]byte) (bool, error) {
	v1 := s.v1 && string(sha1) == string(s.hashes[int(piece)*hashSize:][:hashSize])
	if !s.v2 {
		return v1, nil
	}
	want, known := s.pieceRoot(piece)
	v2 := known && want == *root
	switch {
	case !s.v1:
		_, data := s.dataOf(piece)
		return v2 || data == 0, nil
	case known && v1 != v2:
		return false, fmt.Errorf("piece %d: %w", piece, ErrInconsistent)
	}
	return v1, nil
}

// treeRoot is the root over the block hashes of a piece; scratch is overwritten. If
// hashes of units are kept, those of the piece are left in it ([Store.keepUnits]).
func (l *layout) treeRoot(piece uint32, leaves []byte, scratch *[]byte) [leafSize]byte {
	i, _ := l.dataOf(piece)
	length := l.files[i].Length
	nodes, level := append((*scratch)[:0], leaves...), l.unitLevel
	*scratch = nodes[:0]
	if !l.keepsUnits || length <= BlockSize<<level {
		return metainfo.PieceRoot(nodes, length, l.pieceLength)
	}
	nodes = metainfo.Climb(nodes, 0, level)
	n := len(nodes)
	nodes = append(nodes, nodes...)
	*scratch = nodes[:n]
	return metainfo.PieceRootFrom(nodes[n:], level, length, l.pieceLength)
}

// attempt is what is kept of a piece that failed.
type attempt struct {
	leaves  []byte
	authors []uint32
}

// Blame tells of the latest attempt at a piece that failed, and forgets it: the
// block hashes (32 bytes each, as [Store.Leaves] has them) and who sent each
// block ([Store.BlockFrom]; 0 for padding). Both are nil if that is not known;
// a bad block is one whose hash differs once the piece is right.
func (s *Store) Blame(piece uint32) (leaves []byte, authors []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.blamed[piece]
	delete(s.blamed, piece)
	return a.leaves, a.authors
}

// blame keeps the block hashes of a failed attempt, nothing of which is being
// written. s.mu is held but for the hashing; the caller counts as busy.
func (s *Store) blame(p *partial) {
	a := attempt{authors: append([]uint32(nil), p.authors[:(p.size+BlockSize-1)/BlockSize]...)}
	if s.v2 {
		a.leaves = append(a.leaves, p.leaves[:s.leaves(p.piece)*leafSize]...)
		a.authors = a.authors[:len(a.leaves)/leafSize]
	} else if !p.lost {
		s.mu.Unlock()
		a.leaves = s.partialLeaves(p)
		s.mu.Lock()
	}
	if s.blamed == nil || len(s.blamed) >= maxBlamed {
		s.blamed = make(map[uint32]attempt)
	}
	if a.leaves != nil {
		s.blamed[p.piece] = a
	}
}

// partialLeaves hashes the blocks of a piece that is partly in memory, partly
// in its files; nil if it cannot be read.
func (s *Store) partialLeaves(p *partial) (leaves []byte) {
	buf := make([]byte, BlockSize)
	for at := int64(0); at < p.size; at += BlockSize {
		b := s.blockOf(p, at, buf)
		if b == nil {
			return nil
		}
		leaf := sha256.Sum256(b)
		leaves = append(leaves, leaf[:]...)
	}
	return leaves
}

// ErrUnread says that a piece could not be read from its files, ErrChanged that
// somebody else changed them.
var (
	ErrUnread  = errors.New("piece cannot be read")
	ErrChanged = errors.New("the data on disk is not that of the torrent any more (re-check the torrent)")
)

// Leaves reads a piece and returns the hashes of its blocks, 32 bytes each: in
// version 2 those of the tree, or ErrChanged if the piece is wrong. The piece should be
// one that is Written.
func (s *Store) Leaves(piece uint32) ([]byte, error) {
	if int64(piece) >= int64(s.pieces) {
		return nil, fmt.Errorf("hash blocks of piece %d: %w", piece, ErrBlock)
	}
	if s.v2 {
		h := newHasher(s)
		h.state = nil // nobody asked for version 1
		if err := h.piece(piece); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if root, known := s.pieceRoot(piece); known && root != h.root {
			return nil, fmt.Errorf("hash blocks of piece %d: %w", piece, ErrChanged)
		}
		if s.isDone(piece) {
			s.keepUnits(piece, h.scratch)
		}
		return h.leaves, nil
	}
	size := s.pieceSize(piece)
	leaves := s.partialLeaves(&partial{piece: piece, size: size, chunks: make([][]byte, (size+s.chunk-1)/s.chunk)})
	if leaves == nil {
		return nil, fmt.Errorf("hash blocks of piece %d: %w", piece, ErrUnread)
	}
	return leaves, nil
}

// maxUnits bounds the pieces under way whose units are known.
const maxUnits = 256

var (
	// ErrUnits says that a piece cannot be verified in units.
	ErrUnits = errors.New("piece cannot be verified in units")
	// ErrLater says that it can be when its file's layer is here ([Store.SetLayer]).
	ErrLater = errors.New("the piece's hash is not known yet")
)

// units are the parts of a piece that are verified for themselves, by hashes of
// a layer of the file's tree between blocks and pieces (BEP 52).
type units struct {
	blocks int      // of a unit, a power of two
	sums   []byte   // leafSize each
	good   []uint64 // what is verified
	given  []uint64 // and on its way to the files, whatever becomes of the piece
	landed []uint64 // and in them, so that an end of the process loses nothing of it
	noted  bool     // the journal knows the hashes
	early  bool     // blocks may be ready whose unit is not verified
}

// SetUnits has a piece of version 2 verified in units of so many blocks, a power
// of two; sums are the hashes of all of them, which the caller has checked
// against the piece's hash. The blocks of a unit count together, when its hash is
// right ([Store.Sure]); of one that is wrong none does ([BadUnit]). Smaller units
// take the place of larger ones.
func (s *Store) SetUnits(piece uint32, blocks int, sums []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(piece) >= int64(s.pieces) || !s.v2 || blocks <= 0 || blocks&(blocks-1) != 0 || len(sums)/leafSize*blocks < s.leaves(piece) ||
		!s.unitsRoom() {
		return fmt.Errorf("set %d units of %d blocks for piece %d: %w", len(sums)/leafSize, blocks, piece, ErrUnits)
	}
	old := s.units[piece]
	if s.isDone(piece) || old != nil && old.blocks <= blocks {
		return nil
	}
	if s.units == nil {
		s.units = make(map[uint32]*units)
	}
	u := newUnits(blocks, sums)
	u.early = true
	s.units[piece] = u
	if p := s.active[piece]; p != nil && !p.done {
		for unit := 0; unit*blocks < s.leaves(piece); unit++ { // what came before
			if s.whole(p, u, unit) {
				s.settleUnit(p, u, unit)
			}
		}
		s.sink(p)
	}
	return nil
}

// settleUnit judges a unit whose blocks came before its hash was known. Its blocks are
// ready: a wrong one is left to the piece's own hash. s.mu is held.
func (s *Store) settleUnit(p *partial, u *units, unit int) {
	s.unitBlocks(p, u, unit, func(at int, bit uint64) {
		p.ready[at] |= bit
		p.kept[at] &^= bit
	})
	if s.unitRoot(p, u, unit) == [leafSize]byte(u.sums[unit*leafSize:]) {
		u.good[unit/64] |= 1 << (unit % 64)
	}
}

// unitsRoom makes room for the units of another piece: those of a piece of which
// nothing is here can be asked for again. s.mu is held.
func (s *Store) unitsRoom() bool {
	if len(s.units) >= maxUnits {
		maps.DeleteFunc(s.units, func(piece uint32, _ *units) bool { return s.active[piece] == nil })
	}
	return len(s.units) < maxUnits
}

// endUnits forgets what is known of the units of a piece that is verified, or
// that they were right if it was dropped. s.mu is held.
func (s *Store) endUnits(piece uint32) {
	if u := s.units[piece]; u != nil && !s.isDone(piece) {
		clear(u.good)
		clear(u.given)
		clear(u.landed)
		u.early = false
	} else {
		delete(s.units, piece)
	}
}

// HasUnits says whether a piece under way is verified in units of at most so many
// blocks.
func (s *Store) HasUnits(piece uint32, blocks int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.units[piece]
	return u != nil && u.blocks <= blocks
}

// Sure says whether the block at an offset of a piece is verified, with its unit
// or with the piece; from and to are the offsets of what was verified with it. While
// whoever sent the block also sent some of a unit before its hash was known, and that
// unit is not right yet, nothing of it is sure: a bad one fails the whole piece.
func (s *Store) Sure(piece, begin uint32) (from, to uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(piece) >= int64(s.pieces) {
		return 0, 0, false
	}
	if s.isDone(piece) {
		return 0, uint32(s.pieceSize(piece)), true
	}
	u := s.units[piece]
	if u == nil {
		return 0, 0, false
	}
	size := uint32(u.blocks * BlockSize)
	unit := begin / size
	from, to = unit*size, unit*size+size
	p := s.active[piece]
	if !u.isGood(int(unit)) || p == nil || s.owesUnit(p, u, p.authors[begin/BlockSize]) {
		return from, to, false
	}
	waited := func(unit int) bool { return u.isGood(unit) && p.authors[unit*u.blocks] == p.authors[begin/BlockSize] }
	for from > 0 && waited(int(from/size)-1) {
		from -= size
	}
	for waited(int(to / size)) {
		to += size
	}
	return from, to, true
}

// owesUnit says whether an author sent blocks of a unit that are ready though the
// unit is not verified: they came before its hash. s.mu is held.
func (s *Store) owesUnit(p *partial, u *units, author uint32) bool {
	if !u.early {
		return false
	}
	owes, early := false, false
	for b := range s.leaves(p.piece) {
		if p.ready[b/64]&(1<<(b%64)) != 0 && !u.isGood(b/u.blocks) {
			early = true
			owes = owes || p.authors[b] == author
		}
	}
	u.early = early
	return owes
}

// AnySure says whether some unit of a piece that is under way is verified.
func (s *Store) AnySure(piece uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.units[piece]
	return u != nil && slices.ContainsFunc(u.good, func(w uint64) bool { return w != 0 })
}

// UnitAuthors returns who sent the blocks of the unit at an offset last.
func (s *Store) UnitAuthors(piece, begin uint32) []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u := s.active[piece], s.units[piece]
	if p == nil || u == nil {
		return nil
	}
	from := int(begin) / BlockSize / u.blocks * u.blocks
	return append([]uint32(nil), p.authors[from:min(from+u.blocks, s.leaves(piece))]...)
}

func (u *units) isGood(unit int) bool { return hasBit(u.good, unit) }

// judgeUnit verifies a unit whose last block may have come: right, all its blocks are
// ready; wrong, it drops those that were held back, and says false. A wrong one
// of which a part was ready before its hash was known is left to the piece's own
// hash. s.mu is held.
func (s *Store) judgeUnit(p *partial, u *units, unit int) bool {
	if !s.whole(p, u, unit) {
		return true
	}
	right := s.unitRoot(p, u, unit) == [leafSize]byte(u.sums[unit*leafSize:])
	mixed := false
	s.unitBlocks(p, u, unit, func(at int, bit uint64) { mixed = mixed || p.ready[at]&bit != 0 })
	s.unitBlocks(p, u, unit, func(at int, bit uint64) {
		switch {
		case right || mixed:
			p.ready[at] |= bit
		default:
			p.claimed[at] &^= bit
		}
		p.kept[at] &^= bit
	})
	if right {
		u.good[unit/64] |= 1 << (unit % 64)
	}
	return right || mixed
}

// unitBlocks calls f for the word and bit of each block of a unit.
func (s *Store) unitBlocks(p *partial, u *units, unit int, f func(at int, bit uint64)) {
	for b := unit * u.blocks; b < min((unit+1)*u.blocks, s.leaves(p.piece)); b++ {
		f(b/64, 1<<(b%64))
	}
}

// whole says whether all blocks of a unit are here.
func (s *Store) whole(p *partial, u *units, unit int) bool {
	all := true
	s.unitBlocks(p, u, unit, func(at int, bit uint64) { all = all && (p.ready[at]|p.kept[at])&bit != 0 })
	return all
}

// unitRoot is the root over the block hashes of a unit that is whole; blocks
// beyond the file count as zeros. Where a hybrid's blocks are hashed together with
// the piece, what is in memory still may not be hashed yet, and is hashed here.
func (s *Store) unitRoot(p *partial, u *units, unit int) [leafSize]byte {
	from, to := unit*u.blocks, min((unit+1)*u.blocks, s.leaves(p.piece))
	leaves := make([]byte, (to-from)*leafSize)
	for b := from; b < to; b++ {
		leaf := leaves[(b-from)*leafSize:][:leafSize]
		begin := int64(b) * BlockSize
		if chunk := p.chunks[begin/s.chunk]; s.together && !p.earlier && chunk != nil {
			sum := sha256.Sum256(chunk[begin%s.chunk:][:min(BlockSize, s.ofFile(p.piece, uint32(begin)))])
			copy(leaf, sum[:])
		} else {
			copy(leaf, p.leaves[b*leafSize:])
		}
	}
	return metainfo.PieceRoot(leaves, math.MaxInt64, int64(u.blocks)*BlockSize)
}
