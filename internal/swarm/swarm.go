package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/tracker"
	"github.com/bttnet/btt/wire"
)

// Named limits of a swarm.
const (
	// MaxPeers is the usual greatest number of connections of one torrent.
	MaxPeers = 200
	// maxKnown is the greatest number of addresses remembered.
	maxKnown = 2000
	// maxHalfOpen is the greatest number of connections being made at once.
	maxHalfOpen = 30

	tickEvery = time.Second
	snubAfter = 45 * time.Second
	idleAfter = 3 * time.Minute
	keepAlive = 100 * time.Second
	// silentMax is how long a peer may send nothing at all: twice the two
	// minutes after which it owes a keep-alive (BEP 3).
	silentMax     = 4 * time.Minute
	retryAfter    = 2 * time.Second // doubled by each failure
	retireAfter   = 5 * time.Second // time for the last payment between two seeds
	saveEvery     = 15 * time.Second
	unstickEvery  = 30 * time.Second
	writeStuckMax = 2 * time.Minute
)

// ErrClosed says that the swarm has ended.
var ErrClosed = errors.New("swarm is closed")

// Dialer makes a connection to a peer and does the handshake.
type Dialer interface {
	Dial(ctx context.Context, addr netip.AddrPort, ours wire.Handshake) (*Incoming, error)
}

// Config is what a swarm needs; all of it outlives the swarm.
type Config struct {
	Index    uint32 // the session's number for it
	InfoHash [20]byte
	// InfoHashV2 is the whole version 2 hash of a magnet link; zero = unknown.
	InfoHashV2 [32]byte
	Torrent    *metainfo.Torrent // nil for a magnet link: the info is fetched
	// Alias is told of another hash by which peers may call; it must not wait
	// for the swarm.
	Alias    func(hash [20]byte)
	Tiers    [][]string     // trackers (BEP 12)
	WebSeeds []string       // besides the torrent's own (BEP 19)
	Dir      string         // where its files go
	InPlace  bool           // the files are there under the torrent's own names
	Resume   *resume.Folder // nil = state is not kept
	// Priorities of the files, 0 to picker.MaxPriority; a shorter list leaves
	// the rest at the default. Choose, if set, makes them of the torrent's
	// contents before anything is fetched.
	Priorities []uint8
	Choose     func(*metainfo.Info) ([]uint8, error)
	Sequential bool // pieces in their order
	Recheck    bool // read all that is on disk, whatever the state says
	// Preallocate reserves the space of each file when it is first written to.
	Preallocate bool
	// Gate bounds how many swarms open their files at once; nil = no bound.
	Gate chan struct{}
	// Blocked says which addresses are never talked to; nil = none.
	Blocked func(netip.Addr) bool
	PeerID  [20]byte
	Port    uint16
	Client  string // name told to peers

	Pool      *disk.Pool
	Up, Down  []*ratelimit.Limiter
	Announcer *announce.Announcer
	Dialer    Dialer
	MaxPeers  int          // connections of the torrent; 0 = MaxPeers
	Slots     *Slots       // connections of all torrents; nil = no limit
	DHT       DHT          // nil = none
	Web       *http.Client // asks web seeds; nil = they are not used
	Market    *market.Node // nil = plain BitTorrent
	// Reserve is the torrent's own reserve price; nil = the market's.
	Reserve *market.Reserve
	// FreeSlot asks the session to look for work for its free slots; it must
	// not block.
	FreeSlot func()
	Notify   func(Event) // must not block
	// Observe sees what the payment side reports; it must not block.
	Observe func(*Swarm, netip.AddrPort, payments.LinkEvent)
	Log     *slog.Logger
}

