package market

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// Complete completes a choker candidate with the market's side.
func (t *Torrent) Complete(p *Trade, c *choker.Candidate) {
	if t == nil || !t.node.Sell || p.session == nil || !p.named {
		return
	}
	snap, now := p.session.Snapshot(), t.swarm.Now()
	if snap.TheirBid == 0 && now.Sub(p.peer.Joined()) < bidGrace {
		c.Interested, t.held = false, true
	}
	// Who did not pay, here or on another connection, gets no more data for a time,
	// free or not (R12.1).
	eligible, _ := t.node.Standing(p.account, p.peer.Addr().Addr(), now)
	c.Interested, c.Resting = c.Interested && eligible, now.Before(p.rests)
	p.taken = false
	c.Speed, c.Bid, c.Reserve = eligible && !now.Before(p.paused), t.backed(p, snap.TheirBid), t.boundReserve(snap.OurReserve)
	if !p.account.IsZero() { // one paid slot per buyer (R5.6)
		c.Owner = binary.BigEndian.Uint64(p.account[:])
	}
	c.Own, c.Paid, c.Price = t.Bid(), p.sold, p.soldAt
}

// Refused says whether the peer gets no slot now, free or not: since the choker looked
// it failed (R12.1), or a slot was taken back from it.
func (t *Torrent) Refused(p *Trade) bool {
	if t == nil || !t.node.Sell || p.session == nil || !p.named {
		return false
	}
	eligible, _ := t.node.Standing(p.account, p.peer.Addr().Addr(), t.swarm.Now())
	return !eligible || p.taken
}

// Backed is a peer's bid as far as there is money behind it; 0 of a peer that
// takes no part.
func (t *Torrent) Backed(p *Trade) amount.Price {
	if t == nil || p.session == nil {
		return 0
	}
	return t.backed(p, p.session.Snapshot().TheirBid)
}

// backed is the bid as far as there is money behind it: the highest price at
// which the bidder can pay one quantum. What it cannot pay wins nothing and sets
// no price for others. An account of which nothing is known can pay.
func (t *Torrent) backed(p *Trade, bid amount.Price) amount.Price {
	if t.node.Funds == nil || bid == 0 || p.account.IsZero() {
		return bid
	}
	need, err := bid.Owed(t.quantum())
	if err != nil {
		need = amount.Supply
	}
	sum, known := t.node.Funds(p.account, need)
	if !known || sum >= need {
		return bid
	}
	return amount.HighestPrice(sum, t.quantum())
}

// bidGrace is how long a newcomer that may bid is not given a free slot: its
// first bid is on the way, and a slot once free stays free until the next round.
const bidGrace = time.Second

// releaseHeld lets the choker look again at newcomers that did not bid.
func (t *Torrent) releaseHeld() {
	if t.held {
		t.held = false
		t.swarm.FreeSlot()
	}
}

// Sell gives a slot at a price: bid response, then unchoke (R10.14, R10.17).
// A peer that is unchoked at another price is choked first and its requests
// are rejected (R10.18). The peer must be [Trade.Trading].
func (t *Torrent) Sell(p *Trade, price amount.Price, unchoked bool) {
	if unchoked && p.sold && p.soldAt == price {
		return
	}
	terms, err := t.node.Book.Terms()
	if err == nil {
		var frame []byte
		terms.Quantum = uint32(min(t.sellUnit(p), math.MaxUint32))
		if frame, err = p.session.Respond(price, terms.Append(nil)); err == nil {
			p.peer.Pause()
			t.fence(p, price) // before the response: its answer may come at once
			p.send(frame)
		}
	}
	if err != nil {
		t.cannotSell(p, err)
		return
	}
	p.selling, p.soldAt, p.sold, p.idle, p.failed = price > 0, price, true, time.Time{}, false
	// A price that we asked for ourselves says nothing of the market: it would
	// follow itself.
	p.soldUnseen = price > t.boundReserve(p.session.Snapshot().OurReserve)
	t.dealt(p, price)
	if price == 0 {
		p.peer.Unchoke(nil) // nothing is owed, so nothing is counted
		return
	}
	p.link.Guard(t.node.Guarded(p.account, p.peer.Addr().Addr(), t.swarm.Now()))
	if err := p.link.Sell(price); err != nil {
		t.cannotSell(p, err)
		return
	}
	p.peer.Unchoke(p.link)
}

func (t *Torrent) cannotSell(p *Trade, err error) {
	t.cfg.Log.Warn("cannot sell slot", "addr", p.peer.Addr(), "err", err)
	p.peer.Choke()
}

// fence holds back requests until the peer accepts the price; a free slot needs
// no accept.
func (t *Torrent) fence(p *Trade, price amount.Price) {
	if price == 0 {
		p.offered = time.Time{}
		p.peer.Fence(nil)
		return
	}
	p.offered = t.swarm.Now()
	p.peer.Fence(func(sub uint8, payload []byte) bool {
		msg, err := speed.Decode(payload)
		return sub == wire.SubSpeed && err == nil && msg == speed.Message(speed.Accept{Price: price})
	})
}

