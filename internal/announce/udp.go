package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bttnet/btt/tracker"
)

// Times and limits of the UDP client.
const (
	idLifetime     = time.Minute // BEP 15: how long a client may use a connection id
	maxConnections = 4096        // connection ids cached
	maxDatagram    = 64 << 10
)

// ErrTimeout means that a UDP tracker did not answer any of our tries.
var ErrTimeout = errors.New("tracker does not answer over UDP")

// ErrNamedBids means that a bid scrape over UDP was to answer named torrents,
// for which its request has no room (docs/beps/tracker-bids.rst).
var ErrNamedBids = errors.New("a bid scrape over UDP cannot name torrents: ask the tracker over HTTP, or for the top")

// errNoFamily means that the machine has no socket for the tracker's family.
var errNoFamily = errors.New("no UDP socket for the tracker's address family")

// udpClient shares one socket per family among all announces. Answers find
// their caller by transaction id and source address.
type udpClient struct {
	conn4, conn6 *net.UDPConn
	base         time.Duration
	tries        int
	readers      sync.WaitGroup

	mu      sync.Mutex // guards what follows; held for map operations only
	waiting map[uint32]*call
	ids     map[netip.AddrPort]connection
}

type call struct {
	from   netip.AddrPort
	answer chan []byte // capacity 1
}

type connection struct {
	id    uint64
	until time.Time
}

func newUDPClient(c Config) (*udpClient, error) {
	u := &udpClient{base: c.UDPBase, tries: c.UDPTries,
		waiting: make(map[uint32]*call), ids: make(map[netip.AddrPort]connection)}
	var err4, err6 error
	u.conn4, err4 = net.ListenUDP("udp4", &net.UDPAddr{IP: c.Bind4.AsSlice()})
	u.conn6, err6 = net.ListenUDP("udp6", &net.UDPAddr{IP: c.Bind6.AsSlice(), Zone: c.Bind6.Zone()})
	// A machine without one family is usual; a chosen address must work.
	if err4 != nil && c.Bind4.IsValid() || err6 != nil && c.Bind6.IsValid() {
		u.close()
		return nil, fmt.Errorf("open UDP socket for trackers: %w", errors.Join(err4, err6))
	}
	for _, conn := range []*net.UDPConn{u.conn4, u.conn6} {
		if conn != nil {
			u.readers.Go(func() { u.read(conn) }) // ends when close closes conn
		}
	}
	return u, nil
}

func (u *udpClient) close() error {
	var errs []error
	for _, conn := range []*net.UDPConn{u.conn4, u.conn6} {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	u.readers.Wait()
	return errors.Join(errs...)
}

// read hands datagrams to their callers and drops the rest.
func (u *udpClient) read(conn *net.UDPConn) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // ICMP errors of earlier datagrams
		}
		_, transaction, err := tracker.ParseReplyHeader(buf[:n])
		if err != nil {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		u.mu.Lock()
		c := u.waiting[transaction]
		if c != nil && c.from == from {
			delete(u.waiting, transaction)
		} else {
			c = nil
		}
		u.mu.Unlock()
		if c != nil {
			c.answer <- append([]byte(nil), buf[:n]...)
		}
	}
}

// exchange sends one datagram and waits for its answer.
func (u *udpClient) exchange(ctx context.Context, to netip.AddrPort, timeout time.Duration, build func(transaction uint32) []byte) ([]byte, error) {
	conn := u.conn4
	if to.Addr().Is6() {
		conn = u.conn6
	}
	if conn == nil {
		return nil, errNoFamily
	}
	c := &call{from: to, answer: make(chan []byte, 1)}
	u.mu.Lock()
	transaction := uint32(random64())
	for u.waiting[transaction] != nil {
		transaction++
	}
	u.waiting[transaction] = c
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.waiting[transaction] == c {
			delete(u.waiting, transaction)
		}
	}()
	if _, err := conn.WriteToUDPAddrPort(build(transaction), to); err != nil {
		return nil, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case answer := <-c.answer:
		return answer, nil
	case <-timer.C:
		return nil, ErrTimeout
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (u *udpClient) cached(to netip.AddrPort) (uint64, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c, ok := u.ids[to]
	if ok && time.Now().After(c.until) {
		delete(u.ids, to)
		return 0, false
	}
	return c.id, ok
}

func (u *udpClient) forget(to netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.ids, to)
}

// connect returns a connection id, from the cache or the tracker.
func (u *udpClient) connect(ctx context.Context, to netip.AddrPort, timeout time.Duration) (id uint64, fresh bool, err error) {
	if id, ok := u.cached(to); ok {
		return id, false, nil
	}
	answer, err := u.exchange(ctx, to, timeout, func(t uint32) []byte {
		return tracker.AppendConnectRequest(nil, t)
	})
	if err != nil {
		return 0, true, err
	}
	id, err = tracker.ParseConnectResponse(answer)
	if err != nil {
		return 0, true, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.ids) >= maxConnections {
		clear(u.ids)
	}
	u.ids[to] = connection{id, time.Now().Add(idLifetime)}
	return id, true, nil
}

