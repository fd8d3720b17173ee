// Package choker decides who is unchoked: one pure function per 15 s round
// over a snapshot of all peers of a session, and one that fills free slots
// between rounds. Both reuse the memory of a Scratch.
//
// It is called by internal/session (one choker for all torrents) and by the
// simulator. It is passive: no goroutine, no clock, no state; equal inputs
// give equal decisions, whatever the order of the candidates.
//
// Slots are filled in this order:
//
//  1. paid slots: peers with an eligible bid, by speed/auction (R10.8-R10.21);
//  2. the other regular slots: barter rank, then the seed policy (R10.3,
//     R10.4); the reserve price does not bind here (A17, A21);
//  3. optimistic slots: longest wait; never auctioned, a bid only breaks ties
//     among peers never unchoked before (R10.5, R10.11-R10.13).
//
// Requirements: R10, R1.6, R1.10, R12.1; readings A16-A21.
package choker

import (
	"net/netip"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed/auction"
)

// Periods of the rules.
const (
	// Period is the time between two rounds (R10.2).
	Period = 15 * time.Second
	// OptimisticPeriod is how long an optimistic slot is held: two rounds.
	OptimisticPeriod = 2 * Period
	// SeedPeriod is how long a free peer holds a regular slot of a seed under
	// RoundRobin while others wait.
	SeedPeriod = 4 * Period
	// slackDivisor: a hold ends this part of a round early, so that a round
	// that comes a little early does not add a whole one.
	slackDivisor = 15
)

// Defaults of Default.
const (
	// DefaultSlots is the number of unchoke slots of a session.
	DefaultSlots = 8
	// DefaultPriceStep is the price change, in parts per million of the
	// running price, up to which a running slot keeps its price (A19).
	DefaultPriceStep = 100_000
)

// ppm is the denominator of Config.PriceStep.
const ppm = 1_000_000

// SeedPolicy orders free peers that are equal by barter.
type SeedPolicy uint8

// Seed policies.
const (
	// RoundRobin lets each free peer hold a slot for SeedPeriod, then serves
	// the one that waited longest.
	RoundRobin SeedPolicy = iota
	// FastestUpload prefers the peers that took most in the last round
	// (R10.4); newcomers come in by the optimistic slots.
	FastestUpload
)

// Candidate is one connected peer in the snapshot.
type Candidate struct {
	// ID is unique in the snapshot.
	ID uint64
	// Torrent names the torrent, and Limit is the upload limit of that torrent alone in bytes a
	// second (0 = none); [Slack] uses both, the decision neither.
	Torrent uint32
	Limit   int64
	// Owner is the same for peers that count as one buyer, say by proved
	// ledger account; at most one of them buys a slot (R5.6). 0 means nobody else's.
	Owner uint64
	// Interested: the peer wants data of us. Others are choked.
	Interested bool
	// Unchoked and Optimistic describe the present state.
	Unchoked, Optimistic bool
	// Paid: the present slot is a sold one at Price.
	Paid bool
	// Seeding: this node is complete in that torrent.
	Seeding bool
	// Idle: the peer holds a slot and has asked for nothing for a while. It keeps
	// the slot, but somebody who waits is served in its place.
	Idle bool
	// Resting: the peer lost a sold slot for asking for nothing, a moment ago. No
	// slot goes to it, free ones and lent ones included: one that it has it loses.
	// A barter partner that gave us something last round keeps its turn.
	Resting bool
	// Plain: the torrent is out of BitTorrent Speed, where nobody can pay; PaidOnly does
	// not bind it.
	Plain bool
	// Snubbed: the peer owes us data and does not send; it comes last in the
	// barter rank.
	Snubbed bool
	// Speed: the peer speaks btt_speed and may bid. Clear it for a peer that
	// payment penalties bar.
	Speed bool
	// Bid is the peer's bid, Reserve the reserve price announced to it (0 if
	// none), Own this node's own bid for the torrent, Price what the peer
	// pays in its present paid slot; all in µBTT per GiB.
	Bid, Reserve, Own, Price amount.Price
	// Left is how many bytes of the torrent the peer lacks, as far as it told.
	Left int64
	// Host is the peer's address, by which Share remembers what it told; the zero
	// value is not remembered.
	Host netip.Addr
	// Received and Sent are payload bytes of the last round.
	Received, Sent int64
	// UnchokedAt is when the peer was last unchoked (the start of the present
	// slot if Unchoked), zero if never.
	UnchokedAt time.Time
	// WaitingSince is since when the peer is interested and choked.
	WaitingSince time.Time
}

