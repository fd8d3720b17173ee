package speed

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed/autobid"
)

// Rates of the session. A peer that sends faster than burst + 1 per interval
// is disconnected (ErrFlood). The intervals are a little shorter than those
// senders keep, so that two clocks may differ.
const (
	// BidBurst and BidRefill: one bid a minute, two at once (R8.7, A8).
	BidBurst  = 2
	BidRefill = 55 * time.Second
	// ReserveInterval is the least time between two reserve prices we send
	// (A15).
	ReserveInterval = 30 * time.Second
	// ReserveBurst and ReserveRefill bound those we accept.
	ReserveBurst  = 4
	ReserveRefill = 25 * time.Second
	// ResponseBurst and ResponseRefill bound bid responses: about one a round
	// and some for slots that fall free.
	ResponseBurst  = 8
	ResponseRefill = 5 * time.Second
	// ProofBurst and ProofRefill bound proofs; each costs a disk read.
	ProofBurst  = 3
	ProofRefill = 20 * time.Second
	// ChannelBurst and ChannelRefill bound channel messages; each may cost a
	// signature check.
	ChannelBurst  = 4000
	ChannelRefill = 200 * time.Microsecond
	// UnitsBurst and UnitsRefill bound messages about units: one of a
	// requester, and one for a change of the slots that are sold.
	UnitsBurst  = 8
	UnitsRefill = 5 * time.Second
	// UnknownBurst and UnknownRefill bound messages of unknown types.
	UnknownBurst  = 100
	UnknownRefill = 100 * time.Millisecond
	// CrossingWindow is how long after a new bid a response to the one before
	// it is still valid: both may have been on the way. Only a withdrawal may
	// follow a bid sooner.
	CrossingWindow = autobid.MinInterval
)

// Errors of the session. Those of Step end the connection.
var (
	ErrFlood         = errors.New("peer sends btt_speed messages too fast")
	ErrPriceAboveBid = errors.New("price is above the bid")
	ErrUnasked       = errors.New("peer answers what was not asked")
	ErrAccount       = errors.New("peer bids with an account that is not its own")
	ErrNoBid         = errors.New("peer has no bid")
	ErrNoChallenge   = errors.New("peer announced no challenge for that chunk")
)

// Config of a Session.
type Config struct {
	// Account is our ledger account, told in bids.
	Account ledger.Address
	// Nonce salts the proofs asked of this peer; fresh random bytes for each
	// connection (A12).
	Nonce [NonceLen]byte
	// Connection is what the peer's identity must be proved on.
	Connection Connection
}

// Session is the state of the extension on one peer connection. Its methods
// return payloads to send as extension messages; what they return was already
// counted as sent. See [NewSession].
type Session struct {
	cfg Config

	bidder   autobid.Bidder
	want     amount.Price // bid the owner wants the peer to know
	previous amount.Price // the highest bid before the last one that may be on the way still
	bidAt    time.Time

	reserve   Reserve // last sent
	next      Reserve // wanted
	wanted    bool    // SetReserve was called
	announced bool
	reserveAt time.Time
	answered  bool // a proof for the challenge came

	identity ledger.PublicKey // theirs, proved; zero until then
	address  ledger.Address   // of identity

	theirs       Bid
	theirReserve Reserve
	haveReserve  bool
	ourPrice     amount.Price
	theirPrice   amount.Price

	ourUnits, theirUnits [2]uint32 // as requester, as provider

	bids, reserves, responses, accepts, proofs, channels, units, unknown bucket
}

// Snapshot is what the owner, the choker and the user interface want to know.
// Prices are in µBTT per GiB, 0 where nothing was said.
type Snapshot struct {
	TheirBid     amount.Price   // what the peer offers us
	TheirAccount ledger.Address // zero until it is proved
	TheirReserve amount.Price   // what the peer asks at least
	TheirPrice   amount.Price   // what the peer asked of us in its last response
	OurBid       amount.Price   // last bid sent
	OurReserve   amount.Price   // last reserve price sent
	OurPrice     amount.Price   // what we asked of the peer in our last response
	PaysUnits    uint32         // bytes: what the peer can pay at least as a buyer, 0 for whole pieces
	SellsUnits   uint32         // bytes: what it is paid by as a seller, 0 for whole pieces
}

// NewSession returns the machine of a new connection.
func NewSession(cfg Config) *Session { return &Session{cfg: cfg} }

// Snapshot returns the present state.
func (s *Session) Snapshot() Snapshot {
	return Snapshot{
		TheirBid: s.theirs.Price, TheirAccount: s.address,
		TheirReserve: s.theirReserve.Price, TheirPrice: s.theirPrice,
		OurBid: s.bidder.Sent(), OurReserve: s.reserve.Price, OurPrice: s.ourPrice,
		PaysUnits: s.theirUnits[0], SellsUnits: s.theirUnits[1],
	}
}

// Identity returns the account's key that the peer proved to have; zero before.
func (s *Session) Identity() ledger.PublicKey { return s.identity }

