package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/bttnet/btt/amount"
)

// Limits of one transaction; DecodeTx refuses what exceeds them.
const (
	// MaxTxBytes is the longest encoding.
	MaxTxBytes = 64 << 10
	// MaxInputs and MaxOutputs bound the two lists.
	MaxInputs  = 255
	MaxOutputs = 255
	// MaxOperators bounds the mint keys of a network and so the keys of one
	// witness.
	MaxOperators = 16
)

// txVersion is the first byte of every encoding.
const txVersion = 1

const (
	outPointSize = 32 + 2 + 1
	lockMax      = 1 + 33 + 33
)

// Tags of the domain-separated hashes.
const (
	tagTx      = "ledger/tx"
	tagSpend   = "ledger/spend"
	tagGenesis = "ledger/genesis"
	tagShare   = "ledger/share"
	tagHistory = "ledger/history"
	tagApp     = "ledger/app"
	tagBlock   = "ledger/block"
)

// tagged starts SHA-256 over SHA-256(tag) twice (the construction of BIP 340),
// so that a hash for one purpose is never one for another.
func tagged(tag string) hash.Hash {
	t := sha256.Sum256([]byte(tag))
	h := sha256.New()
	h.Write(t[:])
	h.Write(t[:])
	return h
}

// Encode returns the canonical encoding: version, kind, sequence (u32),
// lock time (u64), the reference of a mint or redeem, inputs, outputs,
// witnesses; integers big-endian, counts one byte. It returns nil when t has
// an unknown kind or a list is too long to be written; such a transaction is
// refused everywhere.
func (t *Tx) Encode() []byte {
	b := t.body()
	if b == nil || len(t.Witnesses) > MaxInputs {
		return nil
	}
	b = append(b, byte(len(t.Witnesses)))
	for i := range t.Witnesses {
		w := &t.Witnesses[i]
		if len(w.Keys) > MaxOperators || len(w.Signatures) > MaxOperators {
			return nil
		}
		b = append(b, byte(len(w.Keys)))
		for k := range w.Keys {
			b = append(b, w.Keys[k][:]...)
		}
		b = append(b, byte(len(w.Signatures)))
		for k := range w.Signatures {
			b = append(b, w.Signatures[k][:]...)
		}
	}
	if len(b) > MaxTxBytes {
		return nil
	}
	return b
}

// body encodes all but the witnesses, or nil as Encode does.
func (t *Tx) body() []byte {
	if len(t.Inputs) > MaxInputs || len(t.Outputs) > MaxOutputs {
		return nil
	}
	b := make([]byte, 0, 64+len(t.Inputs)*outPointSize+len(t.Outputs)*(8+lockMax)+len(t.Witnesses)*(2+33+2*65))
	b = append(b, txVersion, byte(t.Kind))
	b = binary.BigEndian.AppendUint32(b, t.Sequence)
	b = binary.BigEndian.AppendUint64(b, t.LockTime)
	switch t.Kind {
	case Transfer:
	case Mint:
		b = append(b, t.Reference.Chain[:]...)
		b = binary.BigEndian.AppendUint32(b, t.Reference.Index)
	case Redeem:
		b = append(b, t.Reference.Payee[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(t.Reference.Amount))
	default:
		return nil
	}
	b = append(b, byte(len(t.Inputs)))
	for i := range t.Inputs {
		b = t.Inputs[i].append(b)
	}
	b = append(b, byte(len(t.Outputs)))
	for i := range t.Outputs {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Outputs[i].Amount))
		if b = t.Outputs[i].Lock.append(b); b == nil {
			return nil
		}
	}
	return b
}

func (o *OutPoint) append(b []byte) []byte {
	b = append(b, o.TxID[:]...)
	b = binary.BigEndian.AppendUint16(b, o.Index)
	return append(b, o.Shard)
}

// append encodes a lock: kind, then 20 bytes of address or both keys. An
// unknown kind gives nil.
func (l *Lock) append(b []byte) []byte {
	b = append(b, byte(l.Kind))
	switch l.Kind {
	case AddressLock:
		return append(b, l.Address[:]...)
	case JointLock:
		return append(append(b, l.K1[:]...), l.K2[:]...)
	case OperatorLock:
		return b
	}
	return nil
}

