// Package tracker encodes and decodes what clients and trackers say to each
// other, and decides when a client announces. It does no I/O and reads no
// clock: callers pass bytes, entropy and time.
//
// Clients (internal/announce) use Request.AppendURL, ParseResponse, the UDP
// codecs and Schedule; the server (internal/trackerd) uses ParseQuery,
// AppendResponse and the other side of the UDP codecs. Nothing here starts a
// goroutine; values are not safe for concurrent change, functions are.
//
// Sources: BEP 3 and 23 (HTTP announce), 7 (IPv6), 12 (tiers), 15 (UDP), 21
// (paused), 24 (external address), 31 (retry), 41 (UDP options), 48 (scrape),
// and docs/beps/tracker-bids.rst for bids (R6.1 to R6.6, A9, A10).
package tracker

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Limits on what the other side of the wire can make us hold.
const (
	MaxResponse    = 2 << 20 // bytes of one HTTP answer
	MaxPeers       = 2000    // peers kept of one answer
	MaxText        = 1024    // bytes of a warning or failure reason
	MaxTrackerID   = 256     // bytes of a tracker id
	MaxURL         = 2048    // bytes of a tracker URL
	MaxQuery       = 16 << 10
	MaxURLData     = 1024 // bytes of BEP 41 URLData of one announce
	MaxTrackers    = 200  // URLs kept of all tiers of a torrent
	MaxScrape      = 70   // torrents of one UDP scrape
	MaxHTTPScrape  = 200  // torrents of one HTTP scrape, either way
	MaxNumWant     = 200  // peers a server gives
	MaxBidScrape   = 200  // torrents of one HTTP bid scrape answer
	MaxIntervalSec = 24 * 3600
)

// InfoHash names a torrent: the v1 infohash or the first 20 bytes of the v2 one.
type InfoHash = [20]byte

// Event says why an announce is made. Values are those of BEP 15.
type Event uint32

// The events of BEP 3, and of BEP 21 (a partial seed is paused).
const (
	EventNone      Event = 0
	EventCompleted Event = 1
	EventStarted   Event = 2
	EventStopped   Event = 3
	EventPaused    Event = 4
)

// String returns the event's HTTP spelling, empty for EventNone.
func (e Event) String() string {
	switch e {
	case EventCompleted:
		return "completed"
	case EventStarted:
		return "started"
	case EventStopped:
		return "stopped"
	case EventPaused:
		return "paused"
	}
	return ""
}

// Stats are the changing parts of an announce.
type Stats struct {
	Uploaded, Downloaded int64  // payload bytes since the started event
	Left                 int64  // bytes missing; negative if not known yet
	Bid                  uint64 // own bid for the torrent, µBTT per GiB; 0 for none
	Top                  int    // bidding peers wanted first; 0 for none
	// Paused says that nothing more is wanted though bytes are missing: each announce
	// without another event has EventPaused then (BEP 21).
	Paused bool
}

// Request is one announce.
type Request struct {
	InfoHash InfoHash
	PeerID   [20]byte
	Port     uint16
	Stats
	Event      Event
	NumWant    int // peers wanted; negative leaves it to the tracker
	Key        uint32
	Compact    bool       // servers: the client takes compact peers
	NoPeerID   bool       // servers: dictionaries may omit the peer id
	IPv4, IPv6 netip.Addr // BEP 7: own further addresses, zero for none
	TrackerID  string
	// ExtendedReply asks a UDP tracker for ActionBidAnnounce instead of
	// ActionAnnounce.
	ExtendedReply bool
}

// Peer is one peer of an answer.
type Peer struct {
	Addr   netip.AddrPort
	HasBid bool          // the tracker told a bid; a hint never to be charged or paid (R6.3)
	Bid    uint64        // µBTT per GiB
	BidAge time.Duration // since the peer told it, in minutes; MaxBidAge means older
}

// MaxBidAge is the largest age an answer can express.
const MaxBidAge = 255 * time.Minute

// Response is the answer to an announce. Counts are -1 if the tracker kept
// silent about them.
type Response struct {
	Interval, MinInterval            time.Duration // MinInterval 0 if not told
	TrackerID                        string
	Warning                          string
	Complete, Incomplete, Downloaded int
	Peers                            []Peer
	ExternalIP                       netip.Addr // BEP 24, zero if not told
	SpeaksBids                       bool       // the answer had a bid key
	BidScrape                        string     // path of the bid scrape, empty if none
	BidInterval                      time.Duration
}

// Join adds the peers of another answer of the same tracker, such as that over
// the other address family, without doubles and at most MaxPeers in all.
func (r *Response) Join(o *Response) {
	seen := make(map[netip.AddrPort]bool, len(r.Peers))
	for _, p := range r.Peers {
		seen[p.Addr] = true
	}
	for _, p := range o.Peers {
		if len(r.Peers) < MaxPeers && !seen[p.Addr] {
			seen[p.Addr] = true
			r.Peers = append(r.Peers, p)
		}
	}
	r.Interval, r.MinInterval = max(r.Interval, o.Interval), max(r.MinInterval, o.MinInterval)
	if r.TrackerID == "" {
		r.TrackerID = o.TrackerID
	}
	if !r.ExternalIP.IsValid() {
		r.ExternalIP = o.ExternalIP
	}
}

// AddrPorts returns the peers' addresses.
func (r *Response) AddrPorts() []netip.AddrPort {
	out := make([]netip.AddrPort, len(r.Peers))
	for i, p := range r.Peers {
		out[i] = p.Addr
	}
	return out
}

// Failure is a tracker's refusal (BEP 3 failure reason, BEP 15 error).
type Failure struct {
	Reason  string
	RetryIn time.Duration // BEP 31; 0 if not told
	Never   bool          // BEP 31: do not try again
}

func (f *Failure) Error() string {
	switch {
	case f.Never:
		return fmt.Sprintf("tracker refused for good: %q", f.Reason)
	case f.RetryIn > 0:
		return fmt.Sprintf("tracker refused, retry in %v: %q", f.RetryIn, f.Reason)
	}
	return fmt.Sprintf("tracker refused: %q", f.Reason)
}

// Errors of the decoders.
var (
	// ErrMalformed is wrapped by every decoder's error about bytes it cannot use.
	ErrMalformed = errors.New("malformed tracker message")
	// ErrTooLarge means that a named limit of this package was passed.
	ErrTooLarge = errors.New("tracker message passes a limit")
	// ErrURL means that a tracker URL cannot be used.
	ErrURL = errors.New("unusable tracker URL")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// clip shortens text of a stranger to limit bytes.
func clip(s []byte, limit int) string {
	return string(s[:min(len(s), limit)])
}

// seconds turns a told number of seconds into a duration in [0, 24 h].
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), MaxIntervalSec)) * time.Second
}
