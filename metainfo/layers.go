package metainfo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"sort"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/internal/lanes"
)

// Layers are the piece layers of a torrent (BEP 52): for the pieces root of each file of
// more than one piece the hashes of its pieces, 32 bytes each, which were checked against
// the root. The zero value holds none. Many goroutines may read it.
type Layers struct {
	// What came with the torrent: views of its bytes, by root, without memory of their own
	// for each.
	data  []byte
	table []layerEntry // sorted by root
	begin []uint32     // first entry whose root begins with these bits
	// What was set later.
	more map[[32]byte][]byte
}

// layerEntry is where a root and its layer stand in the data.
type layerEntry struct{ root, layer, size uint32 }

// Get is the layer under a root; nil if it is not there.
func (l *Layers) Get(root *[32]byte) []byte {
	if i := l.find(root); i >= 0 {
		return l.layer(i)
	}
	return l.more[*root]
}

// Len is the number of layers.
func (l *Layers) Len() int { return len(l.table) + len(l.more) }

// All yields the layers in no set order.
func (l *Layers) All() iter.Seq2[[32]byte, []byte] {
	return func(yield func([32]byte, []byte) bool) {
		for i := range l.table {
			if !yield([32]byte(l.root(i)), l.layer(i)) {
				return
			}
		}
		for root, layer := range l.more {
			if !yield(root, layer) {
				return
			}
		}
	}
}

// Clone is a copy to which set adds nothing.
func (l *Layers) Clone() Layers {
	c := *l
	c.more = maps.Clone(l.more)
	return c
}

// set takes a layer that was checked, and keeps it.
func (l *Layers) set(root [32]byte, layer []byte) {
	if l.find(&root) >= 0 {
		return // it is the same
	}
	if l.more == nil {
		l.more = make(map[[32]byte][]byte)
	}
	l.more[root] = layer
}

func (l *Layers) root(i int) []byte {
	at := l.table[i].root
	return l.data[at : at+hashSize]
}

func (l *Layers) layer(i int) []byte {
	e := &l.table[i]
	return l.data[e.layer : e.layer+e.size : e.layer+e.size]
}

// prefix is the first bits of a root, as many as there are sections in begin.
func (l *Layers) prefix(root []byte) int {
	n := uint(bits.Len(uint(len(l.begin)-2)) & 31) // begin has one more than a power of two
	return int((uint32(root[0])<<16 | uint32(root[1])<<8 | uint32(root[2])) >> (24 - n))
}

