package channel

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// reader takes fixed fields off a byte slice; bad stays set after the first
// field that is missing or out of range.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || len(r.b) < n {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) fill(dst []byte) { copy(dst, r.take(len(dst))) }

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count reads a number that fits a non-negative int64.
func (r *reader) count() int64 {
	n := int64(r.u64())
	r.bad = r.bad || n < 0
	return n
}

func (r *reader) flag() bool {
	n := r.u8()
	r.bad = r.bad || n > 1
	return n == 1
}

func (r *reader) sum() amount.Amount {
	a := amount.Amount(r.u64())
	r.bad = r.bad || !a.Valid()
	return a
}

func (r *reader) price() amount.Price {
	p := amount.Price(r.u64())
	r.bad = r.bad || !p.Valid()
	return p
}

func (r *reader) outpoint() (o ledger.OutPoint) {
	r.fill(o.TxID[:])
	o.Index = r.u16()
	o.Shard = r.u8()
	return o
}

func (r *reader) payment() (p Payment) {
	p.Sequence = r.u32()
	p.Amount = r.sum()
	r.fill(p.Signature[:])
	return p
}

func (r *reader) bytes(limit int) []byte {
	n := int(r.u16())
	if n > limit {
		r.bad = true
		return nil
	}
	return append([]byte(nil), r.take(n)...)
}

func appendU16(b []byte, n uint16) []byte { return binary.BigEndian.AppendUint16(b, n) }
func appendU32(b []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(b, n) }
func appendU64(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(b, n) }

func appendFlag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendOutpoint(b []byte, o ledger.OutPoint) []byte {
	b = append(b, o.TxID[:]...)
	b = appendU16(b, o.Index)
	return append(b, o.Shard)
}

func appendPayment(b []byte, p Payment) []byte {
	b = appendU32(b, p.Sequence)
	b = appendU64(b, uint64(p.Amount))
	return append(b, p.Signature[:]...)
}

func (r *reader) terms() *Terms {
	if !r.flag() {
		return nil
	}
	t := new(Terms)
	t.read(r)
	return t
}

func appendTerms(b []byte, t *Terms) []byte {
	b = appendFlag(b, t != nil)
	if t != nil {
		b = t.Append(b)
	}
	return b
}

func appendBytes(b, s []byte) []byte { return append(appendU16(b, uint16(len(s))), s...) }

// Append appends the fixed binary form of t, TermsSize bytes.
func (t *Terms) Append(b []byte) []byte {
	b = append(b, t.Account[:]...)
	b = append(b, t.K2[:]...)
	b = append(b, t.Network[:]...)
	b = appendU32(b, t.MinLock)
	b = appendU32(b, t.MaxLock)
	b = appendU64(b, uint64(t.MinDeposit))
	b = appendU64(b, uint64(t.MaxDeposit))
	return appendU32(b, t.Quantum)
}

func (t *Terms) read(r *reader) {
	r.fill(t.Account[:])
	r.fill(t.K2[:])
	r.fill(t.Network[:])
	t.MinLock = r.u32()
	t.MaxLock = r.u32()
	t.MinDeposit = r.sum()
	t.MaxDeposit = r.sum()
	t.Quantum = r.u32()
	r.bad = r.bad || t.MinLock > t.MaxLock || t.MinDeposit > t.MaxDeposit
}

// DecodeTerms reads the form that Append writes. The error wraps ErrMessage.
func DecodeTerms(b []byte) (Terms, error) {
	r := reader{b: b}
	var t Terms
	t.read(&r)
	if r.bad || len(r.b) != 0 {
		return Terms{}, fmt.Errorf("decode channel terms of %d bytes: %w", len(b), ErrMessage)
	}
	return t, nil
}

func (m *Open) Append(b []byte) []byte {
	b = append(b, byte(TypeOpen))
	b = append(b, m.Payer[:]...)
	b = append(b, m.K1[:]...)
	b = append(b, m.K2[:]...)
	b = appendOutpoint(b, m.Funding)
	b = appendU64(b, uint64(m.Deposit))
	return appendU64(b, m.LockTime)
}

