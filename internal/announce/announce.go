// Package announce tells trackers about torrents and brings back peers: the
// sockets and goroutines around package tracker.
//
// internal/session makes one Announcer and calls Start for each torrent. An
// Announcer owns one UDP socket per address family with a reading goroutine
// each, ended by Close. Each started torrent has one goroutine that owns its
// tracker.Schedule, ended by Stop or its context, and short ones for requests
// under way, ended by their timeouts.
//
// Sources: BEP 3, 7, 12, 15, 23, 31, 41; bids R6.1 to R6.3 and
// docs/beps/tracker-bids.rst.
package announce

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/bttnet/btt/tracker"
)

// Defaults and limits.
const (
	DefaultUDPBase     = 15 * time.Second // BEP 15
	DefaultUDPTries    = 3                // 15 + 30 + 60 s; the schedule's backoff goes on from there
	MaxUDPTries        = 8                // BEP 15
	DefaultHTTPTimeout = 30 * time.Second
	DefaultNumWant     = 100
	DefaultParallel    = 64 // requests under way of all torrents
	StopTimeout        = 5 * time.Second
	maxRemembered      = 4096 // trackers whose abilities are remembered
	maxRedirects       = 5
	maxHeaderBytes     = 64 << 10
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("announcer is closed")

// Config says who announces and how patiently. The zero value of a field means
// its default.
type Config struct {
	PeerID      [20]byte
	Port        uint16 // where peers reach us
	UserAgent   string
	NumWant     int
	AllTiers    bool          // announce to one tracker of every tier
	Floor       time.Duration // shortest pause between announces, tracker.DefaultFloor
	UDPBase     time.Duration // BEP 15's 15 s
	UDPTries    int
	HTTPTimeout time.Duration
	Parallel    int
	Proxy       func(*http.Request) (*url.URL, error) // nil: from the environment; never for loopback
	Bind4       netip.Addr                            // local address of UDP over IPv4, any if zero
	Bind6       netip.Addr
	IPv4, IPv6  netip.Addr // own addresses to tell HTTP trackers (BEP 7), zero for none
}

// Torrent is what Start announces.
type Torrent struct {
	InfoHash tracker.InfoHash
	Tiers    [][]string
	Complete bool // nothing is missing at the start
	// Stats is asked before each announce, from another goroutine.
	Stats func() tracker.Stats
	// Notify gets each outcome from the torrent's goroutine; it should return soon.
	Notify func(Result)
}

// Result is the outcome of one announce. Peers and Bids may be set with Err
// nil only; Bids are those of Response.Peers that told one.
type Result struct {
	Tracker  string // URL
	Event    tracker.Event
	Peers    []netip.AddrPort
	Bids     []tracker.Peer
	Response *tracker.Response
	Err      error // names the tracker and the cause
	Took     time.Duration
}

// Announcer makes announces. It is safe for concurrent use.
type Announcer struct {
	config Config
	http   *http.Client
	http4  *http.Client // for each family alone
	http6  *http.Client
	lookUp func(ctx context.Context, network, host string) ([]netip.Addr, error)
	udp    *udpClient
	slots  chan struct{}
	memory memory
	ctx    context.Context
	cancel context.CancelFunc
	torns  sync.WaitGroup // torrent goroutines
}

// New opens the UDP sockets. At least one family must work; a machine without
// any can still use HTTP trackers, so even that is no error here.
func New(c Config) (*Announcer, error) {
	if c.UDPBase <= 0 {
		c.UDPBase = DefaultUDPBase
	}
	if c.UDPTries <= 0 {
		c.UDPTries = DefaultUDPTries
	}
	c.UDPTries = min(c.UDPTries, MaxUDPTries)
	if c.HTTPTimeout <= 0 {
		c.HTTPTimeout = DefaultHTTPTimeout
	}
	if c.NumWant <= 0 {
		c.NumWant = DefaultNumWant
	}
	if c.Parallel <= 0 {
		c.Parallel = DefaultParallel
	}
	if c.UserAgent == "" {
		c.UserAgent = "btt"
	}
	a := &Announcer{config: c, slots: make(chan struct{}, c.Parallel)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	udp, err := newUDPClient(c)
	if err != nil {
		a.cancel()
		return nil, err
	}
	a.udp, a.http, a.http4, a.http6 = udp, newHTTPClient(c, ""), newHTTPClient(c, "4"), newHTTPClient(c, "6")
	a.lookUp = net.DefaultResolver.LookupNetIP
	return a, nil
}

// Close ends all torrents without saying goodbye and closes the sockets.
func (a *Announcer) Close() error {
	a.cancel()
	a.torns.Wait()
	for _, c := range []*http.Client{a.http, a.http4, a.http6} {
		c.CloseIdleConnections()
	}
	return a.udp.close()
}

// Announce makes one announce now, outside any schedule.
func (a *Announcer) Announce(ctx context.Context, url string, r *tracker.Request) (*tracker.Response, error) {
	if a.ctx.Err() != nil {
		return nil, ErrClosed
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return nil, failure("announce", url, context.Cause(ctx))
	}
	resp, err := a.dispatch(ctx, url, r)
	if err != nil {
		return nil, failure("announce", url, err)
	}
	return resp, nil
}

func (a *Announcer) dispatch(ctx context.Context, raw string, r *tracker.Request) (*tracker.Response, error) {
	if len(raw) > tracker.MaxURL {
		return nil, tracker.ErrURL
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tracker.ErrURL, bare(err))
	}
	if (r.Bid != 0 || r.Top > 0) && time.Now().Before(a.memory.get(raw).distrust) {
		plain := *r
		plain.Bid, plain.Top = 0, 0
		r = &plain
	}
	switch u.Scheme {
	case "http", "https":
		return a.announceHTTP(ctx, raw, r)
	case "udp":
		return a.announceUDP(ctx, u, r)
	}
	return nil, fmt.Errorf("%w: scheme %q is not http, https or udp", tracker.ErrURL, u.Scheme)
}

// failure names tracker and cause. Only scheme and host are named: the rest
// of the URL may hold a private key.
func failure(verb, raw string, err error) error {
	return fmt.Errorf("%s to tracker %s: %w", verb, Name(raw), bare(err))
}

// Name is the part of a tracker's URL that may be shown: scheme and host.
func Name(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "(unusable URL)"
	}
	return u.Scheme + "://" + u.Host
}

