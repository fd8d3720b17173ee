package btt

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/session"
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
	// money is what BitTorrent Speed needs; nil = the node has no part in it (yet).
	money atomic.Pointer[money]

	opening sync.Mutex      // held while money is opened, and to close the node
	life    context.Context // until Close: no money is opened any more
	end     context.CancelFunc
	closing sync.Once
	closed  error
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
	n := &Node{cfg: cfg}
	n.life, n.end = context.WithCancel(context.Background())
	var m *money
	var trade *market.Node
	if cfg.Speed != nil {
		var err error
		if m, err = n.openMoney(ctx, cfg.Speed); err != nil {
			return nil, err
		}
		trade = m.market
		n.money.Store(m)
	}
	s, err := session.Open(session.Config{
		Listen: cfg.Listen, StateDir: n.stateDir(), Keep: cfg.Keep, MaxDownloads: cfg.MaxDownloads, MaxSeeds: cfg.MaxSeeds, Filter: cfg.IPFilter,
		Client: "btt " + Version, Encryption: cfg.Encryption, Choker: cfg.Choker, ChokeEvery: cfg.ChokeEvery,
		UploadRate: cfg.UploadRate, DownloadRate: cfg.DownloadRate, Announce: cfg.Announce, DHT: cfg.DHT, MaxPeers: cfg.MaxPeers, MaxPeersTorrent: cfg.MaxPeersTorrent, Market: trade, Demand: cfg.Speed.demand(),
		Preallocate: cfg.Preallocate, Notify: n.onSwarm, Observe: n.onPayment, Log: cfg.Log,
	})
	if err != nil {
		m.abandon(ctx)
		return nil, err
	}
	n.session = s
	if m == nil {
		return n, nil
	}
	j, err := m.joiner(s)
	if err != nil {
		s.Close()
		m.abandon(ctx)
		return nil, err
	}
	m.start(j)
	return n, nil
}

// Version is the node's version as told to peers.
const Version = "0.1"

func (n *Node) stateDir() string {
	if n.cfg.Home == "" || n.cfg.NoResume {
		return ""
	}
	return filepath.Join(n.cfg.Home, "torrents")
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
func (n *Node) Purse() *purse.Purse {
	if m := n.money.Load(); m != nil {
		return m.purse
	}
	return nil
}

// Channels returns the node's payment channels, or nil.
func (n *Node) Channels() *payments.Book {
	if m := n.money.Load(); m != nil {
		return m.book
	}
	return nil
}

// Close pays what was verified, settles the channels and stops all torrents within
// ctx's time. The error says what could not be paid or settled. Later calls return
// what the first one did.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Do(func() { n.closed = n.close(ctx) })
	return n.closed
}

func (n *Node) close(ctx context.Context) error {
	n.end()
	n.opening.Lock()
	defer n.opening.Unlock()
	m := n.money.Load()
	if m == nil {
		n.session.Close()
		return nil
	}
	m.stopJoiner()
	err := n.session.Settle(ctx) // while the peers are connected and channels can open
	err = errors.Join(err, m.closeBook(ctx))
	n.session.Close()
	return errors.Join(err, m.end())
}