// acceptTime is how long a winner may take to accept its price; it is a payment
// failure not to (A25).
const acceptTime = 10 * time.Second

// dueAccept chokes a winner that does not answer its bid response.
func (t *Torrent) dueAccept(p *Trade) {
	if !p.offered.IsZero() && t.swarm.Now().Sub(p.offered) > acceptTime {
		t.unpaid(p)
	}
}

// idleTime is how long a buyer that accepted its price may ask for nothing while
// it could be served, idlePause how long it does not buy after it lost its slot for
// that. It is no failure: nothing was taken. For idleRest it is not served for free
// either: the slot that was just taken from it is no loan to itself. It is a whole
// choke round, in which others may take the slot; whoever wants data again says so
// by a new interest, and rests no longer. outagePause is the pause of one that
// cannot pay because a ledger is away.
const (
	idleTime  = payments.DefaultPaymentTimeout
	idlePause = time.Minute
	idleRest  = choker.Period

	outagePause = 5 * time.Second
)

// dueRequests takes the slot of a buyer that does not use it, or that is guarded and shows
// no channel; the next has it.
func (t *Torrent) dueRequests(p *Trade) {
	now := t.swarm.Now()
	switch {
	case !p.selling || !p.offered.IsZero() || p.peer.Waiting() && !p.link.Guarded() || p.link.Owing():
		p.idle = time.Time{}
	case p.idle.IsZero():
		p.idle = now
	case now.Sub(p.idle) > t.node.idleTime():
		p.rests = now.Add(idleRest)
		t.pause(p, idlePause, "asks for nothing, or opens no channel")
	}
	if !p.rests.IsZero() && !now.Before(p.rests) {
		p.rests = time.Time{}
		t.swarm.FreeSlot()
	}
}

// Roused notes that the peer says anew that it wants data.
func (p *Trade) Roused() { p.rests = time.Time{} }

// pause takes a peer's slot and keeps it from buying another for a time. Nobody is
// to blame.
func (t *Torrent) pause(p *Trade, length time.Duration, why string) {
	if !p.sold {
		return
	}
	p.paused, p.taken = t.swarm.Now().Add(length), true
	p.peer.Choke()
	t.cfg.Log.Info("paid slot taken back", "addr", p.peer.Addr(), "why", why)
	t.swarm.FreeSlot()
}

// LostSlot books that the peer was choked.
func (p *Trade) LostSlot() {
	p.sold, p.selling, p.offered, p.idle = false, false, time.Time{}, time.Time{}
	p.peer.Fence(nil)
}

// unpaid handles a peer that let its payment time out (R12.1): choked, not
// eligible for a time that doubles, banned after repeated failures (R12.2,
// R12.3). It may have lost its slot before, for it said that it wants nothing more.
func (t *Torrent) unpaid(p *Trade) {
	if p.failed {
		return // still the failure that cost it the slot
	}
	p.failed = true
	addr := p.peer.Addr()
	banned := t.node.Fail(p.account, addr.Addr(), t.swarm.Now())
	p.peer.Choke()
	t.cfg.Log.Info("payment overdue", "addr", addr, "account", p.account, "banned", banned)
	if banned {
		p.peer.Kick(ErrUnpaid)
	}
	t.swarm.FreeSlot()
}

// dueBan ends a connection of an account that was banned since, for what it did on
// another one (R12.3).
func (t *Torrent) dueBan(p *Trade) {
	if _, banned := t.node.Standing(p.account, netip.Addr{}, t.swarm.Now()); banned {
		p.peer.Kick(ErrUnpaid)
	}
}

// leftUnpaid judges a buyer that took data and left without a word of a channel (A25),
// from its slot or after it lost that: each new connection would bring it another piece
// for nothing. Once that is no failure, for it may have been killed: it is served nothing
// then before its channel is open. One that said that it cannot reach the ledger may be
// right: that is no failure either, and it only waits. Of one that has a channel the book
// keeps what its account owes; but if that never paid as much, the address is judged so,
// since another account costs little.
func (t *Torrent) leftUnpaid(p *Trade) {
	if p.link == nil || p.failed {
		return
	}
	l, account, addr, now := p.link, p.account, p.peer.Addr(), t.swarm.Now()
	l.Booked(func() { t.judgeLeft(l, account, addr, now) }) // its last payment may have come with its end
}

// judgeLeft is leftUnpaid once what came is booked; any goroutine.
func (t *Torrent) judgeLeft(l *payments.Link, account ledger.Address, addr netip.AddrPort, now time.Time) {
	judged := account
	if l.Unclaimed() == 0 {
		if !l.Untrusted() {
			return
		}
		judged = ledger.Address{}
	}
	excused := l.Excused() && t.node.Excuse(judged, addr.Addr(), now)
	pardoned := !excused && !l.Excused() && t.node.Pardon(judged, addr.Addr(), now)
	if !excused && !pardoned {
		t.node.Fail(judged, addr.Addr(), now)
	}
	t.cfg.Log.Info("buyer left without paying", "addr", addr, "account", account, "excused", excused, "pardoned", pardoned)
}