func (m *Open) read(r *reader) {
	r.fill(m.Payer[:])
	r.fill(m.K1[:])
	r.fill(m.K2[:])
	m.Funding = r.outpoint()
	m.Deposit = r.sum()
	m.LockTime = r.u64()
}

func (m *RefundSig) Append(b []byte) []byte {
	b = append(append(b, byte(TypeRefundSig)), m.ID[:]...)
	return append(b, m.Signature[:]...)
}

func (m *RefundSig) read(r *reader) {
	r.fill(m.ID[:])
	r.fill(m.Signature[:])
}

func (m *Fund) Append(b []byte) []byte {
	b = append(append(b, byte(TypeFund)), m.ID[:]...)
	b = append(b, m.First[:]...)
	return appendBytes(b, m.T1)
}

func (m *Fund) read(r *reader) {
	r.fill(m.ID[:])
	r.fill(m.First[:])
	m.T1 = r.bytes(MaxFunding)
}

func (m *Confirm) Append(b []byte) []byte {
	b = append(append(b, byte(TypeConfirm)), m.ID[:]...)
	return appendTerms(b, m.Next)
}

func (m *Confirm) read(r *reader) {
	r.fill(m.ID[:])
	m.Next = r.terms()
}

func (m *Attach) Append(b []byte) []byte {
	b = append(append(b, byte(TypeAttach)), m.ID[:]...)
	b = appendU32(b, m.Lane)
	b = append(b, m.Tag[:]...)
	b = appendU64(b, uint64(m.From))
	return appendU64(b, uint64(m.Bytes))
}

func (m *Attach) read(r *reader) {
	r.fill(m.ID[:])
	m.Lane = r.u32()
	r.fill(m.Tag[:])
	m.From = r.count()
	m.Bytes = r.count()
}

func (m *State) Append(b []byte) []byte {
	b = append(append(b, byte(TypeState)), m.ID[:]...)
	b = appendU32(b, m.Lane)
	b = appendU64(b, uint64(m.Bytes))
	b = appendPayment(b, m.Payment)
	return appendFlag(b, m.Attached)
}

func (m *State) read(r *reader) {
	r.fill(m.ID[:])
	m.Lane = r.u32()
	m.Bytes = r.count()
	m.Payment = r.payment()
	m.Attached = r.flag()
}

func (m *Pay) Append(b []byte) []byte {
	b = append(append(b, byte(TypePay)), m.ID[:]...)
	b = appendU32(b, m.Lane)
	b = appendU64(b, uint64(m.Bytes))
	return appendPayment(b, m.Payment)
}

func (m *Pay) read(r *reader) {
	r.fill(m.ID[:])
	m.Lane = r.u32()
	m.Bytes = r.count()
	m.Payment = r.payment()
}

func (m *Close) Append(b []byte) []byte { return append(append(b, byte(TypeClose)), m.ID[:]...) }
func (m *Close) read(r *reader)         { r.fill(m.ID[:]) }

func (m *Closed) Append(b []byte) []byte {
	b = append(append(b, byte(TypeClosed)), m.ID[:]...)
	return appendU64(b, uint64(m.Amount))
}

func (m *Closed) read(r *reader) {
	r.fill(m.ID[:])
	m.Amount = r.sum()
}

func (m *Quote) Append(b []byte) []byte {
	b = appendU64(append(b, byte(TypeQuote)), uint64(m.From))
	return appendU64(b, uint64(m.Price))
}

func (m *Quote) read(r *reader) {
	m.From = r.count()
	m.Price = r.price()
}

func (m *Refuse) Append(b []byte) []byte {
	b = append(append(b, byte(TypeRefuse)), m.ID[:]...)
	b = append(b, byte(m.Code))
	b = appendBytes(b, []byte(m.Reason[:min(len(m.Reason), MaxReason)]))
	return appendTerms(b, m.Terms)
}

func (m *Refuse) read(r *reader) {
	r.fill(m.ID[:])
	m.Code = Code(r.u8())
	reason := r.bytes(MaxReason)
	r.bad = r.bad || m.Code == 0 || !utf8.Valid(reason)
	m.Reason = string(reason)
	m.Terms = r.terms()
}
