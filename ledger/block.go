package ledger

import (
	"bytes"
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Block is an ordered list of transactions with the time its proposer gave.
type Block struct {
	Height uint64 // one above the head
	Time   uint64 // seconds since 1970 by the proposer's clock; clamped by LR6
	Txs    []*Tx
}

// Head is the part of the state that is not coins, deposits or slots.
type Head struct {
	Height     uint64
	BlockTime  uint64   // Time of the newest block
	LedgerTime uint64   // LR6
	Totals     Totals   // LR10
	History    [32]byte // chain over all non-empty blocks
	ActiveTime uint64   // LedgerTime of the newest non-empty block
	Cursor     uint64   // of the newest event
}

// AppHash commits to the whole history, the totals and the ledger time of the
// newest non-empty block. Empty blocks leave it unchanged, so that heartbeats
// need no further block to prove them.
func (h *Head) AppHash() [32]byte {
	d := tagged(tagApp)
	d.Write(h.History[:])
	var b []byte
	for _, v := range []uint64{uint64(h.Totals.Minted), uint64(h.Totals.Burned), uint64(h.Totals.Unspent), h.ActiveTime, h.Cursor} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	d.Write(b)
	return [32]byte(d.Sum(nil))
}

// extend chains one non-empty block onto a history hash.
func extendHistory(prev [32]byte, height, ledgerTime uint64, txs, matured []TxID) [32]byte {
	d := tagged(tagHistory)
	d.Write(prev[:])
	var b []byte
	b = binary.BigEndian.AppendUint64(b, height)
	b = binary.BigEndian.AppendUint64(b, ledgerTime)
	d.Write(b)
	for _, list := range [][]TxID{txs, matured} {
		root := MerkleRoot(list)
		d.Write(root[:])
	}
	return [32]byte(d.Sum(nil))
}

// MerkleRoot returns the tree hash of RFC 6962 over transaction identifiers,
// so that one transaction can be proven to be in a block.
func MerkleRoot(ids []TxID) [32]byte {
	switch len(ids) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, ids[0][:]...))
	}
	split := 1
	for split*2 < len(ids) {
		split *= 2
	}
	left, right := MerkleRoot(ids[:split]), MerkleRoot(ids[split:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// HeaderSize is the length of an encoded Header.
const HeaderSize = 8 + 32 + 8 + 8 + 32 + 32

// Header is the canonical head of a block, for signing and anchoring.
type Header struct {
	Height     uint64
	Prev       [32]byte // Hash of the header before
	Time       uint64
	LedgerTime uint64
	TxRoot     [32]byte // MerkleRoot of the block's transactions
	AppHash    [32]byte // after the block
}

// Encode returns the fixed-size encoding.
func (h *Header) Encode() []byte {
	b := make([]byte, 0, HeaderSize)
	b = binary.BigEndian.AppendUint64(b, h.Height)
	b = append(b, h.Prev[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Time)
	b = binary.BigEndian.AppendUint64(b, h.LedgerTime)
	b = append(b, h.TxRoot[:]...)
	return append(b, h.AppHash[:]...)
}

// DecodeHeader reads what Encode writes.
func DecodeHeader(raw []byte) (Header, error) {
	if len(raw) != HeaderSize {
		return Header{}, fmt.Errorf("decode block header: %d bytes, want %d", len(raw), HeaderSize)
	}
	r := reader{rest: raw}
	h := Header{Height: r.u64()}
	copy(h.Prev[:], r.take(32))
	h.Time, h.LedgerTime = r.u64(), r.u64()
	copy(h.TxRoot[:], r.take(32))
	copy(h.AppHash[:], r.take(32))
	return h, nil
}

// Hash returns the tagged SHA-256 of a header on a network.
func (h *Header) Hash(net Network) [32]byte {
	d := tagged(tagBlock)
	d.Write(net[:])
	d.Write(h.Encode())
	return [32]byte(d.Sum(nil))
}

// Delta is what one block changes. The caller makes the block durable and then
// gives the delta to State.Commit.
type Delta struct {
	Block     Block      // with the accepted transactions only
	TxIDs     []TxID     // of Block.Txs
	Created   []Coin     // coins made and not spent again inside the block
	Spent     []Spend    // coins from before the block
	Passed    []Spend    // coins made and spent inside the block
	Parked    []*Pending // slots written, at most one entry per outpoint
	Freed     []OutPoint // slots emptied
	Displaced []Displacement
	Matured   []*Pending // parked transactions that fell due, in order (LR7)
	Deposits  []Deposit  // used by mints
	Events    []Event
	Head      Head // after the block

	parent Head
}

// Displacement is a parked transaction that lost its slot to By.
type Displacement struct {
	OutPoint OutPoint
	TxID     TxID
	By       TxID
}

// Header returns the block's header on top of prev.
func (d *Delta) Header(prev [32]byte) Header {
	return Header{
		Height: d.Head.Height, Prev: prev, Time: d.Head.BlockTime, LedgerTime: d.Head.LedgerTime,
		TxRoot: MerkleRoot(d.TxIDs), AppHash: d.Head.AppHash(),
	}
}

// dueIndex is a heap of parked transactions by (lock time, id).
type dueIndex []*Pending

func (q dueIndex) Len() int { return len(q) }

func (q dueIndex) Less(i, j int) bool { return comparePending(q[i], q[j]) < 0 }

func (q dueIndex) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].heapAt, q[j].heapAt = i, j
}

func (q *dueIndex) Push(x any) {
	p := x.(*Pending)
	p.heapAt = len(*q)
	*q = append(*q, p)
}

func (q *dueIndex) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return p
}

func (q *dueIndex) remove(p *Pending) { heap.Remove(q, p.heapAt) }

// upTo appends all entries with a lock time of at most now, in no order.
func (q dueIndex) upTo(now uint64, list []*Pending) []*Pending {
	var walk func(i int)
	walk = func(i int) {
		if i >= len(q) || q[i].Tx.LockTime > now {
			return
		}
		list = append(list, q[i])
		walk(2*i + 1)
		walk(2*i + 2)
	}
	walk(0)
	return list
}

// comparePending is the order of LR7.
func comparePending(a, b *Pending) int {
	return cmp.Or(cmp.Compare(a.Tx.LockTime, b.Tx.LockTime), a.TxID.Compare(b.TxID))
}

func compareDeposits(a, b Deposit) int {
	return cmp.Or(bytes.Compare(a.Chain[:], b.Chain[:]), cmp.Compare(a.Index, b.Index))
}
