package choker

import "net/netip"

const (
	// claimsMost bounds how many addresses Share remembers; then the one that was
	// not seen for longest is forgotten.
	claimsMost = 1024
	// claimRounds is for how many rounds an address is remembered that is gone: an
	// hour of standard rounds.
	claimRounds = 240
	// lieDivisor: a peer that was sent this part more than it said it lacks, from
	// the first round on, does not tell the truth or throws data away.
	lieDivisor = 8
)

// claims remember by address and torrent how much more may be sent to a peer until
// it shows that it lacked more than it said, so that neither a new connection nor a
// round without interest lets it say so again. Peers that share an address share
// what is remembered: who comes after a liar, or after one that was served, may go
// first for less. It loses nothing else.
type claims struct {
	rooms map[claimant]claim
	round uint32
}

// claimant is an address of IPv4, or a network of 64 bits, in one torrent.
type claimant struct {
	host    netip.Addr
	torrent uint32
}

type claim struct {
	room int64
	seen uint32 // the round
}

// claimantOf says whose claim it is; false if the address is not known.
func claimantOf(c *Candidate) (claimant, bool) {
	host := c.Host.Unmap().WithZone("")
	if host.Is6() {
		p, err := host.Prefix(64)
		if err != nil {
			return claimant{}, false
		}
		host = p.Addr()
	}
	return claimant{host, c.Torrent}, host.IsValid()
}

// recall returns the room of a peer that is new, or was not interested in the round
// before: what it says is no more than what was known less what it got since.
func (m *claims) recall(c *Candidate) int64 {
	room := c.Left + c.Left/lieDivisor
	if k, ok := claimantOf(c); ok {
		if old, known := m.rooms[k]; known && m.round-old.seen <= claimRounds {
			return min(room, old.room-max(c.Sent, 0))
		}
	}
	return room
}

// charge takes what was sent to a peer that does not ask for more, or is gone.
func (m *claims) charge(k claimant, sent int64) {
	if old, known := m.rooms[k]; known {
		old.room -= max(sent, 0)
		m.rooms[k] = old
	}
}

// note remembers the room of a peer; of several at one address, the least.
func (m *claims) note(c *Candidate, room int64) {
	k, ok := claimantOf(c)
	if !ok {
		return
	}
	old, known := m.rooms[k]
	switch {
	case !known && len(m.rooms) >= claimsMost:
		m.forget()
	case known && old.seen == m.round:
		room = min(room, old.room)
	}
	if m.rooms == nil {
		m.rooms = make(map[claimant]claim)
	}
	m.rooms[k] = claim{room, m.round}
}

// forget drops the address that was not seen for longest.
func (m *claims) forget() {
	var oldest claimant
	age := uint32(0)
	for k, c := range m.rooms {
		if a := m.round - c.seen; a >= age {
			oldest, age = k, a
		}
	}
	delete(m.rooms, oldest)
}
