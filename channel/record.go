package channel

import (
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// ErrRecord means bytes that are no record of this package.
var ErrRecord = errors.New("malformed channel record")

// RecordKind is a record's first byte.
type RecordKind uint8

// Records of a journal.
const (
	RecordSnapshot RecordKind = 1 // a machine's whole durable state
	RecordPay      RecordKind = 2 // payee: a payment; counts only if its signature verifies
	RecordCeiling  RecordKind = 3 // payer: may have signed up to here
)

// Record is one entry of a journal: exactly one field is set.
type Record struct {
	Snapshot *Snapshot
	Pay      *Pay
	Ceiling  *Ceiling
}

// Ceiling bounds what a payer may have signed: no sum above Amount and no
// sequence above Sequence has left this node.
type Ceiling struct {
	ID       ID
	Amount   amount.Amount
	Sequence uint32
}

// Snapshot is the durable state of one side of a channel.
type Snapshot struct {
	Role     Role
	Stage    Stage
	KeyIndex uint32 // of this side's channel key
	Contract Contract
	Opened   uint64 // ledger time when the contract was made
	Ceiling  Ceiling
	Best     Payment          // payer: newest known; payee: newest accepted
	Refund   ledger.Signature // payer: K2's signature on T2
	T1       []byte
	Lanes    []LaneState
}

// LaneState is the durable part of a lane.
type LaneState struct {
	Number uint32
	Tag    Tag
	Bytes  int64
}

// ID returns the channel of the record.
func (r *Record) ID() ID {
	switch {
	case r.Snapshot != nil:
		return r.Snapshot.Contract.ID()
	case r.Pay != nil:
		return r.Pay.ID
	case r.Ceiling != nil:
		return r.Ceiling.ID
	}
	return ID{}
}

// Append appends the binary form of r to b.
func (r *Record) Append(b []byte) []byte {
	switch {
	case r.Snapshot != nil:
		return r.Snapshot.append(append(b, byte(RecordSnapshot)))
	case r.Pay != nil:
		return r.Pay.Append(append(b, byte(RecordPay)))
	case r.Ceiling != nil:
		b = append(append(b, byte(RecordCeiling)), r.Ceiling.ID[:]...)
		b = appendU64(b, uint64(r.Ceiling.Amount))
		return appendU32(b, r.Ceiling.Sequence)
	}
	return b
}

// DecodeRecord reads the form that Append writes; errors wrap ErrRecord.
func DecodeRecord(b []byte) (Record, error) {
	r := reader{b: b}
	var out Record
	switch kind := RecordKind(r.u8()); kind {
	case RecordSnapshot:
		out.Snapshot = new(Snapshot)
		out.Snapshot.read(&r)
	case RecordPay:
		r.bad = r.bad || Type(r.u8()) != TypePay
		out.Pay = new(Pay)
		out.Pay.read(&r)
	case RecordCeiling:
		out.Ceiling = new(Ceiling)
		r.fill(out.Ceiling.ID[:])
		out.Ceiling.Amount = r.sum()
		out.Ceiling.Sequence = r.u32()
	default:
		r.bad = true
	}
	if r.bad || len(r.b) != 0 {
		return Record{}, fmt.Errorf("decode record of %d bytes: %w", len(b), ErrRecord)
	}
	return out, nil
}

func (s *Snapshot) append(b []byte) []byte {
	c := &s.Contract
	b = append(b, byte(s.Role), byte(s.Stage))
	b = appendU32(b, s.KeyIndex)
	b = append(b, c.Network[:]...)
	for _, k := range [...]*ledger.PublicKey{&c.Payer, &c.Payee, &c.K1, &c.K2} {
		b = append(b, k[:]...)
	}
	b = appendOutpoint(b, c.Funding)
	b = appendU64(b, uint64(c.Deposit))
	b = appendU64(b, uint64(c.MinOutput))
	b = appendU64(b, c.LockTime)
	b = appendU64(b, s.Opened)
	b = appendU64(b, uint64(s.Ceiling.Amount))
	b = appendU32(b, s.Ceiling.Sequence)
	b = appendPayment(b, s.Best)
	b = append(b, s.Refund[:]...)
	b = appendBytes(b, s.T1)
	b = appendU16(b, uint16(len(s.Lanes)))
	for i := range s.Lanes {
		b = appendU32(b, s.Lanes[i].Number)
		b = append(b, s.Lanes[i].Tag[:]...)
		b = appendU64(b, uint64(s.Lanes[i].Bytes))
	}
	return b
}

func (s *Snapshot) read(r *reader) {
	c := &s.Contract
	s.Role, s.Stage = Role(r.u8()), Stage(r.u8())
	r.bad = r.bad || s.Role < RolePayer || s.Role > RolePayee || s.Stage < Checking || s.Stage > Abandoned
	s.KeyIndex = r.u32()
	r.fill(c.Network[:])
	for _, k := range [...]*ledger.PublicKey{&c.Payer, &c.Payee, &c.K1, &c.K2} {
		r.fill(k[:])
	}
	c.Funding = r.outpoint()
	c.Deposit = r.sum()
	c.MinOutput = r.sum()
	c.LockTime = r.u64()
	s.Opened = r.u64()
	s.Ceiling.Amount = r.sum()
	s.Ceiling.Sequence = r.u32()
	s.Best = r.payment()
	r.fill(s.Refund[:])
	s.T1 = r.bytes(MaxFunding)
	n := int(r.u16())
	if r.bad || n > MaxLanes {
		r.bad = true
		return
	}
	s.Ceiling.ID = c.ID()
	for range n {
		l := LaneState{Number: r.u32()}
		r.fill(l.Tag[:])
		l.Bytes = r.count()
		s.Lanes = append(s.Lanes, l)
	}
}

// Apply folds a later record of the same channel into s. A payment counts
// only when it is newer and its signature verifies (a torn write cannot make
// income).
func (s *Snapshot) Apply(r Record) error {
	if r.ID() != s.Contract.ID() {
		return fmt.Errorf("apply record of channel %v to %v: %w", r.ID(), s.Contract.ID(), ErrRecord)
	}
	switch {
	case r.Snapshot != nil:
		*s = *r.Snapshot
	case r.Ceiling != nil:
		s.Ceiling.Amount = max(s.Ceiling.Amount, r.Ceiling.Amount)
		s.Ceiling.Sequence = max(s.Ceiling.Sequence, r.Ceiling.Sequence)
	case r.Pay != nil:
		p := r.Pay.Payment
		if p.Sequence <= s.Best.Sequence || p.Amount < s.Best.Amount || p.Amount > s.Contract.Capacity() {
			return nil
		}
		if !ledger.VerifySignature(s.Contract.K1, s.Contract.paymentDigest(p.Amount, p.Sequence), p.Signature) {
			return fmt.Errorf("apply payment %d of channel %v: signature does not verify: %w", p.Sequence, s.Contract.ID(), ErrRecord)
		}
		s.Best = p
		for i := range s.Lanes {
			if s.Lanes[i].Number == r.Pay.Lane {
				s.Lanes[i].Bytes = max(s.Lanes[i].Bytes, r.Pay.Bytes)
			}
		}
	}
	return nil
}

// Unsettled is the most of the deposit that the payer may still get back, as
// far as this record can tell.
func (s *Snapshot) Unsettled() amount.Amount {
	if s.Stage.Final() {
		return 0
	}
	return max(0, s.Contract.Deposit-s.Best.Amount)
}

// Account returns the other side's account.
func (s *Snapshot) Account() ledger.PublicKey {
	if s.Role == RolePayer {
		return s.Contract.Payee
	}
	return s.Contract.Payer
}

// OwnKey returns this side's channel key.
func (s *Snapshot) OwnKey() ledger.PublicKey {
	if s.Role == RolePayer {
		return s.Contract.K1
	}
	return s.Contract.K2
}
