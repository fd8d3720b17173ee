package swarm

import (
	"errors"
	"time"

	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

const (
	// maxLayersAsked is the number of hash requests open with one peer.
	maxLayersAsked = 8
	// hashRetry is how long an answer may take, and how long a peer is not asked
	// again after it refused.
	hashRetry = 10 * time.Second
)

var errBadHashes = errors.New("peer sent hashes that do not lead to the root")

// layerFetch gets the piece layers of a torrent from a magnet link (BEP 52).
// With version 2 alone nothing can be verified without them, so the torrent
// begins when all are here, and they count as metadata; a hybrid has its other
// hashes and begins at once.
type layerFetch struct {
	torrent *metainfo.Torrent
	level   int
	files   map[[32]byte]*layerFile // by root: equal files share one
	queue   []wire.HashRange
	asked   map[wire.HashRange]askedHashes
}

// layerFile is a layer under way.
type layerFile struct {
	files []int // of the torrent
	size  int   // bytes of hashes
	data  []byte
	left  int // answers to come
}

// askedHashes is a request under way.
type askedHashes struct {
	from uint32
	at   time.Time
}

// newLayerFetch lists what is to be asked; nil = nothing is missing.
func newLayerFetch(t *metainfo.Torrent) *layerFetch {
	missing := t.MissingLayers()
	if len(missing) == 0 {
		return nil
	}
	f := &layerFetch{torrent: t, level: metainfo.PieceLevel(t.Info.PieceLength), files: map[[32]byte]*layerFile{},
		asked: map[wire.HashRange]askedHashes{}}
	for _, i := range missing {
		root := *t.Info.Files[i].PiecesRoot
		if l := f.files[root]; l != nil {
			l.files = append(l.files, i)
			continue
		}
		pieces := int((t.Info.Files[i].Length + t.Info.PieceLength - 1) / t.Info.PieceLength)
		l := &layerFile{files: []int{i}, size: pieces * wire.HashLen}
		f.files[root] = l
		height := metainfo.ProofLength(pieces, 1)
		for at := 0; at < pieces; at += wire.AskHashes {
			length := 2 // the least there is
			for length < min(pieces-at, wire.AskHashes) {
				length *= 2
			}
			f.queue = append(f.queue, wire.HashRange{Root: root, Base: uint32(f.level), Index: uint32(at),
				Length: uint32(length), Proofs: uint32(height - 1)})
			l.left++
		}
	}
	return f
}

// askLayers sends hash requests to whoever can answer them.
func (s *Swarm) askLayers() {
	f := s.layers
	if f == nil || s.failure != nil {
		return
	}
	for r, a := range f.asked {
		if m := s.peers[a.from]; m == nil || s.now.Sub(a.at) > hashRetry {
			delete(f.asked, r)
			f.queue = append(f.queue, r)
			if m != nil {
				m.hashless = s.now
			}
		}
	}
	open := map[uint32]int{}
	for _, a := range f.asked {
		open[a.from]++
	}
	for _, m := range s.peers {
		for len(f.queue) > 0 && s.answersHashes(m) && open[m.conn.ID] < maxLayersAsked {
			r := f.queue[0]
			f.queue = f.queue[1:]
			f.asked[r] = askedHashes{m.conn.ID, s.now}
			open[m.conn.ID]++
			m.conn.AskHashes(&r)
		}
	}
}

// answersHashes says whether a peer is worth a hash request now.
func (s *Swarm) answersHashes(m *member) bool {
	return m.v2 && !m.kicked && s.now.Sub(m.hashless) > hashRetry
}

// gotLayer takes an answer; false = it was not asked for a layer.
func (s *Swarm) gotLayer(m *member, r *wire.HashRange, hashes, uncles []byte) bool {
	f := s.layers
	if f == nil || f.asked[*r].from != m.conn.ID {
		return false
	}
	delete(f.asked, *r)
	proof := metainfo.Proof{Index: int(r.Index), Hashes: hashes, Uncles: uncles}
	if proof.Verify(r.Root) != nil {
		f.queue = append(f.queue, *r)
		s.ban(s.authorOf(m), errBadHashes)
		return true
	}
	l := f.files[r.Root]
	if l.data == nil {
		l.data = make([]byte, l.size)
	}
	copy(l.data[int(r.Index)*wire.HashLen:], hashes)
	if l.left--; l.left == 0 {
		s.haveLayer(f, r.Root)
	}
	s.askLayers()
	return true
}

// lateLayers gives the store the layers that came while it was opened.
func (s *Swarm) lateLayers() {
	for i := range s.info.Files {
		if root := s.info.Files[i].PiecesRoot; root != nil && s.torrent.PieceLayers.Get(root) != nil {
			_ = s.store.SetLayer(i, s.torrent.PieceLayers.Get(root)) // it was checked
		}
	}
}

// haveLayer books a layer that is complete.
func (s *Swarm) haveLayer(f *layerFetch, root [32]byte) {
	l := f.files[root]
	delete(f.files, root)
	for _, i := range l.files {
		err := f.torrent.SetPieceLayer(i, l.data)
		if err == nil && s.store != nil {
			err = s.store.SetLayer(i, l.data)
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
	if len(f.files) > 0 {
		return
	}
	s.layers = nil
	if s.info == nil && !s.opening { // nothing else was missing
		s.start(f.torrent)
		return
	}
	s.notify(GotLayers, nil)
}

// layerRejected has another peer asked.
func (s *Swarm) layerRejected(m *member, r *wire.HashRange) bool {
	f := s.layers
	if f == nil || f.asked[*r].from != m.conn.ID {
		return false
	}
	delete(f.asked, *r)
	f.queue = append(f.queue, *r)
	m.hashless = s.now
	s.askLayers()
	return true
}

// onHash handles the messages of BEP 52.
func (s *Swarm) onHash(m *member, e *peer.Event) {
	id := wire.ID(e.Sub)
	r, hashes, uncles, err := wire.ParseHashRange(id, e.Data)
	if err != nil {
		s.kick(m, errors.Join(peer.ErrHostile, err))
		return
	}
	switch id {
	case wire.HashRequest:
		s.serveHashes(m, r)
	case wire.Hashes:
		if !s.gotLayer(m, &r, hashes, uncles) {
			s.gotBlockHashes(m, &r, hashes)
		}
	case wire.HashReject:
		if !s.layerRejected(m, &r) {
			s.blockHashesRejected(m, &r)
		}
	}
}

// ownTorrent is what is known of the torrent, for others to keep.
func (s *Swarm) ownTorrent() *metainfo.Torrent {
	t := *s.torrent
	t.PieceLayers = t.PieceLayers.Clone() // more may come
	return &t
}
