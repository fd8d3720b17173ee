package swarm

import (
	"time"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/peer"
)

// Candidates appends the peers that the session's choker ranks and starts a
// new round of counting. It returns when the swarm's goroutine has run it.
func (s *Swarm) Candidates(dst []choker.Candidate, newRound bool) []choker.Candidate {
	if s.connected.Load() == 0 {
		return dst // an idle torrent is not woken
	}
	_ = s.do(func() { dst = s.candidates(dst, newRound) })
	return dst
}

func (s *Swarm) candidates(dst []choker.Candidate, newRound bool) []choker.Candidate {
	for _, m := range s.peers {
		got, sent := m.conn.Received.Load(), m.conn.Sent.Load()
		c := choker.Candidate{
			ID: s.globalID(m), Torrent: s.cfg.Index, Host: m.addr.Addr(), Interested: m.interest && s.mayUpload(),
			Unchoked: m.unchoked, Optimistic: m.optimistic, Seeding: s.state == Seeding, Snubbed: m.snubbed,
			Received: got - m.roundReceived, Sent: sent - m.roundSent,
			UnchokedAt: m.unchokedAt, WaitingSince: m.waiting, Idle: s.idle(m),
		}
		if s.picker != nil {
			c.Left = s.lacks(m)
		}
		s.market.Complete(m.trade, &c)
		m.buys = c.Buys()
		if newRound {
			m.roundReceived, m.roundSent = got, sent
		}
		dst = append(dst, c)
	}
	return dst
}

func (s *Swarm) mayUpload() bool {
	return s.failure == nil && !s.leaving && (s.state == Downloading || s.state == Seeding)
}

func (s *Swarm) globalID(m *member) uint64 { return uint64(s.cfg.Index)<<32 | uint64(m.conn.ID) }

// lacks is how many bytes of the torrent a peer lacks, as far as it told.
func (s *Swarm) lacks(m *member) int64 {
	if m.seed {
		return 0
	}
	return max(int64(s.info.NumPieces()-m.bits.Count())*s.info.PieceLength, 0)
}

// lendAfter is how long a peer holds a slot and asks for nothing until another is
// served in its place.
const lendAfter = 2 * time.Second

// idle says whether a peer that we serve asks for nothing.
func (s *Swarm) idle(m *member) bool {
	return m.unchoked && m.conn.Waiting() == 0 && s.now.Sub(m.unchokedAt) >= lendAfter && s.now.Sub(m.askedAt) >= lendAfter
}

// tickIdle notes when a peer asked for something last, and has its slot lent once
// it is idle.
func (s *Swarm) tickIdle(m *member, sent int64) {
	if sent > m.lastSent || m.conn.Waiting() > 0 {
		m.askedAt, m.lent = s.now, false
	}
	if idle := s.idle(m); idle && !m.lent {
		m.lent = true
		s.cfg.FreeSlot()
	}
}

// Decide carries out the choker's decisions about this swarm's peers, and lets
// those that a seed serves share its upload by their weights.
func (s *Swarm) Decide(ds []choker.Decision, w choker.Weights) {
	if s.connected.Load() == 0 {
		return
	}
	_ = s.do(func() {
		for _, d := range ds {
			if uint32(d.ID>>32) != s.cfg.Index {
				continue
			}
			if m := s.peers[uint32(d.ID)]; m != nil {
				s.decide(m, d)
			}
		}
		s.weigh(w)
	})
}

// weigh sets the weights of the peers.
func (s *Swarm) weigh(w choker.Weights) {
	for _, m := range s.peers {
		weight := uint8(1)
		if s.state == Seeding {
			weight = w.Of(s.globalID(m), m.buys)
		}
		m.conn.SetWeight(int(weight))
	}
}

func (s *Swarm) decide(m *member, d choker.Decision) {
	switch {
	case d.Unchoke && (s.leaving || s.market.Refused(m.trade)): // since the choker looked
		s.choke(m)
	case d.Unchoke && d.Paid && m.trade.Trading():
		s.market.Sell(m.trade, d.Price, m.unchoked)
	case d.Unchoke:
		s.serveFree(m)
	case m.unchoked:
		s.choke(m)
	}
	m.optimistic = m.unchoked && d.Optimistic
}

func (s *Swarm) unchoke(m *member, gate peer.Gate) {
	m.conn.SetGate(gate)
	if !m.unchoked {
		m.unchoked, m.unchokedAt = true, s.now
	}
	m.conn.Unchoke()
}

func (s *Swarm) choke(m *member) {
	if !m.unchoked {
		return
	}
	m.unchoked, m.optimistic = false, false
	m.waiting = s.now
	m.conn.Choke()
	m.trade.LostSlot()
}

// serveFree gives a slot that costs nothing.
func (s *Swarm) serveFree(m *member) {
	if m.trade.Sold() {
		s.choke(m)
	}
	s.unchoke(m, nil)
}
