package disk

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/bttnet/btt/metainfo"
)

const (
	// MaxVerifyWorkers bounds the goroutines of one Verify or HashFiles.
	MaxVerifyWorkers = 64
	// verifyRun is how much one worker takes at a time.
	verifyRun = 4 << 20
	// verifyRead is how much is read before it is hashed: it should still be
	// in the cache then.
	verifyRead = 256 << 10
)

// Verify hashes every piece on disk and calls from for each one, one call at a
// time, in no strict order. A missing or short file makes its pieces bad; any
// other I/O error ends the check and is returned. workers <= 0 means one per
// processor. The goroutines end before Verify returns.
func (s *Store) Verify(ctx context.Context, workers int, from func(piece int, ok bool)) error {
	return s.sweep(ctx, workers, s.pieces, nil, s.judge(from))
}

// VerifyPieces is Verify for some pieces; adjacent ones should lie side by side
// in the list.
func (s *Store) VerifyPieces(ctx context.Context, workers int, pieces []uint32, from func(piece int, ok bool)) error {
	for _, p := range pieces {
		if int64(p) >= int64(s.pieces) {
			return fmt.Errorf("verify piece %d: %w", p, ErrBlock)
		}
	}
	return s.sweep(ctx, workers, len(pieces), pieces, s.judge(from))
}

// judge turns sums into verdicts.
func (s *Store) judge(from func(piece int, ok bool)) func(piece uint32, h *hasher, err error) error {
	var mu sync.Mutex
	return func(piece uint32, h *hasher, err error) error {
		ok, err := s.judgeOne(piece, h, err)
		if err != nil {
			return err
		}
		if from != nil {
			mu.Lock()
			defer mu.Unlock()
			from(int(piece), ok)
		}
		return nil
	}
}

// VerifyPiece hashes one piece on disk. A missing or short file means false.
func (s *Store) VerifyPiece(piece uint32) (bool, error) {
	if int64(piece) >= int64(s.pieces) {
		return false, fmt.Errorf("verify piece %d: %w", piece, ErrBlock)
	}
	h := newHasher(s)
	return s.judgeOne(piece, h, h.piece(piece))
}

// judgeOne books what a hasher found of a piece.
func (s *Store) judgeOne(piece uint32, h *hasher, err error) (bool, error) {
	if err != nil && !absent(err) {
		return false, err
	}
	ok := err == nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		if ok, err = s.verdict(piece, h.sum[:], &h.root); err != nil {
			return false, err
		}
	}
	if ok {
		s.keepUnits(piece, h.scratch)
	}
	s.setDone(piece, ok)
	return ok, nil
}

// Hashes are the hashes of the files of a torrent to be.
type Hashes struct {
	// Pieces are the SHA-1s of the pieces, 20 bytes each; nil if not asked for.
	Pieces []byte
	// Layers are for each file the version 2 hashes of its pieces, 32 bytes each;
	// nil for pad files and empty ones, or if not asked for.
	Layers [][]byte
}

// HashFiles returns the piece hashes of files below dir, of the versions asked
// for, to make a torrent; for version 2 each file must start with a piece. It
// reads like Verify; every file must exist in full length. each, unless nil, is
// called after every piece, from several goroutines.
func HashFiles(ctx context.Context, dir string, files []File, pieceLength int64, workers int, v1, v2 bool, each func()) (Hashes, error) {
	l, err := newLayout(dir, files, pieceLength)
	if err != nil {
		return Hashes{}, err
	}
	l.v1, l.v2 = v1, v2
	pool := NewPool(PoolConfig{Writers: 1})
	defer pool.Close()
	s := &Store{layout: l, pool: pool, tree: &tree{dir: dir}}
	s.open = s.tree.open
	defer s.tree.close()
	defer pool.handles.drop(s)
	var out Hashes
	if v1 {
		out.Pieces = make([]byte, l.pieces*hashSize)
	}
	if v2 {
		out.Layers = make([][]byte, len(files))
		for i, f := range files {
			if !f.Pad && f.Length > 0 {
				out.Layers[i] = make([]byte, l.layerSize(i))
			}
		}
	}
	err = s.sweep(ctx, workers, l.pieces, nil, func(piece uint32, h *hasher, err error) error {
		if err != nil {
			return err
		}
		if v1 {
			copy(out.Pieces[int(piece)*hashSize:], h.sum[:])
		}
		if i, data := l.dataOf(piece); v2 && data > 0 {
			n := (int64(piece)*pieceLength - l.starts[i]) / pieceLength
			copy(out.Layers[i][n*leafSize:], h.root[:])
		}
		if each != nil {
			each()
		}
		return nil
	})
	if err != nil {
		return Hashes{}, fmt.Errorf("hash files: %w", err)
	}
	return out, nil
}

