package market

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// Phase is what matters of a torrent's state to its market.
type Phase uint8

// Phases of a torrent.
const (
	Idle        Phase = iota // no trade: no metadata yet, checking, or failed
	Downloading              // it buys, and may sell what it has
	Seeding                  // it only sells, at its reserve price or more
)

// Swarm is what the market asks of its torrent. Its methods are called on the
// owner's goroutine but for ReadChunk and Post.
type Swarm interface {
	// Now is the time of the batch that is being handled.
	Now() time.Time
	Phase() Phase
	// Left is the number of wanted bytes that are not verified.
	Left() int64
	// Has says whether a piece is verified and on disk.
	Has(piece uint32) bool
	// Landed says whether a part of a piece is verified and on disk, where the next
	// process finds it.
	Landed(piece, from, to uint32) bool
	// Sure says whether an offset of a piece is verified, and what with it.
	Sure(piece, begin uint32) (from, to uint32, ok bool)
	// Units says whether pieces can be verified in parts: the torrent has
	// hashes of version 2, and all its piece layers are here (BEP 52).
	Units() bool
	// UnitsDue says whether the piece layers that are missing for that may come in a
	// moment. A connection's first bid waits for them, for its unit is fixed with it,
	// unless pieces are too short for units.
	UnitsDue() bool
	// FreeSlot asks for a choke round for slots that fell free, or new bidders.
	FreeSlot()
	// Press has the disk write what it has gathered: some of it is paid.
	Press()
	// Announce asks the trackers anew, later; false = there are none.
	Announce() bool
	// ReadChunk reads data that we have; it may be called from any goroutine.
	ReadChunk(buf []byte, piece, begin uint32) error
	// Post runs f on the owner's goroutine, later, unless that has ended.
	Post(f func())
}

// Peer is what the market asks of a connection.
type Peer interface {
	ID() uint32
	Addr() netip.AddrPort
	// Listens is where the peer takes connections, as far as is known.
	Listens() netip.AddrPort
	Joined() time.Time
	// Connection says what proofs are bound to, but for the network and the
	// nonces.
	Connection() speed.Connection
	// Serving says whether it gave us a slot and we ask for data.
	Serving() bool
	// Waiting says whether it asked for blocks that were not sent.
	Waiting() bool
	// Wanted says whether it has pieces that we want.
	Wanted() bool
	// Rarest is the rarest of these pieces, and how many connected peers have it,
	// this one among them; false = there is none. Has says whether the peer has a
	// piece.
	Rarest() (piece uint32, sources int, ok bool)
	Has(piece uint32) bool
	// Send sends a btt_speed message.
	Send(frame []byte)
	// Wake has the connection look at its gate again; any goroutine.
	Wake()
	// Pause rejects what the peer asked for and chokes it, though it keeps its
	// slot: a new price follows (R10.18).
	Pause()
	// Fence ignores the peer's requests until a message passes open; nil = no
	// fence.
	Fence(open func(sub uint8, payload []byte) bool)
	// Choke takes the peer's slot and calls [Trade.LostSlot]; it does
	// nothing without one. Unchoke gives a slot behind a gate; nil = none.
	Choke()
	Unchoke(gate peer.Gate)
	// StopAsking drops what we asked of the peer.
	StopAsking()
	// Kick ends the connection; Shun does, and forgets the peer for long.
	Kick(err error)
	Shun(err error)
}

// Config is what a torrent's market needs; all of it outlives the market.
type Config struct {
	Node     *Node // nil = no market
	InfoHash [20]byte
	Swarm    Swarm
	// Reserve is the torrent's reserve price.
	Reserve Reserve
	// ReportBid books whether a bid that a tracker told was true.
	ReportBid func(tracker string, honest bool)
	// Observe sees what the payment side reports; nil = nobody does.
	Observe func(netip.AddrPort, payments.LinkEvent)
	Log     *slog.Logger
}