// Swarm is one torrent.
type Swarm struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	quiet     chan struct{} // closed when nothing runs on the goroutine any more but the shutdown
	final     Status        // as it was then; set before quiet is closed
	ending    chan struct{} // closed when only the goodbye to the trackers is left
	lastStats tracker.Stats // what it says; set before ending is closed
	connected atomic.Int32  // len(peers), for the choker
	settled   atomic.Bool   // Settle ended

	ready   chan *peer.Conn
	calls   chan func()
	disk    chan disk.Event
	results chan announce.Result
	found   chan []netip.AddrPort // in the DHT
	id      atomic.Pointer[identity]
	opened  chan opened

	// Owned by run.
	info     *metainfo.Info
	torrent  *metainfo.Torrent // around info
	metadata []*metadataFetch  // of a magnet link, by size
	waitingLayers
	hashes   hashServer
	starts   []int64 // offsets of the files; nil until hashes are asked for
	cases    map[wire.HashRange]*badCase
	units    map[unitKey]*unitAsk // pieces whose units hashes are to come for
	store    *disk.Store
	log      *resume.Log // of its writes; nil = none
	opening  bool        // opened is to come
	files    []disk.File // as they are on disk
	picker   *picker.Picker
	pieces   *peer.Pieces
	state    State
	failure  error
	peers    map[uint32]*member
	known    map[netip.AddrPort]*address
	web      []*webSeed
	bans     bans
	blamed   map[uint32][]attempt // failed attempts by piece
	doubted  map[uint32]bool      // pieces that are read again
	booked   map[uint32]bool      // verified pieces whose write was not told yet
	unbooked map[uint32]time.Time // pieces whose write was told first, and when
	// unwritten are the bytes of the pieces in booked.
	unwritten int64
	leaving   bool              // nothing is asked for and nothing sold any more, since:
	leftAt    time.Time         // then
	gone      map[uint32]author // who left, by the number of the connection
	judges    sync.WaitGroup    // readers of pieces that were blamed
	savers    sync.WaitGroup    // of the state: one at most
	halfOpen  int
	nextID    uint32
	tracker   *announce.Handle
	trackers  map[string]TrackerStatus // what they answered last, by name
	searches  map[[20]byte]Search      // in the DHT, by hash
	other     *announce.Handle         // a hybrid's other swarm
	events    []peer.Event
	leases    []picker.Lease
	ids       []uint32
	authors   []uint32 // of a piece's blocks in the store
	now       time.Time
	alarm     pace
	saved     time.Time
	owing     []picker.Owing
	bestDown  int64     // highest rate of a peer that serves us, at the last tick
	began     time.Time // the download in this process
	dirty     bool
	saving    bool
	kept      *Totals // those on disk, if the state there says all that we know
	wanted    int64   // bytes of the pieces with wanted files
	unstuck   time.Time
	totals    Totals
	external  netip.Addr

	fast      *peer.Allowance // of all that we choke; nil = nobody was allowed anything yet
	market    *market.Torrent // nil = none
	reportBid func(tracker string, honest bool)
}

// pace is how soon the swarm's timer goes off.
type pace uint8

const (
	unset pace = iota // no timer runs
	soon              // within tickEvery
	later             // when an address may be called again
)

// rearm sets the timer where something waits for the time to pass. An idle
// torrent has none, and costs nothing.
func (s *Swarm) rearm(t *time.Timer) {
	switch {
	case s.alarm == soon:
	case s.busy():
		t.Reset(tickEvery)
		s.alarm = soon
	case s.alarm == unset:
		if next := s.nextCall(); !next.IsZero() {
			t.Reset(max(next.Sub(s.now), tickEvery))
			s.alarm = later
		}
	}
}

// busy says whether there is something to do every second.
func (s *Swarm) busy() bool {
	return len(s.peers) > 0 || s.halfOpen > 0 || len(s.unbooked) > 0 || s.dirty && s.store != nil ||
		(s.cfg.Market != nil || len(s.web) > 0) && s.failure == nil && s.state == Downloading
}

// Totals are the payload bytes of the torrent's life.
type Totals struct{ Downloaded, Uploaded int64 }

