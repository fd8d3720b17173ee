package btt

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/internal/joiner"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/tracker"
)

// ErrNoHome says that a wallet was asked for without a place to keep it.
var ErrNoHome = errors.New("a wallet needs a home folder")

// ErrKeep says that torrents were to be kept without a place for them.
var ErrKeep = errors.New("torrents can only be kept with a home folder and resume data")

// ErrReserve says that a reserve price was to be fixed and to grow.
var ErrReserve = errors.New("a reserve price is fixed or grows, not both")

// ErrQuantum says that SpeedConfig.Quantum is no size of a part of a piece.
var ErrQuantum = errors.New("a quantum is a power of two from 16 KiB to 1 GiB")

// CheckQuantum says whether a size in bytes may be SpeedConfig.Quantum.
func CheckQuantum(size int64) bool { return market.CheckQuantum(size) }

// Node is a running node. Its methods are safe for concurrent use.
type Node struct {
	cfg     Config
	session *session.Session
	purse   *purse.Purse
	book    *payments.Book
	market  *market.Node
	booked  *receipts.Book
	// receiptsSaved belongs to the balance keeper, then to Close.
	receiptsSaved time.Time
	pricesSaved   []market.Sighting // likewise
	// penaltiesSaved are the changes that the file has; likewise.
	penaltiesSaved uint64
	debtorsSaved   []payments.Debtor

	balance atomic.Int64
	refresh chan struct{}
	ended   chan payments.Event // for the wallet's journal
	cancel  context.CancelFunc
	// stopJoiner ends what joins torrents, before they end.
	stopJoiner func()
	wg         sync.WaitGroup
	closing    sync.Once
	closed     error
}

// Open starts a node.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Choker.Slots == 0 {
		cfg.Choker = choker.Default(DefaultSlots)
	}
	if cfg.Keep && (cfg.Home == "" || cfg.NoResume) {
		return nil, ErrKeep
	}
	n := &Node{cfg: cfg, refresh: make(chan struct{}, 1), ended: make(chan payments.Event, maxEnded)}
	if cfg.Speed != nil {
		if err := n.openMoney(ctx); err != nil {
			return nil, err
		}
	}
	s, err := session.Open(session.Config{
		Listen: cfg.Listen, StateDir: n.stateDir(), Keep: cfg.Keep, MaxDownloads: cfg.MaxDownloads, MaxSeeds: cfg.MaxSeeds, Filter: cfg.IPFilter,
		Client: "btt " + Version, Encryption: cfg.Encryption, Choker: cfg.Choker, ChokeEvery: cfg.ChokeEvery,
		UploadRate: cfg.UploadRate, DownloadRate: cfg.DownloadRate, Announce: cfg.Announce, DHT: cfg.DHT, MaxPeers: cfg.MaxPeers, MaxPeersTorrent: cfg.MaxPeersTorrent, Market: n.market, Demand: cfg.demand(),
		Preallocate: cfg.Preallocate, Notify: n.onSwarm, Observe: n.onPayment, Log: cfg.Log,
	})
	if err != nil {
		n.abandonMoney(ctx)
		return nil, err
	}
	n.session = s
	if err := n.openJoiner(); err != nil {
		s.Close()
		n.abandonMoney(ctx)
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if n.purse != nil { // all four end with Close
		n.wg.Go(func() { n.tidy(run) })
		n.wg.Go(func() { n.watchBalance(run) })
		n.wg.Go(func() { n.follow(run) })
		n.wg.Go(n.keepJournal)
	}
	return n, nil
}

// openJoiner starts what joins torrents for pay; it ends with stopJoiner.
func (n *Node) openJoiner() error {
	n.stopJoiner = func() {}
	if n.market == nil || n.cfg.Speed.Join == nil {
		return nil
	}
	j, err := joiner.New(*n.cfg.Speed.Join, n.session, n.market, n.cfg.Log)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with stopJoiner
		defer close(done)
		j.Run(run)
	}()
	n.stopJoiner = func() { cancel(); <-done }
	return nil
}

// Version is the node's version as told to peers.
const Version = "0.1"

func (n *Node) stateDir() string {
	if n.cfg.Home == "" || n.cfg.NoResume {
		return ""
	}
	return filepath.Join(n.cfg.Home, "torrents")
}

