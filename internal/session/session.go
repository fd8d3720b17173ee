package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/admission"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/ipfilter"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/mover"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/queue"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/internal/webseed"
)

// Errors of a session.
var (
	// ErrExists says that the torrent is there already.
	ErrExists = errors.New("torrent is in the session already")
	// ErrNotFound says that the torrent is not in the session.
	ErrNotFound = errors.New("torrent is not in the session")
	// ErrClosed says that the session has ended.
	ErrClosed = errors.New("session is closed")
)

// MaxTorrents is the greatest number of torrents of one session.
const MaxTorrents = 100_000

// Config is what a session is made of. The zero value of a field means its
// default.
type Config struct {
	Listen   string // host:port to accept peers on; "" = any free port; "off" = none
	StateDir string // resume data; "" = none is kept
	// Keep remembers the torrents themselves in StateDir, and brings them back
	// when a session is opened there again. One session at a time can do so.
	Keep bool
	// MaxDownloads and MaxSeeds are how many torrents run at once, in the order
	// of the queue; 0 = all.
	MaxDownloads, MaxSeeds int
	Client                 string // name told to peers
	// Encryption says which connections are encrypted (MSE).
	Encryption mse.Policy
	// Choker decides the upload slots (R10), every ChokeEvery (15 s).
	Choker     choker.Config
	ChokeEvery time.Duration
	// UploadRate and DownloadRate are bytes per second of the whole session;
	// 0 = unlimited.
	UploadRate, DownloadRate int64
	// MaxPeers and MaxPeersTorrent bound the connections of the session and of
	// each torrent; 0 = swarm.DefaultMaxConnections and swarm.MaxPeers.
	MaxPeers, MaxPeersTorrent int
	// Preallocate reserves the space of each file when it is first written to.
	Preallocate bool
	// WriteBudget bounds the verified bytes that wait for the disk.
	WriteBudget int64
	// Filter holds the addresses that are never talked to; nil = none.
	Filter   *ipfilter.List
	Announce announce.Config
	DHT      *dht.Config  // nil = no DHT; Listen "" = beside the port for peers
	Market   *market.Node // nil = plain BitTorrent
	// Demand watches, by bid scrape, torrents that run only when they pay; nil
	// = such torrents run as others do.
	Demand *market.DemandConfig
	Notify func(Event) // must not block
	// Observe sees what the payment side reports.
	Observe func(*Torrent, netip.AddrPort, payments.LinkEvent)
	Log     *slog.Logger
}

// Event is something that happened to a torrent.
type Event struct {
	Torrent *Torrent
	Kind    swarm.EventKind
	Err     error
}

// Session is a running set of torrents. Its methods are safe for concurrent
// use.
type Session struct {
	cfg       Config
	peerID    [20]byte
	pool      *disk.Pool
	announcer *announce.Announcer
	dht       *dht.Node
	slots     *swarm.Slots
	web       *http.Client // asks web seeds
	up, down  *ratelimit.Limiter
	resume    *resume.Folder
	listener  net.Listener
	port      uint16

	ctx    context.Context
	cancel context.CancelFunc
	free   chan struct{}
	wg     sync.WaitGroup
	wants  wants
	// incoming are the handshakes of callers under way.
	incoming admission.Desk

	kept    *catalog.Folder // nil = torrents are not kept
	lock    *durable.Lock
	gate    chan struct{} // how many torrents open their files at once
	unsaved backlog
	plans   plans
	filter  atomic.Pointer[ipfilter.List]
	faults  mover.Faults // of tests
	plain   atomic.Bool  // all torrents are out of the market
	trade   atomic.Pointer[trade]

	mu       sync.Mutex // leaf lock over the table
	torrents map[[20]byte]*Torrent
	order    queue.Order[*Torrent]
	// requests are the torrents by what encrypted calls name.
	requests map[[20]byte][20]byte
	// aliases are the other hashes of hybrids.
	aliases map[[20]byte][20]byte
	next    uint32
	closed  bool
}

