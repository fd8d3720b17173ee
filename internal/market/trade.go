package market

import (
	"crypto/rand"
	"math"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// Trade is the market's book about one peer; it belongs to the swarm's
// goroutine. [NewTrade] makes one, [Torrent.Open] starts it.
type Trade struct {
	peer    Peer
	session *speed.Session       // nil = the peer takes no part
	nonce   [speed.NonceLen]byte // ours on this connection
	bound   speed.Connection
	named   bool // we proved who we are
	unnamed bool // and could not, which was said
	flow    flow
	bargain bargain
	link    *payments.Link
	account ledger.Address // theirs, proved on this connection
	bid     bool           // it bid once
	// answered is the last challenge that we answered, fetched the pieces of
	// which the peer sent a part.
	answered speed.Reserve
	fetched  wire.Bits

	sold    bool // it has a slot that was sold, if at price 0
	selling bool // what it is served costs money
	// sellsBy is the part of a piece in bytes by which the peer pays, decided at
	// its first slot: what it owes by pieces could not be paid in a smaller
	// window; 0 = not decided.
	sellsBy int64
	// offered is when a price was told that the peer has not accepted yet.
	offered time.Time
	// idle is since when a buyer that accepted asks for nothing, paused until
	// when it does not buy after it lost its slot for that.
	idle, paused time.Time
	rests        time.Time // until when it gets no free slot either
	failed       bool      // what it was sold last was not paid in time
	taken        bool      // its slot was taken back, and the choker did not look since
	soldAt       amount.Price
	// soldUnseen says that no payment came yet at the price, which is not our
	// own reserve price; boughtUnseen that we made none yet.
	soldUnseen, boughtUnseen bool
	earned                   amount.Amount

	rarity rarity // of what it has, for what we bid it

	buying bool
	broke  bool // we cannot pay the peer: nothing is asked of it
	// unbid is since when its price is more than we bid, dear that it had the time to
	// tell another: nothing is asked of it either.
	unbid    time.Time
	dear     bool
	boughtAt amount.Price
	provider ledger.Address // whom we pay, from the bid response
	paid     amount.Amount
	credits  []credit
	unit     int64 // bytes that what we buy is verified and paid by; 0 = pieces
	due      int64 // verified bytes not yet paid
	owed     []owed
	held     time.Time // since when payments wait for the disk
	pleaded  bool      // and the provider was told
	// since is since when only a payment is still to come, tired that it was
	// waited for long enough.
	since time.Time
	tired bool
}

// credit is what a peer sent us of a piece that is not verified yet, from an
// offset on or, if all of it is free, anywhere: bytes at a price, and free ones.
type credit struct {
	piece, begin uint32
	bytes, free  int64
}

// in says whether it is of a part of a piece; the whole of it ends anywhere.
func (c *credit) in(piece, from, to uint32) bool {
	return c.piece == piece && (to == anywhere || c.begin >= from && c.begin < to)
}

// anywhere is no offset in a piece, and beyond all of them.
const anywhere = math.MaxUint32

// NewTrade makes the book about a peer that was not met yet.
func NewTrade(p Peer) *Trade {
	t := &Trade{peer: p}
	_, _ = rand.Read(t.nonce[:]) // never fails (crypto/rand ends the process)
	return t
}

// Nonce is told in the extension handshake: random bytes of this connection.
func (p *Trade) Nonce() []byte { return p.nonce[:] }

// Provider is the account that the peer sells by; zero = not known.
func (p *Trade) Provider() ledger.Address { return p.provider }

// Trading says whether the peer takes part.
func (p *Trade) Trading() bool { return p.session != nil && p.link != nil }

// Sold says whether the peer's slot was sold to it.
func (p *Trade) Sold() bool { return p.sold }

// Broke says whether we cannot pay the peer, or do not want to at its price any more:
// nothing is to be asked of it.
func (p *Trade) Broke() bool { return p.broke || p.dear }

// Paying says whether what the peer sends now costs money; its pieces come
// from it alone then (A23).
func (p *Trade) Paying() bool { return p.buying && p.boughtAt > 0 }

// Wide says whether the seller seems to lend several times what its line holds.
func (p *Trade) Wide() bool { return p.link != nil && p.link.Wide() }

// Unit is the part of a piece in bytes by which what we buy of the peer is
// verified and paid; 0 = pieces.
func (p *Trade) Unit() int64 {
	if !p.Paying() {
		return 0
	}
	return p.unit
}

// Busy says whether money is still to move with the peer.
func (p *Trade) Busy() bool { return p.selling || p.Paying() || !p.tired && p.unsettled() }

// unsettled says whether a payment is due on either side.
func (p *Trade) unsettled() bool {
	if p.link == nil {
		return false
	}
	unpaid, _ := p.link.Unpaid()
	return unpaid+p.due > 0 && !p.broke || p.link.Due() > 0
}

// unsettledMax is how long a connection on which nothing is traded any more is kept
// for a payment that is due: the time in which a channel opens, and a payment may
// take.
const unsettledMax = payments.MaxTimeoutFactor * payments.DefaultPaymentTimeout

// tire gives up waiting for a payment that does not come.
func (t *Torrent) tire(p *Trade) {
	now := t.swarm.Now()
	switch {
	case p.selling || p.Paying() || !p.unsettled():
		p.since, p.tired = time.Time{}, false
	case p.since.IsZero():
		p.since = now
	default:
		p.tired = now.Sub(p.since) > unsettledMax
	}
}

// Choked books that the peer took our slot: one without a bid response is
// free.
func (p *Trade) Choked() { p.buying, p.broke, p.dear, p.unbid = false, false, false, time.Time{} }

// send sends a btt_speed message.
func (p *Trade) send(frame []byte) {
	if frame != nil {
		p.peer.Send(frame)
	}
}

// PeerStatus is a snapshot of the market with one peer: what it bids us and
// pays, and what we pay it.
type PeerStatus struct {
	TheirBid, SoldAt, BoughtAt amount.Price
	Account                    string
	Paid, Earned               amount.Amount
}

// Status returns a snapshot; zero for a peer that takes no part.
func (p *Trade) Status() (st PeerStatus) {
	if p.session == nil {
		return st
	}
	st.TheirBid = p.session.Snapshot().TheirBid
	if p.sold {
		st.SoldAt = p.soldAt
	}
	if p.buying {
		st.BoughtAt = p.boughtAt
	}
	if !p.account.IsZero() {
		st.Account = p.account.String()
	}
	st.Paid, st.Earned = p.paid, p.earned
	return st
}