// DecodeTx reads an encoding strictly: every byte is used, and Encode of the
// result gives the same bytes. The error is a *Rejection with code
// CodeOversized or CodeMalformed. Values are checked by Check, not here.
func DecodeTx(raw []byte) (*Tx, error) {
	if len(raw) > MaxTxBytes {
		return nil, refuse(CodeOversized, "%d bytes, %d allowed", len(raw), MaxTxBytes)
	}
	r := reader{rest: raw}
	if v := r.u8(); r.ok() && v != txVersion {
		return nil, refuse(CodeMalformed, "unknown version %d", v)
	}
	t := &Tx{Kind: TxKind(r.u8()), Sequence: r.u32(), LockTime: r.u64()}
	switch t.Kind {
	case Transfer:
	case Mint:
		copy(t.Reference.Chain[:], r.take(32))
		t.Reference.Index = r.u32()
	case Redeem:
		copy(t.Reference.Payee[:], r.take(20))
		t.Reference.Amount = amount.Amount(r.u64())
	default:
		return nil, refuse(CodeMalformed, "unknown transaction %s", t.Kind)
	}
	if n := r.count(MaxInputs, outPointSize); n > 0 {
		t.Inputs = make([]OutPoint, n)
		for i := range t.Inputs {
			t.Inputs[i] = r.outPoint()
		}
	}
	if n := r.count(MaxOutputs, 8+1); n > 0 {
		t.Outputs = make([]Output, n)
		for i := range t.Outputs {
			t.Outputs[i] = Output{Amount: amount.Amount(r.u64()), Lock: r.lock()}
		}
	}
	if n := r.count(MaxInputs, 2); n > 0 {
		t.Witnesses = make([]Witness, n)
		for i := range t.Witnesses {
			t.Witnesses[i] = r.witness()
		}
	}
	if !r.ok() {
		return nil, refuse(CodeMalformed, "%s", r.fault)
	}
	if len(r.rest) != 0 {
		return nil, refuse(CodeMalformed, "%d bytes after the end", len(r.rest))
	}
	return t, nil
}

// reader takes fixed-size fields from a slice; after the first fault it
// returns zeros.
type reader struct {
	rest  []byte
	fault string
}

func (r *reader) ok() bool { return r.fault == "" }

func (r *reader) fail(why string) {
	if r.fault == "" {
		r.fault = why
	}
	r.rest = nil
}

// take returns the next n bytes, or nil when they are not there.
func (r *reader) take(n int) []byte {
	if r.fault != "" || len(r.rest) < n {
		r.fail("ends too early")
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

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

// count reads a one-byte count and checks that as many smallest elements can
// follow, so that no allocation exceeds the input.
func (r *reader) count(most, smallest int) int {
	n := int(r.u8())
	if n > most || n*smallest > len(r.rest) {
		r.fail("a count is over its limit or its data")
		return 0
	}
	return n
}

func (r *reader) outPoint() OutPoint {
	var o OutPoint
	copy(o.TxID[:], r.take(32))
	o.Index = r.u16()
	if o.Shard = r.u8(); o.Shard != 0 {
		r.fail("a shard other than 0")
	}
	return o
}

func (r *reader) lock() Lock {
	l := Lock{Kind: LockKind(r.u8())}
	switch l.Kind {
	case AddressLock:
		copy(l.Address[:], r.take(20))
	case JointLock:
		copy(l.K1[:], r.take(33))
		copy(l.K2[:], r.take(33))
	default:
		r.fail("an unknown lock kind in an output")
	}
	return l
}

func (r *reader) witness() Witness {
	var w Witness
	if n := r.count(MaxOperators, 33); n > 0 {
		w.Keys = make([]PublicKey, n)
		for i := range w.Keys {
			copy(w.Keys[i][:], r.take(33))
		}
	}
	if n := r.count(MaxOperators, 65); n > 0 {
		w.Signatures = make([]Signature, n)
		for i := range w.Signatures {
			copy(w.Signatures[i][:], r.take(65))
		}
	}
	return w
}
