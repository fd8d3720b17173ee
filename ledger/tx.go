package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/bttnet/btt/amount"
)

// Network is the genesis hash; identifiers and signatures commit to it.
type Network [32]byte

// String returns the hash in hex.
func (n Network) String() string { return hex.EncodeToString(n[:]) }

// MarshalText returns the hex form.
func (n Network) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, n[:]), nil }

// UnmarshalText reads the hex form.
func (n *Network) UnmarshalText(text []byte) error { return decodeHex(n[:], string(text)) }

// TxID names a transaction: a hash of its body without witnesses, so nobody
// can change it by changing signatures.
type TxID [32]byte

// String returns the identifier in hex.
func (id TxID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the zero value, which names nothing.
func (id TxID) IsZero() bool { return id == TxID{} }

// Compare orders identifiers by their bytes.
func (id TxID) Compare(o TxID) int { return bytes.Compare(id[:], o[:]) }

// MarshalText returns the hex form.
func (id TxID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads the hex form.
func (id *TxID) UnmarshalText(text []byte) error { return decodeHex(id[:], string(text)) }

// ParseTxID reads the hex form.
func ParseTxID(s string) (TxID, error) {
	var id TxID
	if err := decodeHex(id[:], s); err != nil {
		return TxID{}, fmt.Errorf("parse transaction id: %w", err)
	}
	return id, nil
}

// OutPoint names one output of one transaction. Shard is reserved and 0.
type OutPoint struct {
	TxID  TxID
	Index uint16
	Shard uint8
}

// String returns "txid:index" (and ".shard" when it is not 0).
func (o OutPoint) String() string {
	if o.Shard != 0 {
		return fmt.Sprintf("%s:%d.%d", o.TxID, o.Index, o.Shard)
	}
	return fmt.Sprintf("%s:%d", o.TxID, o.Index)
}

// IsZero reports whether o is the zero value, which names nothing.
func (o OutPoint) IsZero() bool { return o == OutPoint{} }

// Compare orders outpoints by transaction, index, shard.
func (o OutPoint) Compare(p OutPoint) int {
	return cmp.Or(o.TxID.Compare(p.TxID), cmp.Compare(o.Index, p.Index), cmp.Compare(o.Shard, p.Shard))
}

// MarshalText returns the form of String.
func (o OutPoint) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads the form of String.
func (o *OutPoint) UnmarshalText(text []byte) error {
	v, err := ParseOutPoint(string(text))
	if err != nil {
		return err
	}
	*o = v
	return nil
}

// ParseOutPoint reads the form of OutPoint.String.
func ParseOutPoint(s string) (OutPoint, error) {
	id, rest, found := strings.Cut(s, ":")
	if !found {
		return OutPoint{}, errors.New(`parse outpoint: write "<transaction id>:<index>"`)
	}
	index, shard, sharded := strings.Cut(rest, ".")
	txid, err := ParseTxID(id)
	if err != nil {
		return OutPoint{}, fmt.Errorf("parse outpoint: %w", err)
	}
	i, err := parseCount(index, 1<<16-1)
	if err != nil {
		return OutPoint{}, fmt.Errorf("parse outpoint index: %w", err)
	}
	o := OutPoint{TxID: txid, Index: uint16(i)}
	if sharded {
		if i, err = parseCount(shard, 1<<8-1); err != nil {
			return OutPoint{}, fmt.Errorf("parse outpoint shard: %w", err)
		}
		o.Shard = uint8(i)
	}
	return o, nil
}

func parseCount(s string, most int) (int, error) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is no number", s)
		}
		if n = n*10 + int(c-'0'); n > most {
			return 0, fmt.Errorf("%q is over %d", s, most)
		}
	}
	if s == "" || (s[0] == '0' && len(s) > 1) {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return n, nil
}

// LockKind says who may spend an output.
type LockKind uint8

const (
	// AddressLock is spent by the key whose address it names.
	AddressLock LockKind = 1
	// JointLock is spent by the signatures of both K1 and K2 (R11.6).
	JointLock LockKind = 2
	// OperatorLock is the operators' k-of-n; it guards mints and is never the
	// lock of an output (LR9).
	OperatorLock LockKind = 3
)

