package market

import (
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/receipts"
)

// flowEvery is the time between two entries of what came in the receipts.
const flowEvery = 5 * time.Second

// flow is what came from a peer and is not in the receipts yet.
type flow struct {
	free        receipts.Traffic
	paidSeconds int64
	rounds      int   // in which its price was looked at
	parts       int64 // price of bid in them, parts per million, summed
	known       bool  // counted as a peer
}

// tickFlows measures for how long peers serve us, and books it now and then.
func (t *Torrent) tickFlows() {
	for _, p := range t.sources {
		switch {
		case !p.peer.Serving():
		case p.Paying():
			p.flow.paidSeconds++
		default:
			p.flow.free.Seconds++
		}
	}
	if now := t.swarm.Now(); now.Sub(t.flowed) >= flowEvery {
		t.flowed = now
		t.tellFlows()
	}
}

func (t *Torrent) tellFlows() {
	if t.node.Receipts == nil {
		return
	}
	for _, p := range t.sources {
		t.tellFlow(p)
	}
	t.node.Receipts.Name(t.cfg.InfoHash, t.layout.Name, t.layout.TotalLength)
}

func (t *Torrent) tellFlow(p *Trade) {
	f := &p.flow
	if t.node.Receipts != nil && f.rounds > 0 {
		t.node.Receipts.Rounds(t.cfg.InfoHash, p.provider, f.rounds, f.parts)
		f.rounds, f.parts = 0, 0
	}
	if t.node.Receipts == nil || f.free == (receipts.Traffic{}) && f.paidSeconds == 0 {
		return
	}
	account := p.provider
	if account.IsZero() {
		account = p.account
	}
	t.node.Receipts.Flow(t.cfg.InfoHash, account, f.free, f.paidSeconds, !f.known)
	*f = flow{known: true}
}

// bought books a price that a provider told us.
func (t *Torrent) bought(p *Trade, price amount.Price) {
	if t.node.Receipts == nil {
		return
	}
	d := receipts.Deal{Price: receipts.Price(price), Bid: receipts.Price(p.session.Snapshot().OurBid), Reserve: -1}
	if r, told := p.session.Challenge(); told {
		d.Reserve = receipts.Price(r.Price)
	}
	t.node.Receipts.Deal(t.cfg.InfoHash, receipts.Paid, p.provider, p.peer.Addr().String(), d)
}

// dealt books a price that we told a requester.
func (t *Torrent) dealt(p *Trade, price amount.Price) {
	if t.node.Receipts == nil {
		return
	}
	snap := p.session.Snapshot()
	d := receipts.Deal{Price: receipts.Price(price), Bid: receipts.Price(snap.TheirBid), Reserve: -1}
	if _, told := p.session.Asked(); told {
		d.Reserve = receipts.Price(snap.OurReserve)
	}
	t.node.Receipts.Deal(t.cfg.InfoHash, receipts.Earned, p.account, p.peer.Addr().String(), d)
}
