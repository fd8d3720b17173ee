// Package trackerd is the server behind `btt tracker`: HTTP and UDP on one
// port, bids included.
//
// cmd/btt and tests call New, Serve and the accessors. Serve owns all
// goroutines: one per processor and address family for UDP, net/http's, and
// one for sweeps; they end with its context. Swarms live in pointer-free
// shards behind short locks, so that requests of all goroutines meet there.
//
// Sources: BEP 3, 7, 15, 21, 23, 24, 27, 31, 41, 48; bids R6.1 to R6.6, A9,
// A10 and docs/beps/tracker-bids.rst.
package trackerd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults and limits.
const (
	DefaultInterval     = 30 * time.Minute
	MaxInterval         = 2 * time.Hour
	DefaultIDLifetime   = 2 * time.Minute // BEP 15; some clients keep ids longer
	DefaultReceiveBytes = 4 << 20         // socket buffer: the usual 208 KiB drop bursts
	DefaultNumWant      = 50              // for clients that name no number
	DefaultMaxPeers     = 64 << 20        // 1.5 GB
	maxWorkers          = 256
	httpTimeout         = 10 * time.Second
	maxHTTPHeader       = 32 << 10
	portTries           = 20 // to find a port free for TCP and UDP
)

// Config of a Server. The zero value of a field means its default.
type Config struct {
	Listen         string           // host:port; an empty host means all addresses of both families
	Interval       time.Duration    // between announces; peers are forgotten after two
	MinInterval    time.Duration    // told to HTTP clients; half of Interval
	BidInterval    time.Duration    // until a bid may be told again; MinInterval
	IDLifetime     time.Duration    // of UDP connection ids, at most MaxIDLifetime
	Workers        int              // UDP goroutines for each family; GOMAXPROCS
	ReceiveBytes   int              // socket receive buffer
	MaxPeers       int              // new peers are not kept beyond
	AllowFile      string           // infohashes served, one in hex a line; others are refused
	DenyFile       string           // infohashes refused
	KeyFile        string           // private tracker: announce paths /<key>/announce allowed, one key a line
	TrustedProxies []netip.Prefix   // whose X-Forwarded-For counts
	NoUDP, NoHTTP  bool             // serve one protocol only
	NoBids         bool             // do not keep or tell bids
	ServeMetrics   bool             // also serve /metrics (Prometheus) and /stats (JSON) to everybody
	Now            func() time.Time // time.Now
}

// ErrPort means that no port was free for both TCP and UDP.
var ErrPort = errors.New("no port is free for both TCP and UDP")

// Server is a tracker. Serve may be called once.
type Server struct {
	config  Config
	start   time.Time
	v4      *store[[6]byte]
	v6      *store[[18]byte]
	ids     connectionIDs
	lists   atomic.Pointer[lists]
	limiter limiter
	stats   []*counters // one of each worker and one of HTTP
	web     *counters
	peers   atomic.Int64 // as of the last sweep
	board   board
	tcp     []net.Listener
	udp     []udpSocket
	workers []*worker // one of each UDP socket
	addr    netip.AddrPort
}

// New checks the configuration, reads the lists and opens the sockets.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Server{config: c, start: c.Now(), web: new(counters)}
	s.v4, s.v6 = newStore[[6]byte](random64), newStore[[18]byte](random64)
	s.ids = connectionIDs{random64(), random64(), uint8(c.IDLifetime / idStep)}
	s.stats = append(s.stats, s.web)
	if err := s.Reload(); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		s.closeSockets()
		return nil, fmt.Errorf("listen on %q: %w", c.Listen, err)
	}
	for range s.udp {
		w := newWorker(s)
		s.workers = append(s.workers, w)
		s.stats = append(s.stats, w.counters)
	}
	return s, nil
}

func (c *Config) complete() error {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&c.Interval, DefaultInterval)
	set(&c.MinInterval, c.Interval/2)
	set(&c.BidInterval, c.MinInterval)
	set(&c.IDLifetime, DefaultIDLifetime)
	if c.Interval > MaxInterval || c.IDLifetime > MaxIDLifetime {
		return fmt.Errorf("check configuration: interval %v may be at most %v, id lifetime %v at most %v",
			c.Interval, MaxInterval, c.IDLifetime, MaxIDLifetime)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	c.Workers = min(c.Workers, maxWorkers)
	if c.ReceiveBytes <= 0 {
		c.ReceiveBytes = DefaultReceiveBytes
	}
	if c.MaxPeers <= 0 {
		c.MaxPeers = DefaultMaxPeers
	}
	return nil
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// clock is the store's time at now.
func (s *Server) clock(now time.Time) clock {
	tick := 2 * s.config.Interval / lifeTicks
	since := now.Sub(s.start)
	return clock{uint8(since / max(tick, 1)), uint8(since / time.Minute)}
}

// Addr is where the server listens. With several addresses of one port it is
// one of them.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// listen opens TCP and UDP sockets with the same port.
func (s *Server) listen() error {
	host, portText, err := net.SplitHostPort(s.config.Listen)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return err
	}
	ips, err := listenIPs(host)
	if err != nil {
		return err
	}
	for range portTries {
		err = s.listenAll(ips, uint16(port), host != "")
		if err == nil || port != 0 {
			return err
		}
		s.closeSockets()
	}
	return fmt.Errorf("%w: %w", ErrPort, err)
}

