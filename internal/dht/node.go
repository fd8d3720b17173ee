package dht

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Named limits and times of a node.
const (
	// MaxTorrents is the greatest number of torrents announced.
	MaxTorrents = 100_000
	// maxLookups and maxQueries are the greatest numbers of lookups and of
	// questions under way.
	maxLookups = 16
	maxQueries = 512
	// maxPerSource is how many queries of one address outside this machine are
	// answered in a second, maxSources of how many addresses that is counted,
	// maxReplies how many answers are sent in a second altogether.
	maxPerSource = 25
	maxSources   = 8192
	maxReplies   = 20_000
	// maxPackets is the number of datagrams that wait for the node's goroutine.
	maxPackets = 256

	tickEvery    = 250 * time.Millisecond
	lateAfter    = time.Second
	lostAfter    = 4 * time.Second
	firstRefresh = 10 * time.Second // soon: others join at the same time
	refreshEvery = 10 * time.Minute
	saveEvery    = 10 * time.Minute
	firstBackoff = 5 * time.Second
)

// ErrClosed says that the node has ended.
var ErrClosed = errors.New("DHT node is closed")

// DefaultBootstrap are well-known nodes by which strangers join the DHT.
var DefaultBootstrap = []string{"dht.libtorrent.org:25401", "dht.transmissionbt.com:6881", "router.bittorrent.com:6881", "router.utorrent.com:6881"}

// MaxBootstrap is the greatest number of bootstrap nodes used.
const MaxBootstrap = 32

// Config is what a node is made of. The zero value of a field means its
// default.
type Config struct {
	// Listen is host:port for UDP; "" = any free port of all addresses.
	Listen string
	// Bootstrap are host:port of nodes to join by; nil = DefaultBootstrap,
	// or none when Listen is a loopback address; empty = none.
	Bootstrap []string
	// File keeps the node's id and the nodes it knows; "" = they are forgotten.
	File string
	// ReadOnly asks and never answers (BEP 43), and announces nothing.
	ReadOnly bool
	// Blocked says which addresses are neither heard nor asked; nil = none.
	// It is called from several goroutines.
	Blocked func(netip.Addr) bool
	Log     *slog.Logger
}

// family is what a node has for each of IPv4 and IPv6.
type family struct {
	conn      socket // nil = the machine or the user does without
	table     *table
	joined    time.Time // the last lookup for our own id began
	pause     time.Duration
	refreshed time.Time
	refresh   time.Duration // until the node looks around again
}

// Node is a node of the DHT. Its methods are safe for concurrent use.
type Node struct {
	cfg     Config
	port    uint16
	packets chan packet
	calls   chan func()
	done    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup // readers, resolver, writer of the file

	// Owned by run.
	id        ID
	families  [2]family // IPv4, IPv6
	queries   map[string]*query
	lookups   map[*lookup]struct{}
	torrents  map[ID]*Handle
	store     *store
	tokens    tokens
	votes     voting
	sources   map[netip.Addr]int
	replies   int
	counted   time.Time
	saved     time.Time
	saving    bool
	resolved  []netip.AddrPort
	resolving time.Time
	now       time.Time
	rng       *mathrand.Rand
	stats     Status
}

// Status is a node's snapshot.
type Status struct {
	ID                ID
	Nodes4, Nodes6    int // in the tables
	Torrents          int // announced by us
	Stored            int // torrents of which peers are kept for others
	Lookups           int // under way
	Answered, Refused int // queries of others: answered, dropped because of a limit
	Asked, Unanswered int // our questions
	Announced         int // announces of ours that were taken
}

// Open starts a node.
func Open(cfg Config) (*Node, error) {
	conns, port, err := listen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	if cfg.Bootstrap == nil && !onLoopback(cfg.Listen) {
		cfg.Bootstrap = DefaultBootstrap
	}
	n, err := open(cfg, conns, port)
	if err != nil {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}
	return n, err
}

