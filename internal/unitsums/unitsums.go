// Package unitsums remembers the hashes of units: nodes of the trees of version 2
// (BEP 52) between blocks and pieces, by which parts of a piece are sold. They fall
// out of each check of a piece; who keeps them need not read and hash again what it
// sells.
//
// A [Cache] is shared by the torrents of a session and bounded as a whole: what was
// not used for longest goes first. A [Layer] is one torrent's part. Nothing here
// says that a hash is right: who serves one sees whether it leads to the hash of its
// piece, which the torrent has. So a Layer may be kept in a file that nobody makes
// durable, and be read back whatever became of it.
//
// Callers: internal/disk fills layers and internal/swarm has them kept, from any
// goroutine; the lock is a leaf lock. There is no goroutine and no I/O.
package unitsums

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
)

const (
	// HashSize is the length of a hash in bytes.
	HashSize = sha256.Size
	// DefaultBytes is the memory of a Cache: the hashes of 512 GiB in units of
	// 1 MiB.
	DefaultBytes = 16 << 20
	// MaxSaved bounds a saved Layer in bytes.
	MaxSaved = 2 * DefaultBytes

	// pageBytes is what is kept or dropped together, if a piece is not more.
	pageBytes = 32 << 10
	magic     = "bttunit\x01" // the last byte is the version
	head      = len(magic) + 3*4
)

// ErrSaved is returned for a saved Layer that is damaged, or one of another torrent or
// unit.
var ErrSaved = errors.New("saved hashes of units do not fit")

// Cache bounds the memory of its layers. All methods of it and of them may be called
// concurrently.
type Cache struct {
	mu    sync.Mutex
	max   int
	bytes int
	used  page // ring: next was used last
}

// page holds the hashes of pieces that lie side by side; those of a piece that is
// not known are zero.
type page struct {
	layer      *Layer
	index      uint32
	sums       []byte
	prev, next *page
}

// New makes a Cache of so many bytes, beside some hundred for each 32 KiB.
func New(bytes int) *Cache {
	c := &Cache{max: bytes}
	c.used.prev, c.used.next = &c.used, &c.used
	return c
}

// Bytes is the memory of all hashes.
func (c *Cache) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Layer keeps hashes of one torrent.
type Layer struct {
	cache   *Cache
	pieces  uint32
	level   int // of the tree
	each    int // bytes a piece
	run     uint32
	missing [HashSize]byte
	pages   map[uint32]*page
	changed bool // since it was saved
	closed  bool
}

// Layer returns that of a torrent with so many pieces; each has units hashes of a
// level of the tree, and missing stands for those beyond a file's end. Close gives
// its memory back.
func (c *Cache) Layer(pieces uint32, units, level int, missing [HashSize]byte) *Layer {
	l := &Layer{cache: c, pieces: pieces, level: level, each: units * HashSize, missing: missing, pages: make(map[uint32]*page)}
	l.run = uint32(max(pageBytes/l.each, 1))
	return l
}

// Level is the level of the tree that the hashes are of.
func (l *Layer) Level() int { return l.level }

// Put remembers the hashes of a piece, the first of its units; the others are
// missing ones. What does not fit into the Cache is not kept.
func (l *Layer) Put(piece uint32, sums []byte) {
	if piece >= l.pieces || len(sums) == 0 || len(sums) > l.each {
		return
	}
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	b := l.slot(piece, true)
	if b == nil {
		return
	}
	l.changed = true
	for n := copy(b, sums); n < len(b); n += HashSize {
		copy(b[n:], l.missing[:])
	}
}

// Append appends all hashes of a piece to dst, which stays as it is if they are not
// known.
func (l *Layer) Append(dst []byte, piece uint32) []byte {
	if piece >= l.pieces {
		return dst
	}
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	if b := l.slot(piece, false); known(b) {
		dst = append(dst, b...)
	}
	return dst
}