// New starts a swarm.
func New(cfg Config) *Swarm {
	ctx, cancel := context.WithCancel(context.Background())
	if cfg.MaxPeers <= 0 {
		cfg.MaxPeers = MaxPeers
	}
	s := &Swarm{
		cfg: cfg, ctx: ctx, cancel: cancel, done: make(chan struct{}), quiet: make(chan struct{}), ending: make(chan struct{}),
		ready: make(chan *peer.Conn, 32), calls: make(chan func(), 64),
		disk: make(chan disk.Event, 32), results: make(chan announce.Result, 4), found: make(chan []netip.AddrPort, maxFoundBatches),
		booked: map[uint32]bool{}, unbooked: map[uint32]time.Time{}, peers: map[uint32]*member{}, known: map[netip.AddrPort]*address{},
		now: time.Now(), opened: make(chan opened, 1),
	}
	s.reportBid = func(string, bool) {}
	if cfg.Announcer != nil {
		s.reportBid = cfg.Announcer.ReportBid
	}
	id := firstIdentity(&cfg)
	s.id.Store(&id)
	s.openMarket()
	go s.run()
	return s
}

// Close stops the swarm: it pays what is verified (see [Swarm.Settle]), saves its
// state, tells the trackers and closes its connections. It returns when the swarm's
// goroutine has ended.
func (s *Swarm) Close() {
	if !s.settled.Load() {
		if err := s.Settle(context.Background()); err != nil {
			s.cfg.Log.Warn("leave torrent", "err", err)
		}
	}
	s.cancel()
	<-s.done
}

// InfoHash returns the torrent's info hash.
func (s *Swarm) InfoHash() [20]byte { return s.cfg.InfoHash }

// Ready implements [peer.Owner].
func (s *Swarm) Ready(c *peer.Conn) {
	select {
	case s.ready <- c:
	case <-s.ctx.Done():
	}
}

// do runs f on the swarm's goroutine and waits for it. A swarm that shuts down,
// which waits for the disk and for trackers, runs nothing more.
func (s *Swarm) do(f func()) error {
	ran := make(chan struct{})
	select {
	case s.calls <- func() { f(); close(ran) }:
	case <-s.quiet:
		return ErrClosed
	}
	select {
	case <-ran:
		return nil
	case <-s.quiet:
	}
	select {
	case <-ran: // as the last one
		return nil
	default:
		return ErrClosed
	}
}

// post runs f on the swarm's goroutine, later.
func (s *Swarm) post(f func()) {
	select {
	case s.calls <- f:
	case <-s.ctx.Done():
	}
}

// AddPeers tells the swarm of addresses where peers may be.
func (s *Swarm) AddPeers(addrs ...netip.AddrPort) {
	s.post(func() {
		for _, a := range addrs {
			s.learn(a)
		}
		s.connect()
	})
}

// Accept hands over an incoming connection whose handshake was read.
func (s *Swarm) Accept(in *Incoming) {
	s.post(func() { s.admit(in) })
	if s.ctx.Err() != nil {
		in.Net.Close() // nobody takes it any more
	}
}

func (s *Swarm) run() {
	defer close(s.done)
	defer s.shutdown()
	s.begin()
	tick := time.NewTimer(tickEvery)
	defer tick.Stop()
	s.alarm = soon
	for {
		s.rearm(tick)
		select {
		case <-s.ctx.Done():
			return
		case c := <-s.ready:
			s.now = time.Now()
			s.handle(c)
		case f := <-s.calls:
			s.now = time.Now()
			f()
		case o := <-s.opened:
			s.now = time.Now()
			s.install(o)
		case e := <-s.disk:
			s.onDisk(e)
		case <-s.market.Links():
			s.now = time.Now()
			s.market.HandleLinks()
		case r := <-s.results:
			s.onTracker(r)
		case list := <-s.found:
			s.now = time.Now()
			s.onFound(list)
		case now := <-tick.C:
			s.now, s.alarm = now, unset
			s.tick()
		}
	}
}

func (s *Swarm) fail(err error) {
	if s.failure != nil {
		return
	}
	s.failure, s.state = err, Failed
	for _, m := range s.peers {
		m.conn.Close(fmt.Errorf("torrent stopped: %w", err))
	}
	s.stopDHT()
	s.notify(Broken, err)
}
