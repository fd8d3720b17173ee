package swarm

import (
	"net/netip"
	"time"

	"github.com/bttnet/btt/wire"
)

const (
	// pexFirst is how old a connection is when the first peers are told, so
	// that those who come at the same time go in one message.
	pexFirst = 2 * time.Second
	// pexEvery is the least time between two messages to one peer (BEP 11).
	pexEvery = time.Minute
	// pexLeast is the least time between two messages that are taken from one
	// peer: a minute, less what clocks and networks differ.
	pexLeast = 45 * time.Second
	// maxPEXLearned is the greatest number of addresses taken from one peer.
	maxPEXLearned = 500
)

// pexLink is the peer exchange with one peer.
type pexLink struct {
	told    map[netip.AddrPort]struct{} // and not told to have left since
	sent    time.Time
	got     time.Time
	learned int
}

// encryptionHinter is a dialer that can be told who wants encryption.
type encryptionHinter interface{ PreferEncrypted(netip.AddrPort) }

// forbidsPEX says whether peers may only come from trackers (BEP 27).
func (s *Swarm) forbidsPEX() bool { return s.torrent != nil && s.torrent.Info.Private }

// tickPEX tells peers about one another, once it is known that the torrent is
// not private.
func (s *Swarm) tickPEX() {
	s.prune()
	if s.torrent == nil || s.torrent.Info.Private {
		return
	}
	for _, m := range s.peers {
		if m.ext.PEX == 0 {
			continue
		}
		if m.pex.sent.IsZero() && s.now.Sub(m.joined) >= pexFirst || !m.pex.sent.IsZero() && s.now.Sub(m.pex.sent) >= pexEvery {
			s.tellPEX(m)
		}
	}
}

// tellPEX sends m what changed among the peers since its last message.
func (s *Swarm) tellPEX(m *member) {
	var msg wire.PEX
	here := make(map[netip.AddrPort]struct{}, len(s.peers))
	for _, o := range s.peers {
		if o == m || !o.listen.IsValid() || !mayMeet(m.addr.Addr(), o.listen.Addr()) || o.listen == m.listen {
			continue
		}
		here[o.listen] = struct{}{}
		if _, ok := m.pex.told[o.listen]; !ok && len(msg.Added) < wire.MaxPEX {
			msg.Added = append(msg.Added, wire.PEXPeer{Addr: o.listen, Flags: pexFlags(o)})
		}
	}
	for a := range m.pex.told {
		if _, ok := here[a]; !ok && len(msg.Dropped) < wire.MaxPEX {
			msg.Dropped = append(msg.Dropped, a)
		}
	}
	if len(msg.Added)+len(msg.Dropped) == 0 {
		return
	}
	if m.pex.told == nil {
		m.pex.told = make(map[netip.AddrPort]struct{})
	}
	for _, a := range msg.Added {
		m.pex.told[a.Addr] = struct{}{}
	}
	for _, a := range msg.Dropped {
		delete(m.pex.told, a)
	}
	m.pex.sent = s.now
	m.conn.Send(wire.AppendExtended(nil, m.ext.PEX, msg.Append(nil)))
}

func pexFlags(m *member) (f wire.PEXFlags) {
	if m.encrypted {
		f |= wire.PEXEncrypts
	}
	if m.seed || m.ext.UploadOnly {
		f |= wire.PEXUploadOnly
	}
	if m.conn.Outgoing {
		f |= wire.PEXReachable
	}
	return f
}

// onPEX takes addresses from a peer. Messages that come too often are ignored.
func (s *Swarm) onPEX(m *member, data []byte) {
	if s.forbidsPEX() || !m.pex.got.IsZero() && s.now.Sub(m.pex.got) < pexLeast {
		return
	}
	msg, err := wire.ParsePEX(data)
	if err != nil {
		s.kick(m, err)
		return
	}
	m.pex.got = s.now
	for _, p := range msg.Added {
		if m.pex.learned >= maxPEXLearned {
			break
		}
		if !mayMeet(m.addr.Addr(), p.Addr.Addr()) || p.Addr == netip.AddrPortFrom(s.external.Unmap(), s.cfg.Port) ||
			s.state == Seeding && p.Flags&wire.PEXUploadOnly != 0 {
			continue
		}
		if _, ok := s.known[p.Addr]; ok {
			continue
		}
		s.learn(p.Addr)
		k := s.known[p.Addr]
		if k == nil {
			continue
		}
		k.public = true
		m.pex.learned++
		if h, ok := s.cfg.Dialer.(encryptionHinter); ok && p.Flags&wire.PEXEncrypts != 0 {
			h.PreferEncrypted(p.Addr)
		}
	}
	s.connect()
}

// unlearnPEX forgets what peers and the DHT told before the metadata said that
// the torrent is private.
func (s *Swarm) unlearnPEX() {
	for a, k := range s.known {
		if k.public && !k.connected {
			delete(s.known, a)
		}
	}
	for _, m := range s.peers {
		if k := s.known[m.listen]; k != nil && k.public {
			s.kick(m, errPrivate)
		}
	}
}

// mayMeet says whether someone at address at may be told of a peer at address
// a, or tell of it: what is only on this machine or in this network means
// another one, or nobody, elsewhere.
func mayMeet(at, a netip.Addr) bool {
	return !a.IsLinkLocalUnicast() && reach(a) >= reach(at)
}

// reach is how far an address leads: this machine, this network, everywhere.
func reach(a netip.Addr) int {
	switch a = a.Unmap(); {
	case a.IsLoopback():
		return 0
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		return 1
	}
	return 2
}
