package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

// Incoming is a connection whose handshakes are done.
type Incoming struct {
	Net       net.Conn
	Handshake wire.Handshake // the peer's
	Addr      netip.AddrPort
	Outgoing  bool
	Encrypted bool // the handshake was (MSE)
	// Binding stands for the secret of an encrypted handshake; zero of another.
	Binding [32]byte
	// InfoHash is the caller's, whoever that is.
	InfoHash [20]byte
}

// member is the swarm's book about one connected peer.
type member struct {
	conn *peer.Conn
	addr netip.AddrPort
	// listen is where the peer accepts connections, if known.
	listen netip.AddrPort
	ext    wire.ExtendedHandshake
	got    bool // the extension handshake came
	// encrypted says that the connection began with MSE.
	encrypted bool
	binding   [32]byte
	hash      [20]byte // of the caller's handshake
	kicked    bool     // we ended the connection; its last event is on the way
	replaced  bool     // by another connection with the same peer
	pex       pexLink
	metaAsked int        // metadata pieces it asked for
	metaSent  int        // bytes of them that it got
	told      netip.Addr // what it says our address is
	dhtPort   uint16     // of the peer's DHT node

	bits     wire.Bits
	rawBits  []byte // a bitfield that came before the metadata
	haves    []uint32
	lost     []uint32 // pieces it took back before the metadata
	seed     bool
	counted  bool      // its bits are in the picker's availability
	choked   bool      // it chokes us
	opened   time.Time // when it last unchoked us
	free     time.Time // when it last owed us nothing
	lostAt   time.Time // when it last lost a piece for being slow
	tried    bool      // it took one from another
	taking   bool      // and who lost that, which is taken, may still owe a part
	taken    uint32
	chokes   uint32
	interest bool // it is interested in us
	wanted   bool // we told it that we are interested
	snubbed  bool

	unchoked   bool
	optimistic bool
	buys       bool      // its bid was enough for a slot at the last look
	lent       bool      // it is idle, and the choker was told
	askedAt    time.Time // when it last had something to be served
	unchokedAt time.Time
	waiting    time.Time

	lastReceived, lastSent   int64 // at the last tick
	roundReceived, roundSent int64 // at the last choke round
	rateDown, rateUp         int64 // bytes in the last second, smoothed
	rateBusy                 int64 // rateDown of the seconds in which it owed us something
	sentAt                   time.Time
	reads                    uint64    // the reader's mark at the last tick
	heardAt                  time.Time // when it was seen to change, or not to wait
	joined                   time.Time
	done                     time.Time // since when neither side wants anything
	bad                      int       // failed pieces it shared in
	parole                   bool      // it shared in one last: it gets pieces of its own

	hashMember
	fastMember

	trade   *market.Trade
	speedID atomic.Uint32 // the peer's id of btt_speed messages
}

// address is what is remembered about where a peer may be.
type address struct {
	tried     time.Time
	failures  int
	connected bool
	public    bool // another peer or the DHT told of it
}

var (
	errSelf      = errors.New("connection leads to ourselves")
	errDuplicate = errors.New("peer is connected already")
	errFull      = errors.New("torrent has enough peers")
	errNoSlot    = errors.New("node has enough connections")
	errBanned    = errors.New("peer is banned")
	errBlocked   = errors.New("address is in the filter")
	errUseless   = errors.New("both sides are complete")
	errIdle      = errors.New("neither side wanted anything for too long")
	errSilent    = errors.New("peer was silent for too long")
	errBadData   = errors.New("peer sent data that failed its hash")
)

// learn remembers an address.
func (s *Swarm) learn(a netip.AddrPort) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if !a.IsValid() || a.Port() == 0 || len(s.known) >= maxKnown || s.bans.hasAddr(a.Addr(), s.now) || s.blocked(a.Addr()) {
		return
	}
	if _, ok := s.known[a]; !ok {
		s.known[a] = &address{}
	}
}

