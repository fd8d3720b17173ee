package metainfo

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"sync"
	"sync/atomic"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/internal/lanes"
)

const (
	// parallelBytes is from how many bytes on hashing goes on beside parsing: below,
	// starting goroutines costs as much as it saves.
	parallelBytes = 64 << 10
	// earlyBytes is from how many bytes on it begins before the torrent was read.
	earlyBytes = 256 << 10
	// earlyWindow is how far the info dictionary is looked for then.
	earlyWindow = 64 << 10
	// earlyChunk is how much is hashed before looking whether the end is known.
	earlyChunk = 256 << 10
)

// sums is the hashing that a torrent takes. None of it depends on the lists of files, so
// that for a large torrent up to three goroutines do it while these are read; they end
// before Parse returns.
type sums struct {
	running sync.WaitGroup
	early   *earlyHash // nil for small torrents
	v1      InfoHash   // if there are version 1 hashes
	v2      InfoHashV2 // in version 2
	layers  Layers     // in version 2
	err     error      // of layers
	reading sync.WaitGroup
}

// startEarly hashes the info dictionary from where it seems to begin on, in the way that
// it seems to need, before the torrent is read.
func (s *sums) startEarly(data []byte) {
	if len(data) < earlyBytes {
		return
	}
	const key = "4:info"
	at := bytes.Index(data[:earlyWindow], []byte(key+"d"))
	if at < 0 {
		return
	}
	s.early = &earlyHash{data: data, start: at + len(key), chosen: make(chan struct{}), known: make(chan struct{})}
	s.running.Go(s.early.run) // ends after finish
}

// start hashes what the torrent holds; the results are there after wait. The document
// must not change before.
func (s *sums) start(data []byte, root bencode.Value) {
	info := root.Get("info")
	if info.Kind() != bencode.Dictionary {
		return
	}
	run := func(group *sync.WaitGroup, size int, f func()) {
		if size < parallelBytes {
			f()
			return
		}
		group.Go(f)
	}
	raw := info.Raw()
	var v1, v2 bool // are being hashed
	if s.early != nil && s.early.start == info.Offset() {
		v1, v2 = s.early.finish(info.Offset() + len(raw))
	}
	// The layers come last, as the caller waits for them first: with two processors one
	// hashes the info dictionary, while the other reads its files and then the layers.
	if !v1 && info.Get("pieces").Len() > 0 {
		run(&s.running, len(raw), func() { s.v1 = HashInfo(raw) })
	}
	if version, _ := info.Get("meta version").Int(); version == 2 {
		if !v2 {
			run(&s.running, len(raw), func() { s.v2 = HashInfoV2(raw) })
		}
		layers := root.Get("piece layers")
		if pieceLength, _ := info.Get("piece length").Int(); pieceLength >= MinPieceLength && pieceLength <= MaxPieceLength {
			run(&s.reading, len(layers.Raw()), func() { s.layers, s.err = readLayers(data, layers, pieceLength) })
		} // else the info is refused
	}
}

// pieceLayers are those of the torrent, wanted or not.
func (s *sums) pieceLayers() (Layers, error) {
	s.reading.Wait()
	return s.layers, s.err
}

// wait returns when the hashing is done.
func (s *sums) wait() {
	s.reading.Wait()
	if s.early != nil {
		s.early.finish(-1) // if it is running yet, its guess was wrong
	}
	s.running.Wait()
	e := s.early
	if e == nil || e.end.Load() < 0 {
		return
	}
	if e.sum.v1 {
		s.v1 = e.v1
	}
	if e.sum.v2 {
		s.v2 = e.v2
	}
}

// earlyHash hashes from a place on whose end becomes known meanwhile. It may go beyond, so
// it keeps what it had after each chunk.
type earlyHash struct {
	data   []byte
	start  int
	chosen chan struct{}         // closed when sum is set
	end    atomic.Int64          // 0: not known yet; -1: the place was wrong
	known  chan struct{}         // closed when end is set
	sum    struct{ v1, v2 bool } // what is made
	v1     InfoHash
	v2     InfoHashV2
}

// choose guesses what is needed. A file tree comes first where there is one, and only a
// hybrid has a list of files besides; where it has a single one, the dictionary is small.
func (e *earlyHash) choose() {
	defer close(e.chosen)
	e.sum.v2 = bytes.HasPrefix(e.data[e.start:], []byte("d9:file tree"))
	e.sum.v1 = !e.sum.v2 || lanes.FastBoth() && bytes.Contains(e.data[e.start:], []byte("5:filesl"))
}

// finish tells the end, of which the first call counts, and learns what is made.
func (e *earlyHash) finish(end int) (v1, v2 bool) {
	if e.end.CompareAndSwap(0, int64(end)) {
		close(e.known)
	}
	<-e.chosen
	return e.sum.v1, e.sum.v2
}

func (e *earlyHash) run() {
	e.choose()
	h := newDigest(e.sum.v1, e.sum.v2)
	var saved []digest // after each chunk
	pos := e.start
	for {
		end := int(e.end.Load())
		if end < 0 {
			return
		}
		if end == 0 && pos+earlyChunk > len(e.data) {
			<-e.known
			continue
		}
		if end > 0 && pos+earlyChunk > end {
			break
		}
		h.write(e.data[pos : pos+earlyChunk])
		if pos += earlyChunk; end == 0 {
			saved = append(saved, h.clone())
		}
	}
	end := int(e.end.Load())
	if n := (end - e.start) / earlyChunk; pos > end && n > 0 {
		h, pos = saved[n-1], e.start+n*earlyChunk
	} else if pos > end {
		h, pos = newDigest(e.sum.v1, e.sum.v2), e.start
	}
	h.write(e.data[pos:end])
	e.v1, e.v2 = h.sum()
}

// digest is one hash or both.
type digest struct {
	v1, v2 hash.Hash
	both   *lanes.Both
}

func newDigest(v1, v2 bool) (d digest) {
	switch {
	case v1 && v2:
		d.both = new(lanes.Both)
		d.both.Reset()
	case v1:
		d.v1 = sha1.New()
	case v2:
		d.v2 = sha256.New()
	}
	return d
}

func (d digest) write(b []byte) {
	switch {
	case d.both != nil:
		d.both.Write(b)
	case d.v1 != nil:
		_, _ = d.v1.Write(b)
	default:
		_, _ = d.v2.Write(b)
	}
}

// clone is a copy that goes its own way.
func (d digest) clone() (c digest) {
	switch {
	case d.both != nil:
		both := *d.both
		c.both = &both
	case d.v1 != nil:
		c.v1 = cloned(d.v1)
	default:
		c.v2 = cloned(d.v2)
	}
	return c
}

// cloned copies a hash of the standard library, which can be.
func cloned(h hash.Hash) hash.Hash {
	c, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic("metainfo: clone a hash: " + err.Error())
	}
	return c
}

func (d digest) sum() (v1 InfoHash, v2 InfoHashV2) {
	switch {
	case d.both != nil:
		v1, v2 = d.both.Sum()
	case d.v1 != nil:
		d.v1.Sum(v1[:0])
	default:
		d.v2.Sum(v2[:0])
	}
	return v1, v2
}