func listenIPs(host string) ([]netip.Addr, error) {
	if host == "" {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips, err
}

// listenAll opens every socket; if required is false, a family the machine
// does not have may fail.
func (s *Server) listenAll(ips []netip.Addr, port uint16, required bool) error {
	var errs []error
	for _, ip := range ips {
		opened, err := s.listenOne(netip.AddrPortFrom(ip, port))
		if err != nil {
			if required || port != 0 && !errors.Is(err, errFamily) && s.addr.IsValid() {
				return err
			}
			errs = append(errs, err)
			continue
		}
		if !s.addr.IsValid() {
			s.addr = opened
		}
		port = opened.Port()
	}
	if !s.addr.IsValid() {
		return errors.Join(errs...)
	}
	return nil
}

// errFamily means that the machine has no addresses of the family.
var errFamily = errors.New("address family is not available")

func (s *Server) listenOne(at netip.AddrPort) (netip.AddrPort, error) {
	tcp, udp := "tcp4", "udp4"
	if at.Addr().Is6() {
		tcp, udp = "tcp6", "udp6"
	}
	if !s.config.NoHTTP {
		l, err := net.Listen(tcp, at.String())
		if err != nil {
			if errors.Is(err, errNoAddress) {
				err = fmt.Errorf("%w: %w", errFamily, err)
			}
			return at, err
		}
		s.tcp = append(s.tcp, l)
		at = netip.AddrPortFrom(at.Addr(), uint16(l.Addr().(*net.TCPAddr).Port))
	}
	for range s.config.Workers {
		if s.config.NoUDP {
			break
		}
		socket, err := openUDP(udp, at, s.config.ReceiveBytes)
		if err != nil {
			return at, err
		}
		s.udp = append(s.udp, socket)
		at = netip.AddrPortFrom(at.Addr(), socket.port())
		if !reusePort {
			break
		}
	}
	return at, nil
}

func (s *Server) closeSockets() {
	for _, l := range s.tcp {
		l.Close()
	}
	for _, u := range s.udp {
		u.close()
	}
	s.tcp, s.udp, s.addr = nil, nil, netip.AddrPort{}
}

// Serve answers until ctx ends and returns nil then, or the error that ended
// it before. The sockets are closed when it returns.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, socket := range s.udp {
		w := s.workers[i]
		wg.Go(func() { // ends when the socket is closed
			if err := socket.serve(w); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serve UDP: %w", err))
			}
		})
	}
	server := &http.Server{
		Handler: s.handler(), ReadTimeout: httpTimeout, WriteTimeout: httpTimeout,
		IdleTimeout: httpTimeout, MaxHeaderBytes: maxHTTPHeader,
		ErrorLog: discardLog,
	}
	for _, l := range s.tcp {
		wg.Go(func() { // ends when server is closed
			if err := server.Serve(l); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serve HTTP: %w", err))
			}
		})
	}
	wg.Go(func() { s.sweepAll(ctx) }) // ends with ctx
	<-ctx.Done()
	server.Close()
	for _, u := range s.udp {
		u.close()
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// sweepAll sweeps one shard at a time, all of them in an eighth of a peer's life.
func (s *Server) sweepAll(ctx context.Context) {
	every := max(2*s.config.Interval/8/shardCount, time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := 0; ; i = (i + 1) % shardCount {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.Sweep(i, s.config.Now())
		}
	}
}

// Sweep forgets the peers of shard i (0 to 127) that fell silent. Serve does
// so by itself; tests with a clock of their own call it.
func (s *Server) Sweep(i int, now time.Time) {
	at := s.clock(now)
	expired := s.v4.sweep(i%shardCount, at) + s.v6.sweep(i%shardCount, at)
	s.web.expired.Add(uint64(expired))
	_, p4, _ := s.v4.totals()
	_, p6, _ := s.v6.totals()
	s.peers.Store(int64(p4 + p6))
}