// Forget drops the hashes of a piece.
func (l *Layer) Forget(piece uint32) {
	if piece >= l.pieces {
		return
	}
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	if b := l.slot(piece, false); known(b) {
		clear(b)
		l.changed = true
	}
}

// Close gives the memory back. The Layer is empty from then on.
func (l *Layer) Close() {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	l.closed = true
	for _, p := range l.pages {
		p.drop()
	}
}

// Changed says whether Save would return something.
func (l *Layer) Changed() bool {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	return l.changed
}

// Save returns all that is known, for Load; nil if nothing was put or forgotten since
// it was called last.
func (l *Layer) Save() []byte {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	if !l.changed {
		return nil
	}
	l.changed = false
	dst := append(make([]byte, 0, head+len(l.pages)*(4+pageBytes)), magic...)
	for _, n := range []uint32{l.pieces, uint32(l.each), uint32(l.level)} {
		dst = binary.BigEndian.AppendUint32(dst, n)
	}
	for index, p := range l.pages {
		if len(dst)+4+len(p.sums) > MaxSaved {
			break
		}
		dst = binary.BigEndian.AppendUint32(dst, index)
		dst = append(dst, p.sums...)
	}
	return dst
}

// Load takes what Save made, but for pieces whose hashes are known. It fails with
// ErrSaved, and takes nothing from the damaged place on.
func (l *Layer) Load(saved []byte) error {
	if len(saved) < head || len(saved) > MaxSaved || string(saved[:len(magic)]) != magic {
		return ErrSaved
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(saved[len(magic)+4*i:]) }
	if word(0) != l.pieces || word(1) != uint32(l.each) || word(2) != uint32(l.level) {
		return ErrSaved
	}
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	for saved = saved[head:]; len(saved) > 0; {
		if len(saved) < 4 {
			return ErrSaved
		}
		index := binary.BigEndian.Uint32(saved)
		size := l.pageSize(index)
		if saved = saved[4:]; size == 0 || len(saved) < size {
			return ErrSaved
		}
		for i := 0; i < size; i += l.each {
			if from := saved[i : i+l.each]; known(from) {
				if b := l.slot(index*l.run+uint32(i/l.each), true); b != nil && !known(b) {
					copy(b, from)
				}
			}
		}
		saved = saved[size:]
	}
	return nil
}

// known says whether hashes of a piece are there; no hash is zero.
func known(b []byte) bool { return b != nil && [HashSize]byte(b) != [HashSize]byte{} }

// pageSize is the length of a page in bytes, 0 outside the torrent.
func (l *Layer) pageSize(index uint32) int {
	first := uint64(index) * uint64(l.run)
	if first >= uint64(l.pieces) {
		return 0
	}
	return int(min(uint64(l.run), uint64(l.pieces)-first)) * l.each
}

// slot is where the hashes of a piece are, or with room shall be; nil if there is no
// page, or none fits. The lock is held.
func (l *Layer) slot(piece uint32, room bool) []byte {
	c, index := l.cache, piece/l.run
	p := l.pages[index]
	if p == nil {
		size := l.pageSize(index)
		if !room || l.closed || size > c.max {
			return nil
		}
		for c.bytes+size > c.max {
			c.used.prev.drop()
		}
		p = &page{layer: l, index: index, sums: make([]byte, size)}
		l.pages[index] = p
		c.bytes += size
	} else if c.used.next != p {
		p.unlink()
	}
	if c.used.next != p {
		p.prev, p.next = &c.used, c.used.next
		p.prev.next, p.next.prev = p, p
	}
	at := int(piece%l.run) * l.each
	return p.sums[at : at+l.each]
}

func (p *page) unlink() { p.prev.next, p.next.prev = p.next, p.prev }

func (p *page) drop() {
	p.unlink()
	delete(p.layer.pages, p.index)
	p.layer.cache.bytes -= len(p.sums)
}