// bare strips the URL that net/http and net/url put into errors.
func bare(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// memory remembers what trackers can do, a leaf cache keyed by URL.
type memory struct {
	mu sync.Mutex
	m  map[string]ability
}

// ability is what is known of a tracker.
type ability struct {
	answered bool      // it answered at least once
	bids     bool      // its last answer had a bid key
	plain    time.Time // until then: no options, no bid parameters
	checks   int       // told bids compared with the peers' own
	lies     int
	distrust time.Time // until then: no bids asked or told
}

func (m *memory) get(url string) ability {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.m[url]
}

func (m *memory) update(url string, f func(*ability)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, known := m.m[url]
	if m.m == nil || !known && len(m.m) >= maxRemembered {
		m.m = make(map[string]ability) // forgetting costs one plain announce each
	}
	f(&a)
	m.m[url] = a
}

// learn notes the outcome of an announce with bids.
func (k *ability) learn(speaks bool) {
	k.answered, k.bids = true, speaks
	if !speaks {
		k.plain = time.Now().Add(plainFor)
	}
}

// plainFor is how long a tracker that dislikes options is spared them.
const plainFor = 24 * time.Hour

// What makes a tracker's bids useless: more than three tenths of at least
// twenty told bids far above the peers' own.
const (
	trustChecks = 20
	trustLies   = 3 // of ten
)

// ReportBid says whether a peer's own bid bore out what the tracker had told
// (tracker.FarBelow). A tracker that lies often is used without bids for a day.
func (a *Announcer) ReportBid(url string, honest bool) {
	a.memory.update(url, func(k *ability) {
		k.checks++
		if !honest {
			k.lies++
		}
		if k.checks >= trustChecks {
			if k.lies*10 > k.checks*trustLies {
				k.distrust = time.Now().Add(plainFor)
			}
			k.checks, k.lies = 0, 0
		}
	})
}
