package swarm

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
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
	TheirBid, SoldAt, BoughtAt amount.Price
	Account                    string
	Paid, Earned               amount.Amount
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
		p.tradeStatus(m)
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
