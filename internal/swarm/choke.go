package swarm

import (
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
			ID: s.globalID(m), Torrent: s.cfg.Index, Interested: m.interest && s.mayUpload(),
			Unchoked: m.unchoked, Optimistic: m.optimistic, Seeding: s.state == Seeding, Snubbed: m.snubbed,
			Received: got - m.roundReceived, Sent: sent - m.roundSent,
			UnchokedAt: m.unchokedAt, WaitingSince: m.waiting,
		}
		s.market.Complete(m.trade, &c)
		if newRound {
			m.roundReceived, m.roundSent = got, sent
		}
		dst = append(dst, c)
	}
	return dst
}

func (s *Swarm) mayUpload() bool {
	return s.failure == nil && (s.state == Downloading || s.state == Seeding)
}

func (s *Swarm) globalID(m *member) uint64 { return uint64(s.cfg.Index)<<32 | uint64(m.conn.ID) }

// Decide carries out the choker's decisions about this swarm's peers.
func (s *Swarm) Decide(ds []choker.Decision) {
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
	})
}

func (s *Swarm) decide(m *member, d choker.Decision) {
	switch {
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
