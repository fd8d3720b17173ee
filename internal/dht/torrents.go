package dht

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Times of announces.
const (
	// announceEvery is the pause between two announces of a torrent (BEP 5:
	// what is announced is kept for about half an hour).
	announceEvery = 15 * time.Minute
	// nowPause is the least pause before an announce that was asked for.
	nowPause = 30 * time.Second
	// joinMax is the greatest pause between two tries to find any node.
	joinMax = 5 * time.Minute
	// resolveEvery is the least pause between two look-ups of the names of
	// bootstrap nodes, resolveTime what one may take.
	resolveEvery = time.Minute
	resolveTime  = 10 * time.Second
)

// Torrent is what Start announces.
type Torrent struct {
	InfoHash ID
	// Port is where peers reach us over TCP; 0 = we only look for others.
	Port uint16
	// Found gets peers as they are found, from the node's goroutine; it must
	// not block.
	Found func([]netip.AddrPort)
}

// Handle is a torrent that is announced. Its methods are safe for concurrent
// use.
type Handle struct {
	n       *Node
	t       Torrent
	next    time.Time
	last    time.Time
	pause   time.Duration // after a lookup that found nobody
	running int           // lookups, one a family
	answers int
	found   int
	stopped bool
}

// Start begins to announce a torrent: at once, then every quarter of an hour,
// and with growing pauses while nobody is found. The torrent must not be
// private (BEP 27).
func (n *Node) Start(t Torrent) *Handle {
	h := &Handle{n: n, t: t}
	n.post(func() {
		if n.torrents[t.InfoHash] != nil || len(n.torrents) >= MaxTorrents {
			return
		}
		n.torrents[t.InfoHash] = h
		n.begin(h)
	})
	return h
}

// Stop ends the announces. What other nodes keep of us expires there.
func (h *Handle) Stop() {
	h.n.post(func() {
		h.stopped = true
		if h.n.torrents[h.t.InfoHash] == h {
			delete(h.n.torrents, h.t.InfoHash)
		}
	})
}

// Now asks for a lookup soon.
func (h *Handle) Now() {
	h.n.post(func() {
		if soon := h.last.Add(nowPause); soon.Before(h.next) {
			h.next = soon
		}
	})
}

// begin starts a torrent's lookups, if there is room for them.
func (n *Node) begin(h *Handle) {
	if h.stopped || h.running > 0 || n.now.Before(h.next) || len(n.lookups) >= maxLookups {
		return
	}
	h.last, h.answers, h.found = n.now, 0, 0
	h.next = n.now.Add(announceEvery) // whatever comes of it
	if kept := n.store.all(h.t.InfoHash, n.now); len(kept) > 0 {
		h.tell(kept)
	}
	var lookups []*lookup
	for six := range n.families {
		if n.families[six].conn == nil {
			continue
		}
		l := n.newLookup(h.t.InfoHash, queryPeers, six == 1)
		if l.port = h.t.Port; n.cfg.ReadOnly {
			l.port = 0
		}
		l.report, l.done = h.tell, func(l *lookup) { n.ended(h, l) }
		lookups = append(lookups, l)
	}
	h.running = len(lookups)
	for _, l := range lookups {
		n.start(l)
	}
}

// tell hands over peers; on the node's goroutine.
func (h *Handle) tell(peers []netip.AddrPort) {
	h.found += len(peers)
	if h.t.Found != nil && !h.stopped {
		h.t.Found(peers)
	}
}

// ended plans a torrent's next announce.
func (n *Node) ended(h *Handle, l *lookup) {
	h.answers += len(l.nearest())
	if h.running--; h.running > 0 {
		return
	}
	switch {
	case h.found > 0:
		h.pause = 0
		h.next = n.now.Add(n.jitter(announceEvery))
	default:
		h.pause = backoff(h.pause, firstBackoff, announceEvery)
		h.next = n.now.Add(n.jitter(h.pause))
	}
}

// met runs when a node was found outside of a lookup: torrents whose lookup
// found no node at all need not wait.
func (n *Node) met() {
	for _, h := range n.torrents {
		if h.running == 0 && h.answers == 0 {
			h.pause, h.next = 0, n.now
		}
	}
}

func (n *Node) newLookup(target ID, kind string, six bool) *lookup {
	l := &lookup{target: target, query: kind, six: six, known: map[netip.AddrPort]bool{}, found: map[netip.AddrPort]bool{}}
	t := n.family(six).table
	for _, c := range t.nearest(nil, target, maxCandidates/2) {
		l.offer(c, false)
	}
	if len(l.steps) < bucketSize {
		n.resolve()
		for _, a := range n.resolved {
			l.offer(contact{addr: a}, true)
		}
	}
	return l
}

