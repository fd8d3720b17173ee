package swarm

import (
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

func (s *Swarm) extendedHandshake(m *member) wire.ExtendedHandshake {
	h := wire.ExtendedHandshake{Metadata: wire.SubMetadata, DontHave: wire.SubDontHave, Reqq: peer.MaxQueued, Port: s.cfg.Port,
		Client: s.cfg.Client, YourIP: m.addr.Addr(), UploadOnly: s.state == Seeding}
	if s.info != nil {
		h.MetadataSize = len(s.info.Raw)
	}
	if !s.forbidsPEX() {
		h.PEX = wire.SubPEX
	}
	if s.cfg.Market != nil {
		h.Speed, h.SpeedVersion, h.SpeedNetwork = wire.SubSpeed, s.cfg.Market.Version(), s.cfg.Market.Network()
	}
	return h
}

func (s *Swarm) onExtended(m *member, sub uint8, data []byte) {
	switch sub {
	case wire.SubHandshake:
		h, err := wire.ParseExtendedHandshake(data)
		if err != nil {
			s.kick(m, err)
			return
		}
		s.met(m, h)
	case wire.SubPEX:
		s.onPEX(m, data)
	case wire.SubDontHave:
		piece, err := wire.ParseDontHave(data)
		if err != nil {
			s.kick(m, err)
			return
		}
		s.onDontHave(m, piece)
	case wire.SubMetadata:
		msg, err := wire.ParseMetadataMessage(data)
		if err != nil {
			s.kick(m, err)
			return
		}
		s.onMetadata(m, &msg)
	case wire.SubSpeed:
		s.market.Receive(m.trade, data)
	}
}

// met handles an extension handshake; a peer may send more than one.
func (s *Swarm) met(m *member, h wire.ExtendedHandshake) {
	first := !m.got
	m.ext, m.got = h, true
	if h.Reqq > 0 {
		m.conn.SetReqq(h.Reqq)
	}
	if h.YourIP.IsValid() {
		s.external = h.YourIP
	}
	s.fetchMetadata()
	if first {
		s.listens(m, h.Port)
		s.market.Open(m.trade, &m.ext)
	}
}

// onDontHave takes a piece off a peer's books that it no longer has (BEP 54).
func (s *Swarm) onDontHave(m *member, piece uint32) {
	if s.info == nil {
		if len(m.lost) < wire.MaxMessage {
			m.lost = append(m.lost, piece) // for meet
		}
		return
	}
	n := s.info.NumPieces()
	if int(piece) >= n {
		s.kick(m, peer.ErrHostile)
		return
	}
	if m.seed {
		s.picker.RemoveSeed()
		m.seed = false
		m.bits.SetAll(n)
		s.picker.AddBitfield(m.bits)
	}
	if m.bits.Has(int(piece)) {
		m.bits.Clear(int(piece))
		s.picker.RemoveHave(piece)
	}
	s.updateInterest(m)
}
