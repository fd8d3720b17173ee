package market

import (
	"cmp"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
)

// Node is a node's part in BitTorrent Speed, shared by its swarms: the
// channels, the bidding rules and the penalties. Its methods are safe for
// concurrent use.
type Node struct {
	Book    *payments.Book
	Account ledger.Address
	// Key signs for Account: a proof for each connection. It may fail for a time.
	Key ledger.Signer
	Net ledger.Network
	// Balance is what the bid formula counts as the wallet: free coins and
	// what is unspent in own channels (A7).
	Balance func() amount.Amount
	// Bid, Market and TorrentBudget hold until SetSpending changes them; Market is
	// said at [Spending].
	Bid    autobid.Config
	Market bool
	// Buy and Sell switch the two sides of the market (R9.1, R15.3).
	Buy, Sell bool
	// TorrentBudget is the most spent on one torrent; 0 = no limit of its own.
	TorrentBudget amount.Amount
	// Left is what the wallet's own limit still allows for a torrent; nil = it
	// has none.
	Left func(infohash [20]byte) amount.Amount
	// Funds says what a bidder's account can pay us with, where that is known,
	// and asks for more if it is less than least; nil = it is never known.
	Funds func(account ledger.Address, least amount.Amount) (sum amount.Amount, known bool)
	// Reserve is the reserve price of torrents that have none of their own.
	Reserve Reserve
	// Quantum is the least part of a piece in bytes that is verified and paid
	// for itself, where hashes of version 2 tell it apart: a power of two from
	// 16 KiB, see [CheckQuantum]; 0 = DefaultQuantum of what it sells, DefaultPays of
	// what it buys; below 0 = whole pieces.
	Quantum int64
	// TrackerBids tells trackers our bids and uses those they tell (R6).
	TrackerBids bool
	// Receipts books who was paid, and who paid; nil = nothing is kept.
	Receipts *receipts.Book
	// IdleTime is how long a buyer may keep its slot without asking for
	// anything; 0 = the default payment timeout.
	IdleTime time.Duration
	// Now is the clock of the penalties; nil = that of the swarms.
	Now func() time.Time

	bidding  atomic.Int32 // torrents that download and bid
	spending atomic.Pointer[Spending]
	observed observed
	bargains bargains

	mu        sync.Mutex // leaf lock over what follows
	penalties speed.Penalties
	judgments uint64                     // changes of penalties
	stakes    map[[20]byte]amount.Amount // torrents with a limit of their own
}

// Version is the extension's version told in the handshake.
func (k *Node) Version() int { return speed.Version }

// Network is the network id told in the handshake.
func (k *Node) Network() []byte {
	id := speed.NetworkID(k.Net)
	return id[:]
}

func (k *Node) idleTime() time.Duration { return cmp.Or(k.IdleTime, idleTime) }

// clock is the penalties' time.
func (k *Node) clock(now time.Time) time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return now
}

// Fail books a payment failure of a peer, by its account and by its address, and
// says whether it is banned now.
func (k *Node) Fail(account ledger.Address, addr netip.Addr, now time.Time) (banned bool) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.judgments++
	return k.penalties.Fail(now, account, judged(addr)).Ban
}

// Excuse takes a peer's word that it left a payment out because it cannot reach the
// ledger: it does not buy for a minute, and it is no failure. It reports false if the
// peer's one excuse is used.
func (k *Node) Excuse(account ledger.Address, addr netip.Addr, now time.Time) bool {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.judgments++
	return k.penalties.Excuse(now, account, judged(addr))
}

// Pardon lets a peer off that left unpaid before its channel was open, if it may; it is
// guarded from then on.
func (k *Node) Pardon(account ledger.Address, addr netip.Addr, now time.Time) bool {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.judgments++
	return k.penalties.Pardon(now, account, judged(addr))
}

// Guarded says whether a peer is to be served nothing at a price before its channel is
// open.
func (k *Node) Guarded(account ledger.Address, addr netip.Addr, now time.Time) bool {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.penalties.Guarded(now, account, judged(addr))
}