// request connects if needed, sends what build makes and retries by BEP 15:
// after base·2ⁿ, with a new connection id once the old one is a minute old.
// An error answer under a cached id is tried once more with a fresh one, since
// trackers forget ids when they restart.
func (u *udpClient) request(ctx context.Context, to netip.AddrPort, tries int, build func(tracker.UDPHeader) []byte) ([]byte, error) {
	renewed := false
	for n := 0; n < tries; n++ {
		timeout := u.base << n
		id, fresh, err := u.connect(ctx, to, timeout)
		if errors.Is(err, ErrTimeout) {
			continue
		}
		if err != nil {
			return nil, err
		}
		answer, err := u.exchange(ctx, to, timeout, func(t uint32) []byte {
			return build(tracker.UDPHeader{ConnectionID: id, TransactionID: t})
		})
		if errors.Is(err, ErrTimeout) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if action, _, _ := tracker.ParseReplyHeader(answer); action == tracker.ActionError && !fresh && !renewed {
			u.forget(to)
			renewed = true
			n--
			continue
		}
		return answer, nil
	}
	return nil, fmt.Errorf("%w (%d tries)", ErrTimeout, tries)
}

// resolve finds at most one address of each family the machine can use.
func (u *udpClient) resolve(ctx context.Context, t *url.URL) ([]netip.AddrPort, error) {
	port, err := strconv.ParseUint(t.Port(), 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("%w: a udp tracker needs a port", tracker.ErrURL)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Hostname())
	if err != nil {
		return nil, fmt.Errorf("look up tracker: %w", err)
	}
	var out []netip.AddrPort
	have4, have6 := u.conn4 == nil, u.conn6 == nil
	for _, ip := range ips {
		ip = ip.Unmap()
		have := &have4
		if ip.Is6() {
			have = &have6
		}
		if !*have {
			*have = true
			out = append(out, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	if len(out) == 0 {
		return nil, errNoFamily
	}
	return out, nil
}

// announceUDP announces over both families at once and joins the answers.
func (a *Announcer) announceUDP(ctx context.Context, t *url.URL, r *tracker.Request) (*tracker.Response, error) {
	to, err := a.udp.resolve(ctx, t)
	if err != nil {
		return nil, err
	}
	return joinFamilies(ctx, to, a.udp.base/5, func(ctx context.Context, addr netip.AddrPort) (*tracker.Response, error) {
		return a.announceTo(ctx, t, addr, r)
	})
}

// announceTo announces to one address. Options are used on trackers that
// answered before; if they then keep silent or complain, they are spared them
// for a day (docs/beps/tracker-bids.rst).
func (a *Announcer) announceTo(ctx context.Context, t *url.URL, to netip.AddrPort, r *tracker.Request) (*tracker.Response, error) {
	key := t.String() + "|" + to.String()
	known := a.memory.get(key)
	own := *r
	bids := known.answered && time.Now().After(known.plain)
	own.ExtendedReply = bids
	data := own.URLData(t, bids)
	tries := a.udp.tries
	withBids := bids && data != r.URLData(t, false)
	if withBids {
		tries = 1
	}
	resp, err := a.exchangeAnnounce(ctx, to, &own, data, tries)
	if err != nil && withBids && ctx.Err() == nil {
		a.memory.update(key, func(k *ability) { k.learn(false) })
		withBids = false
		own.ExtendedReply = false
		resp, err = a.exchangeAnnounce(ctx, to, &own, r.URLData(t, false), a.udp.tries)
	}
	if err != nil {
		return nil, err
	}
	a.memory.update(key, func(k *ability) {
		if k.answered = true; withBids {
			k.learn(resp.SpeaksBids)
		}
	})
	return resp, nil
}

func (a *Announcer) exchangeAnnounce(ctx context.Context, to netip.AddrPort, r *tracker.Request, data string, tries int) (*tracker.Response, error) {
	answer, err := a.udp.request(ctx, to, tries, func(h tracker.UDPHeader) []byte {
		return tracker.AppendAnnounceRequest(nil, h, r, data)
	})
	if err != nil {
		return nil, err
	}
	return tracker.ParseAnnounceResponse(answer, to.Addr().Is6())
}

// scrapeUDP asks the first address of the tracker that answers.
func (a *Announcer) scrapeUDP(ctx context.Context, t *url.URL, hashes []tracker.InfoHash) ([]tracker.Swarm, error) {
	if _, err := tracker.AppendScrapeRequest(nil, tracker.UDPHeader{}, hashes); err != nil {
		return nil, err
	}
	answer, err := a.askUDP(ctx, t, func(h tracker.UDPHeader) []byte {
		b, _ := tracker.AppendScrapeRequest(nil, h, hashes) // its error was seen above
		return b
	})
	if err != nil {
		return nil, err
	}
	return tracker.ParseScrapeResponse(answer, hashes)
}

// bidScrapeUDP asks the first address of the tracker that answers. The
// request has no field for the least bid, so that is done here.
func (a *Announcer) bidScrapeUDP(ctx context.Context, t *url.URL, q *tracker.BidQuery) (*tracker.BidPage, error) {
	if len(q.Hashes) > 0 {
		return nil, ErrNamedBids
	}
	answer, err := a.askUDP(ctx, t, func(h tracker.UDPHeader) []byte {
		return tracker.AppendBidScrapeRequest(nil, h, q)
	})
	if err != nil {
		return nil, err
	}
	page, err := tracker.ParseBidScrapeResponse(answer)
	if err != nil {
		return nil, err
	}
	least := tracker.CodedBid(tracker.BidCode(q.MinBid)) // the answer's bids are rounded so too
	page.Torrents = slices.DeleteFunc(page.Torrents, func(s tracker.BidSwarm) bool { return s.Bid < least })
	return page, nil
}

// askUDP makes one request to the tracker's addresses in turn until one answers.
func (a *Announcer) askUDP(ctx context.Context, t *url.URL, build func(tracker.UDPHeader) []byte) ([]byte, error) {
	to, err := a.udp.resolve(ctx, t)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range to {
		answer, err := a.udp.request(ctx, addr, a.udp.tries, build)
		if err == nil {
			return answer, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
