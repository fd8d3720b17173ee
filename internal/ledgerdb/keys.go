package ledgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// Every key starts with a byte that says what it holds. Numbers in keys are big
// endian, so that they sort.
const (
	keyAddress  = 'a' // address, outpoint: amount, height
	keyCoin     = 'c' // outpoint of an unspent coin: cell
	keyDeposit  = 'd' // chain, index of a used deposit: nothing
	keyEvents   = 'e' // cursor of a block's first event: the block's events
	keyBlock    = 'h' // height: Place
	keyMeta     = 'm' // nothing: Position
	keyParked   = 'p' // outpoint: parked transaction
	keyRow      = 'r' // transaction: Row
	keySpent    = 's' // outpoint: transaction that spent it
	formatMagic = "btt ledgerdb 1\n"
)

const outPointSize = 32 + 2 + 1

// errDecode marks a value that this package did not write.
var errDecode = errors.New("damaged value")

func appendOutPoint(b []byte, o ledger.OutPoint) []byte {
	b = append(b, o.TxID[:]...)
	b = binary.BigEndian.AppendUint16(b, o.Index)
	return append(b, o.Shard)
}

func outPointKey(kind byte, o ledger.OutPoint) []byte {
	return appendOutPoint(append(make([]byte, 0, 1+outPointSize), kind), o)
}

func addressKey(a ledger.Address, o ledger.OutPoint) []byte {
	b := append(make([]byte, 0, 1+20+outPointSize+1), keyAddress)
	return appendOutPoint(append(b, a[:]...), o)
}

func rowKey(id ledger.TxID) []byte { return append([]byte{keyRow}, id[:]...) }

func numberKey(kind byte, n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, n) }

func depositKey(d ledger.Deposit) []byte {
	return binary.BigEndian.AppendUint32(append([]byte{keyDeposit}, d.Chain[:]...), d.Index)
}

// keyEnd is the first key after all of a kind.
func keyEnd(kind byte) []byte { return []byte{kind + 1} }

// scanner reads values; the first fault sticks.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) take(n int) []byte {
	if s.bad || n > len(s.rest) {
		s.bad, s.rest = true, nil
		return make([]byte, min(n, 128))
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) uint() uint64 {
	v, n := binary.Uvarint(s.rest)
	if s.bad || n <= 0 {
		s.bad, s.rest = true, nil
		return 0
	}
	s.rest = s.rest[n:]
	return v
}

func (s *scanner) outPoint() (o ledger.OutPoint) {
	b := s.take(outPointSize)
	copy(o.TxID[:], b)
	o.Index, o.Shard = binary.BigEndian.Uint16(b[32:]), b[34]
	return o
}

// end reports a value that was too short or too long.
func (s *scanner) end(what string) error {
	if s.bad || len(s.rest) != 0 {
		return fmt.Errorf("%s: %w", what, errDecode)
	}
	return nil
}

// cell is an unspent coin without its name.
type cell struct {
	amount amount.Amount
	height uint64
	lock   ledger.Lock
}

func (c *cell) coin(o ledger.OutPoint) ledger.Coin {
	return ledger.Coin{OutPoint: o, Amount: c.amount, Lock: c.lock, Height: c.height}
}

func (c *cell) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(c.amount))
	b = binary.AppendUvarint(b, c.height)
	b = append(b, byte(c.lock.Kind))
	if c.lock.Kind == ledger.JointLock {
		return append(append(b, c.lock.K1[:]...), c.lock.K2[:]...)
	}
	return append(b, c.lock.Address[:]...)
}

func decodeCell(raw []byte) (cell, error) {
	s := scanner{rest: raw}
	c := cell{amount: amount.Amount(s.uint()), height: s.uint()}
	c.lock.Kind = ledger.LockKind(s.take(1)[0])
	switch c.lock.Kind {
	case ledger.AddressLock:
		copy(c.lock.Address[:], s.take(20))
	case ledger.JointLock:
		copy(c.lock.K1[:], s.take(33))
		copy(c.lock.K2[:], s.take(33))
	default:
		s.bad = true
	}
	if c.amount <= 0 || c.amount > amount.Supply {
		s.bad = true
	}
	return c, s.end("coin")
}

