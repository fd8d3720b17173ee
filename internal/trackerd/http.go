package trackerd

import (
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/tracker"
)

// discardLog silences net/http about strangers' broken connections; counters
// tell how many requests failed.
var discardLog = log.New(io.Discard, "", 0)

// retryRefused is BEP 31's retry in for refusals that may end.
const retryRefused = 30 * time.Minute

// handler routes by the last element of the path, so that private trackers
// can have keys before it.
func (s *Server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.web.httpRequests.Add(1)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "only GET is served", http.StatusMethodNotAllowed)
			return
		}
		var body []byte
		switch name := path.Base(r.URL.Path); {
		case name == "announce":
			body = s.httpAnnounce(r)
		case name == "scrape":
			body = s.httpScrape(r)
		case name == "bidscrape" && !s.config.NoBids:
			body = s.httpBidScrape(r)
		case r.URL.Path == "/metrics" && s.config.ServeMetrics:
			s.writeMetrics(w)
			return
		case r.URL.Path == "/stats" && s.config.ServeMetrics:
			s.writeStats(w)
			return
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		s.web.bytesOut.Add(uint64(len(body)))
		_, _ = w.Write(body) // the client may be gone
	})
}

// refusal counts and encodes a refused request.
func (s *Server) refusal(f tracker.Failure) []byte {
	s.web.errors.Add(1)
	return tracker.AppendFailure(nil, &f)
}

// clientAddr is the announcing address: the connection's, or what the
// rightmost trusted proxies say. Query parameters never say it, since others
// could be attacked with them.
func (s *Server) clientAddr(r *http.Request) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr := at.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(addr); i-- {
		hop := strings.TrimSpace(hops[i])
		if host, _, err := net.SplitHostPort(hop); err == nil {
			hop = host
		}
		next, err := netip.ParseAddr(hop)
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	return addr, true
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.config.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (s *Server) httpAnnounce(r *http.Request) []byte {
	req, err := tracker.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return s.refusal(tracker.Failure{Reason: err.Error(), Never: true})
	}
	if req.Port == 0 {
		return s.refusal(tracker.Failure{Reason: "port 0 cannot be reached", Never: true})
	}
	if reason := s.lists.Load().refuse(&req.InfoHash, r.URL.Path); reason != "" {
		return s.refusal(tracker.Failure{Reason: reason, RetryIn: retryRefused})
	}
	addr, ok := s.clientAddr(r)
	if !ok {
		return s.refusal(tracker.Failure{Reason: "client address is unknown"})
	}
	s.web.announces.Add(1)
	now := s.config.Now()
	at := s.clock(now)
	full := s.peers.Load() >= int64(s.config.MaxPeers)
	price := priceNone
	if (req.Bid != 0 || req.Top > 0) && !s.config.NoBids {
		price = priceAll
	}
	var v4 visit[[6]byte]
	var v6 visit[[18]byte]
	v4.fill(req, s, price)
	v6.fill(req, s, price)
	v4.clock, v4.full, v6.clock, v6.full = at, full, at, full
	answer := httpAnswer{req: req, addr: addr, price: price}
	var c4, c6 counts
	if addr.Is4() {
		v4.peer = key4(addr, req.Port)
		answer.peers4, c4 = s.v4.announce(nil, &v4)
		answer.peers6, c6 = s.v6.peek(nil, &v6)
	} else {
		v6.peer = key6(addr, req.Port)
		answer.peers6, c6 = s.v6.announce(nil, &v6)
		answer.peers4, c4 = s.v4.peek(nil, &v4)
	}
	answer.counts = counts{c4.seeds + c6.seeds, c4.leechers + c6.leechers, c4.downloaded + c6.downloaded}
	return answer.encode(s)
}

func key4(a netip.Addr, port uint16) (k [6]byte) {
	ip := a.As4()
	copy(k[:], ip[:])
	binary.BigEndian.PutUint16(k[4:], port)
	return k
}