// Lock is the spending condition of an output. It is comparable; fields that
// its kind does not use are zero.
type Lock struct {
	Kind    LockKind  `json:"kind"`
	Address Address   `json:"address,omitzero"`
	K1      PublicKey `json:"k1,omitzero"`
	K2      PublicKey `json:"k2,omitzero"`
}

// PayTo returns the address lock of a.
func PayTo(a Address) Lock { return Lock{Kind: AddressLock, Address: a} }

// Joint returns the 2-of-2 lock of payer key k1 and payee key k2.
func Joint(k1, k2 PublicKey) Lock { return Lock{Kind: JointLock, K1: k1, K2: k2} }

// Output pays an amount to a lock.
type Output struct {
	Amount amount.Amount `json:"amount"`
	Lock   Lock          `json:"lock"`
}

// TxKind says what a transaction does.
type TxKind uint8

const (
	// Transfer moves coins; T1, T2 and T3 are transfers.
	Transfer TxKind = 1
	// Mint makes coins for a deposit on the chain, by the operators' k-of-n.
	Mint TxKind = 2
	// Redeem destroys coins for a payout on the chain.
	Redeem TxKind = 3
)

// String names the kind.
func (k TxKind) String() string {
	switch k {
	case Transfer:
		return "transfer"
	case Mint:
		return "mint"
	case Redeem:
		return "redeem"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Reference ties a mint or redeem to TRON (LR9). A mint names the deposit:
// Chain and Index; it can be used once for ever. A redeem names the payout:
// Payee and the Amount that it destroys. Unused fields are zero.
type Reference struct {
	Chain  [32]byte      // mint: TRON transaction id
	Index  uint32        // mint: log index inside it
	Payee  Address       // redeem: TRON address to pay
	Amount amount.Amount // redeem: sum destroyed, inputs minus outputs
}

// Witness proves the right to spend all inputs of one lock.
//
// Address lock: Keys = {key of the address}, Signatures = {its signature}.
// Joint lock: Keys empty, Signatures = {K1's, K2's}.
// Mint: Keys = operators in the order of Params.Operators, exactly Threshold
// of them, and one signature each.
type Witness struct {
	Keys       []PublicKey
	Signatures []Signature
}

// Tx is a transaction. Inputs and Outputs keep their order. Witnesses hold one
// entry per DISTINCT lock, in order of its first use by the inputs; a mint has
// one, the operators'.
type Tx struct {
	Kind      TxKind
	Sequence  uint32 // replaces lower ones while parked (LR5)
	LockTime  uint64 // ledger seconds; 0 = none (LR3, LR4)
	Inputs    []OutPoint
	Outputs   []Output
	Reference Reference // mint and redeem only
	Witnesses []Witness
}

// OutPoint returns the name of output i of t on a network.
func (t *Tx) OutPoint(net Network, i int) OutPoint {
	return OutPoint{TxID: t.ID(net), Index: uint16(i)}
}

// Closes reports whether t has the form of a refund or settlement: a transfer of
// one input with the witness of a joint lock (R11.5, R11.10). Whether the input
// is one is for the ledger to say.
func (t *Tx) Closes() bool {
	return t.Kind == Transfer && len(t.Inputs) == 1 && len(t.Witnesses) == 1 &&
		len(t.Witnesses[0].Keys) == 0 && len(t.Witnesses[0].Signatures) == 2
}

// ID returns the identifier: tagged SHA-256 "ledger/tx" over the network and
// the body without witnesses.
func (t *Tx) ID(net Network) TxID {
	h := tagged(tagTx)
	h.Write(net[:])
	h.Write(t.body())
	var id TxID
	h.Sum(id[:0])
	return id
}

// Digest returns what the keys of one lock sign: tagged SHA-256
// "ledger/spend" over the network, SHA-256 of the body, and the lock. The tag
// keeps it apart from anything that TRON signs with the same keys. A mint is
// signed for Lock{Kind: OperatorLock}.
func (t *Tx) Digest(net Network, lock Lock) [32]byte {
	body := sha256.Sum256(t.body())
	return spendDigest(net, body, lock)
}

func spendDigest(net Network, body [32]byte, lock Lock) [32]byte {
	var buf [lockMax]byte
	h := tagged(tagSpend)
	h.Write(net[:])
	h.Write(body[:])
	h.Write(lock.append(buf[:0]))
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}
