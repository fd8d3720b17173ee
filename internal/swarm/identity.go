package swarm

import (
	"crypto/sha1"
	"crypto/sha256"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// identity is by which hashes peers know the torrent; zero = it has no such
// version, or that is not known yet. A hybrid has both, and is in two swarms
// (BEP 52).
type identity struct{ v1, v2 [20]byte }

func (id identity) hybrid() bool { return id.v1 != [20]byte{} && id.v2 != [20]byte{} }

// firstIdentity is what is known at the start.
func firstIdentity(cfg *Config) identity {
	if t := cfg.Torrent; t != nil && t.Info.HasV2() {
		return identityOf(t.Info)
	}
	v2 := metainfo.InfoHashV2(cfg.InfoHashV2)
	switch id := (identity{v1: cfg.InfoHash}); {
	case v2.IsZero():
		return id
	case v2.Truncated() == cfg.InfoHash:
		return identity{v2: v2.Truncated()}
	default:
		id.v2 = v2.Truncated()
		return id
	}
}

func identityOf(info *metainfo.Info) (id identity) {
	if info.HasV1() {
		id.v1 = metainfo.HashInfo(info.Raw)
	}
	if info.HasV2() {
		id.v2 = metainfo.HashInfoV2(info.Raw).Truncated()
	}
	return id
}

// isInfo says whether raw is the info dictionary that was asked for. Who knows
// the torrent by one truncated hash alone may mean either version.
func (s *Swarm) isInfo(raw []byte) bool {
	v1, v2 := sha1.Sum(raw), sha256.Sum256(raw)
	if s.cfg.InfoHashV2 != [32]byte{} {
		return v2 == s.cfg.InfoHashV2 && ([20]byte(v2[:20]) == s.cfg.InfoHash || v1 == s.cfg.InfoHash)
	}
	return v1 == s.cfg.InfoHash || [20]byte(v2[:20]) == s.cfg.InfoHash
}

// identify takes the hashes by which the torrent is known from now on, and lets
// peers come by each of them.
func (s *Swarm) identify(id identity) {
	s.id.Store(&id)
	for _, hash := range [...][20]byte{id.v1, id.v2} {
		if hash != s.cfg.InfoHash && hash != [20]byte{} && s.cfg.Alias != nil {
			s.cfg.Alias(hash)
		}
	}
	s.announceOther()
	if len(s.searches) > 0 {
		s.startDHT()
	}
}

// Hashes are the hashes by which peers know the torrent: a hybrid's are two. It
// is safe for concurrent use.
func (s *Swarm) Hashes() [][20]byte {
	id := s.id.Load()
	hashes := [][20]byte{s.cfg.InfoHash}
	for _, h := range [...][20]byte{id.v1, id.v2} {
		if h != s.cfg.InfoHash && h != [20]byte{} {
			hashes = append(hashes, h)
		}
	}
	return hashes
}

// handshake opens a call: for a hybrid by its version 1 hash, with the offer to
// answer for version 2.
func (s *Swarm) handshake() wire.Handshake {
	id := s.id.Load()
	h := wire.Handshake{Reserved: s.Reserved(), InfoHash: id.v1, PeerID: s.cfg.PeerID}
	if id.v2 != [20]byte{} {
		h.Reserved.SetV2()
	}
	switch {
	case id.hybrid():
		h.Upgrade = id.v2
	case id.v1 == [20]byte{}:
		h.InfoHash = id.v2
	}
	return h
}

// Answer is our side of the handshake with a peer that called us: for version 2
// where both sides know it. It is safe for concurrent use.
func (s *Swarm) Answer(theirs wire.Handshake) wire.Handshake {
	h := s.handshake()
	id := s.id.Load()
	upgrade := id.hybrid() && theirs.InfoHash == id.v1 && theirs.Reserved.V2()
	if h.InfoHash, h.Upgrade = theirs.InfoHash, [20]byte{}; upgrade {
		h.InfoHash = id.v2
	}
	return h
}

// speaksV2 says whether hash requests may be sent on a connection (BEP 52).
func (s *Swarm) speaksV2(in *Incoming) bool {
	id := s.id.Load()
	if id.v2 == [20]byte{} {
		return false
	}
	return in.Handshake.InfoHash == id.v2 || !in.Outgoing && in.Handshake.Reserved.V2()
}

// announceOther announces a hybrid to its other swarm too, once its first
// announces have begun.
func (s *Swarm) announceOther() {
	if s.tracker == nil || s.other != nil {
		return
	}
	for _, hash := range s.Hashes()[1:] {
		s.other = s.startAnnounce(hash)
	}
}

// announcing are the schedules of announces that run.
func (s *Swarm) announcing() []*announce.Handle {
	var list []*announce.Handle
	for _, h := range []*announce.Handle{s.tracker, s.other} {
		if h != nil {
			list = append(list, h)
		}
	}
	return list
}