// Challenge returns the peer's last reserve message, which a peer that has the
// chunk may answer with Prove; ok is false if there was none.
func (s *Session) Challenge() (r Reserve, ok bool) { return s.theirReserve, s.haveReserve }

// Asked returns the reserve message last sent, whose nonce a Proof from Step
// must be checked with; ok is false if there was none.
func (s *Session) Asked() (r Reserve, ok bool) { return s.reserve, s.announced }

// Step takes one received payload. It returns the message if the owner has to
// act on it, nil if it was of an unknown type or came too late to matter. On
// an error the connection is to be closed; the state is unchanged.
func (s *Session) Step(payload []byte, now time.Time) (Message, error) {
	m, err := Decode(payload)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, limit(&s.unknown, now, UnknownBurst, UnknownRefill, Type(payload[0]))
	}
	if id, ok := m.(Identity); ok || s.identity.IsZero() {
		if !ok {
			return nil, fmt.Errorf("receive %s: %w", m.Type(), ErrIdentity)
		}
		return s.stepIdentity(id)
	}
	switch m := m.(type) {
	case Bid:
		return s.stepBid(m, now)
	case BidResponse:
		return s.stepResponse(m, now)
	case Reserve:
		if err := limit(&s.reserves, now, ReserveBurst, ReserveRefill, TypeReserve); err != nil {
			return nil, err
		}
		s.theirReserve, s.haveReserve = m, true
		return m, nil
	case Proof:
		return s.stepProof(m, now)
	case Accept:
		return s.stepAccept(m, now)
	case Units:
		if err := limit(&s.units, now, UnitsBurst, UnitsRefill, TypeUnits); err != nil {
			return nil, err
		}
		s.theirUnits[role(m.Provider)] = m.Size
		return m, nil
	default:
		if err := limit(&s.channels, now, ChannelBurst, ChannelRefill, TypeChannel); err != nil {
			return nil, err
		}
		return m, nil
	}
}

func limit(b *bucket, now time.Time, burst int, refill time.Duration, t Type) error {
	if !b.take(now, burst, refill) {
		return fmt.Errorf("receive %s: over %d at once and one per %v: %w", t, burst, refill, ErrFlood)
	}
	return nil
}

// stepIdentity takes the one proof of who the peer is.
func (s *Session) stepIdentity(m Identity) (Message, error) {
	if !s.identity.IsZero() {
		return nil, fmt.Errorf("receive a second identity: %w", ErrUnasked)
	}
	if err := s.cfg.Connection.Check(m); err != nil {
		return nil, fmt.Errorf("receive identity: %w", err)
	}
	s.identity, s.address = m.Key, m.Key.Address()
	return m, nil
}

func (s *Session) stepBid(m Bid, now time.Time) (Message, error) {
	if s.address != m.Account {
		return nil, fmt.Errorf("receive bid of %v from %v: %w", m.Account, s.address, ErrAccount)
	}
	if err := limit(&s.bids, now, BidBurst, BidRefill, TypeBid); err != nil {
		return nil, err
	}
	s.theirs = m
	return m, nil
}

func (s *Session) stepResponse(m BidResponse, now time.Time) (Message, error) {
	if s.bidAt.IsZero() {
		return nil, fmt.Errorf("receive bid response without a bid: %w", ErrUnasked)
	}
	most := s.bidder.Sent()
	if now.Sub(s.bidAt) < CrossingWindow {
		most = max(most, s.previous)
	}
	if m.Price > most {
		return nil, fmt.Errorf("receive bid response: %v asked, %v bid: %w", m.Price, most, ErrPriceAboveBid)
	}
	if err := limit(&s.responses, now, ResponseBurst, ResponseRefill, TypeBidResponse); err != nil {
		return nil, err
	}
	s.theirPrice = m.Price
	return m, nil
}

// stepAccept passes on the answer to the bid response sent last; one to an
// earlier response crossed with it and is dropped.
func (s *Session) stepAccept(m Accept, now time.Time) (Message, error) {
	if err := limit(&s.accepts, now, ResponseBurst, ResponseRefill, TypeAccept); err != nil {
		return nil, err
	}
	if m.Price != s.ourPrice {
		return nil, nil
	}
	return m, nil
}

// stepProof passes on the first answer to the present challenge. Answers to
// earlier ones were on the way when the challenge changed and are dropped.
func (s *Session) stepProof(m Proof, now time.Time) (Message, error) {
	if !s.announced {
		return nil, fmt.Errorf("receive proof without a challenge: %w", ErrUnasked)
	}
	if err := limit(&s.proofs, now, ProofBurst, ProofRefill, TypeProof); err != nil {
		return nil, err
	}
	if s.answered || m.Piece != s.reserve.Piece || m.Chunk != s.reserve.Chunk {
		return nil, nil
	}
	s.answered = true
	return m, nil
}

