package market

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/payments"
)

// shelf is a swarm with pieces of four units, of which it knows what is verified and
// what is written.
type shelf struct {
	Swarm
	units   map[uint32]uint32 // verified units of a piece, from its start on
	written map[uint32]bool
}

const shelfUnit = 1 << 20

func (s *shelf) Now() time.Time        { return time.Time{} }
func (s *shelf) Has(piece uint32) bool { return s.written[piece] }
func (s *shelf) Press()                {}
func (s *shelf) Sure(piece, begin uint32) (from, to uint32, ok bool) {
	if s.units[piece] == 4 {
		return 0, 4 * shelfUnit, true
	}
	u := begin / shelfUnit
	return u * shelfUnit, (u + 1) * shelfUnit, u < s.units[piece]
}

// TestPaysForPieceAfterBegunOne: a seller that was paid for units of a piece, lost it
// and goes on with another is paid for that: nothing of the first is on its way to the
// disk, and whoever was to finish it may never do. What is on its way counts.
func TestPaysForPieceAfterBegunOne(t *testing.T) {
	s := &shelf{units: map[uint32]uint32{}, written: map[uint32]bool{}}
	m := &Torrent{swarm: s, layout: Layout{PieceLength: 4 * shelfUnit, TotalLength: 64 * shelfUnit}, sources: map[uint32]*Trade{}}
	p := &Trade{unit: shelfUnit, link: new(payments.Link)}
	m.sources[1] = p
	sell := func(piece uint32) int64 {
		s.units[piece]++
		p.book(piece, shelfUnit, 0)
		m.Pay(p)
		return p.due / shelfUnit
	}
	for range 3 {
		if due := sell(0); due != 0 {
			t.Fatalf("%d units of the first piece are not paid", due)
		}
	}
	for i := range 4 { // without the last unit of the first piece
		if due := sell(1); due != 0 {
			t.Fatalf("%d units are not paid after %d of the second piece", due, i+1)
		}
	}
	if due := sell(2); due != 1 {
		t.Errorf("%d units wait while a whole piece is paid and not written, want 1", due)
	}
	s.written[1] = true
	m.Written(1)
	if p.due != 0 || p.risk.bytes != shelfUnit {
		t.Errorf("%d bytes are due, %d paid and not written after the write", p.due, p.risk.bytes)
	}
	s.units[0], s.written[0] = 4, true
	m.Written(0)
	if p.risk.bytes != shelfUnit {
		t.Errorf("%d bytes are paid and not written, want a unit", p.risk.bytes)
	}
}
