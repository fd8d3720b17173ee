package swarm

import (
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

func (s *Swarm) extendedHandshake(m *member) wire.ExtendedHandshake {
	h := wire.ExtendedHandshake{Metadata: wire.SubMetadata, Reqq: peer.MaxQueued, Port: s.cfg.Port,
		Client: s.cfg.Client, YourIP: m.addr.Addr(), UploadOnly: s.state == Seeding}
	if s.info != nil {
		h.MetadataSize = len(s.info.Raw)
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
	case wire.SubMetadata:
		msg, err := wire.ParseMetadataMessage(data)
		if err != nil {
			s.kick(m, err)
			return
		}
		s.onMetadata(m, &msg)
	case wire.SubSpeed:
		s.onSpeed(m, data)
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
	s.offerMetadata(m)
	if first {
		s.openTrade(m)
	}
}