// maxRetryShift bounds the wait between two tries: about half an hour.
const maxRetryShift = 10

// blocked says whether the user's filter holds an address.
func (s *Swarm) blocked(a netip.Addr) bool { return s.cfg.Blocked != nil && s.cfg.Blocked(a) }

// unpaid says whether an address is banned because who used it did not pay: it is
// neither let in nor called (R12.3).
func (s *Swarm) unpaid(a netip.Addr) bool { return s.cfg.Market != nil && s.cfg.Market.Bans(a, s.now) }

// nextCall is when the next known address may be called; zero = there is none.
func (s *Swarm) nextCall() (next time.Time) {
	if s.failure != nil || s.state == Checking || s.cfg.Dialer == nil {
		return next
	}
	for _, k := range s.known {
		at := k.tried.Add(retryAfter << min(k.failures, maxRetryShift))
		if !k.connected && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// connect makes connections to known addresses.
func (s *Swarm) connect() {
	if s.failure != nil || s.state == Checking || s.cfg.Dialer == nil {
		return
	}
	for a, k := range s.contacts() {
		if s.halfOpen >= maxHalfOpen || len(s.peers)+s.halfOpen >= s.cfg.MaxPeers {
			return
		}
		wait := retryAfter << min(k.failures, maxRetryShift)
		if k.connected || (!k.tried.IsZero() && s.now.Sub(k.tried) < wait) || s.blocked(a.Addr()) {
			continue
		}
		if s.unpaid(a.Addr()) {
			k.tried = s.now // later
			continue
		}
		if !s.cfg.Slots.dial() {
			return
		}
		k.tried, k.connected = s.now, true
		s.halfOpen++
		go s.dial(a) // ends when the dial succeeds or times out
	}
}

func (s *Swarm) dial(a netip.AddrPort) {
	in, err := s.cfg.Dialer.Dial(s.ctx, a, s.handshake())
	s.cfg.Slots.dialed()
	if err == nil {
		defer context.AfterFunc(s.ctx, func() { in.Net.Close() })() // nobody takes it any more
	}
	s.post(func() {
		s.halfOpen--
		k := s.known[a]
		if err != nil {
			if k != nil {
				k.connected = false
				k.failures++
			}
			s.cfg.Log.Debug("dial failed", "addr", a, "err", err)
			return
		}
		if k != nil {
			k.failures = 0
		}
		s.admit(in)
	})
}

// admit takes a connection in or closes it.
func (s *Swarm) admit(in *Incoming) {
	err := s.refusal(in)
	if err == nil && !s.cfg.Slots.enter() {
		err = errNoSlot
	}
	if err != nil {
		in.Net.Close()
		s.forget(in)
		s.cfg.Log.Debug("peer refused", "addr", in.Addr, "err", err)
		return
	}
	s.nextID++
	c := peer.New(peer.Config{ID: s.nextID, Net: in.Net, Handshake: in.Handshake, Outgoing: in.Outgoing, Addr: in.Addr,
		Owner: s, Up: s.cfg.Up, Down: s.cfg.Down})
	m := &member{conn: c, addr: in.Addr, encrypted: in.Encrypted, binding: in.Binding, hash: in.InfoHash, choked: true, joined: s.now, sentAt: s.now, heardAt: s.now, waiting: s.now}
	m.v2 = s.speaksV2(in)
	m.trade = market.NewTrade(trader{s, m})
	if in.Outgoing {
		m.listen = in.Addr
	}
	s.peers[c.ID] = m
	s.connected.Store(int32(len(s.peers)))
	if s.store != nil {
		c.SetStore(s.market.Serving(s.store), s.pieces, s.info.PieceLength, s.info.TotalLength)
		m.bits = wire.NewBits(s.info.NumPieces())
	}
	s.greet(m)
	c.Start()
	s.askLayers()
}

func (s *Swarm) refusal(in *Incoming) error {
	switch {
	case s.failure != nil:
		return s.failure
	case s.state == Checking:
		return errors.New("torrent is being checked")
	case in.Handshake.PeerID == s.cfg.PeerID:
		return errSelf
	case s.bans.has(in.Addr.Addr(), in.Handshake.PeerID, s.now):
		return errBanned
	case s.blocked(in.Addr.Addr()):
		return errBlocked
	case s.unpaid(in.Addr.Addr()):
		return market.ErrUnpaid // R12.3
	}
	for _, m := range s.peers {
		if m.conn.Handshake.PeerID == in.Handshake.PeerID {
			return s.duplicate(m, in)
		}
	}
	return s.room(in)
}

// duplicate decides between two connections to one peer. When both sides
// called each other at the same time, both keep the call of the greater peer
// id, so that not both are closed.
func (s *Swarm) duplicate(old *member, in *Incoming) error {
	ours := bytes.Compare(s.cfg.PeerID[:], in.Handshake.PeerID[:]) > 0
	if old.conn.Outgoing == in.Outgoing || in.Outgoing != ours {
		if in.Outgoing && !old.listen.IsValid() {
			old.listen = in.Addr // it answered there
		}
		return errDuplicate
	}
	old.replaced = true
	s.kick(old, errDuplicate)
	return nil
}

// forget frees the address of an outgoing connection that came to nothing.
func (s *Swarm) forget(in *Incoming) {
	if !in.Outgoing {
		return
	}
	if in.Handshake.PeerID == s.cfg.PeerID {
		delete(s.known, in.Addr)
		return
	}
	if k := s.known[in.Addr]; k != nil {
		k.connected = s.connectedTo(in.Addr)
		k.failures++
	}
}

// greet sends what opens a connection: the bitfield and the extension
// handshake.
func (s *Swarm) greet(m *member) {
	var out []byte
	if m.conn.Extended() {
		h := s.extendedHandshake(m)
		out = wire.AppendExtended(out, wire.SubHandshake, h.Append(nil))
	}
	n := s.pieces.Count()
	switch {
	case s.info != nil && n == s.info.NumPieces() && m.conn.Fast():
		out = wire.AppendEmpty(out, wire.HaveAll)
	case n == 0 && m.conn.Fast():
		out = wire.AppendEmpty(out, wire.HaveNone)
	case n > 0:
		out = wire.AppendBitfield(out, s.bitfield())
	}
	m.conn.Send(s.tellPort(m, out))
}

// drop takes a peer whose connection ended out of the books.
func (s *Swarm) drop(m *member, err error) {
	delete(s.peers, m.conn.ID)
	s.connected.Store(int32(len(s.peers)))
	if s.picker != nil {
		s.picker.Return(m.conn.ID)
		s.uncount(m)
	}
	s.cfg.Slots.leave(1)
	s.remember(m)
	s.totals.Downloaded += m.conn.Received.Load()
	s.totals.Uploaded += m.conn.Sent.Load()
	if k := s.left(m); k != nil && errors.Is(err, errUseless) {
		k.failures = maxRetryShift
	}
	s.market.Leave(m.trade, m.replaced || s.leaving)
	if errors.Is(err, disk.ErrInconsistent) {
		s.fail(err)
	}
	if errors.Is(err, peer.ErrHostile) {
		s.ban(s.authorOf(m), err)
	}
	if unread := (*peer.ReadError)(nil); errors.As(err, &unread) {
		s.doubt(unread.Piece)
	}
	if m.unchoked {
		s.cfg.FreeSlot()
	}
	s.feedAll()
	s.cfg.Log.Debug("peer left", "addr", m.addr, "err", err)
}

// kick ends a connection from the swarm's side.
func (s *Swarm) kick(m *member, err error) {
	m.kicked = true
	m.conn.Close(fmt.Errorf("closed by us: %w", err))
}