// find is the entry of a root, or -1. Roots are hashes, so sections of the table are
// short; where somebody chose them, they are searched by halves.
func (l *Layers) find(root *[32]byte) int {
	if len(l.table) == 0 {
		return -1
	}
	p := l.prefix(root[:])
	low, high := int(l.begin[p]), int(l.begin[p+1])
	for low < high {
		mid := int(uint(low+high) / 2)
		switch c := bytes.Compare(l.root(mid), root[:]); {
		case c == 0:
			return mid
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return -1
}

// maxPrefix is the most bits of roots that sections go by.
const maxPrefix = 20

// index sorts the table, of equal roots the first stays, and makes the sections.
func (l *Layers) index() {
	less := func(i, j int) bool { return bytes.Compare(l.root(i), l.root(j)) < 0 }
	sorted := true
	for i := 1; i < len(l.table) && sorted; i++ {
		sorted = less(i-1, i)
	}
	if !sorted {
		sort.Stable(byRoot{l, less})
		n := 1
		for i := 1; i < len(l.table); i++ {
			if !bytes.Equal(l.root(n-1), l.root(i)) {
				l.table[n] = l.table[i]
				n++
			}
		}
		l.table = l.table[:n]
	}
	l.sections()
}

func (l *Layers) sections() {
	if len(l.table) == 0 {
		*l = Layers{more: l.more}
		return
	}
	n := min(max(bits.Len(uint(len(l.table)-1)), 1), maxPrefix)
	l.begin = make([]uint32, 1<<n+1)
	next := 0 // section
	for i := range l.table {
		for p := l.prefix(l.root(i)); next <= p; next++ {
			l.begin[next] = uint32(i)
		}
	}
	for ; next < len(l.begin); next++ {
		l.begin[next] = uint32(len(l.table))
	}
}

// byRoot sorts a table.
type byRoot struct {
	l    *Layers
	less func(i, j int) bool
}

func (b byRoot) Len() int           { return len(b.l.table) }
func (b byRoot) Less(i, j int) bool { return b.less(i, j) }
func (b byRoot) Swap(i, j int)      { t := b.l.table; t[i], t[j] = t[j], t[i] }

// readLayers reads "piece layers". Layers that do not lead to their root have size 0: it
// is not known yet whether a file needs them.
func readLayers(data []byte, v bencode.Value, pieceLength int64) (l Layers, err error) {
	if v.Kind() != bencode.Dictionary || v.Len() == 0 {
		return Layers{}, nil
	}
	if v.Len() > MaxFiles {
		return Layers{}, fmt.Errorf("%w: more than %d piece layers", ErrTooMany, MaxFiles)
	}
	l = Layers{data: data, table: make([]layerEntry, 0, v.Len())}
	check := layerCheck{l: &l, level: PieceLevel(pieceLength)}
	for key, v := range v.Dict() {
		if len(key) != hashSize {
			return Layers{}, fmt.Errorf("%w: a key has %d bytes", ErrPieceLayers, len(key))
		}
		end := uint32(v.Offset() + len(v.Raw()))
		size := uint32(len(v.Bytes()))
		l.table = append(l.table, layerEntry{root: uint32(v.Offset()) - hashSize, layer: end - size, size: size})
		check.add(len(l.table) - 1)
	}
	check.flush()
	l.index()
	return l, nil
}

// layerCheck compares layers with their roots, those of two pieces several at once.
type layerCheck struct {
	l       *Layers
	level   int
	scratch []byte
	entries [lanes.Width]int
	pairs   [lanes.Width][]byte
	n       int
}

func (c *layerCheck) add(i int) {
	layer := c.l.layer(i)
	switch {
	case len(layer) == 2*hashSize:
		c.entries[c.n], c.pairs[c.n] = i, layer
		if c.n++; c.n == lanes.Width {
			c.flush()
		}
	case len(layer) < 2*hashSize || len(layer)%hashSize != 0:
		c.l.table[i].size = 0
	default:
		c.scratch = append(c.scratch[:0], layer...)
		c.judge(i, TreeRoot(c.scratch, c.level))
	}
}

func (c *layerCheck) judge(i int, root [32]byte) {
	if !bytes.Equal(root[:], c.l.root(i)) {
		c.l.table[i].size = 0
	}
}

func (c *layerCheck) flush() {
	var roots [lanes.Width][sha256.Size]byte
	lanes.EachPair(roots[:c.n], c.pairs[:c.n])
	for i := range c.n {
		c.judge(c.entries[i], roots[i])
	}
	c.n = 0
}

// takeLayers gives the torrent the layers its files need, views of the input that were
// checked against their roots. Files of one piece need none.
func (t *Torrent) takeLayers(l Layers) error {
	in := t.Info
	used, n := make([]bool, len(l.table)), 0
	for i := range in.Files {
		f := &in.Files[i]
		if !in.needsLayer(f) {
			continue
		}
		at := l.find(f.PiecesRoot)
		if at < 0 && in.HasV1() {
			continue // its pieces have other hashes; peers may have the layer
		}
		if at < 0 || int(l.table[at].size) != in.layerSize(f) {
			return fmt.Errorf("%w: file %d has none, or one of another length or root", ErrPieceLayers, i)
		}
		if !used[at] {
			used[at] = true
			n++
		}
	}
	if n < len(l.table) { // nobody needs the others
		kept := l.table[:0]
		for i, e := range l.table {
			if used[i] {
				kept = append(kept, e)
			}
		}
		l.table = kept
		l.sections()
	}
	t.PieceLayers = l
	return nil
}
