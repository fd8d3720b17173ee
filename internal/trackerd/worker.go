package trackerd

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/tracker"
)

// counters count one goroutine's work; others read them.
type counters struct {
	connects, announces, scrapes, bidScrapes atomic.Uint64
	errors                                   atomic.Uint64 // answered with an error
	dropped                                  atomic.Uint64 // not answered
	batches                                  atomic.Uint64 // system calls that brought datagrams
	httpRequests                             atomic.Uint64
	bytesIn, bytesOut                        atomic.Uint64
	peersGiven                               atomic.Uint64
	expired                                  atomic.Uint64
	_                                        [5]uint64 // keeps workers' cache lines apart
}

// worker answers datagrams; it is used by one goroutine.
type worker struct {
	*counters
	server *Server
	now    time.Time
	clock  clock
	bucket uint64
	full   bool
	lists  *lists
	req    tracker.Request
	hashes []tracker.InfoHash
	v4     visit[[6]byte]
	v6     visit[[18]byte]
}

func newWorker(s *Server) *worker {
	return &worker{counters: new(counters), server: s, hashes: make([]tracker.InfoHash, 0, tracker.MaxScrape)}
}

// tick takes the time for the datagrams that follow, once a batch.
func (w *worker) tick() {
	w.batches.Add(1)
	s := w.server
	w.now = s.config.Now()
	w.clock = s.clock(w.now)
	w.bucket = idBucket(w.now)
	w.full = s.peers.Load() >= int64(s.config.MaxPeers)
	w.lists = s.lists.Load()
}

// source is where a datagram came from. IPv4 addresses are mapped.
type source struct {
	ip   [16]byte
	port uint16
	is4  bool
}

// handle answers one datagram by appending to out; an unchanged out means
// silence. Without a valid connection id no answer is longer than its request.
func (w *worker) handle(out, in []byte, from *source) []byte {
	w.bytesIn.Add(uint64(len(in)))
	h, err := tracker.ParseRequestHeader(in)
	if err != nil || from.port == 0 {
		w.dropped.Add(1)
		return out
	}
	if h.Action == tracker.ActionConnect {
		w.connects.Add(1)
		return w.count(tracker.AppendConnectResponse(out, h.TransactionID, w.server.ids.make(&from.ip, w.bucket)))
	}
	if !w.server.ids.valid(h.ConnectionID, &from.ip, w.bucket) {
		if h.Action != tracker.ActionAnnounce && h.Action != tracker.ActionScrape || len(in) < 36 ||
			!w.server.limiter.allow(from, w.now.Unix()) {
			w.dropped.Add(1)
			return out
		}
		return w.fail(out, h.TransactionID, "connection id expired")
	}
	switch h.Action {
	case tracker.ActionAnnounce:
		return w.announce(out, in, &h, from)
	case tracker.ActionScrape:
		return w.scrape(out, in, &h)
	case tracker.ActionBidScrape:
		return w.bidScrape(out, in, &h)
	}
	return w.fail(out, h.TransactionID, "unknown action")
}

func (w *worker) count(out []byte) []byte {
	w.bytesOut.Add(uint64(len(out)))
	return out
}

func (w *worker) fail(out []byte, transaction uint32, reason string) []byte {
	w.errors.Add(1)
	return w.count(tracker.AppendError(out, transaction, reason))
}

// udpHeaderSize is the fixed part of an announce's answer.
const udpHeaderSize = 20

