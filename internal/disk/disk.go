// Package disk stores the pieces of torrents and verifies them.
//
// A block is copied once, into a slab outside the Go heap, and hashed by the
// goroutine that received it while it is still in the processor's cache: a
// SHA-1 cursor per piece runs over the blocks in order (BEP 3). Verified data
// goes to a few writer goroutines that turn adjacent slabs into one write.
// Nothing is read back to be verified, and a slow disk shows only as
// back-pressure in Store.Block.
//
// Callers: internal/swarm and internal/peer, from any goroutine. A Pool is
// shared by a session; it owns its writer goroutines, which end in Pool.Close.
// All locks are leaf locks, none is held during I/O or hashing.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// BlockSize is the unit of Block in bytes.
	BlockSize = 16384
	// MaxRead is the longest Read in bytes.
	MaxRead = 256 << 10
	// MaxPieceLength is the longest piece in bytes.
	MaxPieceLength = 1 << 30
	// MaxFiles is the largest number of files of a Store.
	MaxFiles = 1 << 21

	// chunkSize is the longest slab and the longest run written at once.
	chunkSize = 1 << 20
	hashSize  = 20
)

var (
	// ErrClosed is returned by calls on a closed Store or Pool.
	ErrClosed = errors.New("store is closed")
	// ErrBlock is returned for a block or range outside the torrent's geometry.
	ErrBlock = errors.New("block outside the torrent")
)

// Error is an I/O error with the file it happened to.
type Error struct {
	Op   string // what was tried, for instance "write"
	Path string
	Err  error
}

// Error names the file, the cause and, where there is one, the next step.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err)
	switch {
	case errors.Is(e.Err, syscall.ENOSPC), errors.Is(e.Err, syscall.EDQUOT):
		text += " (free some space, then resume)"
	case errors.Is(e.Err, fs.ErrPermission), errors.Is(e.Err, syscall.EROFS):
		text += " (allow writing to the folder or choose another one, then resume)"
	case errors.Is(e.Err, syscall.EIO):
		text += " (check the disk, then re-check the torrent)"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func ioError(op, path string, err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &Error{Op: op, Path: path, Err: err}
}

// File is one file of a torrent, in torrent order.
type File struct {
	// Path is relative to Config.Dir, with slashes, already made safe by metainfo.
	Path string
	// Length in bytes.
	Length int64
	// Pad marks a pad file (BEP 47): zeros that are hashed but never stored.
	Pad bool
}

// Config describes one torrent on disk.
type Config struct {
	// Dir is the folder all paths are relative to; it is made when needed.
	Dir string
	// Files in torrent order.
	Files []File
	// PieceLength in bytes, 1 to MaxPieceLength.
	PieceLength int64
	// Hashes holds 20 bytes of SHA-1 a piece.
	Hashes []byte
	// Pool serves this Store.
	Pool *Pool
	// Preallocate reserves a file's space when it is made (Linux); otherwise
	// files are sparse.
	Preallocate bool
	// Notify gets Written and Failed events, from writer goroutines. It must
	// not call Close. Nil drops events.
	Notify func(Event)

	open opener // replaced by tests
}

// Result says what became of a block, or of a piece in an Event.
type Result uint8

const (
	// Stored: the block is kept, the piece is not complete.
	Stored Result = iota
	// Duplicate: the block was there before, or its piece is verified.
	Duplicate
	// Verified: the piece is complete and its hash is right; Written follows.
	Verified
	// Failed: the piece's hash is wrong and its data dropped; as an event: the
	// piece could not be written and is dropped.
	Failed
	// Written: the piece is in the file system (durable after Sync).
	Written
)

func (r Result) String() string {
	return [...]string{"stored", "duplicate", "verified", "failed", "written"}[r]
}

// Event reports what became of a verified or partly written piece.
type Event struct {
	Kind  Result // Written or Failed
	Piece uint32
	Err   error // for Failed: an *Error
}

// FileStat is what Stat knows about one file.
type FileStat struct {
	Exists  bool
	Size    int64
	ModTime time.Time
}

// Store is one torrent's data. All methods may be called concurrently.
type Store struct {
	layout
	pool   *Pool
	notify func(Event)
	hashes []byte
	open   opener
	tree   *tree

	mu      sync.Mutex
	cond    sync.Cond // a pending write ended, a block call ended
	active  map[uint32]*partial
	spare   []*partial
	done    []uint64 // verified pieces
	dirty   []uint64 // files written since the last Sync
	failure error    // of Sync, sticky
	calls   int      // running Block calls
	closed  bool

	queue writeQueue // under pool.mu
}

// layout is the geometry of a torrent: where the pieces lie in the files.
type layout struct {
	files       []File
	starts      []int64 // offset of each file
	dir         string
	total       int64
	pieceLength int64
	pieces      int
	chunk       int64 // slab length
}

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
	}
	l.pieces = int((l.total + pieceLength - 1) / pieceLength)
	l.chunk = BlockSize
	for l.chunk < min(pieceLength, chunkSize) {
		l.chunk *= 2
	}
	return l, nil
}

