package swarm

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// openMarket makes the torrent's market, if the node takes part.
func (s *Swarm) openMarket() {
	cfg := market.Config{Node: s.cfg.Market, InfoHash: s.cfg.InfoHash, Swarm: forMarket{s}, Log: s.cfg.Log,
		ReportBid: func(tracker string, honest bool) { s.reportBid(tracker, honest) }}
	if cfg.Node != nil {
		cfg.Reserve = cfg.Node.Reserve
	}
	if s.cfg.Reserve != nil {
		cfg.Reserve = *s.cfg.Reserve
	}
	if s.cfg.Observe != nil {
		cfg.Observe = func(a netip.AddrPort, e payments.LinkEvent) { s.cfg.Observe(s, a, e) }
	}
	s.market = market.New(cfg)
}

// Rebid tells every peer the bid that follows from settings the user changed
// (R8.8): at once, or when the minute since the last bid is over (A8).
func (s *Swarm) Rebid() { s.post(s.market.Rebid) }

// forMarket is the swarm as its market sees it.
type forMarket struct{ s *Swarm }

func (f forMarket) Now() time.Time { return f.s.now }

func (f forMarket) Phase() market.Phase {
	switch {
	case f.s.leaving && f.s.state == Downloading:
		return market.Idle
	case f.s.state == Downloading && f.s.picker != nil:
		return market.Downloading
	case f.s.state == Seeding:
		return market.Seeding
	}
	return market.Idle
}

func (f forMarket) Left() int64           { return max(0, f.s.picker.Left()-f.s.unwritten) }
func (f forMarket) Has(piece uint32) bool { return f.s.pieces.Has(piece) }
func (f forMarket) Units() bool           { return f.s.hasUnits() }
func (f forMarket) UnitsDue() bool        { return f.s.unitsDue() }
func (f forMarket) FreeSlot()             { f.s.cfg.FreeSlot() }
func (f forMarket) Post(run func())       { f.s.post(run) }
func (f forMarket) Press()                { f.s.store.Press() }

func (f forMarket) Landed(piece, from, to uint32) bool {
	return f.s.pieces.Has(piece) || f.s.store.Landed(piece, from, to)
}

func (f forMarket) Sure(piece, begin uint32) (from, to uint32, ok bool) {
	return f.s.store.Sure(piece, begin)
}

func (f forMarket) ReadChunk(buf []byte, piece, begin uint32) error {
	return f.s.store.Read(buf, piece, begin)
}

func (f forMarket) Announce() bool {
	if f.s.tracker == nil {
		return false
	}
	go f.s.tracker.Now() // ends when the announcer took note
	return true
}

// settlePoll is the time between two looks at what is still to be paid.
const settlePoll = 5 * time.Millisecond

// Settle makes the swarm ready to leave: it asks for nothing more and sells nothing
// more, and waits until what it verified is paid, for [payments.LastPaymentWait] or
// until ctx ends, and a moment for what it served (see [market.Torrent.Earning]). The
// error says what could not be paid. Only Close makes sense after it.
func (s *Swarm) Settle(ctx context.Context) error {
	defer s.settled.Store(true)
	ctx, cancel := context.WithTimeout(ctx, payments.LastPaymentWait)
	defer cancel()
	poll := time.NewTicker(settlePoll)
	defer poll.Stop()
	for {
		var done bool
		var short error
		if s.do(func() { done, short = s.leave() }) != nil || done {
			return short
		}
		select {
		case <-ctx.Done():
			return short
		case <-poll.C:
		}
	}
}

// leave stops asking for data and selling it, and says whether all that was verified
// is paid, or what is not, and whether no payment is to come.
func (s *Swarm) leave() (done bool, short error) {
	if s.market == nil {
		return true, nil
	}
	if !s.leaving {
		s.leaving, s.leftAt = true, s.now
		for _, m := range s.peers {
			m.conn.Stop()
			if m.wanted { // a bid is withdrawn once a minute only, this is heard at once
				m.wanted = false
				m.conn.Send(wire.AppendEmpty(nil, wire.NotInterested))
			}
			if m.trade.Sold() {
				s.choke(m)
			}
		}
		s.market.Tick() // tells that there are no bids any more
		s.cfg.FreeSlot()
	}
	still := true // nothing that came waits to be booked
	for _, m := range s.peers {
		still = still && (!m.trade.Trading() || m.kicked || m.conn.Still())
	}
	done, short = s.market.Settled()
	return done && still && !s.market.Earning(s.leftAt), short
}

