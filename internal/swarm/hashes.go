package swarm

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// Named limits of the hashes served (BEP 52).
const (
	// maxHashJobs is the number of hash requests that wait, maxHashWaiting those
	// of one peer; what comes beyond is rejected.
	maxHashJobs    = 256
	maxHashWaiting = 16
	// maxTreeBytes bounds the memory of trees kept to answer further requests.
	maxTreeBytes = 64 << 20
	// leafBurst is how many bytes of pieces are read and hashed for a peer that
	// asks for hashes below pieces, leafRate how many more a second. For what was
	// sent to it as much is added: a buyer may ask once for what it buys.
	leafBurst = 256 << 20
	leafRate  = 8 << 20
	// maxCopies is how many files of the same content are looked at for a piece of it.
	maxCopies = 64
)

// errNoHashes says that hashes were asked for that we have not.
var errNoHashes = errors.New("no such hashes")

// hashServer answers hash requests, one at a time beside the swarm's goroutine.
type hashServer struct {
	kept  sync.Once          // hashes of units that were saved are loaded
	files map[[32]byte]int   // by root, the first of the same content; nil until the first request
	same  map[[32]byte][]int // the others, at most maxCopies
	trees map[[32]byte]*metainfo.Tree
	bytes int // of trees
	jobs  []hashJob
	busy  bool
}

type hashJob struct {
	m *member
	r wire.HashRange
}

// serveHashes answers a hash request, now or soon.
func (s *Swarm) serveHashes(m *member, r wire.HashRange) {
	waiting := 0
	for _, j := range s.hashes.jobs {
		if j.m == m {
			waiting++
		}
	}
	full := len(s.hashes.jobs) >= maxHashJobs && !m.trade.Sold() // who pays is never kept from it by others
	if !s.canHash(m, &r) || waiting >= maxHashWaiting || full {
		m.conn.Send(wire.AppendHashRange(nil, wire.HashReject, &r))
		return
	}
	s.hashes.jobs = append(s.hashes.jobs, hashJob{m, r})
	s.nextHashes()
}

// canHash says whether we have what a request asks for, and whether the work may
// be done for this peer now.
func (s *Swarm) canHash(m *member, r *wire.HashRange) bool {
	if s.info == nil || !s.info.HasV2() || !r.Sane() {
		return false
	}
	q, ok := s.hashPlan(r)
	if !ok || q.layer && s.torrent.PieceLayers.Get(&r.Root) == nil {
		return false
	}
	if q.piece < 0 {
		return true
	}
	if !s.pieces.Has(uint32(q.piece)) {
		return false
	}
	if m.leafAt.IsZero() {
		m.leafLeft = leafBurst
	}
	sent := m.conn.Sent.Load()
	since := min(s.now.Sub(m.leafAt), leafBurst/leafRate*time.Second) // as long as may count
	m.leafLeft = min(leafBurst, m.leafLeft+int64(since*leafRate/time.Second)+sent-m.leafSent)
	m.leafAt, m.leafSent = s.now, sent
	if m.leafLeft < s.info.PieceLength {
		return false
	}
	m.leafLeft -= s.info.PieceLength
	return true
}

// hashPlan says what an answer is made of: the blocks of a piece (-1 = none), and
// the file's piece layer.
type hashPlan struct {
	piece, first int // piece of the torrent; its index in the file
	level, top   int // of pieces, of the root
	small        bool
	layer        bool
	root         [32]byte // of the piece
	rooted       bool     // it is known
}

// hashPlan checks a request against the file's tree. Hashes below the piece
// layer are answered within one piece.
func (s *Swarm) hashPlan(r *wire.HashRange) (q hashPlan, ok bool) {
	i, ok := s.fileOf(r.Root)
	if !ok {
		return q, false
	}
	f := &s.info.Files[i]
	q.level, q.piece = metainfo.PieceLevel(s.info.PieceLength), -1
	q.top = metainfo.ProofLength(int((f.Length+wire.BlockSize-1)/wire.BlockSize), 1)
	q.small = f.Length <= s.info.PieceLength
	base, length := int(r.Base), int(r.Length)
	up := r.Height()
	if base >= max(q.top, 1) || base+up+r.Uncles() > q.top || int64(r.Index)+int64(length) > 1<<(q.top-base) {
		return q, false
	}
	if base < q.level {
		shift := q.level - base
		q.first = int(r.Index) >> shift
		if last := (int(r.Index) + length - 1) >> shift; last != q.first && !q.small {
			return q, false
		}
		if int64(q.first)*s.info.PieceLength >= f.Length {
			return q, false // beyond the file's end
		}
		q.piece = s.heldCopy(r.Root, i, q.first)
	}
	q.layer = !q.small && base+up+r.Uncles() > q.level || !q.small && base >= q.level
	return q, true
}

// fileOf finds a file by its root, the first of the same content.
func (s *Swarm) fileOf(root [32]byte) (int, bool) {
	if h := &s.hashes; h.files == nil {
		h.files, h.same = make(map[[32]byte]int), make(map[[32]byte][]int)
		s.starts = make([]int64, len(s.info.Files))
		at := int64(0)
		for i := range s.info.Files {
			f := &s.info.Files[i]
			s.starts[i] = at
			at += f.Length
			if f.PiecesRoot == nil {
				continue
			}
			if _, again := h.files[*f.PiecesRoot]; !again {
				h.files[*f.PiecesRoot] = i
			} else if len(h.same[*f.PiecesRoot]) < maxCopies {
				h.same[*f.PiecesRoot] = append(h.same[*f.PiecesRoot], i)
			}
		}
	}
	i, ok := s.hashes.files[root]
	return i, ok
}

