package swarm

import (
	"slices"
	"time"

	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

const (
	// mixRun is how many blocks are freed at once for a peer that is to get
	// whole pieces, at least a piece.
	mixRun = 16
	// contestAfter is how long a free peer may take for what it owes us before a
	// paid one that has nothing to do gets its pieces.
	contestAfter = 3 * time.Second
)

// mix finds work for a peer that is to get whole pieces when there are none left.
func (s *Swarm) mix(m *member, who *picker.Peer, n int) {
	if !m.trade.Paying() {
		who.Whole = false // on parole: better shared than never
	}
	for who.Whole && n > 0 && s.unmix(who) {
		from := len(s.leases)
		s.leases = s.picker.Lease(s.leases, *who, n)
		got := 0
		for _, l := range s.leases[from:] {
			got += int(l.Count)
		}
		if n = min(n, mixRun) - got; got == 0 {
			break
		}
	}
	if len(s.leases) == 0 {
		s.leases = s.picker.Lease(s.leases, *who, n)
	}
}

// goOn leases to a peer that we pay what is missing of the pieces that it began: a
// choke may have come between, and others may have been asked. Its payment waits
// for them, and with an unpaid part of one piece under way it may not send another
// whole one. Where one that lost the rest of such a piece to it still owes a part, it
// gets that as soon as it is late, and nothing else until then: with two begun pieces
// its window could be full and neither of them whole. What it lost of such a piece and
// is to bring all the same, it answers first: a block that comes twice is paid once, but
// takes its place in the window twice.
func (s *Swarm) goOn(m *member, who picker.Peer, dst []picker.Lease) (leases []picker.Lease, waits bool) {
	if !m.trade.Paying() {
		return dst, false
	}
	s.ids = m.trade.Unpaid(s.ids[:0])
	if m.taking && !slices.Contains(s.ids, m.taken) {
		s.ids = append(s.ids, m.taken) // of which nothing came yet
	}
	for _, piece := range s.ids {
		s.owing = s.picker.Owed(s.owing[:0], piece, who.ID)
		late := s.awaits()
		m.taking = m.taking && (late || piece != m.taken)
		switch {
		case late && !s.tooSlow(m, piece, true):
			waits = true
			continue
		case late:
			s.shed()
		case slices.ContainsFunc(s.owing, func(o picker.Owing) bool { other := s.peers[o.Peer]; return other == nil || other.trade.Paying() }):
			continue // a web seed, or one that is to be paid as well
		default:
			for _, o := range s.owing {
				s.peers[o.Peer].conn.Withdraw(piece, o.Block)
				s.picker.ReturnBlock(piece, o.Block, o.Peer)
			}
		}
		if s.now.Sub(m.lostAt) < blockMax && m.conn.Reclaim(piece) {
			waits = true
			continue
		}
		dst = s.picker.Finish(dst, who, piece)
	}
	return dst, waits && len(dst) == 0
}

// awaits says whether all that owe what is in s.owing lost a piece a moment ago.
func (s *Swarm) awaits() bool {
	return len(s.owing) > 0 && !slices.ContainsFunc(s.owing, func(o picker.Owing) bool { other := s.peers[o.Peer]; return other == nil || !s.lags(other) })
}

const (
	// rateKnown is how long a peer's rate counts as not known after it unchoked us.
	rateKnown = 3 * time.Second
	// behindDivisor is what part of the best rate makes a peer slow.
	behindDivisor = 4
)

// behind says whether a peer is known to send far less than the best one: it gets
// no block in end game that others owe. It would take the place of one that could
// send it, and waste its own upload.
func (s *Swarm) behind(m *member) bool {
	return s.now.Sub(m.opened) >= rateKnown && behindDivisor*m.rateBusy < s.bestDown
}

// unmix makes a piece free for a peer that is paid for whole pieces (A23) when
// all that is left was begun by others: what they sent is dropped, for a bad
// block of theirs would cost this peer its pay, and us its good will. A piece
// in which somebody has unpaid blocks is finished as it is: when nothing else is
// left, the peer may share such a one.
func (s *Swarm) unmix(who *picker.Peer) bool {
	s.ids = s.picker.Mixed(s.ids[:0], *who)
	who.Whole = len(s.ids) == 0
	for _, piece := range s.ids {
		if !s.keeps(piece) {
			s.restart(piece)
			who.Whole = true
			return true
		}
	}
	if s.contest(who) {
		who.Whole = true
		return true
	}
	return false
}

// keeps says whether a piece that was begun is not to be dropped: somebody is
// still to be paid for blocks of it, or was paid for units of it.
func (s *Swarm) keeps(piece uint32) bool { return s.market.Credited(piece) || s.store.AnySure(piece) }

// contest takes a piece away from free peers that would take long to bring it:
// else whoever is paid to be fast idles while they have the last pieces.
func (s *Swarm) contest(who *picker.Peer) bool {
	s.ids = s.picker.Contested(s.ids[:0], *who)
	for _, piece := range s.ids {
		if s.keeps(piece) || !s.slow(piece) {
			continue
		}
		s.eachOwed(piece, func(m *member, block uint32) bool {
			m.conn.Withdraw(piece, block)
			s.picker.ReturnBlock(piece, block, m.conn.ID)
			return true
		})
		s.restart(piece)
		return true
	}
	return false
}

// slow says whether all that owe blocks of a piece are peers that are not paid
// and far behind with what they owe.
func (s *Swarm) slow(piece uint32) bool {
	return s.eachOwed(piece, func(m *member, block uint32) bool {
		// Not a web seed's, of one that is to be paid, or what has just come.
		if m == nil || m.trade.Paying() || !m.conn.Owes(piece, block) {
			return false
		}
		owed := int64(m.conn.Outstanding()) * wire.BlockSize
		since := m.conn.LastBlock()
		if m.opened.After(since) {
			since = m.opened
		}
		return s.now.Sub(since) > contestAfter ||
			m.rateDown > 0 && owed/m.rateDown >= int64(contestAfter/time.Second)
	})
}

// eachOwed calls f for each block of a piece and each that owes it, nil for one
// that is no peer, as long as f is true, and says whether it was.
func (s *Swarm) eachOwed(piece uint32, f func(m *member, block uint32) bool) bool {
	var buf [picker.MaxOwners]uint32
	for block := range s.picker.Blocks(piece) {
		for _, id := range s.picker.OthersWaiting(buf[:0], piece, block) {
			if !f(s.peers[id], block) {
				return false
			}
		}
	}
	return true
}

// lagPause is for how long a paid peer that lost a piece gets no other, as long as
// somebody else serves us.
const lagPause = time.Minute

// wrest finds work for a peer that has none: the rest of a piece that one that we
// pay has for itself and brings far slower than this peer would. What came of it
// stays and is paid to who sent it, once the piece is whole. At most one piece is
// taken at a time; with first, only the first of all that are held.
func (s *Swarm) wrest(m *member, who picker.Peer, n int, first bool) {
	if m.snubbed || s.yields(m) {
		return
	}
	s.ids = s.picker.Held(s.ids[:0], who)
	for _, piece := range s.ids {
		if !s.tooSlow(m, piece, false) || m.parole && !s.shares(m, piece) {
			if first {
				return
			}
			continue
		}
		s.shed()
		m.tried, m.taking, m.taken = true, true, piece
		s.leases = s.picker.Finish(s.leases, who, piece)
		if len(s.leases) == 0 { // nothing had come of it, so it is as any other
			s.leases = s.picker.Lease(s.leases, who, n)
		}
		return
	}
}

// shed takes from those that owe what is in s.owing all that is not under way.
func (s *Swarm) shed() {
	for _, o := range s.owing {
		if loser := s.peers[o.Peer]; loser.lostAt != s.now {
			left := s.onTheWay(loser)
			loser.lostAt = s.now
			loser.conn.Shed(left, func(piece, block uint32) { s.picker.ReturnBlock(piece, block, o.Peer) })
		}
	}
}

// shares says whether a peer whose data are in doubt may have the rest of a piece, which
// is what is in s.owing: a bad block of it would cost those their pay that sent the
// others. So it may where none came and none is under way, or where those that it would
// harm are stuck and nobody else brings anything: better shared than never.
func (s *Swarm) shares(m *member, piece uint32) bool {
	if s.picker.Progress(piece) == 0 && len(s.owing) == int(s.picker.Blocks(piece)) {
		return true
	}
	for _, o := range s.peers {
		if o != m && !o.parole && s.brings(o) && !s.stuck(o) {
			return false
		}
	}
	return true
}

// tooSlow says whether all that owe blocks of a piece bring it far slower than m would:
// at a fraction of its rate, and not within a moment. It leaves in s.owing what m may
// take of it. Whose data are in doubt keeps what it has for itself, which tells whether they
// are right; of a piece that m took already it does not.
func (s *Swarm) tooSlow(m *member, piece uint32, taken bool) bool {
	s.owing = s.picker.Owed(s.owing[:0], piece, m.conn.ID)
	owed := int64(len(s.owing)) * wire.BlockSize
	if slices.ContainsFunc(s.owing, func(w picker.Owing) bool {
		o := s.peers[w.Peer]
		if o == nil || o.parole && !taken || !o.conn.Owes(piece, w.Block) {
			return true // a web seed, one in doubt, or what has just come
		}
		if s.now.Sub(o.opened) < rateKnown || s.now.Sub(o.free) < rateKnown {
			return true // it has just begun
		}
		if s.now.Sub(o.conn.LastBlock()) <= contestAfter && owed < o.rateBusy*int64(contestAfter/time.Second) {
			return true
		}
		if m.rateBusy == 0 && m.conn.Received.Load() == 0 {
			return m.tried || !s.stuck(o) // it brought nothing yet: one piece shows what it can
		}
		return m.rateBusy <= behindDivisor*o.rateBusy
	}) {
		return false
	}
	s.owing = slices.DeleteFunc(s.owing, func(w picker.Owing) bool {
		o := s.peers[w.Peer]
		return o.conn.Place(piece, w.Block) < s.onTheWay(o)
	})
	return len(s.owing) > 0
}

// onTheWay is how many of the blocks that a paid peer owes may be under way, the one
// that it is sending included: they are left to it. A block that another brought first
// is not paid, and what is not paid for good makes its window less than a piece. What
// was left to one that lost a piece is late when it is not there after as long.
func (s *Swarm) onTheWay(m *member) int {
	since := m.conn.LastBlock()
	if m.free.After(since) {
		since = m.free
	}
	left := s.lags(m) && m.lostAt.After(m.free)
	if !m.trade.Paying() || s.now.Sub(since) >= blockMax || left && s.now.Sub(m.lostAt) >= blockMax {
		return 0
	}
	return 1 + int(m.rateBusy*int64(sentAhead/time.Second)/wire.BlockSize)
}

const (
	// blockMax is how long a paid peer may take for a block that it alone owes.
	blockMax = 6 * time.Second
	// sentAhead is for how long what a peer was asked for may be under way already.
	sentAhead = time.Second
)

// lags says whether a peer lost a piece for being slow, a moment ago.
func (s *Swarm) lags(m *member) bool {
	return !m.lostAt.IsZero() && s.now.Sub(m.lostAt) < lagPause
}

// stuck says whether a peer is so slow that somebody of whom nothing is known may do
// no worse: it sends nothing, or needs long for all that it owes.
func (s *Swarm) stuck(m *member) bool {
	owed := int64(m.conn.Outstanding()) * wire.BlockSize
	return s.now.Sub(m.conn.LastBlock()) > contestAfter || owed >= m.rateBusy*int64(lagPause/time.Second)/2
}

// yields says whether a peer lost a piece a moment ago, and another that is not far
// slower brings what we want. Who only keeps its slot open does not count: it would
// hold up whom it took a piece from. Of two that lost one, who lost it first is asked.
func (s *Swarm) yields(m *member) bool {
	if !s.lags(m) {
		return false
	}
	for _, o := range s.peers {
		if o != m && s.brings(o) && (!s.lags(o) || o.lostAt.Before(m.lostAt)) &&
			(s.now.Sub(o.opened) < rateKnown || behindDivisor*o.rateBusy >= m.rateBusy) {
			return true
		}
	}
	return false
}

// brings says whether a peer serves what we want and sent something a moment ago, or
// was asked just now.
func (s *Swarm) brings(m *member) bool {
	since := m.conn.LastBlock()
	if m.conn.Outstanding() > 0 && m.free.After(since) {
		since = m.free
	}
	return m.wanted && !m.choked && !m.snubbed && !m.trade.Broke() && s.now.Sub(since) <= blockMax
}

// emptySlot is how long a slot that we pay must have lasted, with something asked,
// until it counts that nothing came in it. A price may change sooner.
const emptySlot = time.Second

// slotEnded books that a peer took our slot back. One that sold it and sent nothing has
// lost its piece: else it could hold one by a choke now and then.
func (s *Swarm) slotEnded(m *member) {
	if m.trade.Paying() && m.conn.LastBlock().Before(m.opened) && s.now.Sub(m.opened) >= emptySlot && s.now.Sub(m.free) >= emptySlot {
		m.lostAt = s.now
	}
}

// restart drops what came of a piece on which nobody works.
func (s *Swarm) restart(piece uint32) {
	s.store.Forget(piece)
	s.picker.Reset(piece)
	s.market.Dropped(piece)
}

// tickSnub gives what a peer was asked for and does not send to others. What one
// that we pay owes is its alone: as long as another serves us, it is asked again
// only after it gave us a slot anew.
func (s *Swarm) tickSnub(m *member) {
	if m.conn.Outstanding() == 0 {
		m.free = s.now
		return
	}
	owes := m.conn.LastBlock()
	if m.trade.Paying() && m.free.After(owes) {
		owes = m.free // what it was not asked for was not late
	}
	if s.now.Sub(owes) > snubAfter && (!m.snubbed || m.trade.Paying() && s.served()) {
		m.snubbed = true
		m.conn.DropRequests()
		s.returnAll(m)
	}
}

// served says whether a peer serves what we want, no answer of it is overdue, and it does
// not lag. While one does, nothing is asked of a peer that sells and does not send: its pieces are its
// own, so nobody else could bring them.
func (s *Swarm) served() bool {
	for _, m := range s.peers {
		if m.wanted && !m.choked && !m.snubbed && !s.lags(m) && !m.trade.Broke() {
			return true
		}
	}
	return false
}