func (n *Node) start(l *lookup) {
	n.lookups[l] = struct{}{}
	n.advance(l)
}

// advance asks the next nodes of a lookup, or ends it with an announce.
func (n *Node) advance(l *lookup) {
	if _, running := n.lookups[l]; !running {
		return
	}
	steps, over := l.next()
	for _, s := range steps {
		n.ask(&query{to: s.contact, anonymous: s.anonymous, six: l.six, lookup: l, step: s}, &message{query: l.query, target: l.target})
	}
	if _, running := n.lookups[l]; !over || !running {
		return
	}
	delete(n.lookups, l)
	if l.port != 0 {
		for _, s := range l.nearest() {
			if len(s.token) > 0 {
				n.ask(&query{to: s.contact, six: l.six, announce: true},
					&message{query: queryAnnounce, target: l.target, port: l.port, token: s.token})
			}
		}
	}
	if l.done != nil {
		l.done(l)
	}
}

// tick runs four times a second.
func (n *Node) tick() {
	n.expireQueries()
	for i := range n.families {
		if n.families[i].conn != nil {
			n.upkeep(&n.families[i], i == 1)
		}
	}
	for _, h := range n.torrents {
		if len(n.lookups) >= maxLookups {
			break
		}
		n.begin(h)
	}
	if n.now.Sub(n.tokens.turned) >= tokenEvery {
		var secret [16]byte
		n.random(secret[:])
		n.tokens.turn(secret, n.now)
		n.store.expire(n.now)
	}
	if n.now.Sub(n.saved) >= saveEvery && !n.saving {
		n.keep()
	}
}

// upkeep joins the network, asks nodes that were silent for long, and looks
// around so that the table stays full.
func (n *Node) upkeep(f *family, six bool) {
	if f.table.count < bucketSize && n.now.Sub(f.joined) >= f.pause {
		f.joined, f.pause = n.now, n.jitter(backoff(f.pause, firstBackoff, joinMax))
		l := n.newLookup(n.id, queryFind, six)
		l.done = func(l *lookup) {
			if len(l.nearest()) > 0 {
				n.met()
			}
		}
		n.start(l)
	} else if f.table.count >= bucketSize {
		f.pause = 0
	}
	if e := f.table.doubtful(n.now); e != nil {
		e.asked = n.now
		n.ask(&query{to: e.contact, six: six}, &message{query: queryPing})
	}
	if n.now.Sub(f.refreshed) >= f.refresh && len(n.lookups) < maxLookups && f.table.count > 0 {
		f.refreshed, f.refresh = n.now, backoff(f.refresh, firstRefresh, refreshEvery)
		around, anywhere := n.id, ID{}
		n.random(anywhere[:])
		n.start(n.newLookup(around, queryFind, six))
		n.start(n.newLookup(anywhere, queryFind, six))
	}
}

// resolve looks up the bootstrap nodes in the background, seldom.
func (n *Node) resolve() {
	if len(n.cfg.Bootstrap) == 0 || !n.resolving.IsZero() && n.now.Sub(n.resolving) < resolveEvery {
		return
	}
	n.resolving = n.now
	var names []string
	var found []netip.AddrPort
	for _, b := range n.cfg.Bootstrap {
		if a, err := netip.ParseAddrPort(b); err == nil {
			found = append(found, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		} else {
			names = append(names, b)
		}
	}
	n.resolved = found
	if len(names) == 0 {
		return
	}
	n.wg.Go(func() { // ends within resolveTime
		ctx, cancel := context.WithTimeout(n.ctx, resolveTime)
		defer cancel()
		list := lookUp(ctx, names)
		n.post(func() {
			if n.resolved = append(found, list...); len(list) > 0 {
				for i := range n.families {
					n.families[i].joined, n.families[i].pause = time.Time{}, 0
				}
			}
		})
	})
}

func lookUp(ctx context.Context, names []string) (list []netip.AddrPort) {
	for _, name := range names {
		host, service, err := net.SplitHostPort(name)
		if err != nil {
			continue
		}
		port, err := strconv.ParseUint(service, 10, 16)
		if err != nil {
			continue
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			continue // the next one may be known
		}
		for _, ip := range ips[:min(len(ips), 4)] {
			list = append(list, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		}
	}
	return list
}
