package ledgertest

import (
	"cmp"
	"context"
	"fmt"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// OperatorKey signs the heads of a Memory.
func OperatorKey() *ledger.PrivateKey { return Key("block operator") }

// memoryBooks is the tree over the blocks of a Memory.
type memoryBooks struct {
	tree   books.Tree
	leaves [][]byte
	blocks []books.Tree // over the identifiers of each block
	places map[ledger.TxID]memoryPlace
	prev   [32]byte
}

type memoryPlace struct {
	height uint64
	index  uint32
}

// enter adds a block. Its transactions are in the order of TxIDs; the hash over
// their raw bytes is left out.
func (b *memoryBooks) enter(d *ledger.Delta, net ledger.Network) {
	if b.places == nil {
		b.places, b.prev = map[ledger.TxID]memoryPlace{}, net
	}
	h := d.Header(b.prev)
	b.prev = h.Hash(net)
	leaf := books.Leaf(&h, [32]byte{})
	b.tree.Append(leaf)
	var ids books.Tree
	for i, id := range d.TxIDs {
		ids.Append(id[:])
		b.places[id] = memoryPlace{h.Height, uint32(i)}
	}
	b.leaves, b.blocks = append(b.leaves, leaf), append(b.blocks, ids)
}

// Head implements books.Source.
func (m *Memory) Head(ctx context.Context, from uint64) (books.Extension, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.outage); err != nil {
		return books.Extension{}, err
	}
	return m.extension(from)
}

func (m *Memory) extension(from uint64) (books.Extension, error) {
	head, key := m.books.tree.Head(), OperatorKey()
	text, err := books.SignHead(head, m.state.Network(), key)
	x := books.Extension{Operator: key.PublicKey(), Head: string(text), From: from}
	if err == nil && from < head.Size {
		x.Prefix, err = books.ProvePrefix(from, head.Size, &m.books.tree)
	}
	return x, err
}

// Proof implements books.Source.
func (m *Memory) Proof(ctx context.Context, id ledger.TxID, from uint64) (books.Proof, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.outage); err != nil {
		return books.Proof{}, err
	}
	at, ok := m.books.places[id]
	if !ok {
		return books.Proof{}, fmt.Errorf("prove %s: %w", id, ledger.ErrNotFound)
	}
	x, err := m.extension(from)
	if err != nil {
		return books.Proof{}, err
	}
	ids := &m.books.blocks[at.height-1]
	p := books.Proof{Extension: x, TxID: id, Leaf: m.books.leaves[at.height-1], Index: at.index, Count: uint32(ids.Head().Size)}
	return p, p.ProveInclusion(m.books.tree.Head(), at.height, ids, &m.books.tree)
}
