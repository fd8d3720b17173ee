package market

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/payments"
)

// shelf is a swarm with pieces of four units, of which it knows what is written.
type shelf struct {
	Swarm
	landed map[part]bool
}

const shelfUnit = 1 << 20

func (s *shelf) Now() time.Time                                      { return time.Time{} }
func (s *shelf) Press()                                              {}
func (s *shelf) Landed(piece, from, to uint32) bool                  { return s.landed[part{piece, from, to}] }
func (s *shelf) Left() int64                                         { return 64 * shelfUnit }
func (s *shelf) Sure(piece, begin uint32) (from, to uint32, ok bool) { return 0, 0, false }

// stall is a market with two sellers that are paid by units.
func stall() (s *shelf, m *Torrent, sellers [2]*Trade) {
	s = &shelf{landed: map[part]bool{}}
	m = &Torrent{swarm: s, layout: Layout{PieceLength: 4 * shelfUnit, TotalLength: 64 * shelfUnit}, sources: map[uint32]*Trade{}}
	for i := range sellers {
		sellers[i] = &Trade{unit: shelfUnit, link: new(payments.Link)}
		m.sources[uint32(i)] = sellers[i]
	}
	return s, m, sellers
}

// sell has a seller bring a unit of a piece, which is right.
func (t *Torrent) sell(p *Trade, piece, unit uint32) {
	for at := unit * shelfUnit; at < (unit+1)*shelfUnit; at += 16 << 10 {
		p.credits = append(p.credits, credit{piece: piece, begin: at, bytes: 16 << 10})
	}
	p.bookPart(piece, unit*shelfUnit, (unit+1)*shelfUnit)
	t.Pay(p)
}

// write has a unit come into the files.
func (s *shelf) write(t *Torrent, piece, unit uint32) {
	s.landed[part{piece, unit * shelfUnit, (unit + 1) * shelfUnit}] = true
	t.Written(piece)
}

// TestPaysOneUnitAheadOfDisk: of all sellers together one unit at most is paid and not in
// the files; each is paid when what was paid before is written, whatever becomes of the
// rest of its piece.
func TestPaysOneUnitAheadOfDisk(t *testing.T) {
	s, m, sellers := stall()
	a, b := sellers[0], sellers[1]
	due := func(forA, forB int64) {
		t.Helper()
		if a.due != forA*shelfUnit || b.due != forB*shelfUnit {
			t.Fatalf("%d and %d bytes are due, want %d and %d units", a.due, b.due, forA, forB)
		}
		if m.risk.bytes > shelfUnit {
			t.Fatalf("%d bytes are paid and not written", m.risk.bytes)
		}
	}
	m.sell(a, 0, 0)
	due(0, 0)
	m.sell(a, 0, 1)
	due(1, 0)
	m.sell(b, 5, 3)
	due(1, 1)
	s.write(m, 0, 1) // before the first: it is paid, and counts no more
	due(0, 1)
	s.write(m, 0, 0)
	due(0, 0)
	s.write(m, 5, 3)
	if m.risk.bytes != 0 || len(m.risk.parts) != 0 {
		t.Errorf("%d bytes in %d parts are paid and not written, all are written", m.risk.bytes, len(m.risk.parts))
	}
	m.sell(a, 1, 0) // a piece that it leaves to others
	s.write(m, 1, 0)
	for unit := range uint32(3) {
		m.sell(a, 2, unit)
		due(0, 0)
		s.write(m, 2, unit)
	}
}

// TestDroppedHoldsNothingUp: a unit that was paid, and whose piece is dropped before it is
// written, keeps no payment waiting.
func TestDroppedHoldsNothingUp(t *testing.T) {
	_, m, sellers := stall()
	m.sell(sellers[0], 0, 0)
	m.sell(sellers[1], 5, 3)
	if sellers[1].due != shelfUnit {
		t.Fatalf("%d bytes are due, want a unit", sellers[1].due)
	}
	m.Dropped(0)
	if sellers[1].due != 0 || m.risk.bytes != shelfUnit {
		t.Errorf("%d bytes are due, %d paid and not written", sellers[1].due, m.risk.bytes)
	}
}