// Tick returns what became due: at most a bid and a reserve price.
func (s *Session) Tick(now time.Time) [][]byte {
	var out [][]byte
	if f := s.flushBid(now); f != nil {
		out = append(out, f)
	}
	if f := s.flushReserve(now); f != nil {
		out = append(out, f)
	}
	return out
}

// Next returns when Tick has something to do; the zero time if nothing waits.
func (s *Session) Next() time.Time {
	t := s.bidder.Next(s.want)
	if s.reserveDue() {
		if at := s.reserveAt.Add(ReserveInterval); t.IsZero() || at.Before(t) {
			t = at
		}
	}
	return t
}

// SetBid tells the session what we would bid now (autobid.Price). It returns
// the message to send, or nil if the change is small or too early; Tick sends
// it when it is due. byUser marks a change the user made, which is sent
// whatever its size (R8.8). Prices outside 0 to MaxPrice are clamped.
func (s *Session) SetBid(price amount.Price, byUser bool, now time.Time) []byte {
	if s.cfg.Account.IsZero() {
		return nil // a node without a wallet does not bid
	}
	s.want = min(max(price, 0), MaxPrice)
	if byUser {
		s.bidder.Force()
	}
	return s.flushBid(now)
}

func (s *Session) flushBid(now time.Time) []byte {
	before := s.bidder.Sent()
	if !s.bidder.Step(now, s.want) {
		return nil
	}
	if s.bidAt.IsZero() || now.Sub(s.bidAt) >= CrossingWindow {
		s.previous = 0
	}
	s.previous, s.bidAt = max(s.previous, before), now
	return encode(Bid{Price: s.want, Account: s.cfg.Account})
}

// SetReserve tells the session the torrent's present reserve price and
// challenge (package reserve; the price already in announcement steps). It
// returns the message to send, or nil if nothing changed or the last one is
// younger than ReserveInterval; Tick sends it when it is due.
func (s *Session) SetReserve(price amount.Price, piece, chunk uint32, now time.Time) []byte {
	s.next = Reserve{Price: min(max(price, 0), MaxPrice), Piece: piece, Chunk: chunk, Nonce: s.cfg.Nonce}
	s.wanted = true
	return s.flushReserve(now)
}

// reserveDue reports whether what the peer knows is not what we want it to.
func (s *Session) reserveDue() bool {
	return s.wanted && (!s.announced || s.next != s.reserve)
}

func (s *Session) flushReserve(now time.Time) []byte {
	if !s.reserveDue() || s.announced && now.Before(s.reserveAt.Add(ReserveInterval)) {
		return nil
	}
	if s.next.Piece != s.reserve.Piece || s.next.Chunk != s.reserve.Chunk {
		s.answered = false
	}
	s.reserve, s.reserveAt, s.announced = s.next, now, true
	return encode(s.reserve)
}

// Respond returns the bid response that precedes an unchoke (R10.14). The
// price must not be above the peer's bid (R10.16); terms are at most MaxTerms
// bytes.
func (s *Session) Respond(price amount.Price, terms []byte) ([]byte, error) {
	if s.theirs.Price == 0 {
		return nil, fmt.Errorf("answer bid: %w", ErrNoBid)
	}
	if price > s.theirs.Price {
		return nil, fmt.Errorf("answer bid of %v with %v: %w", s.theirs.Price, price, ErrPriceAboveBid)
	}
	f, err := Append(nil, BidResponse{Price: price, Terms: terms})
	if err != nil {
		return nil, err
	}
	s.ourPrice = price
	return f, nil
}

// Accept returns the answer to the peer's last bid response.
func (s *Session) Accept() []byte { return encode(Accept{Price: s.theirPrice}) }

// SetUnits says in what units we pay (provider false) or are paid (true); size as
// in [Units]. It returns the message to send, nil if the peer knows.
func (s *Session) SetUnits(provider bool, size uint32) []byte {
	if s.ourUnits[role(provider)] == size {
		return nil
	}
	f, err := Append(nil, Units{Provider: provider, Size: size})
	if err != nil {
		return nil // no size of a unit: whole pieces stay
	}
	s.ourUnits[role(provider)] = size
	return f
}

// Prove returns the answer to the peer's present challenge (reserve.Hash).
func (s *Session) Prove(piece, chunk uint32, hash [HashLen]byte) ([]byte, error) {
	if !s.haveReserve || piece != s.theirReserve.Piece || chunk != s.theirReserve.Chunk {
		return nil, fmt.Errorf("prove chunk %d of piece %d: %w", chunk, piece, ErrNoChallenge)
	}
	return Append(nil, Proof{Piece: piece, Chunk: chunk, Hash: hash})
}

// Send returns a channel message as an extension message; 1 to MaxChannel
// bytes.
func (s *Session) Send(payload []byte) ([]byte, error) {
	return Append(nil, Channel{Payload: bytes.Clone(payload)})
}

// encode is Append for messages that are valid by construction.
func encode(m Message) []byte {
	f, err := Append(nil, m)
	if err != nil {
		panic(err) // unreachable: fields were clamped before
	}
	return f
}
