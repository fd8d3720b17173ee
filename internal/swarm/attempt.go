package swarm

import "github.com/bttnet/btt/wire"

// A piece that fails its hash is dropped by the store at once, in a peer's
// goroutine; the swarm hears of it later, and blocks of the next attempt may have
// come by then. So from its first failure on the store alone says what there is of a
// piece. A block that the store has and that a paid peer is asked for again would be
// served and never paid, and so would one that is asked for twice.

// received books a block that came, and says whether it is this peer's that the store
// keeps, so that it is to be paid when it proves right.
func (s *Swarm) received(id, piece, block uint32) (kept bool) {
	if !s.picker.Suspect(piece) {
		s.picker.Received(piece, block, id)
		return true // unless it is a duplicate, which the store said
	}
	author, here := s.store.Author(piece, block*wire.BlockSize)
	if here && author == 0 { // the piece is complete
		author = id
	}
	if here {
		s.picker.Keep(piece, block, author)
	}
	if author == id {
		return true
	}
	if m := s.peers[id]; m == nil || !m.conn.Owes(piece, block) { // else it was asked again
		s.picker.ReturnBlock(piece, block, id)
	}
	return false
}

// again goes on with a piece of which the store dropped an attempt: what it took
// since is not asked for again, nor what peers were asked for before and owe still.
func (s *Swarm) again(piece uint32) {
	s.authors = s.store.Holds(s.authors[:0], piece)
	if len(s.authors) > 0 || !s.store.Verified(piece) { // else that it is written will be told
		s.picker.Retry(piece, s.authors)
	}
}

// disclaim sees to it that what was just leased to a peer that we pay comes from it
// alone: what free peers were asked for of it before, and that was given up, is not
// taken any more. A choke and late garbage after it would spoil the paid blocks.
func (s *Swarm) disclaim(m *member) {
	if !m.trade.Paying() {
		return
	}
	for i, l := range s.leases {
		if i > 0 && s.leases[i-1].Piece == l.Piece {
			continue
		}
		for _, o := range s.peers {
			if o != m && !o.trade.Paying() {
				o.conn.Disclaim(l.Piece)
			}
		}
	}
}
