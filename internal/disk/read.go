package disk

import (
	"fmt"
	"io"
	"sort"
)

// Read fills buf, at most MaxRead bytes, from offset begin of a piece, with one
// read for each file touched. It does not check that the piece is there: ask
// for pieces that are Written. Bytes of pad files are zeros.
func (s *Store) Read(buf []byte, piece, begin uint32) error {
	if len(buf) > MaxRead || int64(piece) >= int64(s.pieces) || int64(begin)+int64(len(buf)) > s.pieceSize(piece) {
		return fmt.Errorf("read %d bytes at %d of piece %d: %w", len(buf), begin, piece, ErrBlock)
	}
	return s.readAt(buf, int64(piece)*s.pieceLength+int64(begin))
}

func (s *Store) readAt(b []byte, off int64) error {
	for i := s.fileAt(off); len(b) > 0; i++ {
		at := off - s.starts[i]
		n := min(s.files[i].Length-at, int64(len(b)))
		if n <= 0 {
			continue
		}
		if s.files[i].Pad {
			clear(b[:n])
		} else if err := s.readFile(i, b[:n], at); err != nil {
			return err
		}
		b, off = b[n:], off+n
	}
	return nil
}

func (s *Store) readFile(i int, b []byte, at int64) error {
	h, err := s.pool.handles.acquire(s, i, false)
	if err != nil {
		return err
	}
	n, err := h.file.ReadAt(b, at)
	s.pool.handles.release(h)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return ioError("read", s.path(i), err)
}

// fileAt returns the last file that starts at or before an offset.
func (l *layout) fileAt(off int64) int {
	return sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > off }) - 1
}
