package swarm

import (
	"slices"

	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// Named limits of what peers get that we choke (BEP 6, RFC 31).
const (
	// fastPieces is the number of pieces that a peer may ask for while choked, at
	// most one of fastShare; one that has so many has enough to trade with.
	fastPieces = 10
	fastShare  = 16
	// fastBytes bounds them for one peer; a piece that is longer is not offered.
	fastBytes = 2 << 20
	// fastBurst and fastRate bound what all choked peers of a torrent get: bytes
	// at once, and so many more a second.
	fastBurst = 2 << 20
	fastRate  = 16 << 10
)

// fastMember is a peer's part in BEP 6.
type fastMember struct {
	allowed   []uint32 // pieces that it gives us though it chokes us
	suggested []uint32 // pieces that it would like to send
	offering  bool     // it was looked at whether pieces are to be allowed to it
	offered   bool     // some are
}

// offerFast lets a peer with few pieces ask for some while we choke it. Who takes
// part in the market does not: a slot is what is sold there.
func (s *Swarm) offerFast(m *member) {
	n := s.info.NumPieces()
	k := int(min(fastPieces, int64(n/fastShare), fastBytes/s.info.PieceLength))
	if m.offered && (m.seed || m.bits.Count() >= k) {
		m.offered = false
		m.conn.Allow(nil, 0, nil)
	}
	if m.offering || s.market != nil || !m.conn.Fast() || m.seed || m.bits.Count() >= k || !s.mayUpload() {
		return
	}
	m.offering = true
	set := slices.DeleteFunc(wire.AllowedFastSet(nil, m.addr.Addr(), s.cfg.InfoHash, uint32(n), k), func(p uint32) bool {
		return !s.pieces.Has(p)
	})
	if len(set) == 0 {
		return
	}
	if s.fast == nil {
		s.fast = peer.NewAllowance(fastBurst, fastRate)
	}
	m.offered = true
	m.conn.Allow(set, int64(len(set))*s.info.PieceLength, s.fast)
}

// feedFast leases blocks of the pieces that a peer allows though it chokes us.
// One that we pay is asked for nothing but what we pay for (A23).
func (s *Swarm) feedFast(m *member) {
	if len(m.allowed) == 0 || m.trade.Paying() || m.snubbed {
		return
	}
	n := m.conn.WantAllowed()
	if n <= 0 {
		return
	}
	who := picker.Peer{ID: m.conn.ID, Bits: m.bits, Seed: m.seed, Whole: m.parole}
	if s.leases = s.picker.LeaseOf(s.leases[:0], who, m.allowed, n); len(s.leases) > 0 {
		m.conn.Grant(s.leases, m.chokes)
	}
}

// onAllowed takes what a peer allows, onSuggested what it suggests; the
// connection has seen to their number.
func (s *Swarm) onAllowed(m *member, piece uint32)   { m.allowed = append(m.allowed, piece) }
func (s *Swarm) onSuggested(m *member, piece uint32) { m.suggested = append(m.suggested, piece) }

// disallow asks a choking peer for a piece no more, of which it rejected a block.
func (m *member) disallow(piece uint32) {
	if i := slices.Index(m.allowed, piece); i >= 0 && m.choked {
		m.allowed = slices.Delete(m.allowed, i, i+1)
	}
}

// hinted leases pieces that the peer suggests, for instance because it has them in
// memory. It is a hint: the order of a stream goes before it.
func (s *Swarm) hinted(m *member, who picker.Peer, n int) {
	if len(m.suggested) == 0 || s.picker.Ordered() {
		return
	}
	s.leases = s.picker.LeaseOf(s.leases, who, m.suggested, n)
	m.suggested = slices.DeleteFunc(m.suggested, func(p uint32) bool { return s.pieces.Has(p) || int(p) >= s.info.NumPieces() })
}
