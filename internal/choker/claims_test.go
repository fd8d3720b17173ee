package choker

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// liar plays rounds in which peer 4 says that it lacks little and is sent a lot; act
// changes it before each round is booked. It returns how many bytes it was sent
// while it went first.
func liar(t *testing.T, act func(round int, c *Candidate)) (first int64) {
	t.Helper()
	var s Share
	cands := firsts()
	for i := range cands {
		cands[i].Host = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	for round := range 200 {
		c := &cands[3]
		c.Interested, c.Left, c.Sent = true, 4e6, 0
		if s.leads && s.leader == c.ID {
			c.Sent = 5e5
			first += c.Sent
		}
		act(round, c)
		s.Book(Keep{Fixed: true, Part: 900_000}, cands)
		s.first(cands)
	}
	return first
}

// TestLiarComesBack: who said that it lacks little and was sent more than that is not
// first again after a new connection, or a round without interest, in no matter what
// order; 4 MB and an eighth is what it said, a round more what it may take by leaving.
func TestLiarComesBack(t *testing.T) {
	const most = 4_500_000 + 500_000
	for name, act := range map[string]func(round int, c *Candidate){
		"stays":        func(int, *Candidate) {},
		"reconnects":   func(round int, c *Candidate) { c.ID = uint64(100 + round) },
		"every second": func(round int, c *Candidate) { c.ID = uint64(100 + round/2) },
		"no interest":  func(round int, c *Candidate) { c.Interested = round%3 > 0 },
		"another port": func(round int, c *Candidate) {
			c.ID, c.Host = uint64(100+round/4), netip.MustParseAddr("::ffff:10.0.0.3")
		},
		"leaves in time": func(round int, c *Candidate) { leave(round, c) },
		"other hosts of its network": func(round int, c *Candidate) {
			b := netip.MustParseAddr("2001:db8::").As16()
			binary.BigEndian.PutUint64(b[8:], uint64(round))
			c.ID, c.Host = uint64(100+round/4), netip.AddrFrom16(b)
		},
	} {
		if got := liar(t, act); got > most {
			t.Errorf("%s: was sent %d bytes as the first", name, got)
		}
	}
	// Another torrent, or another address, is another claim.
	if got := liar(t, func(round int, c *Candidate) { c.ID, c.Torrent = uint64(100+round/20), uint32(round/20) }); got <= most {
		t.Errorf("one that tells the truth in each of ten torrents was sent %d bytes as the first", got)
	}
}

// leave is gone each second round, so that its bytes of that round are never seen.
func leave(round int, c *Candidate) {
	c.ID = uint64(100 + round/2)
	if round%2 == 1 {
		c.ID, c.Seeding = 9999, false // as good as not there
	} else {
		c.Seeding = true
	}
}

// TestClaimsAreBounded: strangers' addresses do not grow the memory, the oldest goes
// first, and what is old is forgotten.
func TestClaimsAreBounded(t *testing.T) {
	var m claims
	at := func(n int) *Candidate {
		return &Candidate{Host: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), Left: 800}
	}
	for n := range 3 * claimsMost {
		m.round++
		m.note(at(n), 5)
	}
	if len(m.rooms) != claimsMost {
		t.Fatalf("%d addresses are remembered", len(m.rooms))
	}
	if got := m.recall(at(0)); got != 900 {
		t.Errorf("the oldest address has room %d", got)
	}
	if got := m.recall(at(3*claimsMost - 1)); got != 5 {
		t.Errorf("the newest address has room %d", got)
	}
	m.round += claimRounds + 1
	if got := m.recall(at(3*claimsMost - 1)); got != 900 {
		t.Errorf("an hour later it has room %d", got)
	}
	m.note(&Candidate{}, 1)
	if got := m.recall(&Candidate{Left: 8}); got != 9 {
		t.Errorf("nobody's address has room %d", got)
	}
}

// TestLeaderThatLeft: who went first and is gone may have got all that was sent in the
// round it left, and nothing of what is sent later.
func TestLeaderThatLeft(t *testing.T) {
	var s Share
	keep := Keep{Fixed: true, Part: 900_000}
	cands := firsts()
	for i := range cands {
		cands[i].Host = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
	}
	s.Book(keep, cands)
	i := s.first(cands)
	room := s.claims.rooms[s.led].room
	rest := append(cands[:i:i], cands[i+1:]...)
	led := s.led
	for range 5 {
		s.Book(keep, rest)
	}
	if got := s.claims.rooms[led].room; got != room-s.sent {
		t.Errorf("its room fell from %d to %d, by more than the %d bytes of a round", room, got, s.sent)
	}
}
