package swarm

import (
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

func (s *Swarm) extendedHandshake(m *member) wire.ExtendedHandshake {
	h := wire.ExtendedHandshake{Metadata: wire.SubMetadata, DontHave: wire.SubDontHave, UploadOnlyID: wire.SubUploadOnly, Reqq: peer.MaxQueued, Port: s.cfg.Port,
		Client: s.cfg.Client, YourIP: m.addr.Addr(), UploadOnly: s.state == Seeding}
	if s.torrent != nil {
		h.MetadataSize = len(s.torrent.Info.Raw)
	}
	if !s.forbidsPEX() {
		h.PEX = wire.SubPEX
	}
	if s.cfg.Market != nil {
		h.Speed, h.SpeedVersion, h.SpeedNetwork, h.SpeedNonce = wire.SubSpeed, s.cfg.Market.Version(), s.cfg.Market.Network(), m.trade.Nonce()
	}
	return h
}

func (s *Swarm) onExtended(m *member, sub uint8, data []byte) {
	switch sub {
	case wire.SubHandshake:
		h, err := m.ext.Update(data)
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
	case wire.SubUploadOnly:
		on, err := wire.ParseUploadOnly(data)
		if err != nil {
			s.kick(m, err)
			return
		}
		m.ext.UploadOnly = on
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
	m.speedID.Store(uint32(h.Speed))
	if h.Reqq > 0 {
		m.conn.SetReqq(h.Reqq)
	}
	s.vote(m, h.YourIP)
	s.fetchMetadata()
	if first {
		s.listens(m, h.Port)
		s.market.Open(m.trade, &m.ext)
	}
}

// tellUploadOnly tells peers that we want nothing more, or something again
// (BEP 21): by libtorrent's message, or by another handshake (BEP 10).
func (s *Swarm) tellUploadOnly() {
	for _, m := range s.peers {
		switch {
		case !m.conn.Extended():
		case m.ext.UploadOnlyID != 0:
			m.conn.Send(wire.AppendExtended(nil, m.ext.UploadOnlyID, wire.AppendUploadOnly(nil, s.state == Seeding)))
		default:
			h := s.extendedHandshake(m)
			m.conn.Send(wire.AppendExtended(nil, wire.SubHandshake, h.Append(nil)))
		}
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

// doubt reads a piece that could not be served: when its files no longer hold
// it, it is lost.
func (s *Swarm) doubt(piece uint32) {
	if s.store == nil || s.doubted[piece] || s.state == Checking || !s.pieces.Has(piece) {
		return
	}
	if s.doubted == nil {
		s.doubted = map[uint32]bool{}
	}
	s.doubted[piece] = true // at most one reader a piece, and a piece a peer
	store, log := s.store, s.log
	s.judges.Go(func() { // ends when the piece is read
		ok, err := store.VerifyPiece(piece)
		if err == nil && !ok && log != nil {
			log.Lost(piece)
		}
		s.post(func() {
			delete(s.doubted, piece)
			switch {
			case err != nil:
				s.cfg.Log.Warn("read piece again", "piece", piece, "err", err)
			case !ok:
				s.lose(piece)
			}
		})
	})
}

// lose takes back that we have a piece, from peers that understand it (BEP 54)
// too, and fetches it anew.
func (s *Swarm) lose(piece uint32) {
	if s.failure != nil || !s.pieces.Has(piece) {
		return
	}
	s.cfg.Log.Warn("piece is lost: its files were changed", "piece", piece)
	s.pieces.Clear(piece)
	s.picker.Lost(piece)
	s.dirty, s.kept = true, nil
	for _, m := range s.peers {
		if m.ext.DontHave != 0 {
			m.conn.Send(wire.AppendExtended(nil, m.ext.DontHave, wire.AppendDontHave(nil, piece)))
		}
	}
	s.reselect()
}
