package disk

import (
	"bytes"
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
func (s *Store) judge(from func(piece int, ok bool)) func(piece uint32, sum []byte, err error) error {
	var mu sync.Mutex
	return func(piece uint32, sum []byte, err error) error {
		ok := err == nil && bytes.Equal(sum, s.hashes[int(piece)*hashSize:][:hashSize])
		if err != nil && !absent(err) {
			return err
		}
		s.SetVerified(piece, ok)
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
	sum, err := h.piece(piece)
	if err != nil && !absent(err) {
		return false, err
	}
	ok := err == nil && bytes.Equal(sum, s.hashes[int(piece)*hashSize:][:hashSize])
	s.SetVerified(piece, ok)
	return ok, nil
}

// HashFiles returns the piece hashes of files below dir, to make a torrent. It
// reads like Verify; every file must exist in full length.
func HashFiles(ctx context.Context, dir string, files []File, pieceLength int64, workers int) ([]byte, error) {
	l, err := newLayout(dir, files, pieceLength)
	if err != nil {
		return nil, err
	}
	pool := NewPool(PoolConfig{Writers: 1})
	defer pool.Close()
	s := &Store{layout: l, pool: pool, tree: &tree{dir: dir}}
	s.open = s.tree.open
	defer s.tree.close()
	defer pool.handles.drop(s)
	hashes := make([]byte, l.pieces*hashSize)
	err = s.sweep(ctx, workers, l.pieces, nil, func(piece uint32, sum []byte, err error) error {
		copy(hashes[int(piece)*hashSize:], sum)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hash files: %w", err)
	}
	return hashes, nil
}

// absent reports whether an error means that data is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF)
}

// sweep hashes count pieces, those of list or all, on several goroutines; each takes runs of adjacent
// pieces, so that the disk sees one sequential reader.
func (s *Store) sweep(ctx context.Context, workers, count int, list []uint32,
	each func(piece uint32, sum []byte, err error) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	step := max(verifyRun/s.pieceLength, 1)
	workers = min(workers, MaxVerifyWorkers, int((int64(count)+step-1)/step))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { // ends with the last piece, an error or ctx
			h := newHasher(s)
			for failed.Load() == nil {
				first := next.Add(step) - step
				for i := first; i < min(first+step, int64(count)); i++ {
					if ctx.Err() != nil {
						return
					}
					piece := uint32(i)
					if list != nil {
						piece = list[i]
					}
					sum, err := h.piece(piece)
					if err := each(piece, sum, err); err != nil {
						failed.CompareAndSwap(nil, &err)
						return
					}
				}
				if first >= int64(count) {
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
	store *Store
	buf   []byte
	state hash.Hash
	sum   [hashSize]byte
}

func newHasher(s *Store) *hasher {
	return &hasher{store: s, state: sha1.New(), buf: make([]byte, min(verifyRead, s.pieceLength))}
}

// piece returns the SHA-1 of a piece on disk, valid until the next call.
func (h *hasher) piece(piece uint32) ([]byte, error) {
	h.state.Reset()
	off := int64(piece) * h.store.pieceLength
	for left := h.store.pieceSize(piece); left > 0; {
		n := min(left, int64(len(h.buf)))
		if err := h.store.readAt(h.buf[:n], off); err != nil {
			return nil, err
		}
		_, _ = h.state.Write(h.buf[:n])
		off, left = off+n, left-n
	}
	return h.state.Sum(h.sum[:0]), nil
}