// heldCopy is the torrent's number of a file's piece, that of another file of the same
// content if we have only that one.
func (s *Swarm) heldCopy(root [32]byte, file, first int) int {
	at := func(file int) int { return int(s.starts[file]/s.info.PieceLength) + first }
	if s.pieces.Has(uint32(at(file))) {
		return at(file)
	}
	for _, other := range s.hashes.same[root] {
		if s.pieces.Has(uint32(at(other))) {
			return at(other)
		}
	}
	return at(file)
}

// nextHashes starts the next answer.
func (s *Swarm) nextHashes() {
	if s.hashes.busy || len(s.hashes.jobs) == 0 {
		return
	}
	job := s.hashes.jobs[0]
	s.hashes.jobs = s.hashes.jobs[1:]
	q, ok := s.hashPlan(&job.r)
	if !ok {
		return
	}
	s.hashes.busy = true
	tree, layer, store := s.hashes.trees[job.r.Root], s.torrent.PieceLayers.Get(&job.r.Root), s.store
	if q.piece >= 0 {
		_, q.root, q.rooted = s.rootOf(uint32(q.piece))
	}
	go func() { // ends with the answer, or when the swarm is closed
		if q.piece >= 0 {
			s.loadUnits(store)
		}
		made := tree
		if q.layer && made == nil {
			made = metainfo.NewTree(layer, q.level)
		}
		msg, err := answerHashes(store, &job.r, &q, made)
		s.post(func() {
			s.hashes.busy = false
			if err != nil {
				level := slog.LevelDebug
				if errors.Is(err, disk.ErrChanged) {
					level = slog.LevelWarn
				}
				s.cfg.Log.Log(s.ctx, level, "no hashes for peer", "addr", job.m.addr, "err", err)
				msg = wire.AppendHashRange(nil, wire.HashReject, &job.r)
			}
			if s.peers[job.m.conn.ID] == job.m {
				job.m.conn.Send(msg)
			}
			if tree == nil && made != nil {
				s.hashes.keep(job.r.Root, made)
			}
			s.nextHashes()
		})
	}()
}

// keep remembers a tree for further requests.
func (h *hashServer) keep(root [32]byte, t *metainfo.Tree) {
	if h.trees == nil || h.bytes+t.Bytes() > maxTreeBytes {
		h.trees, h.bytes = make(map[[32]byte]*metainfo.Tree), 0
	}
	h.trees[root] = t
	h.bytes += t.Bytes()
}

// answerHashes makes the answer to a request that was checked.
func answerHashes(store *disk.Store, r *wire.HashRange, q *hashPlan, layer *metainfo.Tree) ([]byte, error) {
	low := layer // holds what was asked for
	index := int(r.Index)
	if q.piece >= 0 {
		var err error
		if low, err = pieceTree(store, int(r.Base), q); err != nil {
			return nil, err
		}
		if !q.small {
			index -= q.first << (q.level - int(r.Base))
		}
	}
	if low == nil {
		return nil, errNoHashes
	}
	hashes, err := low.AppendNodes(nil, int(r.Base), index, int(r.Length))
	if err != nil {
		return nil, err
	}
	level, at, uncles := int(r.Base)+r.Height(), index>>r.Height(), r.Uncles()
	lower := min(uncles, max(low.Top()-level, 0))
	siblings, err := low.AppendUncles(nil, level, at, lower)
	if err == nil && lower < uncles {
		if layer == nil {
			return nil, errNoHashes
		}
		level += lower
		siblings, err = layer.AppendUncles(siblings, level, int(r.Index)>>(level-int(r.Base)), uncles-lower)
	}
	if err != nil {
		return nil, err
	}
	return wire.AppendHashes(nil, r, hashes, siblings), nil
}

// pieceTree is the tree over a piece from a level or below it: from the hashes that are
// kept of its units, if they are right, or else from its data.
func pieceTree(store *disk.Store, level int, q *hashPlan) (*metainfo.Tree, error) {
	if sums, from := store.UnitSums(uint32(q.piece)); sums != nil && from <= level && q.rooted {
		if q.small {
			sums = sums[:min(len(sums), wire.HashLen<<max(q.top-from, 0))]
		}
		if t := metainfo.NewTree(sums, from); [32]byte(t.Node(t.Top(), 0)) == q.root {
			return t, nil
		}
	}
	leaves, err := store.Leaves(uint32(q.piece))
	if err != nil {
		return nil, err
	}
	if !q.small { // the missing leaves of a last piece count
		leaves = append(leaves, make([]byte, wire.HashLen<<q.level-len(leaves))...)
	}
	return metainfo.NewTree(leaves, 0), nil
}

// loadUnits takes the hashes of units that were kept by an earlier run, once. It is
// called beside the swarm's goroutine.
func (s *Swarm) loadUnits(store *disk.Store) {
	if s.cfg.Resume == nil || s.cfg.Market.Unit() == 0 {
		return
	}
	s.hashes.kept.Do(func() {
		saved, err := s.cfg.Resume.LoadUnits(s.cfg.InfoHash)
		if err == nil {
			err = store.LoadUnits(saved)
		}
		if err != nil && !errors.Is(err, resume.ErrNotFound) {
			s.cfg.Log.Debug("hashes of units are made anew", "err", err)
		}
	})
}

// saveUnits keeps the hashes of units for the next run. Without them a seller reads
// and hashes again what it sells, so an error is told and harms nothing.
func (s *Swarm) saveUnits() {
	if !s.store.UnitsChanged() {
		return
	}
	s.loadUnits(s.store) // or what was kept and not used were lost
	if saved := s.store.SaveUnits(); saved != nil {
		if err := s.cfg.Resume.SaveUnits(s.cfg.InfoHash, saved); err != nil {
			s.cfg.Log.Warn("hashes of units not kept", "err", err)
		}
	}
}
