package market

import (
	"cmp"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/tracker"
)

const (
	// TrackerTop is the number of bidding peers that we ask a tracker for
	// when we sell; the rest of its answer is random.
	TrackerTop = 50
	// MaxBidders is the number of bidders that go before other addresses when
	// connections are made, half of those made at once: a tracker cannot steer us into its friends alone.
	MaxBidders = 15
	// BidPause is the time between two announces because of a changed bid
	// where a tracker does not say, bidPauseMin the least in any case (R8.7).
	BidPause    = 5 * time.Minute
	bidPauseMin = autobid.MinInterval
	// maxTold is the number of peers whose told bids are kept.
	maxTold = 2000
	// toldFor is how long a told bid may be compared with the peer's own (A9).
	toldFor = 10 * time.Minute
)

var errFarBelow = errors.New("peer bids far less than the tracker told")

// toldBid is what a tracker said about a peer. It orders whom to contact, and
// is never charged or paid (R6.3).
type toldBid struct {
	tracker string // URL
	peer    tracker.Peer
	at      time.Time
}

// tellsBids says whether bids go to trackers and what they tell is used.
func (t *Torrent) tellsBids() bool { return t != nil && t.node.TrackerBids }

// Stats completes an announce with our bid and, if we sell, the wish for
// bidding peers (R6.1, R6.2).
func (t *Torrent) Stats(st *tracker.Stats) {
	if !t.tellsBids() {
		return
	}
	st.Bid = t.trackerBid()
	t.bidTold = st.Bid
	if t.node.Sell {
		st.Top = TrackerTop
	}
}

// trackerBid is what a tracker may know: our bid, not above what peers were
// told, rounded down to a power of √2 so that it says less about the wallet.
func (t *Torrent) trackerBid() uint64 {
	bid, sent := t.Bid(), amount.Price(0)
	for _, p := range t.trades {
		sent = max(sent, p.session.Snapshot().OurBid)
	}
	switch {
	case sent > 0 && bid == 0 && t.dips():
		bid = sent
	case sent > 0:
		bid = min(bid, sent)
	}
	return roundBid(uint64(bid))
}

// sqrt2 is √2 · 2⁶³, rounded down.
const sqrt2 = 0xB504F333F9DE6484

// roundBid returns the greatest power of √2 up to b, rounded down to an
// integer; 0 for 0.
func roundBid(b uint64) uint64 {
	if b == 0 {
		return 0
	}
	e := bits.Len64(b) - 1
	if half := uint64(sqrt2) >> (63 - e); b >= half {
		return half
	}
	return 1 << e
}

// Told keeps the bids that a tracker's answer told of addresses that are known
// to the swarm.
func (t *Torrent) Told(r *announce.Result, known func(netip.AddrPort) bool) {
	if !t.tellsBids() || r.Err != nil || r.Response == nil {
		return
	}
	if r.Response.SpeaksBids {
		pause := r.Response.BidInterval
		if pause <= 0 {
			pause = BidPause
		}
		t.bidNext = t.swarm.Now().Add(max(pause, bidPauseMin))
	}
	if !t.node.Sell {
		return
	}
	for a, b := range t.told {
		if t.swarm.Now().Sub(b.at) >= toldFor {
			delete(t.told, a)
		}
	}
	for _, p := range r.Bids {
		if a := unmapped(p.Addr); p.Bid > 0 && known(a) && (t.hasTold(a) || len(t.told) < maxTold) {
			t.told[a] = toldBid{tracker: r.Tracker, peer: p, at: t.swarm.Now()}
		}
	}
}

func (t *Torrent) hasTold(a netip.AddrPort) bool { _, ok := t.told[a]; return ok }

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// tickBids announces again when a tracker that knows bids knows an old one.
func (t *Torrent) tickBids() {
	if t.BidDue() && t.swarm.Announce() {
		t.bidNext = t.swarm.Now().Add(BidPause) // unless the answer says otherwise
	}
}

// BidDue says whether a tracker that knows bids knows an old one of ours and
// would take a new one by now.
func (t *Torrent) BidDue() bool {
	return t != nil && !t.bidNext.IsZero() && !t.swarm.Now().Before(t.bidNext) && t.trackerBid() != t.bidTold
}

// Bidders returns the addresses to be called before others: when we sell, those
// that were told to bid of late, the highest bid first. It asks of each whether
// it may be called.
func (t *Torrent) Bidders(free func(netip.AddrPort) bool) []netip.AddrPort {
	if !t.tellsBids() || !t.node.Sell {
		return nil
	}
	var bidders []netip.AddrPort
	for a, b := range t.told {
		if t.swarm.Now().Sub(b.at) < toldFor && free(a) {
			bidders = append(bidders, a)
		}
	}
	slices.SortFunc(bidders, func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(t.told[b].peer.Bid, t.told[a].peer.Bid), a.Compare(b))
	})
	return bidders[:min(len(bidders), MaxBidders)]
}

