// Package blocktree keeps the Merkle tree over a ledger's blocks on disk, from
// which heads and proofs are made (A31; the tree itself is package ledger/books).
//
// The tree follows from the block log and may always be built again, so nothing
// waits for it to be on the disk: Append writes behind the log, and from time to
// time a mark is made durable that says how far the files are good. After a crash
// Open goes back to the mark and the owner appends what the log has beyond it.
// Since a block is appended only when it is durable in the log, a log that ends
// before the mark has lost blocks.
//
// internal/ledgerd owns a Tree: its writer appends, its clients read at the same
// time. The package starts no goroutine; one leaf lock guards what is not in the
// files yet.
package blocktree

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger/books"
)

// Files of a tree.
const (
	hashesFile  = "tree.hashes"  // stored hashes of tlog, 32 bytes each
	offsetsFile = "tree.offsets" // where each block's record starts in the log, 8 bytes each
	markFile    = "tree.mark"    // how many blocks of the two are known to be good, and their root
)

const (
	hashSize   = tlog.HashSize
	offsetSize = 8
	markSize   = 8 + hashSize + 4
	// flushEvery blocks the files are written, markEvery blocks they are synced.
	flushEvery = 256
	markEvery  = 1 << 14
	// MaxHashes is the most hashes that one call reads: proofs need fewer than 200.
	MaxHashes = 1024
)

// ErrDamaged means files that contradict each other; build the tree again.
var ErrDamaged = errors.New("the tree over the blocks is damaged")

// Tree is a tree on disk. One goroutine appends; all other methods are safe for
// concurrent use with it.
type Tree struct {
	dir             string
	hashes, offsets *os.File

	mu      sync.RWMutex
	size    uint64       // blocks
	peaks   []books.Hash // roots of the full subtrees that make up size blocks, left to right
	flushed uint64       // blocks that are in the files
	tail    []books.Hash // stored hashes of the blocks above flushed
	starts  []int64      // their offsets
	marked  uint64       // blocks in the mark
}

// Open opens the tree of a directory, or makes an empty one. It goes back to the
// mark; files that do not fit it, and a missing mark, give an empty tree. Size
// says how many blocks there are.
func Open(dir string) (*Tree, error) {
	t := &Tree{dir: dir}
	var err error
	if t.hashes, err = os.OpenFile(filepath.Join(dir, hashesFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	if t.offsets, err = os.OpenFile(filepath.Join(dir, offsetsFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		t.hashes.Close()
		return nil, fmt.Errorf("open tree: %w", err)
	}
	if err = t.load(); errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, ErrDamaged) {
		err = t.Reset()
	}
	if err != nil {
		t.hashes.Close()
		t.offsets.Close()
		return nil, fmt.Errorf("open tree: %w", err)
	}
	return t, nil
}

// load goes back to the mark.
func (t *Tree) load() error {
	size, root, err := readMark(t.dir)
	if err != nil {
		return err
	}
	t.size, t.flushed, t.marked = size, size, size
	var indexes []int64
	for rest, from := size, uint64(0); rest > 0; {
		level := bits.Len64(rest) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, int64(from>>level)))
		rest, from = rest&^(1<<level), from+1<<level
	}
	if t.peaks, err = t.read(indexes); err != nil {
		return err
	}
	if t.root() != root {
		return ErrDamaged
	}
	return t.cut()
}

// root folds the peaks.
func (t *Tree) root() books.Hash {
	if len(t.peaks) == 0 {
		return sha256.Sum256(nil) // of an empty tree, RFC 6962
	}
	last := len(t.peaks) - 1
	h := t.peaks[last]
	for i := last - 1; i >= 0; i-- {
		h = tlog.NodeHash(t.peaks[i], h)
	}
	return h
}

// Reset empties the tree, to build it again.
func (t *Tree) Reset() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := os.Remove(filepath.Join(t.dir, markFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reset tree: %w", err)
	}
	t.size, t.flushed, t.marked, t.peaks, t.tail, t.starts = 0, 0, 0, nil, nil, nil
	return t.cut()
}

// cut removes what the files have beyond the flushed blocks. The lock is held or
// not needed yet.
func (t *Tree) cut() error {
	err := t.hashes.Truncate(tlog.StoredHashCount(int64(t.flushed)) * hashSize)
	return errors.Join(err, t.offsets.Truncate(int64(t.flushed)*offsetSize))
}