func (w *worker) announce(out, in []byte, h *tracker.UDPHeader, from *source) []byte {
	path, err := tracker.ParseAnnounceRequest(in, &w.req)
	if err != nil {
		return w.fail(out, h.TransactionID, "malformed announce")
	}
	if w.req.Port == 0 {
		return w.fail(out, h.TransactionID, "port 0 cannot be reached")
	}
	if reason := w.lists.refuse(&w.req.InfoHash, path); reason != "" {
		return w.fail(out, h.TransactionID, reason)
	}
	w.announces.Add(1)
	price := priceNone
	if w.req.ExtendedReply && !w.server.config.NoBids {
		price = priceTop
	}
	start := len(out)
	var reserved [udpHeaderSize]byte
	reply := append(out, reserved[:]...)
	var c counts
	if from.is4 {
		v := &w.v4
		copy(v.peer[:4], from.ip[12:])
		binary.BigEndian.PutUint16(v.peer[4:], w.req.Port)
		fill(v, w, price)
		reply, c = w.server.v4.announce(reply, v)
	} else {
		v := &w.v6
		copy(v.peer[:16], from.ip[:])
		binary.BigEndian.PutUint16(v.peer[16:], w.req.Port)
		fill(v, w, price)
		reply, c = w.server.v6.announce(reply, v)
	}
	size := 6
	if !from.is4 {
		size = 18
	}
	header := tracker.AppendAnnounceHeader(reply[:start], h.TransactionID, w.server.config.Interval, c.leechers, c.seeds)
	if price == priceTop {
		binary.BigEndian.PutUint32(header[start:], uint32(tracker.ActionBidAnnounce))
		if len(reply) == start+udpHeaderSize {
			reply = append(reply, 0, 0)
		}
	}
	w.peersGiven.Add(uint64((len(reply) - start - udpHeaderSize) / size))
	return w.count(reply)
}

// fill sets everything but the peer of a visit from the worker's request.
func fill[K key](v *visit[K], w *worker, price pricing) {
	v.fill(&w.req, w.server, price)
	v.clock, v.full = w.clock, w.full
}

func (v *visit[K]) fill(r *tracker.Request, s *Server, price pricing) {
	v.hash, v.flags, v.price = &r.InfoHash, used, price
	if r.Left == 0 {
		v.flags |= seed
	}
	if r.Event == tracker.EventPaused {
		v.flags |= paused
	}
	v.stop = r.Event == tracker.EventStopped
	v.finish = r.Event == tracker.EventCompleted
	v.want = r.NumWant
	if v.want < 0 {
		v.want = DefaultNumWant
	}
	v.want = min(v.want, tracker.MaxNumWant)
	v.bid, v.top = 0, 0
	if s.config.NoBids {
		return
	}
	v.top = r.Top
	if v.flags&seed == 0 && !v.finish {
		v.bid = tracker.BidCode(r.Bid)
	}
}

func (w *worker) scrape(out, in []byte, h *tracker.UDPHeader) []byte {
	hashes, err := tracker.ParseScrapeRequest(in, w.hashes)
	if err != nil {
		return w.fail(out, h.TransactionID, "malformed scrape")
	}
	w.scrapes.Add(1)
	out = tracker.AppendScrapeHeader(out, h.TransactionID)
	for i := range hashes {
		c := w.server.scrape(&hashes[i])
		out = tracker.AppendScrapeEntry(out, c.seeds, c.downloaded, c.leechers)
	}
	return w.count(out)
}

// scrape joins the counts of both families.
func (s *Server) scrape(h *tracker.InfoHash) counts {
	a, b := s.v4.scrape(h), s.v6.scrape(h)
	return counts{a.seeds + b.seeds, a.leechers + b.leechers, a.downloaded + b.downloaded}
}

// limiter bounds the error answers to invalid connection ids per /24 or /56
// and second, so that nobody aims our answers at a forged source.
type limiter struct {
	second atomic.Int64
	sent   [limiterSlots]atomic.Uint32
}

const (
	limiterSlots  = 1024
	limiterAnswer = 64 // per slot and second
)

func (l *limiter) allow(from *source, second int64) bool {
	if old := l.second.Load(); old != second && l.second.CompareAndSwap(old, second) {
		for i := range l.sent {
			l.sent[i].Store(0)
		}
	}
	prefix := binary.BigEndian.Uint64(from.ip[:8]) >> 8
	if from.is4 {
		prefix = uint64(binary.BigEndian.Uint32(from.ip[12:]) >> 8)
	}
	return l.sent[mum(prefix^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)%limiterSlots].Add(1) <= limiterAnswer
}
