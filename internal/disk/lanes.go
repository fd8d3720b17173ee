package disk

import (
	"context"
	"crypto/sha1"

	"github.com/bttnet/btt/internal/lanes"
	"github.com/bttnet/btt/metainfo"
)

const (
	// laneRead is what is read of each of the pieces that are hashed side by side
	// before it is hashed: what all of them take should still be in the cache then.
	laneRead = 32 << 10
	// maxLaneSpan bounds the bytes over which the pieces lie that one worker hashes
	// side by side.
	maxLaneSpan = 256 << 20
	// prefetchRun is what of each of them is fetched from the disk beforehand: enough
	// that a disk that must seek reads for longer than it seeks.
	prefetchRun = 4 << 20
	// prefetchStep is how much the system is asked to fetch at a time; it may ignore
	// what is more.
	prefetchStep = 128 << 10
)

// laneHasher hashes several pieces of equal length side by side (see package lanes).
type laneHasher struct {
	*hasher
	sha1   lanes.SHA1
	buf    []byte // laneRead for each piece
	parts  [][]byte
	sums   [lanes.Width][sha1.Size]byte
	failed [lanes.Width]error
	trees  [lanes.Width][]byte // hybrids: the blocks' hashes
	blocks []byte
}

// laneCount is how many pieces a worker hashes side by side, 1 if that does not pay: in
// version 2 alone the blocks of one piece are.
func (s *Store) laneCount(count, workers int) int {
	if !lanes.Fast() || !s.v1 {
		return 1
	}
	n := min(lanes.Width, int(maxLaneSpan/s.pieceLength), (count+workers-1)/workers)
	if n < lanes.Worth {
		return 1
	}
	return n
}

// run hashes pieces and calls each for every one, in order, with the hasher as
// [hasher.piece] leaves it; it ends with the first error of each, or quietly with ctx.
func (h *laneHasher) run(ctx context.Context, pieces []uint32, side bool, each func(piece uint32, h *hasher, err error) error) error {
	s := h.store
	for _, p := range pieces { // the last piece of the torrent may be shorter
		side = side && s.pieceSize(p) == s.pieceLength
	}
	if side && len(pieces) >= lanes.Worth && ctx.Err() == nil {
		h.sideBySide(pieces)
		for i, p := range pieces {
			h.sum = h.sums[i]
			h.leaves = append(h.leaves[:0], h.trees[i]...)
			if h.scratch = h.scratch[:0]; len(h.leaves) > 0 {
				h.root = s.treeRoot(p, h.leaves, &h.scratch)
			}
			if err := each(p, h.hasher, h.failed[i]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range pieces {
		if ctx.Err() != nil {
			return nil
		}
		if err := each(p, h.hasher, h.piece(p)); err != nil {
			return err
		}
	}
	return nil
}

// sideBySide fills sums, failed and trees. A piece that cannot be read does not stop the
// others.
func (h *laneHasher) sideBySide(pieces []uint32) {
	s := h.store
	step := min(laneRead, s.pieceLength)
	if h.buf == nil {
		h.buf = make([]byte, lanes.Width*step)
	}
	for i := range pieces {
		h.failed[i], h.trees[i] = nil, h.trees[i][:0]
	}
	h.sha1.Reset()
	for at := int64(0); at < s.pieceLength; at += step {
		if at%prefetchRun == 0 && step < s.pieceLength {
			for _, p := range pieces {
				off := int64(p) * s.pieceLength
				s.prefetch(off+at, off+min(at+prefetchRun, s.pieceLength))
			}
		}
		n := min(step, s.pieceLength-at)
		h.parts = h.parts[:0]
		alive := 0
		for i, p := range pieces {
			b := h.buf[int64(i)*n : int64(i+1)*n]
			h.parts = append(h.parts, b)
			if h.failed[i] == nil {
				h.failed[i] = s.readAt(b, int64(p)*s.pieceLength+at)
			}
			if h.failed[i] == nil {
				alive++
			}
		}
		if alive == 0 {
			return
		}
		h.sha1.Write(h.parts)
		if s.v2 {
			h.addLeaves(pieces, at, n)
		}
	}
	h.sha1.Sum(h.sums[:len(pieces)])
}

// addLeaves hashes the blocks in buf, n bytes of each piece from at on.
func (h *laneHasher) addLeaves(pieces []uint32, at, n int64) {
	whole := true
	for _, p := range pieces {
		_, data := h.store.dataOf(p)
		whole = whole && data >= at+n
	}
	if whole { // all in one go
		h.blocks = metainfo.AppendLeaves(h.blocks[:0], h.buf[:int64(len(pieces))*n])
		each := len(h.blocks) / len(pieces)
		for i := range pieces {
			h.trees[i] = append(h.trees[i], h.blocks[i*each:(i+1)*each]...)
		}
		return
	}
	for i, p := range pieces { // padding does not count
		_, data := h.store.dataOf(p)
		h.trees[i] = metainfo.AppendLeaves(h.trees[i], h.parts[i][:min(max(data-at, 0), n)])
	}
}

// prefetcher is what a file may be: one whose system fetches ahead when it is told.
type prefetcher interface {
	Prefetch(off, length int64)
}

// prefetch has the system read bytes of the piece space, as it would not guess them from
// reads that go from piece to piece.
func (s *Store) prefetch(off, end int64) {
	for i := s.fileAt(off); i < len(s.files) && s.starts[i] < end; i++ {
		from, to := max(off-s.starts[i], 0), min(end-s.starts[i], s.files[i].Length)
		if s.files[i].Pad || from >= to {
			continue
		}
		h, err := s.pool.handles.acquire(s, i, false)
		if err != nil {
			continue // reading it will tell
		}
		if f, ok := h.file.(prefetcher); ok {
			f.Prefetch(from, to-from)
		}
		s.pool.handles.release(h)
	}
}
