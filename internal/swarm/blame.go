package swarm

import (
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
