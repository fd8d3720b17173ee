package swarm

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

const (
	// maxCases is the number of failed pieces looked into at once; what comes
	// beyond waits until the piece is right.
	maxCases = 16
	// caseTries is how many peers are asked for the hashes of a piece's blocks.
	caseTries = 3
)

// badCase is a version 2 piece that failed and that several peers sent: the
// hashes of its blocks tell whose was bad (BEP 52).
type badCase struct {
	piece uint32
	root  [32]byte // of the piece
	got   attempt
	asked askedHashes
	tries int
}

// openCase asks for the hashes of a bad piece's blocks; false = that cannot be.
func (s *Swarm) openCase(piece uint32, got attempt) bool {
	n := len(got.leaves) / wire.HashLen
	if n < 2 || len(got.ids) < n || len(s.cases) >= maxCases || s.torrent == nil {
		return false
	}
	i, root, ok := s.rootOf(piece)
	if !ok {
		return false
	}
	f := &s.info.Files[i]
	r := wire.HashRange{Root: *f.PiecesRoot, Length: 2}
	level := metainfo.PieceLevel(s.info.PieceLength)
	if f.Length > s.info.PieceLength {
		r.Length = 1 << level
		r.Index = (piece - uint32(s.starts[i]/s.info.PieceLength)) << level
	}
	for r.Length < uint32(n) {
		r.Length *= 2
	}
	r.Proofs = uint32(r.Height() - 1)
	if !r.Sane() {
		return false
	}
	c := &badCase{piece: piece, root: root, got: got}
	if s.cases == nil {
		s.cases = make(map[wire.HashRange]*badCase)
	}
	s.cases[r] = c
	s.askCase(r, c)
	return s.cases[r] == c
}

// rootOf is the version 2 hash of a piece, if it is known, and its file.
func (s *Swarm) rootOf(piece uint32) (file int, root [32]byte, ok bool) {
	at, _, err := s.store.FileOf(piece)
	if err != nil || s.info.Files[at].PiecesRoot == nil {
		return 0, root, false
	}
	f := &s.info.Files[at]
	s.fileOf(*f.PiecesRoot) // fills starts
	if f.Length <= s.info.PieceLength {
		return at, *f.PiecesRoot, true
	}
	layer := s.torrent.PieceLayers.Get(f.PiecesRoot)
	if layer == nil {
		return at, root, false
	}
	n := int(piece) - int(s.starts[at]/s.info.PieceLength)
	return at, [32]byte(layer[n*wire.HashLen:]), true
}

// askCase asks a peer, or closes the case when nobody is left to ask.
func (s *Swarm) askCase(r wire.HashRange, c *badCase) {
	if c.tries++; c.tries <= caseTries {
		var best *member
		for _, m := range s.peers {
			// Any answer proves itself, but who sent a bad block may keep it back.
			if s.answersHashes(m) && (best == nil || c.sent(best.conn.ID) && !c.sent(m.conn.ID)) {
				best = m
			}
		}
		if best != nil {
			c.asked = askedHashes{best.conn.ID, s.now}
			best.conn.AskHashes(&r)
			return
		}
	}
	delete(s.cases, r)
	s.suspect(c.piece, c.got)
}

func (c *badCase) sent(id uint32) bool { return slices.Contains(c.got.ids, id) }

// tickCases asks others where no answer came.
func (s *Swarm) tickCases() {
	for r, c := range s.cases {
		if m := s.peers[c.asked.from]; m != nil && s.now.Sub(c.asked.at) <= hashRetry {
			continue
		} else if m != nil {
			m.hashless = s.now
		}
		s.askCase(r, c)
	}
}

// gotBlockHashes finds out who sent bad blocks, and bans exactly them.
func (s *Swarm) gotBlockHashes(m *member, r *wire.HashRange, hashes []byte) {
	c := s.cases[*r]
	if c == nil || c.asked.from != m.conn.ID {
		return // too late
	}
	proof := metainfo.Proof{Hashes: hashes}
	if proof.Verify(c.root) != nil {
		s.ban(s.authorOf(m), errBadHashes)
		s.askCase(*r, c)
		return
	}
	delete(s.cases, *r)
	for who := range guilty([]attempt{c.got}, hashes) {
		s.ban(who, fmt.Errorf("blocks of piece %d: %w", c.piece, errBadData))
	}
}

