package channel

import (
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Limits of messages. Decoders refuse anything larger.
const (
	MaxMessage = 20 << 10 // bytes of one encoded message
	MaxFunding = 16 << 10 // bytes of T1 with its witnesses
	MaxReason  = 200      // bytes of a refusal's text
	TermsSize  = 33 + 33 + 32 + 4 + 4 + 8 + 8 + 4
)

// Type is a message's first byte.
type Type uint8

// Message types. The comment names the sender.
const (
	TypeOpen      Type = 1  // payer
	TypeRefundSig Type = 2  // payee
	TypeFund      Type = 3  // payer
	TypeConfirm   Type = 4  // payee
	TypeAttach    Type = 5  // payer
	TypeState     Type = 6  // payee
	TypePay       Type = 7  // payer
	TypeClose     Type = 8  // either
	TypeClosed    Type = 9  // payee
	TypeQuote     Type = 10 // payee
	TypeRefuse    Type = 11 // either
)

var typeNames = [...]string{
	TypeOpen: "open", TypeRefundSig: "refundsig", TypeFund: "fund", TypeConfirm: "confirm", TypeAttach: "attach",
	TypeState: "state", TypePay: "pay", TypeClose: "close", TypeClosed: "closed", TypeQuote: "quote", TypeRefuse: "refuse",
}

func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// ErrMessage means that bytes are no canonical message.
var ErrMessage = errors.New("malformed channel message")

// Message is one of the message types below. The binary form is the type
// byte, then the fields in order, integers big-endian and of fixed width:
// every message has exactly one encoding.
type Message interface {
	Type() Type
	// Channel is the id of the channel that the message speaks of; a Quote
	// speaks of the connection and has none.
	Channel() ID
	// Append appends the encoded message to b.
	Append(b []byte) []byte
	read(r *reader)
}

// Terms are what a provider asks of a channel; they travel in the bid
// response (R10.15, A1).
type Terms struct {
	Account    ledger.PublicKey // the provider's account
	K2         ledger.PublicKey // a key of no channel that is on the ledger
	Network    ledger.Network
	MinLock    uint32 // seconds from now to the lock time of T2
	MaxLock    uint32
	MinDeposit amount.Amount
	MaxDeposit amount.Amount
	Quantum    uint32 // bytes the provider serves ahead of payment
}

// Open proposes a channel (steps 1-3). T2 is implied: the whole deposit back
// to Payer's address, sequence 0, lock time LockTime.
type Open struct {
	Payer, K1, K2 ledger.PublicKey
	Funding       ledger.OutPoint
	Deposit       amount.Amount
	LockTime      uint64 // ledger seconds
}

// RefundSig is the payee's signature on T2 (step 4).
type RefundSig struct {
	ID        ID
	Signature ledger.Signature
}

// Fund hands over T1 with its witnesses and the signature of T3 number 1,
// which gives the payee nothing yet (steps 5-7).
type Fund struct {
	ID    ID
	First ledger.Signature
	T1    []byte
}

// Confirm says that T1 is committed and payments count (step 8). Next holds
// the terms of a successor channel, with another K2.
type Confirm struct {
	ID   ID
	Next *Terms
}

// Attach says that payments of a lane on this connection are for Tag. The
// lane's byte count Bytes stands for position From of the connection's
// stream; the payee takes the greater of Bytes and its own count.
type Attach struct {
	ID    ID
	Lane  uint32
	Tag   Tag
	From  int64
	Bytes int64
}

// State shows the newest payment the payee holds and the byte count of a
// lane, so that a payer that lost its memory can go on (re-synchronisation).
type State struct {
	ID      ID
	Lane    uint32
	Bytes   int64
	Payment Payment
	// Attached: the lane is bound as the Attach before asked. Otherwise Bytes is
	// the position up to which the connection's stream is paid, which is less
	// than the Attach claimed; the payer attaches again.
	Attached bool
}

// Payment is a signed T3: number, cumulative sum, signature of K1.
type Payment struct {
	Sequence  uint32
	Amount    amount.Amount
	Signature ledger.Signature
}

// Pay raises the payee's share (step 9, R11.12-R11.13): the channel's new
// cumulative amount and the lane's cumulative bytes.
type Pay struct {
	ID      ID
	Lane    uint32
	Bytes   int64
	Payment Payment
}

// Close asks the payee to settle, or tells the payer that it does.
type Close struct{ ID ID }

// Closed says that the payee handed T3 with this amount to the ledger.
type Closed struct {
	ID     ID
	Amount amount.Amount
}

// Quote states the price of the connection's stream from byte From on.
type Quote struct {
	From  int64
	Price amount.Price
}

// Refuse ends what the other side asked for; the code says why. Terms, if
// set, invite a proposal with another K2.
type Refuse struct {
	ID     ID
	Code   Code
	Reason string
	Terms  *Terms
}

func (*Open) Type() Type      { return TypeOpen }
func (*RefundSig) Type() Type { return TypeRefundSig }
func (*Fund) Type() Type      { return TypeFund }
func (*Confirm) Type() Type   { return TypeConfirm }
func (*Attach) Type() Type    { return TypeAttach }
func (*State) Type() Type     { return TypeState }
func (*Pay) Type() Type       { return TypePay }
func (*Close) Type() Type     { return TypeClose }
func (*Closed) Type() Type    { return TypeClosed }
func (*Quote) Type() Type     { return TypeQuote }
func (*Refuse) Type() Type    { return TypeRefuse }

func (m *Open) Channel() ID      { return MakeID(m.Funding.TxID) }
func (m *RefundSig) Channel() ID { return m.ID }
func (m *Fund) Channel() ID      { return m.ID }
func (m *Confirm) Channel() ID   { return m.ID }
func (m *Attach) Channel() ID    { return m.ID }
func (m *State) Channel() ID     { return m.ID }
func (m *Pay) Channel() ID       { return m.ID }
func (m *Close) Channel() ID     { return m.ID }
func (m *Closed) Channel() ID    { return m.ID }
func (*Quote) Channel() ID       { return ID{} }
func (m *Refuse) Channel() ID    { return m.ID }

// New returns an empty message of a type, or nil for an unknown type.
func newMessage(t Type) Message {
	switch t {
	case TypeOpen:
		return new(Open)
	case TypeRefundSig:
		return new(RefundSig)
	case TypeFund:
		return new(Fund)
	case TypeConfirm:
		return new(Confirm)
	case TypeAttach:
		return new(Attach)
	case TypeState:
		return new(State)
	case TypePay:
		return new(Pay)
	case TypeClose:
		return new(Close)
	case TypeClosed:
		return new(Closed)
	case TypeQuote:
		return new(Quote)
	case TypeRefuse:
		return new(Refuse)
	}
	return nil
}

// Encode returns the binary form of m.
func Encode(m Message) []byte { return m.Append(make([]byte, 0, 128)) }

// Decode reads one message. It keeps no reference to b. Errors wrap
// ErrMessage: unknown type, wrong length, a value out of range.
func Decode(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return nil, fmt.Errorf("decode channel message of %d bytes: %w", len(b), ErrMessage)
	}
	m := newMessage(Type(b[0]))
	if m == nil {
		return nil, fmt.Errorf("decode channel message of %v: %w", Type(b[0]), ErrMessage)
	}
	r := reader{b: b[1:]}
	m.read(&r)
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("decode channel message %v of %d bytes: %w", Type(b[0]), len(b), ErrMessage)
	}
	return m, nil
}