// Open starts a session.
func Open(cfg Config) (*Session, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.ChokeEvery <= 0 {
		cfg.ChokeEvery = choker.Period
	}
	cfg.Choker.Every = cfg.ChokeEvery
	if cfg.Client == "" {
		cfg.Client = "btt"
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Session{cfg: cfg, ctx: ctx, cancel: cancel, free: make(chan struct{}, 1), torrents: map[[20]byte]*Torrent{},
		requests: map[[20]byte][20]byte{}, aliases: map[[20]byte][20]byte{}, gate: make(chan struct{}, openers), unsaved: backlog{signal: make(chan struct{}, 1)},
		plans: plans{signal: make(chan struct{}, 1)}, slots: swarm.NewSlots(cfg.MaxPeers, 0)}
	copy(s.peerID[:], "-BT0100-")
	if _, err := rand.Read(s.peerID[8:]); err != nil {
		cancel()
		return nil, fmt.Errorf("make peer id: %w", err)
	}
	s.filter.Store(cfg.Filter)
	s.trade.Store(&trade{cfg.Market, cfg.Demand})
	if err := s.openState(); err != nil {
		cancel()
		s.unlock()
		return nil, err
	}
	if err := s.listen(); err != nil {
		cancel()
		s.unlock()
		return nil, err
	}
	a := cfg.Announce
	a.PeerID, a.Port, a.UserAgent = s.peerID, s.port, cfg.Client
	announcer, err := announce.New(a)
	if err != nil {
		cancel()
		s.closeListener()
		s.unlock()
		return nil, fmt.Errorf("start announcer: %w", err)
	}
	s.announcer = announcer
	if err := s.openDHT(); err != nil {
		cancel()
		s.closeListener()
		s.unlock()
		return nil, errors.Join(err, announcer.Close())
	}
	s.web = webseed.NewClient()
	s.pool = disk.NewPool(disk.PoolConfig{Budget: cfg.WriteBudget})
	s.up, s.down = ratelimit.New(cfg.UploadRate), ratelimit.New(cfg.DownloadRate)
	if s.kept != nil {
		s.restore()
	}
	s.wg.Go(s.run)
	if cfg.Demand != nil && cfg.Market != nil {
		s.wg.Go(s.watchDemand)
	}
	if s.listener != nil {
		s.wg.Go(s.accept)
	}
	return s, nil
}

func (s *Session) openState() error {
	if s.cfg.StateDir == "" {
		return nil
	}
	f, err := resume.Open(s.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("open resume data: %w", err)
	}
	s.resume = f
	if !s.cfg.Keep {
		return nil
	}
	if s.lock, err = durable.Acquire(s.cfg.StateDir, "lock"); err != nil {
		return fmt.Errorf("open session in %s: %w", s.cfg.StateDir, err)
	}
	s.kept = catalog.Open(s.cfg.StateDir)
	return nil
}

func (s *Session) unlock() {
	if s.resume != nil {
		_ = s.resume.Close() // the process's end does it too
	}
	if s.lock != nil {
		s.lock.Release() // the same
	}
}

// Addr returns where peers reach the session; invalid if it does not listen.
func (s *Session) Addr() netip.AddrPort {
	if s.listener == nil {
		return netip.AddrPort{}
	}
	a, _ := netip.ParseAddrPort(s.listener.Addr().String())
	return a
}

// PeerID returns the session's peer id.
func (s *Session) PeerID() [20]byte { return s.peerID }

// Settle makes all torrents ready to leave: they ask for nothing more, and what they
// verified is paid, within ctx and [payments.LastPaymentWait]. The error says what
// could not be paid. Only Close makes sense after it.
func (s *Session) Settle(ctx context.Context) error {
	list := s.Torrents()
	short := make([]error, len(list))
	var wg sync.WaitGroup
	for i, t := range list {
		if sw := t.running(); sw != nil {
			wg.Go(func() { short[i] = sw.Settle(ctx) })
		}
	}
	wg.Wait()
	return errors.Join(short...)
}

// Close stops all torrents and waits for them.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.closeListener()
	s.wg.Wait() // what runs for torrents ends with ctx
	var wg sync.WaitGroup
	for _, t := range s.Torrents() {
		wg.Go(t.end)
	}
	wg.Wait()
	s.closeDHT()
	if err := s.announcer.Close(); err != nil {
		s.cfg.Log.Warn("close announcer", "err", err)
	}
	s.web.CloseIdleConnections()
	s.pool.Close()
	s.unlock()
}

// spawn runs f in a goroutine that Close waits for; a closed session runs
// nothing more.
func (s *Session) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(f)
	}
	return !s.closed
}

// fillDelay gathers peers that become interested at about the same time.
const fillDelay = 20 * time.Millisecond

func (s *Session) freeSlot() {
	select {
	case s.free <- struct{}{}:
	default:
	}
}