// checkTold compares a peer's own first bid with what a tracker told of it; a
// peer that bids far less is disconnected, and the tracker's account of lies
// grows (R6.4, A9).
func (t *Torrent) checkTold(p *Trade, own amount.Price) {
	at := p.peer.Listens()
	told, ok := t.told[at]
	if !ok || !t.tellsBids() {
		return
	}
	delete(t.told, at) // one comparison each
	told.peer.BidAge += t.swarm.Now().Sub(told.at)
	if told.peer.BidAge >= toldFor {
		return
	}
	lie := tracker.FarBelow(told.peer, uint64(own))
	t.cfg.ReportBid(told.tracker, !lie)
	if lie {
		p.peer.Shun(errFarBelow)
	}
}

const (
	// slotEvery is how old the price of a slot may be that bids count with, and
	// rarestEvery the rarity of what a peer has: it takes a look at all pieces.
	slotEvery   = 10 * time.Second
	rarestEvery = 10 * time.Second
)

// slotPrice is what an upload slot costs as far as a torrent saw.
type slotPrice struct {
	price amount.Price
	at    time.Time
}

// rarity is what a torrent saw of the rarest piece that a peer has and we want.
type rarity struct {
	piece   uint32
	sources int // 0 = there is none
	at      time.Time
	// lost is how many minutes in a row our bid brought no slot, the last of them
	// from lostAt on.
	lost   int
	lostAt time.Time
}

// full is the bid that the paper's formula and the guards allow.
func (t *Torrent) full() amount.Price {
	if !t.buys() {
		return 0
	}
	balance := t.node.Balance()
	bid := t.backedBy(balance)
	if bid > 0 {
		t.funds, t.dip = balance, time.Time{}
	}
	return bid
}

func (t *Torrent) buys() bool { return t.node.Buy && t.swarm.Phase() == Downloading }

// backedBy is what full is with a balance.
func (t *Torrent) backedBy(balance amount.Amount) amount.Price {
	return t.node.price(t.cfg.InfoHash, balance, autobid.Torrent{Left: t.swarm.Left(), Size: t.layout.TotalLength,
		PieceLength: t.layout.PieceLength}, t.spent)
}

// dips says whether nothing is bid for a moment, and only because the balance fell: with
// that of the last bid there was one. A bid that is taken back comes back after a minute at
// the earliest (A8), and its slots are lost.
func (t *Torrent) dips() bool {
	if !t.buys() || t.full() > 0 || t.funds == 0 || t.backedBy(t.funds) == 0 {
		return false
	}
	now := t.swarm.Now()
	if t.dip.IsZero() {
		t.dip = now
	}
	return now.Sub(t.dip) < unbidMax
}

// Bid is what we bid now at least to whoever has what we want: by the paper's formula
// inside the guards, or what a slot costs, if the user so chose.
func (t *Torrent) Bid() amount.Price {
	if t == nil {
		return 0
	}
	full := t.full()
	if full == 0 || !t.node.Spending().Market {
		return full
	}
	return autobid.Shade(full, autobid.Market{Slot: t.slotCosts()})
}

// bidTo is what we bid a peer.
func (t *Torrent) bidTo(p *Trade) amount.Price {
	full := t.full()
	if full == 0 || !t.node.Spending().Market {
		return full
	}
	now := t.swarm.Now()
	if p.rarity.at.IsZero() || now.Sub(p.rarity.at) >= rarestEvery {
		p.rarity.at = now
		piece, sources, ok := p.peer.Rarest()
		if !ok {
			sources = 0
		}
		p.rarity.piece, p.rarity.sources = piece, sources
	}
	switch {
	case p.peer.Serving() || p.rarity.lostAt.IsZero():
		p.rarity.lost, p.rarity.lostAt = 0, now
	case now.Sub(p.rarity.lostAt) >= autobid.MinInterval:
		p.rarity.lost++
		p.rarity.lostAt = now
	}
	m := autobid.Market{Slot: t.slotCosts(), Lost: p.rarity.lost, Sources: p.rarity.sources}
	if m.Sources > 0 {
		m.Resale = t.resale(p)
	}
	return autobid.Shade(full, m)
}

// resale is the highest bid made to us for the rarest piece that a peer has, by one
// who lacks it too (R8.11); 0 = nobody wants it of us.
func (t *Torrent) resale(p *Trade) (best amount.Price) {
	if !t.node.Sell {
		return 0
	}
	for _, q := range t.trades {
		if q == p || q.session == nil || q.peer.Has(p.rarity.piece) {
			continue
		}
		best = max(best, t.Backed(q))
	}
	return best
}

// slotCosts is the price of an upload slot by what this node saw (R8.9): the median of
// the prices at which it bought and sold of late, and where it did neither, of the
// bids that this torrent's peers made to us; 0 = it saw nothing. No tracker is asked:
// what one tells is not believed (R6.3).
func (t *Torrent) slotCosts() amount.Price {
	now := t.swarm.Now()
	if !t.slot.at.IsZero() && now.Sub(t.slot.at) < slotEvery {
		return t.slot.price
	}
	t.slot = slotPrice{at: now}
	if g, ok := t.node.Observed(now); ok {
		t.slot.price = g.Cap
		return t.slot.price
	}
	var bids []amount.Price
	for _, p := range t.trades {
		if b := t.Backed(p); b > 0 {
			bids = append(bids, b)
		}
	}
	if len(bids) > 0 {
		slices.Sort(bids)
		t.slot.price = bids[(len(bids)-1)/2]
	}
	return t.slot.price
}
