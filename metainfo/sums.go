package metainfo

import (
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
	layers  Layers     // in version 2
	err     error      // of layers
}

// startSums hashes what the torrent holds; the results are there after wait. The document
// must not change before.
func startSums(data []byte, root bencode.Value) *sums {
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
	if info.Get("pieces").Len() > 0 {
		run(len(raw), func() { s.v1 = HashInfo(raw) })
	}
	if version, _ := info.Get("meta version").Int(); version == 2 {
		run(len(raw), func() { s.v2 = HashInfoV2(raw) })
		layers := root.Get("piece layers")
		if pieceLength, _ := info.Get("piece length").Int(); pieceLength >= MinPieceLength && pieceLength <= MaxPieceLength {
			run(len(layers.Raw()), func() { s.layers, s.err = readLayers(data, layers, pieceLength) })
		} // else the info is refused
	}
	return s
}

// wait returns when the hashing is done.
func (s *sums) wait() { s.running.Wait() }
