package market

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/speed"
)

// errSeller ends a connection that sells for an account that is not its own.
var errSeller = errors.New("peer sells for an account that it did not prove to be")

// onResponse handles a bid response: what the peer sends from here on costs
// its price (R10.14-R10.16).
func (t *Torrent) onResponse(p *Trade, r speed.BidResponse) {
	terms, err := channel.DecodeTerms(r.Terms)
	if err != nil {
		p.peer.Kick(fmt.Errorf("read bid response: %w", err))
		return
	}
	if terms.Account != p.session.Identity() {
		p.peer.Kick(errSeller)
		return
	}
	if _, banned := t.node.Standing(terms.Account.Address(), p.peer.Addr().Addr(), t.swarm.Now()); banned {
		p.peer.Kick(ErrBanned)
		return
	}
	if !t.node.Buy || t.swarm.Phase() != Downloading {
		return
	}
	p.buying, p.broke, p.boughtAt, p.provider = true, false, r.Price, terms.Account.Address()
	p.boughtUnseen = true
	p.unit = t.boughtUnit(p)
	t.bought(p, r.Price)
	if r.Price > 0 {
		p.link.Buy(terms, r.Price, t.swarm.Left())
		p.send(p.session.Accept())
	}
}

// Credit books a block that is to be paid once it is verified. The store says
// whether the block counts: the picker may have closed the piece already, when
// the disk was faster than the swarm.
func (t *Torrent) Credit(p *Trade, piece, begin uint32, n int64) {
	if t == nil {
		return
	}
	t.noteFetched(p, piece)
	t.sources[p.peer.ID()] = p
	paid, free := n, int64(0)
	if !p.Paying() {
		paid, free = 0, n
	}
	from, to, sure := t.swarm.Sure(piece, begin)
	if sure { // with it its unit; or it is a block of the last batch, or of another peer's
		p.book(paid, free)
		if p.unit > 0 {
			p.book(p.take(piece, from, to))
		}
		return // the caller pays for all of its batch
	}
	if p.unit > 0 {
		p.credits = append(p.credits, credit{piece, begin, paid, free})
		return
	}
	for i := range p.credits {
		if p.credits[i].piece == piece && p.credits[i].begin == anywhere {
			p.credits[i].bytes += paid
			p.credits[i].free += free
			return
		}
	}
	p.credits = append(p.credits, credit{piece, anywhere, paid, free})
}

// Credited says whether a peer is still to be paid for blocks of a piece.
func (t *Torrent) Credited(piece uint32) bool {
	if t == nil {
		return false
	}
	for _, p := range t.trades {
		for _, c := range p.credits {
			if c.piece == piece && c.bytes > 0 {
				return true
			}
		}
	}
	return false
}

// Unpaid appends the pieces of which the peer sent blocks that are to be paid once
// the rest is there. Until then it may serve less than a piece more.
func (p *Trade) Unpaid(dst []uint32) []uint32 {
	for _, c := range p.credits {
		if c.bytes > 0 {
			dst = append(dst, c.piece)
		}
	}
	return dst
}

// Uncredit forgets what the peer sent of a piece that failed its hash: nobody
// is paid for it (R12.6).
func (p *Trade) Uncredit(piece uint32) { p.take(piece, 0, anywhere) }

// UncreditUnit is Uncredit for the part of a piece from one offset to another.
func (p *Trade) UncreditUnit(piece, from, to uint32) { p.take(piece, from, to) }

// book books verified bytes: those at a price are due.
func (p *Trade) book(paid, free int64) {
	p.due += paid
	p.flow.free.Bytes += free
}

// take removes the credit of a part of a piece and returns its bytes. What was
// booked of the piece without a place belongs to the whole of it.
func (p *Trade) take(piece, from, to uint32) (paid, free int64) {
	p.credits = slices.DeleteFunc(p.credits, func(c credit) bool {
		mine := c.piece == piece && (to == anywhere || c.begin >= from && c.begin < to)
		if mine {
			paid += c.bytes
			free += c.free
		}
		return mine
	})
	return paid, free
}

// Verified pays everyone who sold us a part of a piece whose hash was right.
func (t *Torrent) Verified(piece uint32) { t.VerifiedUnit(piece, 0, anywhere) }

// VerifiedUnit is Verified for the part of a piece from one offset to another.
func (t *Torrent) VerifiedUnit(piece, from, to uint32) {
	if t == nil {
		return
	}
	for _, p := range t.sources {
		p.book(p.take(piece, from, to))
		t.wants(p)
		p.Pay()
	}
}

// wants tells the payment side how much is still to be bought, before a payment
// makes it think of the next channel.
func (t *Torrent) wants(p *Trade) {
	if p.link != nil && p.Paying() {
		p.link.Left(t.swarm.Left())
	}
}

// Pay pays what is due, in one payment.
func (p *Trade) Pay() {
	if p.due > 0 && p.link != nil {
		p.link.Verified(p.due)
		p.due = 0
	}
}
