package reserve

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sort"

	"github.com/bttnet/btt/metainfo"
)

// ChunkSize is the size of a chunk in bytes; the last one of a piece may be
// shorter (A13).
const ChunkSize = 16 << 10

// MaxChunks is the greatest number of chunks a possession bitmap may have:
// 16 TiB of data, a bitmap of 128 MiB.
const MaxChunks = 1 << 30

// maxMisses is how often the generator is asked for an unset bit before the
// k-th unset bit is taken (A14).
const maxMisses = 16

// ErrGeometry says that lengths do not describe a torrent.
var ErrGeometry = errors.New("torrent geometry is not valid")

// Possession is the bitmap of chunks uploaded lately and the generator that
// picks challenges among the others (R7.12-R7.17). Pieces count chunks from 0.
type Possession struct {
	words    []uint64
	chunks   int // bits in use
	unset    int
	perPiece int
	total    int   // chunks, with those that have no bit:
	voids    []run // of them, apart and in order
	rng      generator
}

// run is chunks from from to before to, counted over the torrent, that have no bit;
// void is how many of those lie before it.
type run struct{ from, to, void int }

// NewPossession returns the bitmap of a torrent of size bytes in pieces of
// pieceLength bytes. The generator is keyed by infohash XOR secret (R7.16); the
// secret is private to this node and as long as the infohash (A14). pads are the
// runs of padding among these bytes, apart and in order: a chunk that lies in one
// is never asked for, since everybody knows it and in version 2 nobody has it. An
// error wraps ErrGeometry.
func NewPossession(infohash, secret [20]byte, size, pieceLength int64, pads ...metainfo.Span) (*Possession, error) {
	if size < 1 || pieceLength < 1 || pieceLength > 1<<40 {
		return nil, fmt.Errorf("lay out %d bytes in pieces of %d: %w", size, pieceLength, ErrGeometry)
	}
	perPiece := (pieceLength + ChunkSize - 1) / ChunkSize
	full, rest := size/pieceLength, size%pieceLength
	chunks := min(full, MaxChunks+1)*perPiece + (rest+ChunkSize-1)/ChunkSize
	if chunks > MaxChunks {
		return nil, fmt.Errorf("lay out %d bytes: over %d chunks: %w", size, MaxChunks, ErrGeometry)
	}
	p := &Possession{total: int(chunks), chunks: int(chunks), perPiece: int(perPiece)}
	for _, s := range pads {
		p.leaveOut(s, size, pieceLength)
	}
	if p.chunks == 0 {
		return nil, fmt.Errorf("lay out %d bytes of padding alone: %w", size, ErrGeometry)
	}
	p.words, p.unset = make([]uint64, (p.chunks+63)/64), p.chunks
	for i := range p.rng.key {
		p.rng.key[i] = infohash[i] ^ secret[i]
	}
	return p, nil
}

// Uploaded sets the bit of a chunk this node sent (R7.14); when all bits are
// set, all are cleared (R7.15). Chunks outside the torrent are ignored.
func (p *Possession) Uploaded(piece, chunk uint32) {
	i := p.index(piece, chunk)
	if i < 0 || p.isSet(i) {
		return
	}
	p.words[i/64] |= 1 << (i % 64)
	if p.unset--; p.unset == 0 {
		clear(p.words)
		p.unset = p.chunks
	}
}

// leaveOut takes the bits of the chunks that lie within a run of padding: no padding,
// however much a stranger's torrent has of it, makes a turn of the bitmap cost more.
func (p *Possession) leaveOut(s metainfo.Span, size, pieceLength int64) {
	for s.From < s.To { // a piece may end inside a chunk's 16 KiB
		piece := s.From / pieceLength
		start, end := piece*pieceLength, min((piece+1)*pieceLength, size)
		from, to := (s.From-start+ChunkSize-1)/ChunkSize, (min(s.To, end)-start)/ChunkSize
		if s.To >= end { // its last chunk may be short
			to = (end - start + ChunkSize - 1) / ChunkSize
		}
		if from < to {
			base := piece * int64(p.perPiece)
			p.leave(int(base+from), int(base+to))
		}
		s.From = end
	}
}

