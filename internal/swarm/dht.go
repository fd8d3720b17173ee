package swarm

import (
	"net/netip"

	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

// DHT finds peers without a tracker (BEP 5). Its methods must not block for
// long and may be called from any goroutine.
type DHT interface {
	// Start announces a torrent until Stop is called.
	Start(dht.Torrent) Search
	// AddNode tells of a node that a peer named.
	AddNode(netip.AddrPort)
	// Port is the node's UDP port.
	Port() uint16
}

// Search is a torrent that is announced in the DHT.
type Search interface{ Stop() }

// maxFoundBatches is the number of batches of addresses from the DHT that wait
// for the swarm; more are dropped, the next announce finds them again.
const maxFoundBatches = 16

// usesDHT says whether peers may come from the DHT: private torrents know
// their trackers alone (BEP 27).
func (s *Swarm) usesDHT() bool { return s.cfg.DHT != nil && !s.forbidsPEX() && s.failure == nil }

// startDHT begins the announces. A magnet link is looked up before it is known
// whether the torrent is private; [Swarm.adopt] ends it if so.
func (s *Swarm) startDHT() {
	if !s.usesDHT() {
		return
	}
	s.addNodes()
	for _, hash := range s.Hashes() { // a hybrid is in two swarms
		if s.searches[hash] != nil {
			continue
		}
		if s.searches == nil {
			s.searches = make(map[[20]byte]Search)
		}
		s.searches[hash] = s.cfg.DHT.Start(dht.Torrent{InfoHash: hash, Port: s.cfg.Port, Found: func(list []netip.AddrPort) {
			select {
			case s.found <- list:
			default:
			}
		}})
	}
}

// addNodes tells the DHT of the nodes that the torrent names (BEP 5), which are
// there for torrents without trackers. Host names are not looked up.
func (s *Swarm) addNodes() {
	if s.cfg.Torrent == nil {
		return
	}
	for _, n := range s.cfg.Torrent.Nodes {
		if ip, err := netip.ParseAddr(n.Host); err == nil {
			s.cfg.DHT.AddNode(netip.AddrPortFrom(ip.Unmap(), n.Port))
		}
	}
}

func (s *Swarm) stopDHT() {
	for _, search := range s.searches {
		search.Stop()
	}
	s.searches = nil
}

// onFound takes addresses from the DHT.
func (s *Swarm) onFound(list []netip.AddrPort) {
	if !s.usesDHT() {
		return
	}
	for _, a := range list {
		if _, known := s.known[a]; known || a == netip.AddrPortFrom(s.external.Unmap(), s.cfg.Port) {
			continue
		}
		s.learn(a)
		if k := s.known[a]; k != nil {
			k.public = true
		}
	}
	s.connect()
}

// tellPort tells a peer that is in the DHT where our node is.
func (s *Swarm) tellPort(m *member, out []byte) []byte {
	if !s.usesDHT() || !m.conn.Handshake.Reserved.DHT() {
		return out
	}
	return wire.AppendPort(out, s.cfg.DHT.Port())
}

// onPort takes a peer's node, once for each connection.
func (s *Swarm) onPort(m *member, e *peer.Event) {
	if m.dhtPort != 0 || e.Piece == 0 || !s.usesDHT() {
		return
	}
	m.dhtPort = uint16(e.Piece)
	s.cfg.DHT.AddNode(netip.AddrPortFrom(m.addr.Addr().Unmap(), m.dhtPort))
}

// Reserved are the feature bits of our handshakes for this torrent.
func (s *Swarm) Reserved() wire.Reserved {
	r := wire.OurReserved()
	if s.cfg.DHT != nil {
		r = r.WithDHT()
	}
	return r
}