func key6(a netip.Addr, port uint16) (k [18]byte) {
	ip := a.As16()
	copy(k[:], ip[:])
	binary.BigEndian.PutUint16(k[16:], port)
	return k
}

// httpAnswer is an announce's answer before it is encoded. peers4 and peers6
// are as give made them.
type httpAnswer struct {
	req            *tracker.Request
	addr           netip.Addr
	price          pricing
	peers4, peers6 []byte
	counts         counts
}

func (a *httpAnswer) encode(s *Server) []byte {
	c := &s.config
	var d bencode.Dict
	d.SetInt("complete", int64(a.counts.seeds))
	d.SetInt("downloaded", int64(a.counts.downloaded))
	d.SetBytes("external ip", a.addr.AsSlice())
	d.SetInt("incomplete", int64(a.counts.leechers))
	d.SetInt("interval", int64(c.Interval/time.Second))
	d.SetInt("min interval", int64(c.MinInterval/time.Second))
	peers4, bids4, ages4 := split(a.peers4, 6, a.price)
	peers6, bids6, ages6 := split(a.peers6, 18, a.price)
	s.web.peersGiven.Add(uint64(len(peers4)/6 + len(peers6)/18))
	if a.req.Compact {
		d.SetBytes("peers", peers4)
		if len(peers6) > 0 {
			d.SetBytes("peers6", peers6)
		}
	} else {
		// One list for both families: bids follow it in the same order.
		list := appendDicts([]byte{'l'}, peers4, 6)
		d.SetRaw("peers", append(appendDicts(list, peers6, 18), 'e'))
		bids4, bids6 = append(bids4, bids6...), nil
	}
	if a.price == priceAll {
		d.SetBytes("bids", bids4)
		if len(bids6) > 0 {
			d.SetBytes("bids6", bids6)
		}
		d.SetBytes("bid age", append(ages4, ages6...))
		d.SetInt("bid scrape", 1)
		d.SetInt("btt interval", int64(c.BidInterval/time.Second))
	}
	return d.Append(nil)
}

// split takes apart entries of compact peer, bid code and age.
func split(b []byte, size int, price pricing) (peers, bids, ages []byte) {
	if price != priceAll {
		return b, nil, nil
	}
	for ; len(b) >= size+3; b = b[size+3:] {
		peers = append(peers, b[:size]...)
		bids = binary.BigEndian.AppendUint64(bids, tracker.CodedBid(binary.BigEndian.Uint16(b[size:])))
		ages = append(ages, b[size+2])
	}
	return peers, bids, ages
}

// appendDicts appends peers as dictionaries, for clients without compact.
func appendDicts(b, compact []byte, size int) []byte {
	for ; len(compact) >= size; compact = compact[size:] {
		ip, _ := netip.AddrFromSlice(compact[:size-2])
		b = bencode.AppendString(append(b, 'd'), "ip")
		b = bencode.AppendString(b, ip.String())
		b = bencode.AppendString(b, "port")
		b = append(bencode.AppendInt(b, int64(binary.BigEndian.Uint16(compact[size-2:size]))), 'e')
	}
	return b
}

func (s *Server) httpScrape(r *http.Request) []byte {
	hashes, err := tracker.ParseScrapeQuery(r.URL.RawQuery)
	if err != nil {
		return s.refusal(tracker.Failure{Reason: err.Error(), Never: true})
	}
	if reason := s.lists.Load().refuseKey(r.URL.Path); reason != "" {
		return s.refusal(tracker.Failure{Reason: reason, RetryIn: retryRefused})
	}
	s.web.scrapes.Add(1)
	var files, root bencode.Dict
	for i := range hashes {
		c := s.scrape(&hashes[i])
		var file bencode.Dict
		file.SetInt("complete", int64(c.seeds))
		file.SetInt("downloaded", int64(c.downloaded))
		file.SetInt("incomplete", int64(c.leechers))
		files.SetDict(string(hashes[i][:]), &file)
	}
	root.SetDict("files", &files)
	return root.Append(nil)
}