// mustPay reports whether the peer gets a slot only for pay.
func (c *Candidate) mustPay(cfg *Config) bool { return cfg.PaidOnly && c.Seeding && !c.Plain }

// buyer reports whether the peer may buy a slot (R7.18, A16).
func (c *Candidate) buyer() bool {
	return c.wants() && c.Speed && c.Bid > 0 && c.Bid >= c.Reserve
}

// wants reports whether the peer may have a slot.
func (c *Candidate) wants() bool { return c.Interested && !(c.Resting && gave(c) == 0) }

// Buys reports whether the peer bids enough to buy a slot.
func (c *Candidate) Buys() bool { return c.buyer() }

// pays reports whether the peer holds a sold slot.
func (c *Candidate) pays() bool { return c.Unchoked && c.Paid }

// snubbed reports whether the peer fails as a barter partner; a seed barters
// with nobody.
func (c *Candidate) snubbed() bool { return c.Snubbed && !c.Seeding }

// Config of a session. The zero value unchokes nobody; start from Default.
type Config struct {
	// Every is the time between two rounds; 0 means Period. How long free and
	// optimistic slots are held is counted in rounds.
	Every time.Duration
	// Slots is the number of unchoke slots, optimistic ones included; a
	// negative number means no limit.
	Slots int
	// Optimistic is how many of them are optimistic and never sold; at most
	// Slots counts.
	Optimistic int
	// Keep is what peers that do not bid keep of a seed's upload; see Share.
	Keep Keep
	// Withheld is how many regular slots are not for sale now; see Share.
	Withheld int
	// Help says that the peer Helped of a torrent this node seeds is served beside
	// the slots; see Share.
	Help   bool
	Helped uint64
	// Strategy orders bidders; nil means auction.Paper.
	Strategy auction.Strategy
	// PaidMaxLeeching is the most slots sold in torrents this node still
	// leeches, all of them together (A18).
	PaidMaxLeeching int
	// Seed orders free peers.
	Seed SeedPolicy
	// PriceStep: a running price stays unless it moves by more than this many
	// parts per million of itself (A19).
	PriceStep uint32
	// PaidOnly: torrents this node seeds in BitTorrent Speed serve nobody for free. Off
	// by default (R1.10, A21); a user's choice.
	PaidOnly bool
}

// Default returns the configuration for a number of slots: one fifth of them
// optimistic and at least one, at most half of them sold while leeching.
func Default(slots int) Config {
	return Config{
		Slots: slots, Optimistic: max(1, slots/5), Strategy: auction.Paper{},
		PaidMaxLeeching: slots / 2, PriceStep: DefaultPriceStep,
	}
}

// Decision is the verdict on one candidate.
type Decision struct {
	ID uint64
	// Unchoke: the peer has a slot from now on.
	Unchoke bool
	// Optimistic and Paid say of which kind; at most one is true.
	Optimistic, Paid bool
	// Reprice: the peer is unchoked already but its price changes (also from
	// or to a free slot): choke it, reject its requests, send the bid
	// response if Paid, unchoke it (R10.18).
	Reprice bool
	// Price is what a Paid peer pays, in µBTT per GiB; never above its bid.
	Price amount.Price
}

// hold scales a period of the standard rounds to the rounds of this session,
// less the slack.
func (c *Config) hold(period time.Duration) time.Duration {
	every := c.Every
	if every <= 0 {
		every = Period
	}
	return time.Duration(period/Period)*every - every/slackDivisor
}
