package disk

import (
	"fmt"
	"path/filepath"
	"sort"

	"github.com/bttnet/btt/internal/lanes"
)

// layout is the geometry of a torrent: where the pieces lie in the files.
type layout struct {
	files       []File
	starts      []int64 // offset of each file
	dir         string
	total       int64
	pieceLength int64
	pieces      int
	chunk       int64 // slab length
	v1, v2      bool  // which hashes there are
	together    bool  // both are made at once
	unitLevel   int   // of the tree, whose nodes are kept
	keepsUnits  bool
	pads        []span
}

// span is a run of bytes of the torrent.
type span struct{ from, to int64 }

func newLayout(dir string, files []File, pieceLength int64) (layout, error) {
	l := layout{dir: dir, files: files, pieceLength: pieceLength, starts: make([]int64, len(files))}
	if pieceLength <= 0 || pieceLength > MaxPieceLength {
		return l, fmt.Errorf("open store: piece length %d is outside 1..%d", pieceLength, MaxPieceLength)
	}
	if len(files) > MaxFiles {
		return l, fmt.Errorf("open store: %d files, at most %d are supported", len(files), MaxFiles)
	}
	for i, f := range files {
		if f.Length < 0 || l.total+f.Length < l.total {
			return l, fmt.Errorf("open store: file %q has an impossible length %d", f.Path, f.Length)
		}
		if !f.Pad && !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return l, fmt.Errorf("open store: path %q leads outside the folder", f.Path)
		}
		l.starts[i] = l.total
		l.total += f.Length
		l.v2 = l.v2 || f.Root != nil
		if n := len(l.pads); f.Pad && f.Length > 0 && n > 0 && l.pads[n-1].to == l.starts[i] {
			l.pads[n-1].to = l.total
		} else if f.Pad && f.Length > 0 {
			l.pads = append(l.pads, span{l.starts[i], l.total})
		}
	}
	l.pieces = int((l.total + pieceLength - 1) / pieceLength)
	l.chunk = BlockSize
	for l.chunk < min(pieceLength, chunkSize) {
		l.chunk *= 2
	}
	return l, nil
}

// checkHashes checks that there are hashes for all pieces: of version 1, or in
// version 2 a root for each file, which must start with a piece.
func (l *layout) checkHashes(v1 []byte) error {
	l.v1 = v1 != nil
	l.together = l.v1 && l.v2 && lanes.FastBoth()
	if l.v1 && len(v1) != l.pieces*hashSize || !l.v1 && !l.v2 && l.pieces > 0 {
		return fmt.Errorf("open store: %d bytes of hashes for %d pieces", len(v1), l.pieces)
	}
	if !l.v2 {
		return nil
	}
	for i, f := range l.files {
		if f.Pad || f.Length == 0 {
			continue
		}
		if f.Root == nil || l.starts[i]%l.pieceLength != 0 || l.pieceLength%BlockSize != 0 {
			return fmt.Errorf("open store: file %q is not laid out as version 2 wants it", f.Path)
		}
		if n := len(f.Layer); n != 0 && n != l.layerSize(i) {
			return fmt.Errorf("open store: %d bytes of piece hashes for file %q", n, f.Path)
		}
	}
	return nil
}

// pieceSize returns the length of a piece; the last may be short.
func (l *layout) pieceSize(piece uint32) int64 {
	return min(l.pieceLength, l.total-int64(piece)*l.pieceLength)
}

func (l *layout) path(i int) string {
	return filepath.Join(l.dir, l.localPath(i))
}

// localPath returns a file's path relative to the folder.
func (l *layout) localPath(i int) string { return filepath.FromSlash(l.files[i].Path) }

// blockSize is what a block holds: in version 2 alone no more than what is of
// its file.
func (l *layout) blockSize(piece, begin uint32) int64 {
	if l.Trimmed() {
		_, data := l.dataOf(piece)
		return min(BlockSize, data-int64(begin))
	}
	return min(BlockSize, l.pieceSize(piece)-int64(begin))
}

// Trimmed says whether blocks end with their file: in version 2 alone.
func (l *layout) Trimmed() bool { return l.v2 && !l.v1 }

// BlockLength is the bytes to ask for at an offset of a piece.
func (l *layout) BlockLength(piece, begin uint32) uint32 {
	return uint32(max(l.blockSize(piece, begin), 0))
}

// padBlocks calls f for each block of a piece that is nothing but padding.
func (l *layout) padBlocks(piece uint32, f func(block int64)) {
	from := int64(piece) * l.pieceLength
	to := from + l.pieceSize(piece)
	for k := sort.Search(len(l.pads), func(k int) bool { return l.pads[k].to > from }); k < len(l.pads) && l.pads[k].from < to; k++ {
		first := (max(l.pads[k].from-from, 0) + BlockSize - 1) / BlockSize
		end := min(l.pads[k].to, to) - from
		for b := first; b*BlockSize < end; b++ {
			if min((b+1)*BlockSize, to-from) <= end {
				f(b)
			}
		}
	}
}

// isPadding says whether a piece holds nothing but padding. Such a piece of
// version 1 is verified like any other, from zeros or from what peers send.
func (l *layout) isPadding(piece uint32) bool {
	from := int64(piece) * l.pieceLength
	k := sort.Search(len(l.pads), func(k int) bool { return l.pads[k].to > from })
	return k < len(l.pads) && l.pads[k].from <= from && l.pads[k].to >= from+l.pieceSize(piece)
}

// ofFile is how many bytes from an offset of a version 2 piece on are its file's.
func (l *layout) ofFile(piece, begin uint32) int64 {
	_, data := l.dataOf(piece)
	return max(data-int64(begin), 0)
}

// layerSize is the length in bytes of a file's piece layer.
func (l *layout) layerSize(file int) int {
	return int((l.files[file].Length + l.pieceLength - 1) / l.pieceLength * leafSize)
}

// dataOf returns the file that a version 2 piece belongs to and the bytes of it
// in the piece; a piece of padding alone has 0.
func (l *layout) dataOf(piece uint32) (file int, data int64) {
	off := int64(piece) * l.pieceLength
	file = l.fileAt(off)
	if l.files[file].Pad {
		return file, 0
	}
	return file, min(l.pieceLength, l.starts[file]+l.files[file].Length-off)
}

// leaves is the number of block hashes of a version 2 piece.
func (l *layout) leaves(piece uint32) int {
	_, data := l.dataOf(piece)
	return int((data + BlockSize - 1) / BlockSize)
}

// FileOf returns the file that a version 2 piece belongs to, and the bytes of it
// in the piece.
func (s *Store) FileOf(piece uint32) (file int, data int64, err error) {
	if int64(piece) >= int64(s.pieces) || !s.v2 {
		return 0, 0, fmt.Errorf("find file of piece %d: %w", piece, ErrBlock)
	}
	file, data = s.dataOf(piece)
	return file, data, nil
}

// SetLayer takes the piece layer of a file that was opened without it. The
// caller has checked it against the file's root. It is kept.
func (s *Store) SetLayer(file int, layer []byte) error {
	if file < 0 || file >= len(s.files) || s.files[file].Root == nil || len(layer) != s.layerSize(file) {
		return fmt.Errorf("set layer of %d bytes for file %d: %w", len(layer), file, ErrBlock)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.layers == nil {
		s.layers = make(map[int][]byte)
	}
	s.layers[file] = layer
	return nil
}