func (p *Possession) leave(from, to int) {
	if n := len(p.voids); n > 0 && p.voids[n-1].to == from {
		p.voids[n-1].to = to
	} else {
		p.voids = append(p.voids, run{from, to, p.total - p.chunks})
	}
	p.chunks -= to - from
}

// Recent reports whether the chunk's bit is set.
func (p *Possession) Recent(piece, chunk uint32) bool {
	i := p.index(piece, chunk)
	return i >= 0 && p.isSet(i)
}

// Challenge returns the next chunk not uploaded lately, with equal chances for
// each (R7.12, R7.16, R7.17). The generator's state advances, so calls differ.
func (p *Possession) Challenge() (piece, chunk uint32) {
	for range maxMisses {
		if i := p.rng.below(p.chunks); !p.isSet(i) {
			return p.position(i)
		}
	}
	return p.position(p.kthUnset(p.rng.below(p.unset)))
}

// kthUnset returns the k-th unset bit; k < p.unset.
func (p *Possession) kthUnset(k int) int {
	for w, word := range p.words {
		free := ^word
		if w == len(p.words)-1 && p.chunks%64 != 0 {
			free &= 1<<(p.chunks%64) - 1
		}
		if n := bits.OnesCount64(free); k >= n {
			k -= n
			continue
		}
		for range k {
			free &= free - 1
		}
		return w*64 + bits.TrailingZeros64(free)
	}
	return 0 // unreachable while unset counts the unset bits
}

func (p *Possession) isSet(i int) bool { return p.words[i/64]>>(i%64)&1 == 1 }

// index is a chunk's bit, -1 = it has none.
func (p *Possession) index(piece, chunk uint32) int {
	if int64(chunk) >= int64(p.perPiece) {
		return -1
	}
	at := int64(piece)*int64(p.perPiece) + int64(chunk)
	if at >= int64(p.total) {
		return -1
	}
	i := sort.Search(len(p.voids), func(i int) bool { return int64(p.voids[i].to) > at })
	switch {
	case i == len(p.voids):
		return int(at) - (p.total - p.chunks)
	case int64(p.voids[i].from) <= at:
		return -1
	}
	return int(at) - p.voids[i].void
}

// position is the chunk of a bit.
func (p *Possession) position(bit int) (piece, chunk uint32) {
	i := sort.Search(len(p.voids), func(i int) bool { return p.voids[i].from-p.voids[i].void > bit })
	at := bit + p.total - p.chunks
	if i < len(p.voids) {
		at = bit + p.voids[i].void
	}
	return uint32(at / p.perPiece), uint32(at % p.perPiece)
}

// generator is SHA-256 in counter mode: unpredictable without the secret and
// the same in every build. Four words per hash.
type generator struct {
	key     [20]byte
	counter uint64
	words   [4]uint64
	left    int
}

// generatorLabel separates this use of the key from any other.
const generatorLabel = "btt possession challenge"

// next returns the next 64 bits.
func (g *generator) next() uint64 {
	if g.left == 0 {
		var in [len(generatorLabel) + 20 + 8]byte
		n := copy(in[:], generatorLabel)
		n += copy(in[n:], g.key[:])
		binary.BigEndian.PutUint64(in[n:], g.counter)
		sum := sha256.Sum256(in[:])
		for i := range g.words {
			g.words[i] = binary.BigEndian.Uint64(sum[8*i:])
		}
		g.counter++
		g.left = len(g.words)
	}
	w := g.words[len(g.words)-g.left]
	g.left--
	return w
}

// below returns a number in [0, n) for n ≥ 1; the bias is under n / 2^64.
func (g *generator) below(n int) int {
	hi, _ := bits.Mul64(g.next(), uint64(n))
	return int(hi)
}