// trader is a peer as the market sees it.
type trader struct {
	s *Swarm
	m *member
}

func (t trader) ID() uint32           { return t.m.conn.ID }
func (t trader) Addr() netip.AddrPort { return t.m.addr }
func (t trader) Connection() (c speed.Connection) {
	c.InfoHash, c.Secret = t.m.hash, t.m.binding
	c.Ours.PeerID, c.Theirs.PeerID = t.s.cfg.PeerID, t.m.conn.Handshake.PeerID
	return c
}
func (t trader) Joined() time.Time { return t.m.joined }
func (t trader) Serving() bool     { return !t.m.choked && t.m.conn.Outstanding() > 0 }
func (t trader) Waiting() bool     { return t.m.conn.Waiting() > 0 }
func (t trader) Wanted() bool      { return t.m.wanted }
func (t trader) Has(piece uint32) bool {
	return t.m.seed || int(piece/8) < len(t.m.bits) && t.m.bits.Has(int(piece))
}
func (t trader) Rarest() (piece uint32, sources int, ok bool) {
	if t.s.picker == nil {
		return 0, 0, false
	}
	return t.s.picker.Rarest(picker.Peer{Bits: t.m.bits, Seed: t.m.seed})
}
func (t trader) Wake()          { t.m.conn.Wake() }
func (t trader) Pause()         { t.m.conn.Choke() }
func (t trader) Choke()         { t.s.choke(t.m) }
func (t trader) Kick(err error) { t.s.kick(t.m, err) }

// Listens is where a peer that called us says that it listens; it called from
// another port.
func (t trader) Listens() netip.AddrPort {
	port := t.m.addr.Port()
	if !t.m.conn.Outgoing {
		port = t.m.ext.Port
	}
	return netip.AddrPortFrom(t.m.addr.Addr().Unmap(), port)
}

// Send is called by the payment side too, while the peer may choose another id.
func (t trader) Send(frame []byte) {
	t.m.conn.Send(wire.AppendExtended(nil, uint8(t.m.speedID.Load()), frame))
}

func (t trader) Fence(open func(sub uint8, payload []byte) bool) { t.m.conn.Fence(open) }

func (t trader) Unchoke(gate peer.Gate) { t.s.unchoke(t.m, gate) }

func (t trader) StopAsking() {
	t.m.conn.DropRequests()
	t.s.returnAll(t.m)
}

func (t trader) Shun(err error) {
	if k := t.s.known[t.Listens()]; k != nil {
		k.failures = maxRetryShift
	}
	t.s.kick(t.m, err)
}

// contacts yields the known addresses: those that are worth most to the
// market before the others.
func (s *Swarm) contacts() iter.Seq2[netip.AddrPort, *address] {
	bidders := s.market.Bidders(func(a netip.AddrPort) bool {
		k := s.known[a]
		return k != nil && !k.connected
	})
	if len(bidders) == 0 {
		return s.ordered()
	}
	return func(yield func(netip.AddrPort, *address) bool) {
		for _, a := range bidders {
			if !yield(a, s.known[a]) {
				return
			}
		}
		for a, k := range s.ordered() {
			if !yield(a, k) {
				return
			}
		}
	}
}

// tradeStatus completes a peer's status with the market's side.
func (s *Swarm) tradeStatus(p *PeerStatus, m *member) {
	t := m.trade.Status()
	if s.info != nil && !m.seed {
		p.Lacks = int64(s.info.NumPieces()-m.bits.Count()) * s.info.PieceLength
	}
	p.SoldAt, p.BoughtAt, p.Account = t.SoldAt, t.BoughtAt, t.Account
	if m.interest { // a bid of one that wants nothing buys nothing and sets no price
		p.TheirBid, p.Backed = t.TheirBid, s.market.Backed(m.trade)
	}
	p.Paid, p.Earned = t.Paid, t.Earned
}

func (s *Swarm) marketStatus(st *Status) {
	m := s.market.Status()
	st.Bid, st.Reserve, st.Paid, st.Earned, st.Proofs, st.Proved = m.Bid, m.Reserve, m.Paid, m.Earned, m.Proofs, m.Proved
}