// Open returns the Store of a torrent. It creates nothing but zero-length
// files; the others appear, sparse and in full length, with their first write.
func Open(c Config) (*Store, error) {
	l, err := newLayout(c.Dir, c.Files, c.PieceLength)
	if err != nil {
		return nil, err
	}
	if c.Pool == nil {
		return nil, errors.New("open store: no pool")
	}
	if len(c.Hashes) != l.pieces*hashSize {
		return nil, fmt.Errorf("open store: %d bytes of hashes for %d pieces", len(c.Hashes), l.pieces)
	}
	s := &Store{
		layout: l, pool: c.Pool, notify: c.Notify, hashes: c.Hashes, open: c.open,
		active: make(map[uint32]*partial),
		done:   make([]uint64, (l.pieces+63)/64),
		dirty:  make([]uint64, (len(c.Files)+63)/64),
		tree:   &tree{dir: c.Dir, preallocate: c.Preallocate},
	}
	s.cond.L = &s.mu
	if s.notify == nil {
		s.notify = func(Event) {}
	}
	if s.open == nil {
		s.open = s.tree.open
	}
	for i, f := range c.Files {
		if f.Length > 0 || f.Pad {
			continue
		}
		if err := s.pool.handles.use(s, i, true, func(file) error { return nil }); err != nil {
			s.Close()
			return nil, err
		}
		s.markDirty(i)
	}
	return s, nil
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

// SetVerified tells the Store that a piece is on disk (from resume data), so
// that its blocks are duplicates; Verify and VerifyPiece do it themselves.
func (s *Store) SetVerified(piece uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(piece) < s.pieces {
		s.setDone(piece, ok)
	}
}

// Verified reports whether a piece is verified; it may wait to be written.
func (s *Store) Verified(piece uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(piece) < s.pieces && s.isDone(piece)
}

// Written appends the bitfield (BEP 3 order) of the verified pieces that are in
// the file system. A later Sync makes exactly these durable, for resume data.
func (s *Store) Written(dst []byte) []byte {
	from := len(dst)
	dst = append(dst, make([]byte, (s.pieces+7)/8)...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range uint32(s.pieces) {
		if s.isDone(i) {
			dst[from+int(i/8)] |= 0x80 >> (i % 8)
		}
	}
	for i := range s.active {
		dst[from+int(i/8)] &^= 0x80 >> (i % 8)
	}
	return dst
}

// Flush waits until everything queued so far is written, for instance before
// the last Sync. It must not be called by Notify.
func (s *Store) Flush() { s.pool.drain(s) }

func (s *Store) setDone(piece uint32, ok bool) {
	if ok {
		s.done[piece/64] |= 1 << (piece % 64)
	} else {
		s.done[piece/64] &^= 1 << (piece % 64)
	}
}

func (s *Store) isDone(piece uint32) bool { return s.done[piece/64]&(1<<(piece%64)) != 0 }

func (s *Store) markDirty(file int) {
	s.mu.Lock()
	s.dirty[file/64] |= 1 << (file % 64)
	s.mu.Unlock()
}

// Stat returns size and modification time of every file, for resume data. Pad
// files count as present.
func (s *Store) Stat() ([]FileStat, error) {
	out := make([]FileStat, len(s.files))
	for i, f := range s.files {
		if f.Pad {
			out[i] = FileStat{Exists: true, Size: f.Length}
			continue
		}
		info, err := s.tree.stat(s.localPath(i))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, ioError("stat", s.path(i), err)
		default:
			out[i] = FileStat{Exists: true, Size: info.Size(), ModTime: info.ModTime()}
		}
	}
	return out, nil
}

// Sync makes every piece durable whose Written event came before the call: it
// flushes the files written since the last Sync, and new directory entries.
// After an error the Store's data on disk is uncertain (the kernel may have
// dropped pages), so every later Sync returns the same error.
func (s *Store) Sync() error {
	s.mu.Lock()
	if s.failure != nil {
		s.mu.Unlock()
		return s.failure
	}
	var files []int
	for i := range s.files {
		if s.dirty[i/64]&(1<<(i%64)) != 0 {
			files = append(files, i)
		}
	}
	clear(s.dirty)
	s.mu.Unlock()
	var err error
	for _, i := range files {
		if err = s.pool.handles.use(s, i, syncForWriting, file.Sync); err != nil {
			err = ioError("sync", s.path(i), err)
			break
		}
	}
	if err == nil {
		err = s.tree.sync()
	}
	if err != nil {
		s.mu.Lock()
		s.failure = err
		s.mu.Unlock()
	}
	return err
}

// Close waits for queued writes, drops incomplete pieces and closes files. It
// does not Sync. Blocked Block calls return ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	return errors.Join(s.shut(), s.tree.close())
}

// shut ends all use of the files; s.mu is held and released.
func (s *Store) shut() error {
	s.closed = true
	s.mu.Unlock()
	s.pool.leave(s)
	s.mu.Lock()
	for s.calls > 0 {
		s.cond.Wait()
	}
	for _, p := range s.active {
		s.freeChunks(p)
	}
	s.active, s.spare = nil, nil
	s.mu.Unlock()
	return s.pool.handles.drop(s)
}

// Remove closes the Store and deletes its files and the folders that this
// leaves empty. Dir itself stays. On a closed Store it does nothing but return
// ErrClosed.
func (s *Store) Remove() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	err := s.shut()
	for i, f := range s.files {
		if f.Pad {
			continue
		}
		if e := s.tree.remove(s.localPath(i)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, ioError("remove", s.path(i), e))
		}
	}
	return errors.Join(err, s.tree.close())
}
