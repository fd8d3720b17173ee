package swarm

import (
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// handle takes a connection's events and acts on them as one batch.
func (s *Swarm) handle(c *peer.Conn) {
	s.events = c.Events(s.events)
	m := s.peers[c.ID]
	if m == nil {
		return
	}
	feed := false
	for i := range s.events {
		e := &s.events[i]
		switch e.Kind {
		case peer.Closed:
			s.drop(m, e.Err)
			return
		case peer.Block:
			s.onBlock(m, e)
			feed = true
		case peer.Hungry, peer.Unchoked:
			if m.choked && e.Kind == peer.Unchoked {
				m.choked, m.opened, m.free = false, s.now, s.now
				m.snubbed = m.snubbed && !m.trade.Paying()
			}
			feed = true
		case peer.Choked:
			m.choked, m.chokes = true, e.Piece
			s.slotEnded(m)
			m.trade.Choked()
			s.returnAll(m)
			feed = true
		case peer.AllowedFast:
			s.onAllowed(m, e.Piece)
			feed = true
		case peer.Suggested:
			s.onSuggested(m, e.Piece)
		case peer.Rejected:
			s.onReject(m, e) // asked again at the next tick: no loop with a peer that rejects all
		case peer.Interested, peer.NotInterested:
			s.onInterest(m, e.Kind == peer.Interested)
		case peer.Have, peer.HaveAll, peer.HaveNone, peer.Bitfield:
			s.onHave(m, e)
		case peer.Port:
			s.onPort(m, e)
		case peer.Extended:
			s.onExtended(m, e.Sub, e.Data)
		case peer.Hash:
			s.onHash(m, e)
		}
	}
	if m.trade.Unit() == 0 || !c.Pending() { // the rest of a unit goes into one payment
		s.market.Pay(m.trade)
	}
	if feed {
		s.feed(m)
	}
}

// onHave keeps the books about what a peer has.
func (s *Swarm) onHave(m *member, e *peer.Event) {
	if s.info == nil {
		s.rememberHave(m, e)
		return
	}
	n := s.info.NumPieces()
	switch e.Kind {
	case peer.Have:
		if int(e.Piece) >= n {
			s.kick(m, peer.ErrHostile)
			return
		}
		if m.seed || m.bits.Has(int(e.Piece)) {
			return
		}
		m.bits.Set(int(e.Piece))
		s.picker.AddHave(e.Piece)
		m.counted = true
		if m.bits.Count() == n {
			s.becameSeed(m)
		}
	case peer.HaveAll:
		s.uncount(m)
		s.picker.AddSeed()
		m.seed, m.counted = true, true
	case peer.HaveNone:
		s.uncount(m)
	case peer.Bitfield:
		if !wire.Bits(e.Data).ValidFor(n) {
			s.kick(m, peer.ErrHostile)
			return
		}
		s.uncount(m)
		copy(m.bits, e.Data)
		s.picker.AddBitfield(m.bits)
		m.counted = true
		if m.bits.Count() == n {
			s.becameSeed(m)
		}
	}
	s.afterHave(m)
}

// rememberHave keeps what a peer says of its pieces until the metadata is here.
func (s *Swarm) rememberHave(m *member, e *peer.Event) {
	switch e.Kind {
	case peer.HaveAll:
		m.seed, m.rawBits = true, nil
	case peer.HaveNone:
		m.seed, m.rawBits = false, nil
	case peer.Bitfield:
		m.seed, m.rawBits = false, e.Data
	case peer.Have:
		if len(m.haves) < wire.MaxMessage {
			m.haves = append(m.haves, e.Piece)
		}
	}
}

func (s *Swarm) becameSeed(m *member) {
	s.picker.RemoveBitfield(m.bits)
	clear(m.bits)
	s.picker.AddSeed()
	m.seed = true
}

// uncount takes a peer's pieces out of the availability.
func (s *Swarm) uncount(m *member) {
	if !m.counted {
		return
	}
	if m.seed {
		s.picker.RemoveSeed()
	} else {
		s.picker.RemoveBitfield(m.bits)
	}
	clear(m.bits)
	m.seed, m.counted = false, false
}

// afterHave tells the peer whether we want something of it.
func (s *Swarm) afterHave(m *member) {
	s.updateInterest(m)
	s.market.Tell(m.trade)
	s.offerFast(m)
	s.feed(m)
}

// updateInterest sends interested or not interested where it changed.
func (s *Swarm) updateInterest(m *member) {
	if s.picker == nil || s.state != Downloading || s.leaving {
		return
	}
	want := s.picker.Interesting(m.bits, m.seed)
	if want == m.wanted {
		return
	}
	m.wanted = want
	id := wire.NotInterested
	if want {
		id = wire.Interested
	}
	m.conn.Send(wire.AppendEmpty(nil, id))
}

func (s *Swarm) onInterest(m *member, is bool) {
	if m.interest == is {
		return
	}
	m.interest = is
	if is {
		m.waiting = s.now
		m.trade.Roused()
	} else if m.trade.Sold() {
		s.choke(m) // the buyer may want its one slot in another torrent (R5.6)
	}
	s.cfg.FreeSlot()
}

// onBlock books a block that was stored.
func (s *Swarm) onBlock(m *member, e *peer.Event) {
	if s.picker == nil {
		return
	}
	block := e.Begin / wire.BlockSize
	kept := s.received(m.conn.ID, e.Piece, block)
	m.snubbed = false
	if kept && (e.Result == disk.Stored || e.Result == disk.Verified) {
		s.market.Credit(m.trade, e.Piece, e.Begin, int64(e.Length))
	}
	s.ids = s.picker.OthersWaiting(s.ids[:0], e.Piece, block)
	for _, id := range s.ids {
		if o := s.peers[id]; o != nil && o != m {
			o.conn.Cancel(e.Piece, block)
			s.picker.ReturnBlock(e.Piece, block, id)
		}
	}
	switch e.Result {
	case disk.Verified:
		s.onVerified(e.Piece)
	case disk.Failed:
		s.onBadPiece(e.Piece)
	case disk.BadUnit:
		s.onBadUnit(e.Piece, e.Begin)
	}
	if s.lags(m) && m.conn.Outstanding() == 0 {
		s.feedAll() // somebody may have waited for what was left to it
	}
}

func (s *Swarm) onReject(m *member, e *peer.Event) {
	if s.picker != nil {
		s.picker.ReturnBlock(e.Piece, e.Begin/wire.BlockSize, m.conn.ID)
	}
	m.disallow(e.Piece)
}

// returnAll gives the peer's leases back to the picker.
func (s *Swarm) returnAll(m *member) {
	if s.picker != nil {
		s.picker.Return(m.conn.ID)
	}
	s.feedAll()
}

// feed leases blocks to a peer that can use them.
func (s *Swarm) feed(m *member) {
	if s.picker == nil || s.state != Downloading || s.leaving || m.trade.Broke() {
		return
	}
	if m.choked {
		s.feedFast(m)
		return
	}
	m.conn.Pace(!m.trade.Paying() || m.trade.Wide())
	n := m.conn.Want()
	if m.snubbed {
		if m.trade.Paying() && s.served() {
			return
		}
		n = min(n, 1-m.conn.Outstanding())
	}
	if n <= 0 || m.trade.Paying() && s.yields(m) {
		return
	}
	who := picker.Peer{ID: m.conn.ID, Bits: m.bits, Seed: m.seed, Whole: m.trade.Paying() || m.parole, Alone: m.trade.Paying(),
		Fast: true, Slow: s.behind(m), Snubbed: m.snubbed}
	var waits bool
	if s.leases, waits = s.goOn(m, who, s.leases[:0]); waits {
		return
	}
	if len(s.leases) == 0 && s.picker.Ordered() {
		s.wrest(m, who, n, true)
	}
	if len(s.leases) == 0 {
		s.hinted(m, who, n)
	}
	if len(s.leases) == 0 {
		s.leases = s.picker.Lease(s.leases, who, n)
	}
	if len(s.leases) == 0 && who.Whole {
		s.mix(m, &who, n)
	}
	if len(s.leases) == 0 {
		s.wrest(m, who, n, false)
	}
	if len(s.leases) > 0 {
		s.disclaim(m)
		s.wantUnits(m)
		m.conn.Grant(s.leases, m.chokes)
		return
	}
	s.updateInterest(m)
}

// feedAll looks for work for peers whose pipeline ran dry.
func (s *Swarm) feedAll() {
	for _, m := range s.peers {
		if !m.choked && m.conn.Outstanding() == 0 {
			s.feed(m)
		}
	}
}

// onVerified runs when a piece's hash was right; it is not on disk yet.
func (s *Swarm) onVerified(piece uint32) {
	s.absolve(piece)
	_, written := s.unbooked[piece]
	if !written && !s.pieces.Has(piece) {
		s.book(piece)
	}
	s.market.Verified(piece)
	if written {
		delete(s.unbooked, piece)
		s.finish()
	}
}

// book notes that a piece is verified and waits for its write; unbook that it is
// written.
func (s *Swarm) book(piece uint32) {
	if !s.booked[piece] {
		s.booked[piece] = true
		s.unwritten += s.picker.Content(piece)
	}
}

func (s *Swarm) unbook(piece uint32) (was bool) {
	if was = s.booked[piece]; was {
		delete(s.booked, piece)
		s.unwritten -= s.picker.Content(piece)
	}
	return was
}

// bookingWait is how long a piece that is written waits for the word of who sent it.
const bookingWait = 2 * time.Second

// finish completes the torrent when the last piece is written and booked: the disk may
// be faster than the news of the last block, and who hears of the end may leave with
// that piece unpaid.
func (s *Swarm) finish() {
	if s.picker.Missing() == 0 && len(s.unbooked) == 0 {
		s.complete()
	}
}

// tickBooking gives up waiting for pieces whose news was lost with a web seed's
// answer.
func (s *Swarm) tickBooking() {
	for piece, at := range s.unbooked {
		if s.now.Sub(at) > bookingWait {
			delete(s.unbooked, piece)
			s.finish()
		}
	}
}

// onDisk handles what the disk's writers report.
func (s *Swarm) onDisk(e disk.Event) {
	switch e.Kind {
	case disk.Written:
		s.onWritten(e.Piece)
	case disk.WrittenPart:
		s.market.Written(e.Piece)
	case disk.Failed:
		s.fail(e.Err)
	}
}

// onWritten runs when a verified piece is in its files: from now on we have it
// and may serve it.
func (s *Swarm) onWritten(piece uint32) {
	if s.picker == nil || s.pieces.Has(piece) {
		return
	}
	if !s.unbook(piece) {
		s.unbooked[piece] = time.Now()
	}
	s.picker.SetHave(piece)
	s.pieces.Set(piece)
	s.settleBlame(piece)
	s.market.Written(piece)
	s.dirty, s.kept = true, nil
	for _, m := range s.peers {
		if !m.seed && !m.bits.Has(int(piece)) {
			m.conn.Have(piece)
		}
	}
	s.finish()
}
