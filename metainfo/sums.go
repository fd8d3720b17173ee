package metainfo

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"sync"
	"sync/atomic"

	"github.com/bttnet/btt/bencode"
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
	e := &earlyHash{data: data, start: at + len(key), known: make(chan struct{})}
	var h hash.Hash = sha1.New()
	if e.v2 = bytes.HasPrefix(data[e.start:], []byte("d9:file tree")); e.v2 {
		h = sha256.New()
	}
	if c, ok := h.(hash.Cloner); ok {
		s.early = e
		s.running.Go(func() { e.run(c) }) // ends after finish
	}
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
	began := s.early != nil && s.early.start == info.Offset()
	if began {
		s.early.finish(info.Offset() + len(raw))
	}
	// The layers come last, as the caller waits for them first: with two processors one
	// hashes the info dictionary, while the other reads its files and then the layers.
	if (!began || s.early.v2) && info.Get("pieces").Len() > 0 {
		run(&s.running, len(raw), func() { s.v1 = HashInfo(raw) })
	}
	if version, _ := info.Get("meta version").Int(); version == 2 {
		if !began || !s.early.v2 {
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
	e := s.early
	if e != nil {
		e.finish(-1) // if it is running yet, its guess was wrong
	}
	s.running.Wait()
	switch {
	case e == nil || e.sum == nil:
	case e.v2:
		s.v2 = InfoHashV2(e.sum)
	default:
		s.v1 = InfoHash(e.sum)
	}
}

// earlyHash hashes from a place on whose end becomes known meanwhile. It may go beyond, so
// it keeps what it had after each chunk.
type earlyHash struct {
	data  []byte
	start int
	v2    bool
	end   atomic.Int64 // 0: not known yet; -1: the place was wrong
	known chan struct{}
	sum   []byte // nil if the place was wrong
}

// finish tells the end; the first call counts.
func (e *earlyHash) finish(end int) {
	if e.end.CompareAndSwap(0, int64(end)) {
		close(e.known)
	}
}

func (e *earlyHash) run(h hash.Cloner) {
	var saved []hash.Cloner // after each chunk
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
		_, _ = h.Write(e.data[pos : pos+earlyChunk])
		pos += earlyChunk
		if end > 0 {
			continue
		}
		c, err := h.Clone()
		if err != nil { // then there is nothing to go back to: begin anew with the end
			<-e.known
			h.Reset()
			pos = e.start
			continue
		}
		saved = append(saved, c)
	}
	end := int(e.end.Load())
	if n := (end - e.start) / earlyChunk; pos > end && n > 0 {
		h, pos = saved[n-1], e.start+n*earlyChunk
	} else if pos > end {
		h.Reset()
		pos = e.start
	}
	_, _ = h.Write(e.data[pos:end])
	e.sum = h.Sum(nil)
}
