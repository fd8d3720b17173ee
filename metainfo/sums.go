package metainfo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/bttnet/btt/bencode"
)

// parallelBytes is from how many bytes on hashing goes on beside parsing: below,
// starting goroutines costs as much as it saves.
const parallelBytes = 64 << 10

// sums is the hashing that a torrent takes. None of it depends on the lists of files, so
// that for a large torrent up to three goroutines do it while these are read; they end
// before Parse returns.
type sums struct {
	running sync.WaitGroup
	v1      InfoHash   // if there are version 1 hashes
	v2      InfoHashV2 // in version 2
	layers  layerSums  // in version 2
}

// startSums hashes what the torrent holds; the results are there after wait. The document
// must not change before.
func startSums(root bencode.Value) *sums {
	s := new(sums)
	info := root.Get("info")
	if info.Kind() != bencode.Dictionary {
		return s
	}
	run := func(size int, f func()) {
		if size < parallelBytes {
			f()
			return
		}
		s.running.Go(f)
	}
	raw := info.Raw()
	if version, _ := info.Get("meta version").Int(); version == 2 {
		layers := root.Get("piece layers")
		if pieceLength, _ := info.Get("piece length").Int(); pieceLength >= MinPieceLength && pieceLength <= MaxPieceLength {
			run(len(layers.Raw()), func() { s.layers.read(layers, pieceLength) })
		} // else the info is refused
		run(len(raw), func() { s.v2 = HashInfoV2(raw) })
	}
	if info.Get("pieces").Len() > 0 {
		run(len(raw), func() { s.v1 = HashInfo(raw) })
	}
	return s
}

// wait returns when the hashing is done.
func (s *sums) wait() { s.running.Wait() }

// layerSums are the piece layers of a torrent by their roots, before it is known which
// of them its files need.
type layerSums struct {
	// layers are views of the input, empty for those that do not lead to their root.
	layers map[[32]byte][]byte
	bad    int    // empty ones
	mark   uint64 // sum of rootMark over the roots
	err    error
}

// rootMark tells roots apart, as they are hashes.
func rootMark(root *[32]byte) uint64 { return binary.LittleEndian.Uint64(root[:]) }

// read checks each layer against its root. Of equal roots the first counts.
func (s *layerSums) read(v bencode.Value, pieceLength int64) {
	n := 0
	if v.Kind() == bencode.Dictionary {
		n = v.Items() / 2
	}
	s.layers = make(map[[32]byte][]byte, min(n, MaxFiles))
	level := PieceLevel(pieceLength)
	var scratch []byte
	for key, v := range v.Dict() {
		if len(key) != hashSize {
			s.err = fmt.Errorf("%w: a key has %d bytes", ErrPieceLayers, len(key))
			return
		}
		root, layer := [32]byte(key), v.Bytes()
		if before := len(s.layers); before > 0 {
			if _, have := s.layers[root]; have {
				continue
			}
			if before >= MaxFiles {
				s.err = fmt.Errorf("%w: more than %d piece layers", ErrTooMany, MaxFiles)
				return
			}
		}
		if len(layer) < 2*hashSize || len(layer)%hashSize != 0 || layerRoot(layer, level, &scratch) != root {
			layer = []byte{}
			s.bad++
		}
		s.layers[root] = layer
		s.mark += rootMark(&root)
	}
}

// layerRoot is the root over a layer of whole hashes, at least two.
func layerRoot(layer []byte, level int, scratch *[]byte) [32]byte {
	if len(layer) == 2*hashSize {
		return sha256.Sum256(layer)
	}
	*scratch = append((*scratch)[:0], layer...)
	return TreeRoot(*scratch, level)
}

// takeLayers gives the torrent the layers its files need, views of the input that were
// checked against their roots. Files of one piece need none.
func (t *Torrent) takeLayers(s *layerSums) error {
	in := t.Info
	if !in.HasV2() {
		return nil
	}
	if s.err != nil {
		return s.err
	}
	found, mark := 0, uint64(0)
	for i := range in.Files {
		f := &in.Files[i]
		if !in.needsLayer(f) {
			continue
		}
		layer := s.layers[*f.PiecesRoot]
		if layer == nil && in.HasV1() {
			continue // its pieces have other hashes; peers may have the layer
		}
		if len(layer) != in.layerSize(f) {
			return fmt.Errorf("%w: file %d has none, or one of another length or root", ErrPieceLayers, i)
		}
		found++
		mark += rootMark(f.PiecesRoot)
	}
	t.PieceLayers = s.layers
	if found != len(s.layers) || s.bad > 0 || mark != s.mark { // there are others, or files share some
		t.PieceLayers = make(map[[32]byte][]byte, min(found, len(s.layers)))
		for i := range in.Files {
			if f := &in.Files[i]; in.needsLayer(f) && s.layers[*f.PiecesRoot] != nil {
				t.PieceLayers[*f.PiecesRoot] = s.layers[*f.PiecesRoot]
			}
		}
	}
	return nil
}
