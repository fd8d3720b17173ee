package swarm

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/metainfo"
)

// State is what a swarm is doing.
type State uint8

// States of a swarm.
const (
	FetchingMetadata State = iota
	Checking
	Downloading
	Seeding
	Failed
	// States of a torrent without a running swarm.
	Stopped // by its user
	Queued  // waits for its turn
	Moving  // its files are on their way to another folder
	// Finished is what a Status says instead of Seeding when some files are not
	// wanted: nothing is left to get, what is there is shared (BEP 21).
	Finished
)

// String names the state for people.
func (s State) String() string {
	return [...]string{"fetching metadata", "checking", "downloading", "seeding", "failed", "stopped", "queued", "moving", "finished"}[s]
}

// Event is something the swarm tells its session.
type Event struct {
	Swarm    *Swarm
	Kind     EventKind
	Err      error
	InfoHash [20]byte
	Info     *metainfo.Info // with GotMetadata
	// Torrent is around Info, with the piece layers that are known; with
	// GotMetadata and GotLayers.
	Torrent *metainfo.Torrent
}

// EventKind is an event's kind.
type EventKind uint8

// Events of a swarm.
const (
	GotMetadata EventKind = iota + 1
	Checked               // the files on disk were verified
	Completed             // the last wanted piece is verified and on disk
	Broken                // the torrent stopped because of Err
	Reopened              // not all that is wanted is there, after a check or because more is wanted
	GotLayers             // of a magnet link: its version 2 hashes are complete
)

// Status is a snapshot of a torrent for people and programs.
type Status struct {
	InfoHash [20]byte
	Name     string
	Dir      string
	State    State
	Err      error
	// Size and Left are bytes of the pieces with wanted files.
	Size, Left int64
	Pieces     int
	Have       int
	// Rates in bytes per second.
	Down, Up     int64
	Totals       Totals
	Availability float64 // distributed copies (R1.12)
	Peers        []PeerStatus
	WebSeeds     []WebSeedStatus
	Trackers     []TrackerStatus // that answered, or did not in time
	// Bid is what we bid now, Reserve what we ask at least; µBTT per GiB.
	Bid, Reserve amount.Price
	Paid, Earned amount.Amount
	// Proofs is how often others proved to have the torrent, so that the
	// reserve price fell, and Proved when they last did.
	Proofs int64
	Proved time.Time
}

// TrackerStatus is what came of the last announce to a tracker.
type TrackerStatus struct {
	Name  string // scheme and host: the rest of a tracker's URL may be a secret
	Peers int    // addresses that it told
	Err   error  // nil = it answered
	At    time.Time
}

// PeerStatus is a snapshot of one connection.
type PeerStatus struct {
	Addr       netip.AddrPort
	Listen     netip.AddrPort // where it takes calls, if known
	Client     string
	Seed       bool
	Down, Up   int64
	Received   int64
	Sent       int64
	Unchoked   bool // by us
	Optimistic bool
	Choked     bool // by the peer
	Interested bool // in us
	Encrypted  bool // the connection began with MSE
	Since      time.Time
	// Market: what the peer bids us and pays, and what we pay it.
	// TheirBid is 0 while the peer is not interested: a bid may be withdrawn by a
	// message only once a minute, by that at once.
	TheirBid, SoldAt, BoughtAt amount.Price
	// Backed is TheirBid as far as there is money behind it.
	Backed amount.Price
	// Lacks is how many bytes of the torrent the peer does not have, about.
	Lacks        int64
	Account      string
	Paid, Earned amount.Amount
}

// BestBid is the best bid of the swarm's own peers, as far as there is money
// behind it.
func (s *Status) BestBid() (best amount.Price) {
	for i := range s.Peers {
		best = max(best, s.Peers[i].Backed)
	}
	return best
}

// Status returns a snapshot: of a swarm that shuts down the last one, of one
// that has ended none (the error is ErrClosed). It waits for no disk.
func (s *Swarm) Status() Status {
	var st Status
	if s.do(func() { st = s.status() }) == nil {
		return st
	}
	select {
	case <-s.done:
		return Status{InfoHash: s.cfg.InfoHash, Err: ErrClosed, State: Failed}
	default:
		return s.final
	}
}

func (s *Swarm) status() Status {
	st := Status{InfoHash: s.cfg.InfoHash, Dir: s.cfg.Dir, State: s.state, Err: s.failure, Totals: s.liveTotals()}
	if s.torrent != nil {
		in := s.torrent.Info
		st.Name, st.Size, st.Pieces = in.Name, in.ContentLength(), in.NumPieces()
		st.Left = st.Size // until it is known what is there
	}
	if s.info != nil {
		st.Size = s.wanted
	}
	if s.partialSeed() {
		st.State = Finished
	}
	if s.picker != nil {
		st.Left, st.Have, st.Availability = s.picker.Left(), s.pieces.Count(), s.picker.Availability()
	}
	for _, m := range s.peers {
		p := PeerStatus{Addr: m.addr, Listen: m.listen, Client: m.ext.Client, Seed: m.seed, Down: m.rateDown, Up: m.rateUp,
			Received: m.conn.Received.Load(), Sent: m.conn.Sent.Load(), Unchoked: m.unchoked,
			Optimistic: m.optimistic, Choked: m.choked, Interested: m.interest, Encrypted: m.encrypted, Since: m.joined}
		s.tradeStatus(&p, m)
		st.Down += m.rateDown
		st.Up += m.rateUp
		st.Peers = append(st.Peers, p)
	}
	st.WebSeeds = s.webStatus()
	for _, t := range s.trackers {
		st.Trackers = append(st.Trackers, t)
	}
	slices.SortFunc(st.Trackers, func(a, b TrackerStatus) int { return cmp.Compare(a.Name, b.Name) })
	for _, w := range st.WebSeeds {
		st.Down += w.Down
	}
	s.marketStatus(&st)
	return st
}

// liveTotals are the saved totals and those of the running connections.
func (s *Swarm) liveTotals() Totals {
	t := s.totals
	for _, m := range s.peers {
		t.Downloaded += m.conn.Received.Load()
		t.Uploaded += m.conn.Sent.Load()
	}
	return t
}

// Info returns the torrent's name and piece length once they are known.
func (s *Swarm) Info() (name string, pieceLength int64, ok bool) {
	_ = s.do(func() {
		if s.torrent != nil {
			name, pieceLength, ok = s.torrent.Info.Name, s.torrent.Info.PieceLength, true
		}
	})
	return name, pieceLength, ok
}

func (s *Swarm) notify(k EventKind, err error) {
	if s.cfg.Notify != nil {
		e := Event{Swarm: s, Kind: k, Err: err, InfoHash: s.cfg.InfoHash}
		if k == GotMetadata || k == GotLayers {
			e.Torrent, e.Info = s.ownTorrent(), s.torrent.Info
		}
		s.cfg.Notify(e)
	}
}
