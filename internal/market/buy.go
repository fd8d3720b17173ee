package market

import (
	"errors"
	"fmt"

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
	t.bought(p, r.Price)
	if r.Price > 0 {
		p.link.Buy(terms, r.Price, t.swarm.Left())
		p.send(p.session.Accept())
	}
}

// Credit books a block that is to be paid once its piece is verified. The
// store says whether the block counts: the picker may have closed the piece
// already, when the disk was faster than the swarm.
func (t *Torrent) Credit(p *Trade, piece uint32, n int64) {
	if t == nil {
		return
	}
	t.noteFetched(p, piece)
	t.sources[p.peer.ID()] = p
	paid, free := n, int64(0)
	if !p.Paying() {
		paid, free = 0, n
	}
	if t.swarm.Verified(piece) { // a block of the last batch, or of another peer's
		p.book(paid, free)
		return
	}
	for i := range p.credits {
		if p.credits[i].piece == piece {
			p.credits[i].bytes += paid
			p.credits[i].free += free
			return
		}
	}
	p.credits = append(p.credits, credit{piece, paid, free})
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
func (p *Trade) Uncredit(piece uint32) { p.take(piece) }

// book books verified bytes: those at a price are due.
func (p *Trade) book(paid, free int64) {
	p.due += paid
	p.flow.free.Bytes += free
}

// take removes the credit of a piece and returns its bytes.
func (p *Trade) take(piece uint32) (paid, free int64) {
	for i, c := range p.credits {
		if c.piece == piece {
			p.credits[i] = p.credits[len(p.credits)-1]
			p.credits = p.credits[:len(p.credits)-1]
			return c.bytes, c.free
		}
	}
	return 0, 0
}

// Verified pays everyone who sold us a part of a piece whose hash was right.
func (t *Torrent) Verified(piece uint32) {
	if t == nil {
		return
	}
	for _, p := range t.sources {
		p.book(p.take(piece))
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
