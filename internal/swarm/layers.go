package swarm

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/disk"
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

// layerFetch gets the piece layers of a torrent from a magnet link (BEP 52). With
// version 2 alone the pieces of a file are held until its layer is here: nothing
// else can verify them. A hybrid has its other hashes, and when it has the data
// it makes the layers itself.
type layerFetch struct {
	torrent *metainfo.Torrent
	level   int
	files   map[[32]byte]*layerFile // by root: equal files share one
	queue   []wire.HashRange
	asked   map[wire.HashRange]askedHashes
	making  bool // from our own data
}

// waitingLayers is the swarm's part of it.
type waitingLayers struct {
	layers    *layerFetch // nil = none is missing
	late      []int       // files whose layer came before the store was open
	unchecked *opened     // waits for all layers, which checking what is there takes
	later     laterBegun
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

// rank puts requests for files that are wanted first.
func (f *layerFetch) rank(prios []uint8) {
	wanted := func(r wire.HashRange) int {
		l := f.files[r.Root]
		if l != nil && slices.ContainsFunc(l.files, func(i int) bool { return i >= len(prios) || prios[i] > 0 }) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(f.queue, func(a, b wire.HashRange) int { return wanted(a) - wanted(b) })
}

// eachHeld calls each for the pieces of files whose layer is missing.
func (s *Swarm) eachHeld(f *layerFetch, each func(piece uint32)) {
	for _, l := range f.files {
		for _, i := range l.files {
			s.eachPiece(i, each)
		}
	}
}

// eachPiece calls each for the pieces of a file of version 2.
func (s *Swarm) eachPiece(file int, each func(piece uint32)) {
	s.fileOf([32]byte{}) // fills starts
	first := s.starts[file] / s.info.PieceLength
	for i := range (s.info.Files[file].Length + s.info.PieceLength - 1) / s.info.PieceLength {
		each(uint32(first + i))
	}
}

// holdBack keeps pieces that nothing can verify from being asked for.
func (s *Swarm) holdBack() {
	f := s.layers
	if f == nil {
		return
	}
	f.rank(s.cfg.Priorities)
	if !s.info.HasV1() {
		s.eachHeld(f, s.picker.Hold)
	}
}

// makeLayers makes the missing layers of a hybrid's files that are here, one
// after the other beside the swarm's goroutine, so that others get them from us.
func (s *Swarm) makeLayers() {
	f := s.layers
	if f == nil || f.making || s.state != Seeding || !s.info.HasV1() {
		return
	}
	for root, l := range f.files {
		i, whole := l.files[0], true
		s.eachPiece(i, func(p uint32) { whole = whole && s.pieces.Has(p) })
		if !whole {
			continue
		}
		f.making = true
		store := s.store
		go func() { // ends when the file is read or the swarm is closed
			layer, err := store.Layer(s.ctx, i)
			s.post(func() { s.madeLayer(f, root, layer, err) })
		}()
		return
	}
}

// madeLayer takes a layer made of our own data. Data that version 1 calls right
// and version 2 wrong stops the torrent, as it does while it is fetched.
func (s *Swarm) madeLayer(f *layerFetch, root [32]byte, layer []byte, err error) {
	if f.making = false; s.layers != f || s.failure != nil {
		return
	}
	l := f.files[root]
	switch {
	case l == nil: // a peer was faster
	case err != nil:
		s.cfg.Log.Warn("hashes of version 2 not made", "file", l.files[0], "err", err)
		return
	case metainfo.LayerRoot(layer, s.info.PieceLength) != root:
		s.fail(fmt.Errorf("file %d: %w", l.files[0], disk.ErrInconsistent))
		return
	default:
		l.data = layer
		s.haveLayer(f, root)
	}
	s.makeLayers()
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
			if f.files[r.Root] == nil {
				continue // we made it meanwhile
			}
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
	if l == nil { // we made it meanwhile
		return true
	}
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
	for _, i := range s.late {
		_ = s.store.SetLayer(i, s.torrent.PieceLayers.Get(s.info.Files[i].PiecesRoot)) // it was checked
	}
	s.late = nil
}

// haveLayer books a layer that is complete.
func (s *Swarm) haveLayer(f *layerFetch, root [32]byte) {
	l := f.files[root]
	delete(f.files, root)
	for _, i := range l.files {
		err := f.torrent.SetPieceLayer(i, l.data)
		if err == nil && s.store != nil {
			err = s.store.SetLayer(i, l.data)
		} else if s.store == nil {
			s.late = append(s.late, i)
		}
		if err != nil {
			s.fail(err)
			return
		}
		if s.picker != nil {
			s.eachPiece(i, func(p uint32) {
				if !slices.Contains(s.later.pieces, p) {
					s.picker.Admit(p)
				}
			})
		}
	}
	s.restoreLater()
	if len(f.files) == 0 {
		s.layers = nil
		s.notify(GotLayers, nil)
		for _, m := range s.peers {
			s.market.Tell(m.trade) // that waited for them
		}
		if o := s.unchecked; o != nil {
			s.unchecked = nil
			s.check(o)
		}
	}
	if s.state == Downloading {
		s.feedAll()
	}
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
		if !s.gotLayer(m, &r, hashes, uncles) && !s.gotUnits(m, &r, hashes) {
			s.gotBlockHashes(m, &r, hashes)
		}
	case wire.HashReject:
		if !s.layerRejected(m, &r) && !s.unitsRejected(m, &r) {
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
