package market

import (
	"sync"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/speed"
)

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

func (q *linkQueue) add(id uint32, e payments.LinkEvent) {
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

// Links is ready when the payment side reported something; the owner then
// calls HandleLinks.
func (t *Torrent) Links() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.links.signal
}

// HandleLinks acts on what the payment side reported.
func (t *Torrent) HandleLinks() {
	q := &t.links
	q.mu.Lock()
	events := q.events
	q.events = nil
	q.mu.Unlock()
	for _, e := range events {
		t.onLink(e.id, e.LinkEvent)
	}
}

// onLink handles what the payment side reports about a peer.
func (t *Torrent) onLink(id uint32, e payments.LinkEvent) {
	p := t.trades[id]
	if p == nil {
		return
	}
	switch e.Kind {
	case payments.EventPaid:
		p.paid += e.Sum
		t.spent += e.Sum
		t.observe(&p.boughtUnseen, p.boughtAt)
	case payments.EventEarned:
		p.earned += e.Sum
		t.earned += e.Sum
		t.observe(&p.soldUnseen, p.soldAt)
		if e.Clean {
			t.node.succeed(p.account, p.peer.Addr().Addr())
		}
	case payments.EventOpened:
		p.broke = p.broke && e.Role != channel.RolePayer
	case payments.EventOverdue:
		if e.Code == channel.CodeLedger {
			t.pause(p, outagePause, "a ledger cannot be reached")
		} else {
			t.unpaid(p)
		}
	case payments.EventDenied: // a new connection begins a new account of its stream
		p.peer.Kick(errDenied)
	case payments.EventFault:
		t.pause(p, idlePause, e.Reason)
	case payments.EventRefused, payments.EventNoFunds:
		t.cfg.Log.Info("payment channel", "addr", p.peer.Addr(), "event", e.Kind, "reason", e.Reason)
		// Without the ledger the channel waits, and the provider knows.
		if e.Role == channel.RolePayer && p.buying && e.Code != channel.CodeLedger {
			// We cannot pay this peer: stop taking what we would owe.
			p.broke = true
			p.peer.StopAsking()
		}
	}
	if t.cfg.Observe != nil {
		t.cfg.Observe(p.peer.Addr(), e)
	}
}

// openLink makes the payment side of a connection whose peer proved its account.
func (t *Torrent) openLink(p *Trade) {
	id := p.peer.ID()
	p.link = t.node.Book.Link(payments.LinkConfig{
		Account:  p.session.Identity(),
		Infohash: t.bound(),
		Quantum:  t.quantum(),
		Send: func(payload []byte) {
			if f, err := speed.Append(nil, speed.Channel{Payload: payload}); err == nil {
				p.send(f)
			}
		},
		Notify: func(e payments.LinkEvent) { t.links.add(id, e) },
		Wake:   p.peer.Wake,
	})
}