// Torrent is the market of one torrent. It belongs to its swarm's goroutine; a
// nil Torrent takes no part in anything.
type Torrent struct {
	cfg    Config
	node   *Node
	swarm  Swarm
	layout Layout // zero until the metadata is here
	links  linkQueue
	trades map[uint32]*Trade // with peers that take part, by connection
	// sources are the peers that sent us something, whether or not they take
	// part.
	sources map[uint32]*Trade
	flowed  time.Time // when receipts were last told
	risk    risk

	bidding       bool
	funds         amount.Amount // the balance of the last bid; 0 = none since the user changed something
	dip           time.Time     // since when there is no bid with less; zero = there is
	spent, earned amount.Amount
	held          bool       // a newcomer waits for its bid
	reserving     *reserving // nil = no reserve price
	told          map[netip.AddrPort]toldBid
	bidTold       uint64    // at the last announce
	bidNext       time.Time // when another bid is welcome; zero = at none of our trackers
	chunkJobs     []chunkJob
	chunkReads    int
	slot          slotPrice
}

// New makes a torrent's market; nil without a node that takes part.
func New(cfg Config) *Torrent {
	if cfg.Node == nil {
		return nil
	}
	t := &Torrent{cfg: cfg, node: cfg.Node, swarm: cfg.Swarm, trades: map[uint32]*Trade{}, sources: map[uint32]*Trade{},
		told: map[netip.AddrPort]toldBid{}, links: linkQueue{signal: make(chan struct{}, 1)}}
	if r := cfg.Node.Receipts; r != nil { // what an earlier run paid counts against the torrent's budget
		t.spent, t.earned = r.Sums(cfg.InfoHash)
	}
	return t
}

// Close takes the torrent out of the node's books and closes its trades.
func (t *Torrent) Close() {
	if t == nil {
		return
	}
	for _, p := range t.trades {
		t.close(p)
	}
	t.tellFlows()
	if t.bidding {
		t.bidding = false
		t.node.bidding.Add(-1)
	}
}

// SetLayout tells how the content is cut, once the metadata is here.
func (t *Torrent) SetLayout(l Layout) {
	if t == nil {
		return
	}
	t.layout = l
	if r := t.node.Receipts; r != nil {
		r.Lane(t.bound(), t.cfg.InfoHash)
	}
	t.openReserve()
	for _, p := range t.trades {
		if p.link != nil { // of before the metadata: nothing was traded, and the quantum was not known
			p.link.Close()
			t.openLink(p)
		}
	}
}

// Open starts the market with a peer that speaks the extension and pays on our
// network.
func (t *Torrent) Open(p *Trade, h *wire.ExtendedHandshake) {
	if t == nil || h.Speed == 0 || speed.CheckPeer(t.node.Net, h.SpeedVersion, h.SpeedNetwork, h.SpeedNonce) != nil {
		return
	}
	p.bound = p.peer.Connection()
	p.bound.Network, p.bound.Ours.Nonce, p.bound.Theirs.Nonce = t.node.Net, p.nonce, [speed.NonceLen]byte(h.SpeedNonce)
	cfg := speed.Config{Account: t.node.Account, Connection: p.bound}
	_, _ = rand.Read(cfg.Nonce[:]) // never fails (crypto/rand ends the process)
	p.session = speed.NewSession(cfg)
	t.trades[p.peer.ID()] = p
	t.identify(p)
	t.Tell(p)
}

// identify proves to the peer who we are, before anything else is said. A wallet
// that is locked cannot; it is tried again.
func (t *Torrent) identify(p *Trade) {
	if p.named || t.node.Key == nil {
		return
	}
	f, err := p.bound.Identify(t.node.Key)
	if err != nil {
		if !p.unnamed {
			p.unnamed = true
			t.cfg.Log.Info("no trade with peer: cannot prove our account", "addr", p.peer.Addr(), "err", err)
		}
		return
	}
	p.named = true
	p.send(f)
}

// onIdentity takes the peer's proof of who it is: a banned account is refused
// before it says anything else (R12.3).
func (t *Torrent) onIdentity(p *Trade, m speed.Identity) {
	p.account = m.Key.Address()
	if _, banned := t.node.Standing(p.account, p.peer.Addr().Addr(), t.swarm.Now()); banned {
		p.peer.Kick(ErrUnpaid)
		return
	}
	t.openLink(p)
}

// Tell tells the peer our bid, if it has what we want (R5.4), and our reserve
// price.
func (t *Torrent) Tell(p *Trade) { t.tell(p, false) }

// Rebid tells every peer the bid that follows from settings the user changed
// (R8.8): at once, or when the minute since the last bid is over (A8).
func (t *Torrent) Rebid() {
	if t == nil {
		return
	}
	t.funds = 0 // nothing is held back any more
	for _, p := range t.trades {
		t.tell(p, true)
	}
}

