package market

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
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
		p.book(piece, paid, free)
		if p.unit > 0 {
			paid, free = p.take(piece, from, to)
			p.book(piece, paid, free)
		}
		return // the caller pays for all of its batch
	}
	if p.unit > 0 || paid > 0 {
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
		if c.bytes > 0 && (len(dst) == 0 || dst[len(dst)-1] != c.piece) {
			dst = append(dst, c.piece)
		}
	}
	return dst
}

// Uncredit forgets what the peer sent of a piece that failed its hash: nobody
// is paid for it (R12.6). What of it came again since stays: held says who sent
// each block that the store has.
func (p *Trade) Uncredit(piece uint32, held []uint32) { p.UncreditUnit(piece, 0, anywhere, held) }

// UncreditUnit is Uncredit for the part of a piece from one offset to another.
func (p *Trade) UncreditUnit(piece, from, to uint32, held []uint32) {
	p.credits = slices.DeleteFunc(p.credits, func(c credit) bool {
		if !c.in(piece, from, to) {
			return false
		}
		block := int(c.begin / wire.BlockSize)
		return block >= len(held) || held[block] != p.peer.ID()
	})
}

// book books verified bytes of a piece: those at a price are due.
func (p *Trade) book(piece uint32, paid, free int64) {
	if paid > 0 {
		p.due += paid
		p.owed = append(p.owed, owed{piece, paid})
	}
	p.flow.free.Bytes += free
}

// take removes the credit of a part of a piece and returns its bytes. What was
// booked of the piece without a place belongs to the whole of it.
func (p *Trade) take(piece, from, to uint32) (paid, free int64) {
	p.credits = slices.DeleteFunc(p.credits, func(c credit) bool {
		mine := c.in(piece, from, to)
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
		paid, free := p.take(piece, from, to)
		p.book(piece, paid, free)
		t.wants(p)
		t.Pay(p)
	}
}

// wants tells the payment side how much is still to be bought, before a payment
// makes it think of the next channel.
func (t *Torrent) wants(p *Trade) {
	if p.link != nil && p.Paying() {
		p.link.Left(t.swarm.Left())
	}
}

// owed is what is verified of a piece and not paid.
type owed struct {
	piece uint32
	bytes int64
}

// risk is what was paid of pieces that are not written: whoever is killed has lost it,
// and would pay it again.
type risk struct {
	bytes  int64
	pieces map[uint32]int64
}

// take adds to it unless that makes it more than most.
func (r *risk) take(d owed, most int64) bool {
	if r.bytes+d.bytes > most {
		return false
	}
	if r.pieces == nil {
		r.pieces = make(map[uint32]int64)
	}
	r.bytes += d.bytes
	r.pieces[d.piece] += d.bytes
	return true
}

func (r *risk) written(piece uint32) {
	r.bytes -= r.pieces[piece]
	delete(r.pieces, piece)
}

// Pay pays what is due, in one payment, but never so much that more than one quantum
// is paid and not written (docs/rfcs/0044): the rest waits for the disk, and nothing
// that is paid waits to be written with more. Of a piece that is paid by parts all are written when it is whole, so
// there each peer may have been paid for one.
func (t *Torrent) Pay(p *Trade) {
	if t == nil || p.due == 0 || p.link == nil {
		return
	}
	r := &t.risk
	if p.unit > 0 {
		r = &p.risk
	}
	n, sum := 0, int64(0)
	for n < len(p.owed) && (t.swarm.Has(p.owed[n].piece) || t.risks(r, p.owed[n])) {
		sum += p.owed[n].bytes
		n++
	}
	t.pay(p, n, sum)
	if r.bytes > 0 {
		t.swarm.Press()
	}
	if len(p.owed) == 0 {
		p.held, p.pleaded = time.Time{}, false
		return
	}
	if p.held.IsZero() || n > 0 {
		p.held = t.swarm.Now()
	}
}

// risks takes a part of a piece into the account of what is paid and not written. A
// piece that was paid by parts, and that its seller left for others to finish, goes
// out of it when there is no more room: nothing of it is on its way to the disk, so
// the seller would wait for a payment that waits for them.
func (t *Torrent) risks(r *risk, d owed) bool {
	if r.take(d, t.quantum()) {
		return true
	}
	if r == &t.risk {
		return false // whole pieces, all of which are being written
	}
	for piece := range r.pieces {
		if piece != d.piece && !t.whole(piece) {
			r.written(piece)
		}
	}
	return r.take(d, t.quantum())
}

// whole says whether all of a piece is verified.
func (t *Torrent) whole(piece uint32) bool {
	for at := uint32(0); ; {
		_, to, ok := t.swarm.Sure(piece, at)
		if !ok {
			return false
		}
		if to <= at || int64(to) >= t.layout.PieceLength { // a short piece is told as one
			return true
		}
		at = to
	}
}

// pay pays the oldest n parts that are owed.
func (t *Torrent) pay(p *Trade, n int, sum int64) {
	if n > 0 {
		p.owed = slices.Delete(p.owed, 0, n)
		p.due -= sum
		p.link.Verified(sum)
	}
}

// Written pays what waited for a piece to be in its files.
func (t *Torrent) Written(piece uint32) {
	if t == nil {
		return
	}
	t.risk.written(piece)
	for _, p := range t.sources {
		p.risk.written(piece)
		t.Pay(p)
	}
}

// pleadAfter is how long a payment waits for the disk before the provider is told
// so: the same word as for a ledger that is away, after which a late payment is
// nobody's failure (docs/rfcs/0027, 0034).
const pleadAfter = 2 * time.Second

// dueWrite tells a provider whose payment waits for this node's disk.
func (t *Torrent) dueWrite(p *Trade) {
	if p.due > 0 && p.link != nil && !p.pleaded && !p.held.IsZero() && t.swarm.Now().Sub(p.held) >= pleadAfter {
		p.pleaded = true
		p.link.Delay("the requester's disk does not answer; the payment comes when it does")
		t.cfg.Log.Warn("payment waits for the disk", "addr", p.peer.Addr(), "bytes", p.due)
	}
}
