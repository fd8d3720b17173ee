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

// errDenied ends a connection that could only be paid twice.
var errDenied = errors.New("peer denies payments that it settled")

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

// unbidMax is how long we go on buying when the wallet or a limit allows no bid: for a
// moment it may seem so while coins are set aside, or the ledger lists none. So long no bid
// is taken back because of the balance.
const unbidMax = 5 * time.Second

// dueBid stops asking a seller for data that goes on at a price above our bid: at once if
// that was taken back, else when it had the time to tell a new price. So a limit that the
// user lowers holds for sellers that do not care as well.
func (t *Torrent) dueBid(p *Trade) {
	if t.swarm.Phase() != Downloading {
		return
	}
	now, sent, bids := t.swarm.Now(), p.session.Snapshot().OurBid, t.full() > 0
	if !p.Paying() || bids && sent >= p.boughtAt {
		p.unbid, p.dear = time.Time{}, false
		return
	}
	if p.unbid.IsZero() {
		p.unbid = now
	}
	wait := speed.CrossingWindow
	switch {
	case sent == 0:
		wait = 0
	case !bids:
		wait = unbidMax
	}
	if !p.dear && now.Sub(p.unbid) >= wait {
		p.dear = true
		p.peer.StopAsking()
		t.cfg.Log.Info("nothing more is asked of a seller: its price is above our bid", "addr", p.peer.Addr(), "price", p.boughtAt, "bid", sent)
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
	if paid > 0 && p.link != nil {
		p.link.Arrived(paid)
	}
	from, to, sure := t.swarm.Sure(piece, begin)
	if sure { // with it its unit; or it is a block of the last batch, or of another peer's
		p.book(piece, begin, paid, free)
		if p.unit > 0 {
			p.bookPart(piece, from, to)
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
		lost := block >= len(held) || held[block] != p.peer.ID()
		if lost && c.bytes > 0 && p.link != nil {
			p.link.Arrived(-c.bytes)
		}
		return lost
	})
}

// book books verified bytes of a piece: those at a price are due, by units where the
// seller is paid so.
func (p *Trade) book(piece, begin uint32, paid, free int64) {
	p.flow.free.Bytes += free
	if paid == 0 {
		return
	}
	p.due += paid
	o := owed{piece: piece, to: anywhere, bytes: paid}
	if unit := uint32(p.unit); unit > 0 && begin != anywhere {
		o.from = begin / unit * unit
		o.to = o.from + unit
	}
	if n := len(p.owed); n > 0 && p.owed[n-1].piece == piece && p.owed[n-1].from == o.from && p.owed[n-1].to == o.to {
		p.owed[n-1].bytes += paid
		return
	}
	p.owed = append(p.owed, o)
}

// bookPart books the credit of a part of a piece. What was booked of the piece without a
// place belongs to the whole of it.
func (p *Trade) bookPart(piece, from, to uint32) {
	p.credits = slices.DeleteFunc(p.credits, func(c credit) bool {
		mine := c.in(piece, from, to)
		if mine {
			p.book(piece, c.begin, c.bytes, c.free)
		}
		return mine
	})
}

// Verified pays everyone who sold us a part of a piece whose hash was right.
func (t *Torrent) Verified(piece uint32) { t.VerifiedUnit(piece, 0, anywhere) }

// VerifiedUnit is Verified for the part of a piece from one offset to another.
func (t *Torrent) VerifiedUnit(piece, from, to uint32) {
	if t == nil {
		return
	}
	for _, p := range t.sources {
		p.bookPart(piece, from, to)
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

// owed is what is verified of a piece, or of a part of it, and not paid.
type owed struct {
	piece, from, to uint32
	bytes           int64
}

// risk is what was paid of parts that are not written, of all sellers: whoever is killed
// has lost it, and would pay it again.
type risk struct {
	bytes int64
	parts map[part]int64
}

// part is one of a piece; the whole of it ends anywhere.
type part struct{ piece, from, to uint32 }

// take adds to it unless that makes it more than most.
func (r *risk) take(d owed, most int64) bool {
	if r.bytes+d.bytes > most {
		return false
	}
	if r.parts == nil {
		r.parts = make(map[part]int64)
	}
	r.bytes += d.bytes
	r.parts[part{d.piece, d.from, d.to}] += d.bytes
	return true
}

// free takes the parts of a piece out that are over.
func (r *risk) free(piece uint32, over func(from, to uint32) bool) {
	for k, n := range r.parts {
		if k.piece == piece && over(k.from, k.to) {
			r.bytes -= n
			delete(r.parts, k)
		}
	}
}

// Pay pays what is due, in one payment, but never so much that more than one quantum
// of the torrent is paid and not written (docs/rfcs/0044): the rest waits for the disk, and
// nothing that is paid waits to be written with more.
func (t *Torrent) Pay(p *Trade) {
	if t == nil || p.due == 0 || p.link == nil {
		return
	}
	most := t.quantum()
	if p.unit > 0 {
		most = p.unit
	}
	n, sum := 0, int64(0)
	for n < len(p.owed) && (t.landed(p.owed[n]) || t.risk.take(p.owed[n], most)) {
		sum += p.owed[n].bytes
		n++
	}
	t.pay(p, n, sum)
	if t.risk.bytes > 0 {
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

func (t *Torrent) landed(d owed) bool { return t.swarm.Landed(d.piece, d.from, d.to) }

// pay pays the oldest n parts that are owed.
func (t *Torrent) pay(p *Trade, n int, sum int64) {
	if n > 0 {
		p.owed = slices.Delete(p.owed, 0, n)
		p.due -= sum
		p.link.Verified(sum)
	}
}

// Written pays what waited for a piece, or for parts of it, to be in its files.
func (t *Torrent) Written(piece uint32) {
	if t == nil {
		return
	}
	t.risk.free(piece, func(from, to uint32) bool { return t.swarm.Landed(piece, from, to) })
	t.payAll()
}

// Dropped takes note that what came of a piece is not there any more: nothing of it is on
// its way to the disk, and other payments wait for it no longer.
func (t *Torrent) Dropped(piece uint32) {
	if t == nil {
		return
	}
	t.risk.free(piece, func(uint32, uint32) bool { return true })
	t.payAll()
}

func (t *Torrent) payAll() {
	for _, p := range t.sources {
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