func (t *Torrent) tell(p *Trade, byUser bool) {
	if t == nil || p.session == nil || !p.named {
		return
	}
	t.count()
	var bid amount.Price
	wanted := p.peer.Wanted() && t.swarm.Phase() == Downloading && !t.unitsDue(p)
	if wanted {
		bid = t.bargained(p, t.bidTo(p))
	}
	if bid > 0 {
		p.send(p.session.SetUnits(false, uint32(t.pays())))
	}
	if bid > 0 || byUser || !wanted || p.session.Snapshot().OurBid == 0 || !t.dips() {
		p.send(p.session.SetBid(bid, byUser, t.swarm.Now()))
	}
	t.tellReserve(p)
}

// count has the torrents that bid share the wallet from the first bid of each on.
func (t *Torrent) count() {
	b := t.swarm.Phase() == Downloading
	switch {
	case b == t.bidding:
		return
	case b:
		t.node.bidding.Add(1)
	default:
		t.node.bidding.Add(-1)
	}
	t.bidding = b
}

// Tick is to be called once a second: it re-bids and sends what the
// extension's rate limits held back.
func (t *Torrent) Tick() {
	if t == nil {
		return
	}
	t.count()
	t.releaseHeld()
	t.tickReserve()
	t.tickBids()
	t.tickFlows()
	for _, p := range t.trades {
		if t.identify(p); !p.named {
			continue
		}
		t.haggle(p)
		t.Tell(p)
		t.prove(p)
		t.dueBan(p)
		t.dueAccept(p)
		t.dueBid(p)
		t.dueRequests(p)
		t.wants(p)
		t.dueWrite(p)
		t.tire(p)
		for _, f := range p.session.Tick(t.swarm.Now()) {
			p.send(f)
		}
	}
}

// ErrUnpaid says that a peer is refused because it did not pay for its slot.
var ErrUnpaid = errors.New("peer did not pay for its slot")

// ErrBanned says that a peer sells by an account that is banned.
var ErrBanned = errors.New("peer's account is banned")

// Receive handles a btt_speed message.
func (t *Torrent) Receive(p *Trade, payload []byte) {
	if t == nil || p.session == nil {
		return
	}
	msg, err := p.session.Step(payload, t.swarm.Now())
	if err != nil {
		p.peer.Kick(fmt.Errorf("btt_speed: %w", err))
		return
	}
	if _, ok := msg.(speed.Identity); !ok && p.link == nil {
		return // it was refused at its identity, and spoke on
	}
	switch msg := msg.(type) {
	case speed.Identity:
		t.onIdentity(p, msg)
	case speed.Bid:
		t.onBid(p, msg)
	case speed.BidResponse:
		t.onResponse(p, msg)
	case speed.Accept:
		p.offered = time.Time{}
	case speed.Reserve:
		t.prove(p)
	case speed.Proof:
		t.onProof(p, msg)
	case speed.Channel:
		if err := p.link.Receive(msg.Payload); err != nil {
			p.peer.Kick(fmt.Errorf("btt_speed: %w", err))
		}
	}
}

func (t *Torrent) onBid(p *Trade, b speed.Bid) {
	if !p.bid {
		p.bid = true
		t.checkTold(p, b.Price)
	}
	if _, banned := t.node.Standing(b.Account, p.peer.Addr().Addr(), t.swarm.Now()); banned {
		p.peer.Kick(ErrUnpaid)
		return
	}
	t.swarm.FreeSlot()
}

// Status is a snapshot of the torrent's market.
type Status struct {
	// Bid is what we bid now, Reserve what we ask at least; µBTT per GiB.
	Bid, Reserve amount.Price
	Paid, Earned amount.Amount
	// Proofs is how often others proved to have the torrent, so that the
	// reserve price fell, and Proved when they last did.
	Proofs int64
	Proved time.Time
}

// Status returns a snapshot; zero without a market.
func (t *Torrent) Status() Status {
	if t == nil {
		return Status{}
	}
	st := Status{Bid: t.Bid(), Reserve: t.reserve(), Paid: t.spent, Earned: t.earned}
	if t.reserving != nil {
		st.Proofs, st.Proved = t.reserving.torrent.Proofs()
	}
	return st
}
