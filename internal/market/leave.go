package market

import (
	"errors"
	"fmt"
	"time"

	"github.com/bttnet/btt/internal/payments"
)

// ErrUnsettled says that a requester leaves without having paid for all that it
// verified.
var ErrUnsettled = errors.New("verified data is not paid")

// Settled says whether everything that was verified is paid, or cannot be any more;
// short is what is missing, one error for each peer.
func (t *Torrent) Settled() (done bool, short error) {
	if t == nil {
		return true, nil
	}
	done = true
	var list []error
	for _, p := range t.trades {
		if p.link == nil {
			continue // it did not say who it is: nothing was bought
		}
		n, payable := p.link.Unpaid()
		n += p.due
		if n == 0 {
			continue
		}
		why := fmt.Sprintf("the payment was not made within %v", payments.LastPaymentWait)
		if p.broke || !payable {
			why = "no channel pays it any more"
		} else {
			done = false
		}
		list = append(list, fmt.Errorf("%w: %d bytes of %q from %v, at %v: %s; the peer may refuse to sell for some time",
			ErrUnsettled, n, t.layout.Name, p.peer.Addr(), p.boughtAt, why))
	}
	return done, errors.Join(list...)
}

// Leave ends the market with a peer whose connection ended. One that was
// replaced by another connection with the same peer, because both had called
// each other, is no buyer that left, nor is any when this node leaves: ours says so.
func (t *Torrent) Leave(p *Trade, ours bool) {
	if t == nil {
		return
	}
	if !ours {
		t.leftUnpaid(p)
	}
	t.tellFlow(p)
	delete(t.sources, p.peer.ID())
	t.close(p)
}

func (t *Torrent) close(p *Trade) {
	if p.link != nil {
		p.link.Owe(p.due)
		p.link.Close()
		p.link = nil
	}
	delete(t.trades, p.peer.ID())
}

// Earning says whether what was served may still be paid, by buyers that are
// connected: for [payments.LastEarningWait] from the time on when nothing more was
// served, and as long as a payment that came is being booked.
func (t *Torrent) Earning(since time.Time) bool {
	if t == nil {
		return false
	}
	wait := t.swarm.Now().Sub(since) < payments.LastEarningWait
	for _, p := range t.trades {
		if p.link != nil && (p.link.Booking() || wait && p.link.Due() > 0) {
			return true
		}
	}
	return false
}