// blockHashesRejected has another peer asked.
func (s *Swarm) blockHashesRejected(m *member, r *wire.HashRange) {
	m.hashless = s.now
	if c := s.cases[*r]; c != nil && c.asked.from == m.conn.ID {
		s.askCase(*r, c)
	}
}

// member's part in the hashes of version 2 (BEP 52).
type hashMember struct {
	v2       bool      // hash requests may be sent
	hashless time.Time // it refused hashes then
	leafLeft int64     // bytes of pieces that may be hashed for it
	leafSent int64     // bytes sent to it, and
	leafAt   time.Time // when that was counted
}

const (
	// maxUnitsAsked is the number of pieces whose units one peer is asked for at
	// a time; the rest waits for its answers.
	maxUnitsAsked = 8
	// maxUnitAsks is the number of answers about units that are awaited or wait to be
	// asked for, of all peers.
	maxUnitAsks = 4096
	// unitsRetry is how long a seller that is paid by units may take to send
	// their hashes: without them it cannot be paid, and nobody else is to blame.
	unitsRetry = 20 * time.Second
)

var (
	errNoUnits = errors.New("peer does not send the hashes of the units that it sells by")
	errBadUnit = fmt.Errorf("unit of a piece: %w", errBadData)
)

// unitKey names a piece and the peer that sells it. Two may sell a piece one after the
// other, in units of different sizes.
type unitKey struct{ piece, from uint32 }

// unitAsk is a piece whose units' hashes are to come from the peer that sells it
// (BEP 52: a layer between blocks and pieces).
type unitAsk struct {
	r    wire.HashRange
	root [32]byte  // of the piece
	unit int64     // bytes
	at   time.Time // when it was asked for; zero = not yet
}

// hasUnits says whether pieces can be verified in parts: all piece layers are
// here.
func (s *Swarm) hasUnits() bool {
	return s.info != nil && s.info.HasV2() && s.layers == nil && s.store != nil && s.torrent != nil
}

// layersWait is for how long a download begins without bids, so that it need not pay
// whole pieces, while the hashes that tell their parts are on their way.
const layersWait = 10 * time.Second

// unitsDue says whether some peer may send the layers in a moment that hasUnits wants.
func (s *Swarm) unitsDue() bool {
	if s.layers == nil || s.now.Sub(s.began) >= layersWait {
		return false
	}
	for _, m := range s.peers {
		if s.answersHashes(m) {
			return true
		}
	}
	return false
}

// wantUnits has the hashes sent of what was just leased from a peer that is paid
// by units. Who says units answers for their hashes, also where a hybrid's connection
// was not upgraded to version 2 (BEP 52).
func (s *Swarm) wantUnits(m *member) {
	unit := m.trade.Unit()
	if unit == 0 {
		return
	}
	for _, l := range s.leases {
		key := unitKey{l.Piece, m.conn.ID}
		if s.units[key] != nil || len(s.units) >= maxUnitAsks || s.store.HasUnits(l.Piece, int(unit/wire.BlockSize)) {
			continue
		}
		r, root, ok := s.unitRange(l.Piece, unit)
		if !ok {
			continue // no longer than a unit, so paid as a whole
		}
		if s.units == nil {
			s.units = make(map[unitKey]*unitAsk)
		}
		s.units[key] = &unitAsk{r: r, root: root, unit: unit}
	}
	s.askUnits(m)
}

// unitRange is what to ask for a piece's units, and the hash of the piece.
func (s *Swarm) unitRange(piece uint32, unit int64) (r wire.HashRange, root [32]byte, ok bool) {
	i, root, ok := s.rootOf(piece)
	if !ok {
		return r, root, false
	}
	f := &s.info.Files[i]
	length := s.info.PieceLength // of the tree under root
	if f.Length <= length {
		for length = wire.BlockSize; length < f.Length; {
			length *= 2
		}
	}
	if length <= unit {
		return r, root, false
	}
	r = wire.HashRange{Root: *f.PiecesRoot, Base: uint32(metainfo.PieceLevel(unit)), Length: uint32(length / unit)}
	if f.Length > s.info.PieceLength {
		r.Index = (piece - uint32(s.starts[i]/s.info.PieceLength)) * r.Length
	}
	r.Proofs = uint32(r.Height() - 1) // up to the piece's hash, which is known
	return r, root, r.Sane()
}

