package swarm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// maxPerIP is the greatest number of connections with one address, of IPv6
	// with one /64; loopback stands for many peers and has no such limit.
	maxPerIP = 5
	// settleTime is how long a peer may stay before it can lose its place to
	// one of higher priority.
	settleTime = time.Minute
	// deadAfter is the number of failed calls in a row after which an address
	// may be forgotten, maxPruned how many are at once.
	deadAfter = 5
	maxPruned = maxKnown / 10
)

var (
	errCrowded  = errors.New("address has enough connections")
	errReplaced = errors.New("place is needed for a peer of higher priority")
	errPrivate  = errors.New("torrent is private and the peer came from another peer or the DHT")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// priority is the canonical priority of the connection between two peers
// (BEP 40): both sides compute the same, and nobody can choose his.
func priority(a, b netip.AddrPort) uint32 {
	x, y := a.Addr().Unmap().WithZone(""), b.Addr().Unmap().WithZone("") // a zone is no part of an address's bytes
	if x == y {
		low, high := min(a.Port(), b.Port()), max(a.Port(), b.Port())
		return crc32.Checksum(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, low), high), castagnoli)
	}
	if x.Is4() != y.Is4() {
		x, y = netip.AddrFrom16(x.As16()), netip.AddrFrom16(y.As16())
	}
	p, q := x.AsSlice(), y.AsSlice()
	same := 0 // equal leading bytes
	for p[same] == q[same] {
		same++
	}
	whole := 2 // leading bytes that count in full
	if !x.Is4() {
		whole = 6
	}
	if same >= whole {
		whole = same + 1
	}
	for i := whole; i < len(p); i++ {
		p[i] &= 0x55
		q[i] &= 0x55
	}
	if slices.Compare(p, q) > 0 {
		p, q = q, p
	}
	return crc32.Checksum(append(p, q...), castagnoli)
}

// maxVoted is the greatest number of addresses that peers may call ours.
const maxVoted = 64

// vote counts what a peer says our address is: the one that most of the
// connected peers name counts, so that a single one cannot choose it.
func (s *Swarm) vote(m *member, a netip.Addr) {
	a = a.Unmap()
	if !a.IsValid() || a.IsUnspecified() || a == m.told {
		return
	}
	m.told = a
	votes := make(map[netip.Addr]int, maxVoted)
	for _, o := range s.peers {
		if o.told.IsValid() && (votes[o.told] > 0 || len(votes) < maxVoted) {
			votes[o.told]++
		}
	}
	for a, n := range votes {
		if !s.external.IsValid() || n > votes[s.external] {
			s.external = a
		}
	}
}

// rank is the priority of a connection between us and a peer; all are equal
// while nobody told our own address.
func (s *Swarm) rank(a netip.AddrPort) uint32 {
	if !s.external.IsValid() {
		return 0
	}
	return priority(netip.AddrPortFrom(s.external, s.cfg.Port), a)
}

// ordered yields the known addresses: those of the highest priority first
// where not all of them can be connected.
func (s *Swarm) ordered() iter.Seq2[netip.AddrPort, *address] {
	free := s.cfg.MaxPeers - len(s.peers) - s.halfOpen
	if len(s.known) <= free || !s.external.IsValid() {
		return maps.All(s.known)
	}
	type ranked struct {
		addr netip.AddrPort
		rank uint32
	}
	var list []ranked
	if free > 0 {
		for a, k := range s.known {
			if !k.connected {
				list = append(list, ranked{a, s.rank(a)})
			}
		}
	}
	slices.SortFunc(list, func(x, y ranked) int { return cmp.Compare(y.rank, x.rank) })
	return func(yield func(netip.AddrPort, *address) bool) {
		for _, r := range list {
			if !yield(r.addr, s.known[r.addr]) {
				return
			}
		}
	}
}

