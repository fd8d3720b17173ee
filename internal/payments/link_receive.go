package payments

import (
	"fmt"

	"github.com/bttnet/btt/channel"
)

// Receive takes a channel message of the peer.
func (l *Link) Receive(payload []byte) error {
	if l.closed.Load() {
		return ErrClosed
	}
	m, err := channel.Decode(payload)
	if err != nil {
		return err
	}
	if r, ok := m.(*channel.Refuse); ok && r.ID == (channel.ID{}) && r.Code == channel.CodeLedger {
		return l.receiveOutage(r)
	}
	switch m := m.(type) {
	case *channel.Quote:
		return l.receiveQuote(m)
	case *channel.Pay:
		return l.receivePay(m)
	case *channel.Open, *channel.Fund, *channel.Attach:
		_, err := l.toSeller(m)
		return err
	case *channel.RefundSig, *channel.Confirm, *channel.State, *channel.Closed:
		return l.toBuyer(m)
	default: // Close and Refuse go to whoever has the channel
		if p := l.buyer.Load(); p != nil && l.book.ownedBy(m.Channel(), p) {
			return l.toBuyer(m)
		}
		_, err := l.toSeller(m)
		return err
	}
}

// receivePay has the pair's goroutine take a payment: that is written down, which
// may take as long as a disk likes.
func (l *Link) receivePay(m *channel.Pay) error {
	l.arrived.Add(1)
	taken, err := l.toSeller(m)
	if !taken || err != nil {
		l.taken()
	}
	return err
}

// taken notes that a payment was looked at.
func (l *Link) taken() { l.arrived.Add(-1) }

func (b *Book) ownedBy(id channel.ID, p *pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.channels[id].pair == p
}

func (l *Link) receiveQuote(m *channel.Quote) error {
	l.mu.Lock()
	n := len(l.quotes)
	if n < MaxQuotes {
		l.quotes = append(l.quotes, *m)
	}
	l.mu.Unlock()
	if n >= MaxQuotes {
		return fmt.Errorf("receive price: %w", ErrOverflow)
	}
	if p := l.buyer.Load(); p != nil {
		p.wake()
	}
	return nil
}

// receiveOutage takes the word of the other side that it cannot reach the ledger:
// channels wait, and their opening counts for nothing until it can.
func (l *Link) receiveOutage(m *channel.Refuse) error {
	l.mu.Lock()
	l.sale.excused = true
	l.mu.Unlock()
	return l.toBuyer(m)
}

func (l *Link) toBuyer(m channel.Message) error {
	p := l.buyer.Load()
	if p == nil {
		return nil // about a channel of a purchase that is gone
	}
	return p.post(op{kind: opMessage, link: l, message: m})
}

// toSeller hands a payer's message to its pair, which the first message of a
// connection names: Open by account, the others by channel. It reports false if there
// is none.
func (l *Link) toSeller(m channel.Message) (bool, error) {
	l.mu.Lock()
	p := l.sale.pair
	l.mu.Unlock()
	if p == nil {
		if open, ok := m.(*channel.Open); !ok {
			p = l.book.owner(m.Channel(), l.cfg.Account)
		} else if open.Payer == l.cfg.Account {
			p = l.book.pair(open.Payer, channel.RolePayee)
		}
		if p == nil {
			if m.Type() != channel.TypeRefuse {
				l.send(&channel.Refuse{ID: m.Channel(), Code: channel.CodeUnknown, Reason: "no such channel here"})
			}
			return false, nil
		}
		l.mu.Lock()
		l.sale.pair = p
		l.mu.Unlock()
		p.postAlways(op{kind: opBind, link: l})
	}
	return true, p.post(op{kind: opMessage, link: l, message: m})
}

// Guard has a stream at a price begin with nothing ahead of payment until the
// connection proved to be an account's by its channel, and one quantum then. A stream
// that has begun goes on as it did: with its window cut in the middle of a quantum an
// honest payer could neither finish nor pay that. Call it before Sell.
func (l *Link) Guard(on bool) {
	l.mu.Lock()
	s := &l.sale
	s.guarded = on && (s.guarded || !s.begunAt(l.served.Load()))
	l.mu.Unlock()
}

// begunAt says whether any of what was served up to a position costs something and is
// not paid.
func (s *sale) begunAt(position int64) bool {
	from := s.tariff.SkipFree(s.paid)
	rest := s.tariff.Trim(from)
	return from < position && len(rest) > 0 && rest[0].Price > 0
}

// Guarded reports whether nothing is served at a price because no channel is shown.
func (l *Link) Guarded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sale.guarded && !l.sale.proven && l.sale.tariff.Price() > 0
}
