package btt

import (
	"log/slog"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/internal/joiner"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wallet"
)

// Config is what a node is made of. The zero value of a field means its
// default.
type Config struct {
	// Home holds the wallet, the channels' journal and resume data; "" keeps
	// nothing and allows no wallet.
	Home string
	// NoResume keeps no resume data, even with a Home.
	NoResume bool
	// Keep remembers the torrents in Home and brings them back, as they were
	// left, when a node is opened there again. One node at a time can do so; it
	// needs a Home.
	Keep bool
	// MaxDownloads and MaxSeeds are how many torrents run at once, in the order
	// of the queue; 0 = all.
	MaxDownloads, MaxSeeds int
	// IPFilter holds the addresses that are never talked to; nil = none.
	IPFilter *IPFilter
	// Listen is host:port to accept peers on: "" any free port, "off" none.
	Listen string
	// Encryption says which connections to peers are encrypted (MSE).
	Encryption mse.Policy
	// Choker decides the upload slots, every ChokeEvery (15 s, R10.2).
	Choker     choker.Config
	ChokeEvery time.Duration
	// UploadRate and DownloadRate are bytes per second of all torrents together;
	// 0 = unlimited.
	UploadRate, DownloadRate int64
	Announce                 announce.Config
	// Preallocate reserves the space of each file when it is first written to;
	// otherwise files are sparse.
	Preallocate bool
	// MaxPeers and MaxPeersTorrent bound the connections of the node and of each
	// torrent; 0 = 800 and 200.
	MaxPeers, MaxPeersTorrent int
	// DHT finds peers without trackers and serves others (BEP 5); nil = off.
	DHT *dht.Config
	// Speed switches BitTorrent Speed on; nil = a plain client, until OpenSpeed.
	Speed  *SpeedConfig
	Notify func(Event)
	Log    *slog.Logger
}

// SpeedConfig is a node's part in BitTorrent Speed.
type SpeedConfig struct {
	// Ledger is where the money is; FollowLedger makes one that checks it.
	Ledger   ledger.Client
	Password string // of the wallet; "" = a key file
	Phrase   string // restores a wallet into an empty Home
	// EarnOnly never bids (the second of the three first-run choices).
	EarnOnly bool
	// SpendRate is the paper's aggressiveness in parts per million (R8.4);
	// 0 = the default.
	SpendRate uint32
	// BidMarket bids what a slot costs by the bids and transfers seen, more for what
	// is rare or can be sold again, instead of the paper's formula, which bounds it
	// (R8.9-R8.11).
	BidMarket bool
	// PriceCap is the highest price ever bid; 0 = none.
	PriceCap amount.Price
	// TorrentBudget is the most spent on one torrent; 0 = no limit of its own.
	TorrentBudget amount.Amount
	// Budget bounds what channels may lock; nil = the wallet's own.
	Budget *wallet.Budget
	// Reserve is the least price for paid slots of torrents we seed (R7.19),
	// unless they have one of their own ([Add]).
	Reserve amount.Price
	// ReserveGrowth lets that price begin at 0 instead and grow by so much a
	// day, up to ReserveCap (0 = no limit), for as long as no other peer
	// proves to have the torrent (R7.3-R7.5). It excludes Reserve. With neither
	// each torrent's price grows by a tenth a day of the median price that the
	// node paid and was paid of late, up to that median, and while there is none
	// by DefaultGrowth up to DefaultGrowthCap; NoReserve keeps it at 0.
	ReserveGrowth, ReserveCap amount.Price
	NoReserve                 bool
	// Demand has torrents added with WhenPaid rest while nobody pays for them,
	// and return for bids that trackers tell by bid scrape (R6.5, R6.6); nil =
	// they run as others do.
	Demand *Demand
	// Join has the node join torrents that it never had because a tracker tells
	// of bids for them, fetch them and seed them while they pay, within its limits
	// (R6.6); nil = it never does.
	Join *Join
	// NoTrackerBids keeps bids from trackers and asks none for bids (R6).
	NoTrackerBids bool
	// Quantum is the part of a longer piece in bytes that is verified and paid
	// for itself, in torrents with hashes of version 2 and with peers that do
	// the same (R12.5, A22): a power of two from 16 KiB; 0 = sell by 1 MiB and pay by
	// 256 KiB or more, as the provider likes; below 0 = whole pieces.
	Quantum int64
	// Credit is the greatest number of unpaid bytes that a payer with a
	// history may reach; 0 = 16 MiB. Everyone begins with one quantum (a piece,
	// or the part of one that is paid for itself) and may owe one more for each
	// 64 that it paid, so that nobody takes more for nothing than a quantum and
	// a 64th of what it paid (A24); each quantum beyond is a failed payment. A Credit of a quantum or less, such as 1,
	// keeps it at one quantum always (R12.5).
	Credit int64
	// PaymentTimeout is how long a provider waits for a payment (R12.1); 0 =
	// the default.
	PaymentTimeout time.Duration
}

// Reserve is the reserve price of a torrent.
type Reserve = market.Reserve

// Join says what torrents a node joins for pay, and within which limits.
type Join = joiner.Config

// ErrJoin says that limits of a Join are missing or out of range.
var ErrJoin = joiner.ErrConfig

// Demand says how a node watches torrents that it seeds only when they pay.
type Demand = market.DemandConfig

// DefaultGrowth is how much a reserve price grows in a day by default while no
// prices were seen, and DefaultGrowthCap how high it gets (R7.3): little beside what a download may
// cost, for a price in tokens means nothing by itself.
const (
	DefaultGrowth    = amount.Price(amount.BTT) / 10
	DefaultGrowthCap = amount.Price(amount.BTT)
)

func (c *SpeedConfig) demand() *Demand {
	if c == nil {
		return nil
	}
	if j := c.Join; j != nil && c.Demand == nil { // joined torrents rest when nobody pays
		return &Demand{Every: j.Every, Stay: j.Stay, MinBid: j.MinPrice}
	}
	return c.Demand
}

func (c *SpeedConfig) reserve() market.Reserve {
	r := market.Reserve{Fixed: c.Reserve, Growth: reserve.Growth{Slope: c.ReserveGrowth, Cap: c.ReserveCap}}
	if c.Reserve == 0 && c.ReserveGrowth == 0 && !c.NoReserve {
		r.Growth, r.Follow = reserve.Growth{Slope: DefaultGrowth, Cap: DefaultGrowthCap}, true
	}
	return r
}

// DefaultSlots are the upload slots of a node and how many of them are
// optimistic.
const (
	DefaultSlots      = 8
	DefaultOptimistic = 1
)
