package swarm

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

const (
	// maxCases is the number of failed pieces looked into at once; of what comes
	// beyond, all who took part are blamed alike.
	maxCases = 16
	// caseTries is how many peers are asked for the hashes of a piece's blocks.
	caseTries = 3
)

// badCase is a version 2 piece that failed and that several peers sent: the
// hashes of its blocks tell whose was bad (BEP 52).
type badCase struct {
	piece   uint32
	root    [32]byte // of the piece
	got     []byte   // hashes of the blocks that came
	authors []uint32 // who sent each
	addrs   map[uint32]netip.Addr
	asked   askedHashes
	tries   int
}

// onBadPiece handles a piece that failed its hash: all its blocks are fetched
// again and those who sent them answer for it.
func (s *Swarm) onBadPiece(piece uint32) {
	got := s.store.Blame(piece)
	authors := s.picker.Authors(nil, piece)
	s.ids = s.picker.Contributors(s.ids[:0], piece)
	s.picker.Reset(piece)
	for _, id := range s.ids {
		if m := s.peers[id]; m != nil {
			m.trade.Uncredit(piece)
		}
	}
	s.cfg.Log.Warn("piece failed its hash", "piece", piece, "peers", len(s.ids))
	if len(s.ids) == 1 || !s.openCase(piece, got, authors) {
		s.blame(s.ids)
	}
	s.feedAll()
}

// blame punishes all who sent blocks of a bad piece: who was alone at once, the
// others when it happens again and again.
func (s *Swarm) blame(ids []uint32) {
	for _, id := range ids {
		m := s.peers[id]
		if m == nil {
			continue
		}
		m.bad++
		if len(ids) == 1 || m.bad >= maxBadPieces {
			s.ban(m.addr.Addr(), errBadData)
			s.kick(m, errBadData)
		}
	}
}

// openCase asks for the hashes of a bad piece's blocks; false = that cannot be.
func (s *Swarm) openCase(piece uint32, got []byte, authors []uint32) bool {
	n := len(got) / wire.HashLen
	if n < 2 || len(authors) < n || len(s.cases) >= maxCases || s.torrent == nil {
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
	c := &badCase{piece: piece, root: root, got: got, authors: authors, addrs: map[uint32]netip.Addr{}}
	for _, id := range authors {
		if m := s.peers[id]; m != nil {
			c.addrs[id] = m.addr.Addr()
		}
	}
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
	layer := s.torrent.PieceLayers[*f.PiecesRoot]
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
	s.blame(c.suspects())
}

func (c *badCase) sent(id uint32) bool {
	_, ok := c.addrs[id]
	return ok
}

func (c *badCase) suspects() []uint32 {
	ids := make([]uint32, 0, len(c.addrs))
	for id := range c.addrs {
		ids = append(ids, id)
	}
	return ids
}

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
		s.ban(m.addr.Addr(), errBadHashes)
		s.kick(m, errBadHashes)
		s.askCase(*r, c)
		return
	}
	delete(s.cases, *r)
	guilty := map[uint32]int{}
	for b := range len(c.got) / wire.HashLen {
		at := b * wire.HashLen
		if !bytes.Equal(c.got[at:at+wire.HashLen], hashes[at:at+wire.HashLen]) {
			guilty[c.authors[b]]++
		}
	}
	for id, blocks := range guilty {
		why := fmt.Errorf("%d blocks of piece %d: %w", blocks, c.piece, errBadData)
		if addr, ok := c.addrs[id]; ok {
			s.ban(addr, why)
		}
		if m := s.peers[id]; m != nil {
			s.kick(m, why)
		}
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
	leafAt   time.Time // when that was counted
}
