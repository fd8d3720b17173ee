// Package disk stores the pieces of torrents and verifies them.
//
// A block is copied once, into a slab outside the Go heap, and hashed by the
// goroutine that received it while it is still in the processor's cache: for
// version 1 a SHA-1 cursor per piece runs over the blocks in order (BEP 3), for
// version 2 each block is a leaf of its file's tree (BEP 52), and a hybrid's
// piece must pass both. Padding (BEP 47) is neither taken nor written. Verified data
// goes to a few writer goroutines that turn adjacent slabs into one write; small
// pieces are gathered for a moment for that. What is paid by units of a piece is written by
// units, and the journal can bring a begun piece into the next process ([Store.Restore]).
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
	"sync"
	"syscall"
	"time"

	"github.com/bttnet/btt/internal/unitsums"
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
	// ErrInconsistent is returned for a piece of a hybrid torrent that one of its
	// two hashes calls right and the other wrong: the torrent itself is faulty.
	ErrInconsistent = errors.New("the hybrid torrent's version 1 and version 2 hashes contradict each other: nobody can complete it")
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
	// Root is the file's pieces root (BEP 52); nil in version 1, of pad files and
	// of empty ones.
	Root *[32]byte
	// Layer holds 32 bytes a piece of a file of more than one piece; nil = not
	// known yet (SetLayer).
	Layer []byte
}

// Config describes one torrent on disk.
type Config struct {
	// Dir is the folder all paths are relative to; it is made when needed.
	Dir string
	// Files in torrent order.
	Files []File
	// PieceLength in bytes, 1 to MaxPieceLength.
	PieceLength int64
	// Hashes holds 20 bytes of SHA-1 a piece; nil = version 2 alone: then each
	// file starts with a piece and has a Root, and blocks end with their file.
	Hashes []byte
	// Pool serves this Store.
	Pool *Pool
	// Preallocate reserves a file's space when it is made (Linux); otherwise
	// files are sparse.
	Preallocate bool
	// Notify gets Written and Failed events, from writer goroutines. It must
	// not call Close. Nil drops events.
	Notify func(Event)
	// Unit is the part of a piece in bytes whose hashes are kept in the Pool's memory
	// ([Store.UnitSums]): a power of two blocks. Torrents without version 2 and pieces no
	// longer than that have none; 0 = none are kept.
	Unit int64
	// Journal is told of all writes; nil = nobody is.
	Journal Journal

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
	// WrittenPart: units of a piece that is not complete ([Store.SetUnits]) are in the
	// file system, where an end of the process loses nothing of them ([Store.Landed]).
	WrittenPart
	// BadUnit: the block completed a unit ([Store.SetUnits]) whose hash is
	// wrong; the unit's blocks are dropped and may come again.
	BadUnit
)

func (r Result) String() string {
	return [...]string{"stored", "duplicate", "verified", "failed", "written", "part written", "bad unit"}[r]
}

// Event reports what became of a verified or partly written piece.
type Event struct {
	Kind  Result // Written, WrittenPart or Failed
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
	pool    *Pool
	notify  func(Event)
	journal Journal // nil = none
	hashes  []byte
	open    opener
	tree    *tree

	mu       sync.Mutex
	cond     sync.Cond // a pending write ended, a block call ended
	active   map[uint32]*partial
	spare    []*partial
	stale    map[uint32]int // writes under way of attempts that were forgotten, by piece
	done     []uint64       // verified pieces
	verified int            // how many they are
	dirty    []uint64       // files written since the last Sync
	failure  error          // of Sync, sticky
	calls    int            // running Block calls
	closed   bool
	layers   map[int][]byte     // of files whose layer came late
	blamed   map[uint32]attempt // block hashes of pieces that failed
	units    map[uint32]*units  // of pieces under way that are verified in parts
	later    map[uint32]Begun   // of an earlier process, which wait for their file's layer
	begun    uint32             // calls of Begun
	starved  bool               // units wait for memory, a timer tries them again
	sums     *unitsums.Layer    // nil = not kept

	queue writeQueue // under pool.mu
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
	if err := l.checkHashes(c.Hashes); err != nil {
		return nil, err
	}
	s := &Store{
		layout: l, pool: c.Pool, notify: c.Notify, journal: c.Journal, hashes: c.Hashes, open: c.open,
		active: make(map[uint32]*partial),
		done:   make([]uint64, (l.pieces+63)/64),
		dirty:  make([]uint64, (len(c.Files)+63)/64),
		tree:   &tree{dir: c.Dir, preallocate: c.Preallocate},
	}
	s.cond.L = &s.mu
	s.openSums(c.Unit)
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

// Press has what small pieces were gathered written now: somebody waits for their
// Written events.
func (s *Store) Press() { s.pool.ripen(s) }

// Rest gives back the descriptor of the Store's folder until it is used again,
// so that there may be more idle torrents than descriptors. No other call may
// run at the same time.
func (s *Store) Rest() { s.tree.rest() }

func (s *Store) setDone(piece uint32, ok bool) {
	if !ok && s.sums != nil {
		s.sums.Forget(piece)
	}
	if s.isDone(piece) == ok {
		return
	}
	if s.done[piece/64] ^= 1 << (piece % 64); ok {
		s.verified++
	} else {
		s.verified--
	}
}

func (s *Store) isDone(piece uint32) bool { return s.done[piece/64]&(1<<(piece%64)) != 0 }

func (s *Store) markDirty(file int) {
	s.mu.Lock()
	s.dirty[file/64] |= 1 << (file % 64)
	s.mu.Unlock()
}
