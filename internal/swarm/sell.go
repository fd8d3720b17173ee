package swarm

import (
	"encoding/binary"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// bidOf completes a choker candidate with the market's side.
func (s *Swarm) bidOf(m *member, c *choker.Candidate) {
	k, t := s.cfg.Market, &m.trade
	if k == nil || !k.Sell || t.session == nil {
		return
	}
	snap := t.session.Snapshot()
	if snap.TheirBid == 0 && s.now.Sub(m.joined) < bidGrace {
		c.Interested, s.held = false, true
	}
	c.Speed, c.Bid, c.Reserve = !t.barred, snap.TheirBid, s.boundReserve(snap.OurReserve)
	if !t.account.IsZero() { // one paid slot per buyer (R5.6)
		c.Owner = binary.BigEndian.Uint64(t.account[:])
	}
	c.Own, c.Paid, c.Price = s.bid(), m.paidSlot, t.soldAt
	if t.barred {
		eligible, _ := k.standing(t.account, m.addr.Addr(), s.now)
		t.barred, c.Speed = !eligible, eligible
		// Who did not pay gets no more data for a time, free or not (R12.1).
		c.Interested = c.Interested && eligible
	}
}

// bidGrace is how long a newcomer that may bid is not given a free slot: its
// first bid is on the way, and a slot once free stays free until the next round.
const bidGrace = time.Second

// releaseHeld lets the choker look again at newcomers that did not bid.
func (s *Swarm) releaseHeld() {
	if s.held {
		s.held = false
		s.cfg.FreeSlot()
	}
}

// sell gives a slot at a price: bid response, then unchoke (R10.14, R10.17).
// A peer that is unchoked at another price is choked first and its requests
// are rejected (R10.18).
func (s *Swarm) sell(m *member, price amount.Price) {
	t := &m.trade
	if t.session == nil || t.link == nil {
		s.serveFree(m)
		return
	}
	if m.unchoked && m.paidSlot && t.soldAt == price {
		return
	}
	terms, err := s.cfg.Market.Book.Terms()
	if err == nil {
		var frame []byte
		if frame, err = t.session.Respond(price, terms.Append(nil)); err == nil {
			m.conn.Choke()
			s.fence(m, price) // before the response: its answer may come at once
			m.sendSpeed(frame)
		}
	}
	if err != nil {
		s.cfg.Log.Warn("cannot sell slot", "addr", m.addr, "err", err)
		s.choke(m)
		return
	}
	t.selling, t.soldAt, m.paidSlot = price > 0, price, true
	if price == 0 {
		s.unchoke(m, nil) // nothing is owed, so nothing is counted
		return
	}
	if err := t.link.Sell(price); err != nil {
		s.cfg.Log.Warn("cannot sell slot", "addr", m.addr, "err", err)
		s.choke(m)
		return
	}
	s.unchoke(m, t.link)
}

// fence holds back requests until the peer accepts the price; a free slot needs
// no accept.
func (s *Swarm) fence(m *member, price amount.Price) {
	if price == 0 {
		m.trade.offered = time.Time{}
		m.conn.Fence(nil)
		return
	}
	m.trade.offered = s.now
	m.conn.Fence(func(sub uint8, payload []byte) bool {
		msg, err := speed.Decode(payload)
		return sub == wire.SubSpeed && err == nil && msg == speed.Message(speed.Accept{Price: price})
	})
}

// acceptTime is how long a winner may take to accept its price; it is a payment
// failure not to (A25).
const acceptTime = 10 * time.Second

// dueAccept chokes a winner that does not answer its bid response.
func (s *Swarm) dueAccept(m *member) {
	if t := &m.trade; !t.offered.IsZero() && s.now.Sub(t.offered) > acceptTime {
		s.unpaid(m)
	}
}

// stopSelling runs when the peer lost its slot.
func (s *Swarm) stopSelling(m *member) {
	m.trade.selling, m.trade.offered = false, time.Time{}
	m.conn.Fence(nil)
}

// unpaid handles a peer that let its payment time out (R12.1): choked, not
// eligible for a time that doubles, banned after repeated failures (R12.2,
// R12.3).
func (s *Swarm) unpaid(m *member) {
	if !m.paidSlot {
		return // still the failure that cost it the slot
	}
	banned := s.cfg.Market.fail(m.trade.account, m.addr.Addr(), s.now)
	m.trade.barred = true
	s.choke(m)
	s.cfg.Log.Info("payment overdue", "addr", m.addr, "account", m.trade.account, "banned", banned)
	if banned {
		s.kick(m, errUnpaid)
	}
	s.cfg.FreeSlot()
}

// leftUnpaid counts a buyer that took data and left without a word of a channel
// as one that did not pay (A25): each new connection would bring it another
// piece for nothing.
func (s *Swarm) leftUnpaid(m *member) {
	t := &m.trade
	if !t.selling || t.link.Unclaimed() == 0 {
		return
	}
	s.cfg.Market.fail(t.account, m.addr.Addr(), s.now)
	s.cfg.Log.Info("buyer left without paying", "addr", m.addr, "account", t.account)
}

// tradeStatus completes a peer's status with the market's side.
func (s *Swarm) tradeStatus(m *member, p *PeerStatus) {
	t := &m.trade
	if t.session == nil {
		return
	}
	p.TheirBid = t.session.Snapshot().TheirBid
	if m.paidSlot {
		p.SoldAt = t.soldAt
	}
	if t.buying {
		p.BoughtAt = t.boughtAt
	}
	if !t.account.IsZero() {
		p.Account = t.account.String()
	}
	p.Paid, p.Earned = t.paid, t.earned
}

func (s *Swarm) marketStatus(st *Status) {
	st.Bid, st.Reserve, st.Paid, st.Earned = s.bid(), s.reserve(), s.spent, s.earned
	if s.reserving != nil {
		st.Proofs, st.Proved = s.reserving.torrent.Proofs()
	}
}