// room says whether there is a place for a connection. When all are taken, it
// makes one: a peer that nothing flows to or from goes for one of higher
// priority.
func (s *Swarm) room(in *Incoming) error {
	ip := scope(in.Addr.Addr())
	same := 0
	var least *member
	for _, m := range s.peers {
		if scope(m.addr.Addr()) == ip && !m.kicked {
			same++
		}
		if m.kicked || m.unchoked || !m.choked || m.trade.Busy() || s.now.Sub(m.joined) < settleTime {
			continue
		}
		if least == nil || s.rank(m.addr) < s.rank(least.addr) {
			least = m
		}
	}
	switch {
	case same >= maxPerIP && !ip.IsLoopback():
		return errCrowded
	case len(s.peers) < s.cfg.MaxPeers:
		return nil
	case least == nil || s.rank(in.Addr) <= s.rank(least.addr) || len(s.peers) >= s.cfg.MaxPeers+maxHalfOpen:
		return errFull
	}
	s.kick(least, errReplaced)
	return nil
}

// prune forgets addresses where nobody answers when there is no place for
// new ones.
func (s *Swarm) prune() {
	if len(s.known) < maxKnown {
		return
	}
	gone := 0
	for a, k := range s.known {
		if gone == maxPruned {
			return
		}
		if !k.connected && k.failures >= deadAfter {
			delete(s.known, a)
			gone++
		}
	}
}

// connectedTo says whether one of the connections is with the peer that
// listens on a.
func (s *Swarm) connectedTo(a netip.AddrPort) bool {
	for _, m := range s.peers {
		if m.listen == a && !m.kicked {
			return true
		}
	}
	return false
}

// listens books where a peer that called us accepts calls itself (BEP 10).
func (s *Swarm) listens(m *member, port uint16) {
	if m.listen.IsValid() || port == 0 {
		return
	}
	m.listen = netip.AddrPortFrom(m.addr.Addr().Unmap(), port)
	if k := s.known[m.listen]; k != nil {
		k.connected = true
	}
}

// left books that a connection ended where the peer may be called again. One
// that called us and was not sent away is worth a call of ours while we want
// something.
func (s *Swarm) left(m *member) *address {
	if !m.listen.IsValid() {
		return nil
	}
	k := s.known[m.listen]
	if k == nil && !m.conn.Outgoing && !m.kicked && !s.forbidsPEX() && s.state != Seeding {
		s.learn(m.listen)
		k = s.known[m.listen]
	}
	if k != nil {
		k.connected, k.tried = s.connectedTo(m.listen), s.now
	}
	return k
}

// Defaults of [Slots].
const (
	// DefaultMaxConnections is the greatest number of connections of a session,
	// DefaultMaxDials of those being made at once.
	DefaultMaxConnections = 800
	DefaultMaxDials       = 100
)

// Slots bounds the connections of all swarms that share it. Its methods are
// safe for concurrent use; nil bounds nothing.
type Slots struct {
	connections, dials atomic.Int32
	most, mostDials    int32
}

// NewSlots bounds connections and those being made; 0 = the default.
func NewSlots(connections, dials int) *Slots {
	if connections <= 0 {
		connections = DefaultMaxConnections
	}
	if dials <= 0 {
		dials = DefaultMaxDials
	}
	return &Slots{most: int32(min(connections, 1<<30)), mostDials: int32(min(dials, 1<<30))}
}

// Connections returns how many there are.
func (l *Slots) Connections() int {
	if l == nil {
		return 0
	}
	return int(l.connections.Load())
}

func take(n *atomic.Int32, most int32) bool {
	if n.Add(1) <= most {
		return true
	}
	n.Add(-1)
	return false
}

// enter takes a place for a connection; leave must follow.
func (l *Slots) enter() bool { return l == nil || take(&l.connections, l.most) }

func (l *Slots) leave(n int) {
	if l != nil {
		l.connections.Add(-int32(n))
	}
}

// dial takes a place for a call; dialed must follow. When no connection would
// find a place, no call is made.
func (l *Slots) dial() bool {
	return l == nil || l.connections.Load() < l.most && take(&l.dials, l.mostDials)
}

func (l *Slots) dialed() {
	if l != nil {
		l.dials.Add(-1)
	}
}