// askUnits sends a peer the requests for hashes that wait, as many as it may have
// open.
func (s *Swarm) askUnits(m *member) {
	open := 0
	for key, a := range s.units {
		if key.from == m.conn.ID && !a.at.IsZero() {
			open++
		}
	}
	for key, a := range s.units {
		if open >= maxUnitsAsked {
			return
		}
		if key.from == m.conn.ID && a.at.IsZero() {
			a.at = s.now
			open++
			m.conn.AskHashes(&a.r)
		}
	}
}

// takeUnits finds the piece whose units a peer was asked for by a range.
func (s *Swarm) takeUnits(m *member, r *wire.HashRange) (piece uint32, a *unitAsk) {
	for key, a := range s.units {
		if key.from == m.conn.ID && a.r == *r && !a.at.IsZero() {
			delete(s.units, key)
			return key.piece, a
		}
	}
	return 0, nil
}

// gotUnits takes the hashes of a piece's units; false = they were not asked for.
// Units whose blocks are here already are paid.
func (s *Swarm) gotUnits(m *member, r *wire.HashRange, hashes []byte) bool {
	piece, a := s.takeUnits(m, r)
	if a == nil {
		return false
	}
	proof := metainfo.Proof{Hashes: hashes}
	if proof.Verify(a.root) != nil {
		s.ban(s.authorOf(m), errBadHashes)
		return true
	}
	if err := s.store.SetUnits(piece, int(a.unit/wire.BlockSize), hashes); err != nil {
		s.cfg.Log.Debug("piece is paid as a whole", "piece", piece, "err", err)
	}
	for at := uint32(0); int64(at) < s.info.PieceLength; {
		from, to, ok := s.store.Sure(piece, at)
		if ok {
			s.market.VerifiedUnit(piece, from, to)
		}
		at = max(to, at+wire.BlockSize)
	}
	s.askUnits(m)
	return true
}

// unitsRejected drops a seller that refuses the hashes that it sells by; false =
// it was not asked for them.
func (s *Swarm) unitsRejected(m *member, r *wire.HashRange) bool {
	if _, a := s.takeUnits(m, r); a == nil {
		return false
	}
	trader{s, m}.Shun(errNoUnits)
	return true
}

// tickUnits forgets what nobody is asked for any more, and drops sellers that do
// not answer.
func (s *Swarm) tickUnits() {
	for key, a := range s.units {
		m := s.peers[key.from]
		switch {
		case m == nil || s.store.Verified(key.piece):
			delete(s.units, key)
		case !a.at.IsZero() && s.now.Sub(a.at) > unitsRetry:
			delete(s.units, key)
			trader{s, m}.Shun(errNoUnits)
		}
	}
}

// onBadUnit handles a unit of a piece that failed its hash: its blocks are fetched
// again, and whoever sent all of it is banned. Of several it is not known whose
// was bad, so each gets pieces of its own, and is banned when that happens again
// and again.
func (s *Swarm) onBadUnit(piece, begin uint32) {
	ids := s.store.UnitAuthors(piece, begin)
	from, to, _ := s.store.Sure(piece, begin)
	s.authors = s.store.Holds(s.authors[:0], piece)
	s.picker.Unreceive(piece, from/wire.BlockSize, (to-from)/wire.BlockSize, s.authors)
	alone := true
	for _, id := range ids {
		alone = alone && id == ids[0]
	}
	seen := map[uint32]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		m := s.peers[id]
		if m == nil {
			if who, ok := s.gone[id]; ok && alone {
				s.ban(who, errBadUnit)
			}
			continue
		}
		m.trade.UncreditUnit(piece, from, to, s.authors)
		m.bad++
		m.parole = true
		if alone || m.bad >= maxBadPieces {
			s.ban(s.authorOf(m), errBadUnit)
		}
	}
	s.cfg.Log.Warn("unit failed its hash", "piece", piece, "offset", from, "peers", len(seen))
	s.feedAll()
}
