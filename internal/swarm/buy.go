package swarm

import (
	"fmt"
	"sync"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// onResponse handles a bid response: what the peer sends from here on costs
// its price (R10.14-R10.16).
func (s *Swarm) onResponse(m *member, r speed.BidResponse) {
	t := &m.trade
	terms, err := channel.DecodeTerms(r.Terms)
	if err != nil {
		s.kick(m, fmt.Errorf("read bid response: %w", err))
		return
	}
	if !s.cfg.Market.Buy || s.state != Downloading {
		return
	}
	t.buying, t.broke, t.boughtAt = true, false, r.Price
	if r.Price > 0 {
		t.link.Buy(terms, r.Price, s.picker.Left())
		m.sendSpeed(t.session.Accept())
	}
}

// creditBlock books a block that is to be paid once its piece is verified. The
// store says whether the block counts: the picker may have closed the piece
// already, when the disk was faster than this goroutine.
func (s *Swarm) creditBlock(m *member, piece uint32, n int64) {
	t := &m.trade
	s.noteFetched(t, piece)
	if !t.paying() {
		return
	}
	if s.store.Verified(piece) { // a block of the last batch, or of another peer's
		t.due += n
		return
	}
	for i := range t.credits {
		if t.credits[i].piece == piece {
			t.credits[i].bytes += n
			return
		}
	}
	t.credits = append(t.credits, credit{piece, n})
}

// uncredit forgets what a peer sent of a piece that failed its hash: nobody
// is paid for it (R12.6).
func (s *Swarm) uncredit(m *member, piece uint32) { m.trade.take(piece) }

// take removes the credit of a piece and returns its bytes.
func (t *trade) take(piece uint32) int64 {
	for i, c := range t.credits {
		if c.piece == piece {
			t.credits[i] = t.credits[len(t.credits)-1]
			t.credits = t.credits[:len(t.credits)-1]
			return c.bytes
		}
	}
	return 0
}

// payFor pays everyone who sold us a part of a piece that is verified now.
func (s *Swarm) payFor(piece uint32) {
	if s.cfg.Market == nil {
		return
	}
	for _, m := range s.peers {
		m.trade.due += m.trade.take(piece)
		m.trade.pay()
	}
}

// pay pays what is due, in one payment.
func (t *trade) pay() {
	if t.due > 0 && t.link != nil {
		t.link.Verified(t.due)
		t.due = 0
	}
}

// linkQueue carries the payment side's events to the swarm's goroutine. It
// never blocks: a payment may be made on that very goroutine.
type linkQueue struct {
	mu     sync.Mutex // leaf lock
	events []queuedLink
	signal chan struct{}
}

type queuedLink struct {
	id uint32
	payments.LinkEvent
}

// maxLinkEvents is the greatest number of payment events waiting.
const maxLinkEvents = 1 << 16

func (s *Swarm) queueLink(id uint32, e payments.LinkEvent) {
	q := &s.links
	q.mu.Lock()
	if len(q.events) < maxLinkEvents {
		q.events = append(q.events, queuedLink{id, e})
	}
	q.mu.Unlock()
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

func (s *Swarm) drainLinks() {
	q := &s.links
	q.mu.Lock()
	events := q.events
	q.events = nil
	q.mu.Unlock()
	for _, e := range events {
		s.onLink(e.id, e.LinkEvent)
	}
}

// onLink handles what the payment side reports about a peer.
func (s *Swarm) onLink(id uint32, e payments.LinkEvent) {
	m := s.peers[id]
	if m == nil {
		return
	}
	switch e.Kind {
	case payments.EventPaid:
		m.trade.paid += e.Sum
		s.spent += e.Sum
	case payments.EventEarned:
		m.trade.earned += e.Sum
		s.earned += e.Sum
		s.cfg.Market.succeed(m.trade.account, m.addr.Addr())
	case payments.EventOverdue:
		s.unpaid(m)
	case payments.EventRefused, payments.EventNoFunds:
		s.cfg.Log.Info("payment channel", "addr", m.addr, "event", e.Kind, "reason", e.Reason)
		if e.Role == channel.RolePayer && m.trade.buying {
			// We cannot pay this peer: stop taking what we would owe.
			m.trade.broke = true
			m.conn.DropRequests()
			s.returnAll(m)
		}
	}
	if s.cfg.Observe != nil {
		s.cfg.Observe(s, m.addr, e)
	}
}

func appendSpeed(sub uint8, frame []byte) []byte { return wire.AppendExtended(nil, sub, frame) }