func (n *Node) openMoney(ctx context.Context) error {
	c := n.cfg.Speed
	if n.cfg.Home == "" {
		return ErrNoHome
	}
	if c.Reserve > 0 && c.ReserveGrowth > 0 {
		return ErrReserve
	}
	if !market.CheckQuantum(c.Quantum) {
		return ErrQuantum
	}
	st, err := c.Ledger.Status(ctx)
	if err != nil {
		return fmt.Errorf("ask ledger for its state: %w", err)
	}
	if err := n.openReceipts(); err != nil {
		return err
	}
	n.purse, err = purse.Open(purse.Config{Dir: filepath.Join(n.cfg.Home, "wallet"), Password: c.Password, Phrase: c.Phrase,
		Ledger: c.Ledger, Locked: n.locked, Budget: c.Budget})
	if err != nil {
		return fmt.Errorf("open wallet: %w", err)
	}
	n.book, err = payments.Open(ctx, payments.Config{Dir: filepath.Join(n.cfg.Home, "channels"), Purse: n.purse,
		Ledger: c.Ledger, Credit: c.Credit, PaymentTimeout: c.PaymentTimeout, Notify: n.onChannel})
	if err != nil {
		n.purse.Close()
		return fmt.Errorf("open payment channels: %w", err)
	}
	bid := autobid.Default()
	bid.Cap = c.PriceCap
	if c.SpendRate > 0 {
		bid.SpendRate = c.SpendRate
	}
	n.market = &market.Node{Book: n.book, Account: n.purse.Address(), Key: n.purse.AccountKey(), Net: st.Network,
		Balance: func() amount.Amount { return amount.Amount(n.balance.Load()) },
		Left:    func(infohash [20]byte) amount.Amount { return n.purse.TorrentLeft(hex.EncodeToString(infohash[:])) },
		Bid:     bid, Market: c.BidMarket, Buy: !c.EarnOnly, Sell: true, TorrentBudget: c.TorrentBudget, Funds: n.book.Funds,
		Reserve: c.reserve(), Quantum: c.Quantum, TrackerBids: !c.NoTrackerBids, Receipts: n.booked}
	n.readPrices()
	n.readPenalties()
	if err := n.purse.Resume(ctx); err != nil {
		n.cfg.Log.Warn("finish earlier payments", "err", err)
	}
	n.updateBalance(ctx)
	return nil
}

// locked is what open channels still hold for us.
func (n *Node) locked() amount.Amount {
	if n.book == nil {
		return 0
	}
	var sum amount.Amount
	for _, c := range n.book.Summary() {
		if c.Role == channel.RolePayer && !c.Stage.Final() {
			sum += c.Deposit - c.Paid
		}
	}
	return sum
}

// balanceEvery is how old the balance that bids count with may be, and balancePause
// the time between two looks at the ledger while payments are made: there may be a
// thousand of them in a second.
const (
	balanceEvery = 2 * time.Second
	balancePause = 200 * time.Millisecond
)

func (n *Node) watchBalance(ctx context.Context) {
	t := time.NewTicker(balanceEvery)
	defer t.Stop()
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			n.saveReceipts(saveReceiptsEvery)
		case <-n.refresh:
			if pause := balancePause - time.Since(looked); pause > 0 {
				t.Reset(pause)
				continue
			}
		}
		n.updateBalance(ctx)
		looked = time.Now()
		t.Reset(balanceEvery)
	}
}

func (n *Node) updateBalance(ctx context.Context) {
	b, err := n.purse.Balance(ctx)
	if err != nil {
		n.cfg.Log.Warn("balance unknown", "err", err)
		return
	}
	n.balance.Store(int64(b.Free + b.Locked))
}

// Addr returns where peers reach the node.
func (n *Node) Addr() netip.AddrPort { return n.session.Addr() }

// TrackerCounts are a torrent's counts at a tracker; -1 = not told.
type TrackerCounts = tracker.Swarm

// Scrape asks a tracker, over HTTP or UDP, how many seeds, others and downloads
// torrents have, by their info hashes (BEP 48). At most 200 torrents at once
// over HTTP, 70 over UDP.
func (n *Node) Scrape(ctx context.Context, url string, infoHashes ...[20]byte) ([]TrackerCounts, error) {
	return n.session.Scrape(ctx, url, infoHashes...)
}

// DHT returns a snapshot of the node's part in the DHT; ok is false if it has
// none.
func (n *Node) DHT() (st dht.Status, ok bool) {
	d := n.session.DHT()
	if d == nil {
		return st, false
	}
	return d.Status(), true
}

// Purse returns the node's wallet, or nil.
func (n *Node) Purse() *purse.Purse { return n.purse }

// Channels returns the node's payment channels, or nil.
func (n *Node) Channels() *payments.Book { return n.book }

// Close pays what was verified, settles the channels and stops all torrents within
// ctx's time. The error says what could not be paid or settled. Later calls return
// what the first one did.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Do(func() { n.closed = n.close(ctx) })
	return n.closed
}

func (n *Node) close(ctx context.Context) error {
	n.stopJoiner()
	err := n.session.Settle(ctx) // while the peers are connected and channels can open
	err = errors.Join(err, n.closeBook(ctx))
	n.session.Close()
	n.cancel()
	close(n.ended)
	n.wg.Wait()
	if n.purse != nil {
		n.saveReceipts(0)
		err = errors.Join(err, n.purse.Close())
	}
	return err
}

func (n *Node) closeBook(ctx context.Context) error {
	if n.book == nil {
		return nil
	}
	if err := n.book.Close(ctx); err != nil {
		return fmt.Errorf("settle channels: %w", err)
	}
	return nil
}

// abandonMoney undoes openMoney after a failed start.
func (n *Node) abandonMoney(ctx context.Context) {
	if err := n.closeBook(ctx); err != nil {
		n.cfg.Log.Warn("close after failed start", "err", err)
	}
	if n.purse != nil {
		n.purse.Close()
	}
}