func open(cfg Config, conns [2]socket, port uint16) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Bootstrap = cfg.Bootstrap[:min(len(cfg.Bootstrap), MaxBootstrap)]
	for _, b := range cfg.Bootstrap {
		if err := CheckBootstrap(b); err != nil {
			return nil, err
		}
	}
	n := &Node{cfg: cfg, port: port, packets: make(chan packet, maxPackets), calls: make(chan func(), 64), done: make(chan struct{}),
		queries: map[string]*query{}, lookups: map[*lookup]struct{}{}, torrents: map[ID]*Handle{}, store: newStore(),
		sources: map[netip.Addr]int{}, now: time.Now()}
	var seed [32]byte
	rand.Read(seed[:]) // never fails
	n.rng = mathrand.New(mathrand.NewChaCha8(seed))
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.random(n.id[:])
	st := loadState(cfg.File, cfg.Log)
	if st != nil {
		n.id = st.id
	}
	var secret [16]byte
	for range n.tokens.secrets {
		n.random(secret[:])
		n.tokens.turn(secret, n.now)
	}
	for i, c := range conns {
		n.families[i] = family{conn: c, table: newTable(n.id), refreshed: n.now, refresh: firstRefresh}
	}
	n.saved, n.counted = n.now, n.now
	for i, c := range conns {
		if c != nil {
			n.wg.Go(func() { n.read(c, i == 1) }) // ends when Close closes c
		}
	}
	go n.run(st)
	return n, nil
}

func (n *Node) random(b []byte) {
	for len(b) > 0 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], n.rng.Uint64())
		b = b[copy(b, w[:]):]
	}
}

// Port is the UDP port the node listens on.
func (n *Node) Port() uint16 { return n.port }

// Close says nothing to the network; it keeps the state and ends the node.
func (n *Node) Close() error {
	n.cancel()
	<-n.done
	var errs []error
	for _, f := range n.families {
		if f.conn != nil {
			errs = append(errs, f.conn.Close())
		}
	}
	n.wg.Wait()
	return errors.Join(append(errs, n.state().save(n.cfg.File))...)
}

// do runs f on the node's goroutine and waits for it.
func (n *Node) do(f func()) error {
	ran := make(chan struct{})
	select {
	case n.calls <- func() { f(); close(ran) }:
	case <-n.done:
		return ErrClosed
	}
	select {
	case <-ran:
		return nil
	case <-n.done:
		return ErrClosed
	}
}

// post runs f on the node's goroutine, later.
func (n *Node) post(f func()) {
	select {
	case n.calls <- f:
	case <-n.ctx.Done():
	}
}

// AddNode tells of a node, such as one named by a port message (BEP 5). It
// becomes one of ours if it answers.
func (n *Node) AddNode(a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	n.post(func() {
		f := n.family(a.Addr().Is6())
		if f.conn == nil || !usable(a.Addr(), a) || f.table.count >= MaxNodes/2 {
			return
		}
		n.ask(&query{to: contact{addr: a}, anonymous: true, six: a.Addr().Is6()}, &message{query: queryPing})
	})
}

// Status returns a snapshot; zero after Close.
func (n *Node) Status() (st Status) {
	_ = n.do(func() {
		st = n.stats
		st.ID, st.Nodes4, st.Nodes6 = n.id, n.families[0].table.count, n.families[1].table.count
		st.Torrents, st.Stored, st.Lookups = len(n.torrents), len(n.store.torrents), len(n.lookups)
	})
	return st
}

func (n *Node) family(six bool) *family {
	if six {
		return &n.families[1]
	}
	return &n.families[0]
}

func (n *Node) run(st *state) {
	defer close(n.done)
	n.restore(st)
	n.tick()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case p := <-n.packets:
			n.now = time.Now()
			n.receive(p)
		case f := <-n.calls:
			n.now = time.Now()
			f()
		case now := <-tick.C:
			n.now = now
			n.tick()
		}
	}
}

// jitter spreads a pause by an eighth.
func (n *Node) jitter(d time.Duration) time.Duration {
	return d + time.Duration(n.rng.Int64N(max(int64(d)/8, 1)))
}

// backoff doubles a pause between a first and a last value.
func backoff(d, first, last time.Duration) time.Duration {
	if d > math.MaxInt64/2 {
		return last
	}
	return min(max(2*d, first), last)
}