// Penalties returns what is remembered of payers that failed, for a restart, unless
// nothing changed since the given number of changes; and their number now.
func (k *Node) Penalties(since uint64, now time.Time) (list []speed.Penalty, changes uint64) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.judgments == since {
		return nil, since
	}
	return k.penalties.Records(now), k.judgments
}

// SetPenalties takes what an earlier run remembered, before anybody is judged.
func (k *Node) SetPenalties(list []speed.Penalty, now time.Time) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.penalties.Restore(list, now)
}

// Spoiled bans a peer that sent data that failed its hash (R12.4): from its account, zero
// if it is not known, nothing is bought for a time that grows, nor sold to it, and its
// address is refused for an hour.
func (k *Node) Spoiled(account ledger.Address, addr netip.Addr, now time.Time) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.judgments++
	k.penalties.Spoil(now, judged(addr))
	for range speed.BanAfter {
		if !account.IsZero() {
			k.penalties.Fail(now, account, netip.Addr{})
		}
	}
}

// Standing says whether a peer may buy now, and whether it is banned.
func (k *Node) Standing(account ledger.Address, addr netip.Addr, now time.Time) (eligible, banned bool) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.penalties.Eligible(now, account, judged(addr)), k.penalties.Banned(now, account, judged(addr))
}

// Bans says whether a connection from an address is to be refused (R12.3).
func (k *Node) Bans(addr netip.Addr, now time.Time) bool {
	_, banned := k.Standing(ledger.Address{}, addr, now)
	return banned
}

// succeed clears the failures of an account that paid.
func (k *Node) succeed(account ledger.Address, addr netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.penalties.Paid(account, judged(addr)) {
		k.judgments++
	}
}

// judged is the address that penalties count by: loopback stands for many
// peers of one machine and counts for none.
func judged(a netip.Addr) netip.Addr {
	if a.Unmap().IsLoopback() {
		return netip.Addr{}
	}
	return a
}

// price is the bid for a torrent with a balance, by the paper's formula inside the guards.
func (k *Node) price(infohash [20]byte, balance amount.Amount, t autobid.Torrent, spent amount.Amount) amount.Price {
	t.Share = autobid.PPM / uint32(max(1, k.bidding.Load()))
	t.Budget = autobid.NoBudget
	set := k.Spending()
	if set.TorrentBudget > 0 {
		t.Budget = max(0, set.TorrentBudget-spent)
	}
	if most, ok := k.Staked(infohash); ok {
		t.Budget = min(t.Budget, max(0, most-spent))
	}
	if k.Left != nil {
		t.Budget = min(t.Budget, k.Left(infohash))
	}
	return autobid.Price(set.Bid, balance, t)
}

// Stake sets the most that is spent on a torrent, besides the limits that hold for
// all; Unstake takes that limit away. A bid never offers more for what is left to
// fetch than is left of it.
func (k *Node) Stake(infohash [20]byte, most amount.Amount) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stakes == nil {
		k.stakes = make(map[[20]byte]amount.Amount)
	}
	k.stakes[infohash] = most
}

// Unstake undoes Stake.
func (k *Node) Unstake(infohash [20]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.stakes, infohash)
}

// Staked returns the limit that Stake set; false = there is none.
func (k *Node) Staked(infohash [20]byte) (amount.Amount, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	most, ok := k.stakes[infohash]
	return most, ok
}

// Spending is what a user may change while the market runs.
type Spending struct {
	Bid autobid.Config
	// Market bids what a slot costs by what was seen (R8.9-R8.11), within the
	// paper's bid, instead of that.
	Market bool
	// TorrentBudget is the most spent on one torrent; 0 = no limit of its own.
	TorrentBudget amount.Amount
}

// Spending returns what holds now.
func (k *Node) Spending() Spending {
	if p := k.spending.Load(); p != nil {
		return *p
	}
	return Spending{Bid: k.Bid, Market: k.Market, TorrentBudget: k.TorrentBudget}
}

// SetSpending changes what bids count with from now on; [Torrent.Rebid] tells
// the peers at once.
func (k *Node) SetSpending(set Spending) { k.spending.Store(&set) }