// Row says where a transaction is and what became of it.
type Row struct {
	Offset     int64 // of its bytes in the block log
	Size       uint32
	Height     uint64 // of the block that committed or parked it
	LedgerTime uint64 // of that block
	Index      uint32 // its place in that block
	State      ledger.TxState
}

// Receipt returns what Submit answers for the transaction.
func (r *Row) Receipt(id ledger.TxID) ledger.Receipt {
	return ledger.Receipt{TxID: id, State: r.State, Height: r.Height, Index: r.Index}
}

func (r *Row) encode(b []byte) []byte {
	for _, v := range [...]uint64{uint64(r.Offset), uint64(r.Size), r.Height, r.LedgerTime, uint64(r.Index), uint64(r.State)} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeRow(raw []byte) (Row, error) {
	s := scanner{rest: raw}
	r := Row{Offset: int64(s.uint()), Size: uint32(s.uint()), Height: s.uint(), LedgerTime: s.uint(), Index: uint32(s.uint()), State: ledger.TxState(s.uint())}
	if r.Offset < 0 || r.State < ledger.Committed || r.State > ledger.Displaced {
		s.bad = true
	}
	return r, s.end("transaction")
}

// Place says where a block is.
type Place struct {
	Start, End int64    // of its record in the block log
	Hash       [32]byte // of its header
}

func (p *Place) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(p.Start))
	b = binary.AppendUvarint(b, uint64(p.End))
	return append(b, p.Hash[:]...)
}

func (s *scanner) place() (p Place) {
	p.Start, p.End = int64(s.uint()), int64(s.uint())
	copy(p.Hash[:], s.take(32))
	if p.Start < 0 || p.End < p.Start {
		s.bad = true
	}
	return p
}

// Position says up to which block a DB has come.
type Position struct {
	Network      ledger.Network
	Head         ledger.Head
	Place               // of the newest block; before the first one the hash is the network
	Coins        uint64 // unspent outputs
	Transactions uint64 // committed or parked so far, each submission once
}

func (p *Position) encode(b []byte) []byte {
	b = append(append(b, formatMagic...), p.Network[:]...)
	m := ledger.Meta{Head: p.Head}
	raw := m.Encode()
	b = binary.AppendUvarint(b, uint64(len(raw)))
	b = p.Place.encode(append(b, raw...))
	b = binary.AppendUvarint(b, p.Coins)
	return binary.AppendUvarint(b, p.Transactions)
}

func decodePosition(raw []byte) (Position, error) {
	s := scanner{rest: raw}
	if string(s.take(len(formatMagic))) != formatMagic {
		return Position{}, fmt.Errorf("position: %w", errDecode)
	}
	network := ledger.Network(s.take(32))
	m, err := ledger.DecodeMeta(s.take(int(min(s.uint(), uint64(len(raw))))))
	if err != nil || len(m.Pending) != 0 {
		return Position{}, fmt.Errorf("position: %w", errDecode)
	}
	p := Position{Network: network, Head: m.Head, Place: s.place(), Coins: s.uint(), Transactions: s.uint()}
	return p, s.end("position")
}

func encodeParked(b []byte, p *ledger.Pending) []byte {
	b = append(b, p.TxID[:]...)
	for _, v := range [...]uint64{p.Height, uint64(p.Index), uint64(p.Replacements)} {
		b = binary.AppendUvarint(b, v)
	}
	return append(b, p.Tx.Encode()...)
}

func decodeParked(o ledger.OutPoint, raw []byte) (*ledger.Pending, error) {
	s := scanner{rest: raw}
	p := &ledger.Pending{OutPoint: o}
	copy(p.TxID[:], s.take(32))
	p.Height, p.Index, p.Replacements = s.uint(), uint32(s.uint()), uint32(s.uint())
	tx, err := ledger.DecodeTx(s.rest)
	if s.bad || err != nil || len(tx.Inputs) != 1 || tx.Inputs[0] != o {
		return nil, fmt.Errorf("parked transaction: %w", errDecode)
	}
	p.Tx = tx
	return p, nil
}
