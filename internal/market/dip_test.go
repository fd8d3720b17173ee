package market

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
)

// clocked is a leecher of which time passes.
type clocked struct {
	leecher
	now time.Time
}

func (c *clocked) Now() time.Time { return c.now }

// TestDipTakesNoBidBack: a balance that falls to nothing for a moment takes no bid back, to
// peers or trackers, however old that is: the next would come a minute later. One that stays
// there does, and what the user changes, or a limit, holds at once.
func TestDipTakesNoBidBack(t *testing.T) {
	limit := amount.Amount(50 * amount.BTT)
	for _, tt := range []struct {
		name string
		dip  time.Duration
		user bool
		left amount.Amount
		want bool // the bid stands
	}{
		{"a moment", unbidMax - time.Second, false, limit, true},
		{"longer", unbidMax, false, limit, false},
		{"and the user changed something", time.Second, true, limit, false},
		{"and the limit is spent", time.Second, false, 0, false},
		{"the limit alone", -1, false, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			funds, left := 100*amount.BTT, limit
			k := &Node{Buy: true, TrackerBids: true, Bid: autobid.Default(), Balance: func() amount.Amount { return funds },
				Left: func([20]byte) amount.Amount { return left }}
			s := &clocked{now: time.Unix(1, 0)}
			m := New(Config{Node: k, Swarm: s})
			m.layout = Layout{TotalLength: 1 << 30, PieceLength: 1 << 20}
			p := &Trade{peer: source{}, named: true, session: speed.NewSession(speed.Config{Account: ledger.Address{1}})}
			m.trades[1] = p
			m.Tell(p)
			bid, told := p.session.Snapshot().OurBid, m.trackerBid()
			if bid == 0 || told == 0 {
				t.Fatalf("bid %v, a tracker is told %d", bid, told)
			}
			s.now = s.now.Add(3 * autobid.MinInterval)
			m.Tell(p)
			if left = tt.left; tt.dip >= 0 {
				funds = 0
			}
			for range tt.dip/time.Second + 1 { // once a second, as ticks come
				if m.Tell(p); tt.user {
					m.Rebid()
				}
				p.session.Tick(s.now)
				s.now = s.now.Add(time.Second)
			}
			s.now = s.now.Add(-time.Second)
			if now := p.session.Snapshot().OurBid; (now > 0) != tt.want {
				t.Errorf("bid %v, was %v", now, bid)
			}
			if now := m.trackerBid(); (now > 0) != tt.want {
				t.Errorf("a tracker is told %d, was %d", now, told)
			}
			funds, left = 100*amount.BTT, limit
			m.Tell(p)
			if now := p.session.Snapshot().OurBid; tt.want && now != bid {
				t.Errorf("bid %v with the balance back, was %v", now, bid)
			}
		})
	}
}

// TestDipIsOne: each fall of the balance has its own time.
func TestDipIsOne(t *testing.T) {
	funds := 100 * amount.BTT
	s := &clocked{now: time.Unix(1, 0)}
	m := New(Config{Node: &Node{Buy: true, Bid: autobid.Default(), Balance: func() amount.Amount { return funds }}, Swarm: s})
	m.layout = Layout{TotalLength: 1 << 30, PieceLength: 1 << 20}
	p := &Trade{peer: source{}, named: true, session: speed.NewSession(speed.Config{Account: ledger.Address{1}})}
	for range 10 * autobid.MinInterval / unbidMax {
		funds = 100*amount.BTT - funds
		m.Tell(p)
		s.now = s.now.Add(unbidMax)
	}
	if p.session.Snapshot().OurBid == 0 {
		t.Error("the bid is taken back")
	}
}
