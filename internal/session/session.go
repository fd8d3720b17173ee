package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
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
	Client   string // name told to peers
	// Encryption says which connections are encrypted (MSE).
	Encryption mse.Policy
	// Choker decides the upload slots (R10), every ChokeEvery (15 s).
	Choker     choker.Config
	ChokeEvery time.Duration
	// UploadRate and DownloadRate are bytes per second of the whole session;
	// 0 = unlimited.
	UploadRate, DownloadRate int64
	// WriteBudget bounds the verified bytes that wait for the disk.
	WriteBudget int64
	Announce    announce.Config
	Market      *market.Node // nil = plain BitTorrent
	Notify      func(swarm.Event)
	// Observe sees what the payment side reports.
	Observe func(*swarm.Swarm, netip.AddrPort, payments.LinkEvent)
	Log     *slog.Logger
}

// Session is a running set of torrents. Its methods are safe for concurrent
// use.
type Session struct {
	cfg       Config
	peerID    [20]byte
	pool      *disk.Pool
	announcer *announce.Announcer
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
	incoming admission

	mu     sync.Mutex // leaf lock over the table
	swarms map[[20]byte]*swarm.Swarm
	// requests are the torrents by what encrypted calls name.
	requests map[[20]byte][20]byte
	next     uint32
	closed   bool
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
	s := &Session{cfg: cfg, ctx: ctx, cancel: cancel, free: make(chan struct{}, 1), swarms: map[[20]byte]*swarm.Swarm{},
		requests: map[[20]byte][20]byte{}}
	copy(s.peerID[:], "-BT0100-")
	if _, err := rand.Read(s.peerID[8:]); err != nil {
		cancel()
		return nil, fmt.Errorf("make peer id: %w", err)
	}
	if err := s.openState(); err != nil {
		cancel()
		return nil, err
	}
	if err := s.listen(); err != nil {
		cancel()
		return nil, err
	}
	a := cfg.Announce
	a.PeerID, a.Port, a.UserAgent = s.peerID, s.port, cfg.Client
	announcer, err := announce.New(a)
	if err != nil {
		cancel()
		s.closeListener()
		return nil, fmt.Errorf("start announcer: %w", err)
	}
	s.announcer = announcer
	s.pool = disk.NewPool(disk.PoolConfig{Budget: cfg.WriteBudget})
	s.up, s.down = limiter(cfg.UploadRate), limiter(cfg.DownloadRate)
	s.wg.Go(s.run)
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
	return nil
}

func limiter(rate int64) *ratelimit.Limiter {
	if rate <= 0 {
		return nil
	}
	return ratelimit.New(rate)
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

// Add describes a torrent to add.
type Add struct {
	Torrent  *metainfo.Torrent // or
	InfoHash [20]byte          // of a magnet link
	Trackers [][]string        // besides the torrent's own
	Dir      string
	Peers    []netip.AddrPort
	// InPlace shares files that lie in Dir under the torrent's own names, also
	// those that a download would have changed to be safe everywhere.
	InPlace bool
	// Plain keeps this torrent out of the market (R9.2).
	Plain bool
}

// Add starts a torrent.
func (s *Session) Add(a Add) (*swarm.Swarm, error) {
	hash, tiers := a.InfoHash, a.Trackers
	if a.Torrent != nil {
		hash = a.Torrent.InfoHash
		tiers = append(append([][]string{}, a.Torrent.AnnounceList...), tiers...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.swarms[hash] != nil:
		return nil, fmt.Errorf("add torrent %x: %w", hash, ErrExists)
	case len(s.swarms) >= MaxTorrents:
		return nil, fmt.Errorf("add torrent %x: session holds %d torrents, its limit", hash, MaxTorrents)
	}
	s.next++
	cfg := swarm.Config{Index: s.next, InfoHash: hash, Torrent: a.Torrent, Tiers: tiers, Dir: a.Dir, InPlace: a.InPlace,
		Resume: s.resume, PeerID: s.peerID, Port: s.port, Client: s.cfg.Client, Pool: s.pool,
		Announcer: s.announcer, Dialer: (*dialer)(s), Market: s.cfg.Market, FreeSlot: s.freeSlot,
		Notify: s.cfg.Notify, Observe: s.cfg.Observe, Log: s.cfg.Log}
	if s.up != nil {
		cfg.Up = []*ratelimit.Limiter{s.up}
	}
	if s.down != nil {
		cfg.Down = []*ratelimit.Limiter{s.down}
	}
	if a.Plain {
		cfg.Market = nil
	}
	sw := swarm.New(cfg)
	s.swarms[hash] = sw
	s.requests[mse.Request(hash)] = hash
	if len(a.Peers) > 0 {
		sw.AddPeers(a.Peers...)
	}
	return sw, nil
}

// Remove stops a torrent; its files and resume data stay.
func (s *Session) Remove(hash [20]byte) error {
	s.mu.Lock()
	sw := s.swarms[hash]
	delete(s.swarms, hash)
	delete(s.requests, mse.Request(hash))
	s.mu.Unlock()
	if sw == nil {
		return fmt.Errorf("remove torrent %x: %w", hash, ErrNotFound)
	}
	sw.Close()
	return nil
}

// Get returns a torrent, or nil.
func (s *Session) Get(hash [20]byte) *swarm.Swarm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.swarms[hash]
}

// Swarms returns all torrents.
func (s *Session) Swarms() []*swarm.Swarm {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*swarm.Swarm, 0, len(s.swarms))
	for _, sw := range s.swarms {
		list = append(list, sw)
	}
	return list
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
	var wg sync.WaitGroup
	for _, sw := range s.Swarms() {
		wg.Go(sw.Close)
	}
	wg.Wait()
	s.wg.Wait()
	if err := s.announcer.Close(); err != nil {
		s.cfg.Log.Warn("close announcer", "err", err)
	}
	s.pool.Close()
}

// fillDelay gathers peers that become interested at about the same time.
const fillDelay = 20 * time.Millisecond

func (s *Session) freeSlot() {
	select {
	case s.free <- struct{}{}:
	default:
	}
}
