package swarm

import (
	"cmp"
	"errors"
	"iter"
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
	// trackerTop is the number of bidding peers that we ask a tracker for
	// when we sell; the rest of its answer is random.
	trackerTop = 50
	// maxBidders is the number of bidders that go before other addresses when
	// connections are made: a tracker cannot steer us into its friends alone.
	maxBidders = maxHalfOpen / 2
	// bidPause is the time between two announces because of a changed bid
	// where a tracker does not say, bidPauseMin the least in any case (R8.7).
	bidPause    = 5 * time.Minute
	bidPauseMin = autobid.MinInterval
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
func (s *Swarm) tellsBids() bool { return s.cfg.Market != nil && s.cfg.Market.TrackerBids }

// bidStats completes an announce with our bid and, if we sell, the wish for
// bidding peers (R6.1, R6.2).
func (s *Swarm) bidStats(st *tracker.Stats) {
	if !s.tellsBids() {
		return
	}
	st.Bid = s.trackerBid()
	s.bidTold = st.Bid
	if s.cfg.Market.Sell {
		st.Top = trackerTop
	}
}

// trackerBid is what a tracker may know: our bid, not above what peers were
// told, rounded down to a power of √2 so that it says less about the wallet.
func (s *Swarm) trackerBid() uint64 {
	bid, sent := s.bid(), amount.Price(0)
	for _, m := range s.peers {
		if m.trade.session != nil {
			sent = max(sent, m.trade.session.Snapshot().OurBid)
		}
	}
	if sent > 0 {
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

// onTold keeps the bids that a tracker's answer told.
func (s *Swarm) onTold(r *announce.Result) {
	if !s.tellsBids() || r.Err != nil || r.Response == nil {
		return
	}
	if r.Response.SpeaksBids {
		pause := r.Response.BidInterval
		if pause <= 0 {
			pause = bidPause
		}
		s.bidNext = s.now.Add(max(pause, bidPauseMin))
	}
	if !s.cfg.Market.Sell {
		return
	}
	for _, p := range r.Bids {
		if a := s.known[unmapped(p.Addr)]; a != nil && p.Bid > 0 {
			a.told = &toldBid{tracker: r.Tracker, peer: p, at: s.now}
		}
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// tickBids announces again when a tracker that knows bids knows an old one.
func (s *Swarm) tickBids() {
	if s.tracker == nil || !s.bidDue() {
		return
	}
	s.bidNext = s.now.Add(bidPause) // unless the answer says otherwise
	go s.tracker.Now()              // ends when the announcer took note
}

func (s *Swarm) bidDue() bool {
	return !s.bidNext.IsZero() && !s.now.Before(s.bidNext) && s.trackerBid() != s.bidTold
}

// contacts yields the known addresses: when we sell, those that were told to
// bid come first, the highest bid before the others.
func (s *Swarm) contacts() iter.Seq2[netip.AddrPort, *address] {
	if !s.tellsBids() || !s.cfg.Market.Sell {
		return s.ordered()
	}
	var bidders []netip.AddrPort
	for a, k := range s.known {
		if k.told != nil && !k.connected && s.now.Sub(k.told.at) < toldFor {
			bidders = append(bidders, a)
		}
	}
	if len(bidders) == 0 {
		return s.ordered()
	}
	slices.SortFunc(bidders, func(a, b netip.AddrPort) int {
		return cmp.Or(cmp.Compare(s.known[b].told.peer.Bid, s.known[a].told.peer.Bid), a.Compare(b))
	})
	return func(yield func(netip.AddrPort, *address) bool) {
		for _, a := range bidders[:min(len(bidders), maxBidders)] {
			if !yield(a, s.known[a]) {
				return
			}
		}
		for a, k := range s.ordered() {
			if !yield(a, k) {
				return
			}
		}
	}
}

// checkTold compares a peer's own first bid with what a tracker told of it; a
// peer that bids far less is disconnected, and the tracker's account of lies
// grows (R6.4, A9).
func (s *Swarm) checkTold(m *member, own amount.Price) {
	at := unmapped(m.addr)
	if !m.conn.Outgoing { // it called from another port than it listens on
		at = netip.AddrPortFrom(at.Addr(), uint16(m.ext.Port))
	}
	k := s.known[at]
	if k == nil || k.told == nil || !s.tellsBids() {
		return
	}
	told := k.told
	k.told = nil // one comparison each
	told.peer.BidAge += s.now.Sub(told.at)
	if told.peer.BidAge >= toldFor {
		return
	}
	lie := tracker.FarBelow(told.peer, uint64(own))
	s.reportBid(told.tracker, !lie)
	if lie {
		k.failures = maxRetryShift
		s.kick(m, errFarBelow)
	}
}