// Append adds the next block: its leaf, and where its record starts in the log.
func (t *Tree) Append(leaf []byte, offset int64) error {
	t.extend(leaf, offset)
	if t.size-t.flushed < flushEvery {
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	if t.size-t.marked >= markEvery {
		return t.Mark()
	}
	return nil
}

// extend stores the hashes that a leaf completes, in the order of tlog.
func (t *Tree) extend(leaf []byte, offset int64) {
	h := tlog.RecordHash(leaf)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tail, t.starts = append(t.tail, h), append(t.starts, offset)
	for range bits.TrailingZeros64(t.size + 1) {
		last := len(t.peaks) - 1
		h = tlog.NodeHash(t.peaks[last], h)
		t.tail, t.peaks = append(t.tail, h), t.peaks[:last]
	}
	t.size, t.peaks = t.size+1, append(t.peaks, h)
}

// flush writes the tail into the files. Only the appending goroutine calls it.
func (t *Tree) flush() error {
	hashes := make([]byte, 0, len(t.tail)*hashSize)
	for i := range t.tail {
		hashes = append(hashes, t.tail[i][:]...)
	}
	offsets := make([]byte, 0, len(t.starts)*offsetSize)
	for _, o := range t.starts {
		offsets = binary.BigEndian.AppendUint64(offsets, uint64(o))
	}
	if _, err := t.hashes.WriteAt(hashes, tlog.StoredHashCount(int64(t.flushed))*hashSize); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	if _, err := t.offsets.WriteAt(offsets, int64(t.flushed)*offsetSize); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flushed, t.tail, t.starts = t.size, t.tail[:0], t.starts[:0]
	return nil
}

// Mark makes all blocks durable, so that the next Open starts from here. Only the
// appending goroutine may call it.
func (t *Tree) Mark() error {
	if err := t.flush(); err != nil {
		return err
	}
	if t.size == t.marked {
		return nil
	}
	if err := errors.Join(t.hashes.Sync(), t.offsets.Sync()); err != nil {
		return fmt.Errorf("sync tree: %w", err)
	}
	mark := binary.BigEndian.AppendUint64(nil, t.size)
	root := t.root()
	mark = append(mark, root[:]...)
	mark = binary.BigEndian.AppendUint32(mark, crc32.ChecksumIEEE(mark))
	if err := (durable.Disk{}).Write(t.dir, markFile, mark); err != nil {
		return fmt.Errorf("mark tree: %w", err)
	}
	t.marked = t.size
	return nil
}

// readMark returns what Mark wrote; ErrDamaged when it is not whole.
func readMark(dir string) (size uint64, root books.Hash, err error) {
	mark, err := os.ReadFile(filepath.Join(dir, markFile))
	if err != nil {
		return 0, root, err
	}
	return parseMark(mark)
}

func parseMark(mark []byte) (size uint64, root books.Hash, err error) {
	if len(mark) != markSize || crc32.ChecksumIEEE(mark[:markSize-4]) != binary.BigEndian.Uint32(mark[markSize-4:]) {
		return 0, root, ErrDamaged
	}
	size = binary.BigEndian.Uint64(mark)
	if size > books.MaxSize {
		return 0, root, ErrDamaged
	}
	return size, books.Hash(mark[8 : 8+hashSize]), nil
}

// Close marks the tree and closes its files. Only the appending goroutine may
// call it, when no reader is left.
func (t *Tree) Close() error {
	return errors.Join(t.Mark(), t.hashes.Close(), t.offsets.Close())
}

// Head returns size and root.
func (t *Tree) Head() books.Head {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return books.Head{Size: t.size, Root: t.root()}
}

// Offset returns where the record of the block at a height from 1 to Size starts.
func (t *Tree) Offset(height uint64) (int64, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.offset(height)
}

func (t *Tree) offset(height uint64) (int64, error) {
	if height == 0 || height > t.size {
		return 0, fmt.Errorf("find block %d of %d: %w", height, t.size, fs.ErrNotExist)
	}
	if height > t.flushed {
		return t.starts[height-t.flushed-1], nil
	}
	var b [offsetSize]byte
	if _, err := t.offsets.ReadAt(b[:], int64(height-1)*offsetSize); err != nil {
		return 0, fmt.Errorf("find block %d: %w", height, err)
	}
	return int64(binary.BigEndian.Uint64(b[:])), nil
}

// Find returns the height of the block whose record holds a byte of the log.
func (t *Tree) Find(offset int64) (uint64, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var err error
	n := sort.Search(int(t.size), func(i int) bool {
		start, e := t.offset(uint64(i) + 1)
		err = errors.Join(err, e)
		return start > offset
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("find block at %d: %w", offset, fs.ErrNotExist)
	}
	return uint64(n), err
}

// ReadHashes implements tlog.HashReader.
func (t *Tree) ReadHashes(indexes []int64) ([]books.Hash, error) {
	if len(indexes) > MaxHashes {
		return nil, fmt.Errorf("read tree: %d hashes at once, at most %d", len(indexes), MaxHashes)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.read(indexes)
}

// read is ReadHashes under the lock.
func (t *Tree) read(indexes []int64) ([]books.Hash, error) {
	list := make([]books.Hash, len(indexes))
	stored := tlog.StoredHashCount(int64(t.flushed))
	for i, at := range indexes {
		switch {
		case at < stored:
			if _, err := t.hashes.ReadAt(list[i][:], at*hashSize); err != nil {
				return nil, fmt.Errorf("read tree: %w", err)
			}
		case at-stored < int64(len(t.tail)):
			list[i] = t.tail[at-stored]
		default:
			return nil, fmt.Errorf("read tree: no hash %d", at)
		}
	}
	return list, nil
}