// Layer makes the piece layer of a file of version 2 (32 bytes for each piece) from
// the data on disk. The caller compares it with the file's root.
func (s *Store) Layer(ctx context.Context, file int) ([]byte, error) {
	if file < 0 || file >= len(s.files) || s.files[file].Root == nil {
		return nil, fmt.Errorf("make layer of file %d: %w", file, ErrBlock)
	}
	layer := make([]byte, s.layerSize(file))
	first := uint32(s.starts[file] / s.pieceLength)
	pieces := make([]uint32, len(layer)/leafSize)
	for i := range pieces {
		pieces[i] = first + uint32(i)
	}
	err := s.sweep(ctx, 1, len(pieces), pieces, func(piece uint32, h *hasher, err error) error {
		copy(layer[int(piece-first)*leafSize:], h.root[:])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make layer of file %d: %w", file, err)
	}
	return layer, nil
}

// absent reports whether an error means that data is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF)
}

// sweep hashes count pieces, those of list or all, on several goroutines; each takes runs of adjacent
// pieces, so that the disk sees one sequential reader.
func (s *Store) sweep(ctx context.Context, workers, count int, list []uint32,
	each func(piece uint32, h *hasher, err error) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(workers, MaxVerifyWorkers)
	side := s.laneCount(count, workers)
	step := max(verifyRun/s.pieceLength, 1)
	if side > 1 {
		step = int64(side)
	}
	workers = min(workers, int((int64(count)+step-1)/step))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { // ends with the last piece, an error or ctx
			h := &laneHasher{hasher: newHasher(s)}
			run := make([]uint32, 0, step)
			for failed.Load() == nil {
				first := next.Add(step) - step
				if first >= int64(count) {
					return
				}
				run = run[:0]
				for i := first; i < min(first+step, int64(count)); i++ {
					if list == nil {
						run = append(run, uint32(i))
					} else {
						run = append(run, list[i])
					}
				}
				if err := h.run(ctx, run, side > 1, each); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// hasher is one worker's memory.
type hasher struct {
	store   *Store
	buf     []byte
	state   hash.Hash // nil without version 1
	sum     [hashSize]byte
	leaves  []byte // version 2: the blocks' hashes
	scratch []byte // its units' hashes then, see treeRoot
	root    [leafSize]byte
}

func newHasher(s *Store) *hasher {
	h := &hasher{store: s, buf: make([]byte, min(verifyRead, s.pieceLength))}
	if s.v1 {
		h.state = sha1.New()
	}
	return h
}

// piece hashes a piece on disk: sum, leaves and root are valid until the next
// call.
func (h *hasher) piece(piece uint32) error {
	s := h.store
	if h.state != nil {
		h.state.Reset()
	}
	h.leaves, h.scratch = h.leaves[:0], h.scratch[:0]
	var data int64 // of version 2
	size := s.pieceSize(piece)
	if s.v2 {
		if _, data = s.dataOf(piece); h.state == nil {
			size = data
		}
	}
	start := int64(piece) * s.pieceLength
	for at := int64(0); at < size; {
		b := h.buf[:min(size-at, int64(len(h.buf)))]
		if err := s.readAt(b, start+at); err != nil {
			return err
		}
		if h.state != nil {
			_, _ = h.state.Write(b)
		}
		if at < data {
			h.leaves = metainfo.AppendLeaves(h.leaves, b[:min(int64(len(b)), data-at)])
		}
		at += int64(len(b))
	}
	if h.state != nil {
		h.state.Sum(h.sum[:0])
	}
	if data > 0 {
		h.root = s.treeRoot(piece, h.leaves, &h.scratch)
	}
	return nil
}

// openSums begins to keep the hashes of units, where pieces have some.
func (s *Store) openSums(unit int64) {
	if !s.v2 || unit < BlockSize || unit&(unit-1) != 0 || unit >= s.pieceLength {
		return
	}
	s.keepsUnits, s.unitLevel = true, metainfo.PieceLevel(unit)
	s.sums = s.pool.sums.Layer(uint32(s.pieces), int(s.pieceLength/unit), s.unitLevel, metainfo.MissingNode(s.unitLevel))
}

// keepUnits remembers the hashes of the units of a piece that is right. s.mu is held.
func (s *Store) keepUnits(piece uint32, sums []byte) {
	if s.sums != nil && !s.closed {
		s.sums.Put(piece, sums)
	}
}

// UnitSums returns the hashes of a piece's units (Config.Unit) and their level of the
// tree, as many as a whole piece has; nil if they are not known. They are those of the
// data as it was verified; whoever passes them on sees whether they lead to the piece's
// hash.
func (s *Store) UnitSums(piece uint32) (sums []byte, level int) {
	if s.sums == nil {
		return nil, 0
	}
	return s.sums.Append(nil, piece), s.unitLevel
}

// UnitsChanged says whether there is something for SaveUnits.
func (s *Store) UnitsChanged() bool { return s.sums != nil && s.sums.Changed() }

// SaveUnits returns the hashes of all units that are known, for LoadUnits of a later
// Store; nil if nothing changed since its last call.
func (s *Store) SaveUnits() []byte {
	if s.sums == nil {
		return nil
	}
	return s.sums.Save()
}

// LoadUnits takes what SaveUnits of an earlier Store returned.
func (s *Store) LoadUnits(saved []byte) error {
	if s.sums == nil {
		return nil
	}
	return s.sums.Load(saved)
}
