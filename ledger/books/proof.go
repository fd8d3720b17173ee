package books

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/ledger"
)

// Source gives signed heads and proofs; a running ledger is one, in process and
// over the network. Implementations are safe for concurrent use. Nothing that
// they return is to be believed before a [Follower] has taken it.
type Source interface {
	// Head returns the newest signed head and the proof that it continues the
	// tree of from blocks (0 for none). A source that knows fewer blocks than
	// from gives its head without proof.
	Head(ctx context.Context, from uint64) (Extension, error)
	// Proof returns the proof that a transaction is in the ledger, under the
	// newest head. An unknown transaction gives ledger.ErrNotFound.
	Proof(ctx context.Context, id ledger.TxID, from uint64) (Proof, error)
}

// ErrNoProofs means a ledger that signs no heads.
var ErrNoProofs = errors.New("this ledger signs no heads of its history and proves nothing")

// Extension is a signed head with the proof that it continues a smaller tree.
type Extension struct {
	Operator ledger.PublicKey `json:"operator"` // whose signature the head should bear
	Head     string           `json:"head"`     // a signed note
	From     uint64           `json:"from"`     // size of the smaller tree
	Prefix   []Hash           `json:"prefix,omitempty"`
}

// Proof shows that a block of the tree holds a transaction. It holds for what
// was accepted: committed, or parked (R11.5 and LR4 say what becomes of that).
type Proof struct {
	Extension
	TxID   ledger.TxID `json:"txid"`
	Leaf   []byte      `json:"leaf"`           // the block's leaf
	Index  uint32      `json:"index"`          // of the transaction among the block's
	Count  uint32      `json:"count"`          // of the block's transactions
	Path   []Hash      `json:"path,omitempty"` // from the transaction to the header's TxRoot
	Branch []Hash      `json:"branch"`         // from the leaf to the head's root
}

// ProveInclusion fills in what shows that the leaf at height is in the tree of
// head, and transaction index in its block, whose identifiers are ids.
func (p *Proof) ProveInclusion(head Head, height uint64, ids tlog.HashReader, r tlog.HashReader) error {
	branch, err := tlog.ProveRecord(int64(head.Size), int64(height)-1, r)
	if err != nil {
		return fmt.Errorf("prove that block %d is in the ledger: %w", height, err)
	}
	path, err := tlog.ProveRecord(int64(p.Count), int64(p.Index), ids)
	if err != nil {
		return fmt.Errorf("prove that transaction %d is in block %d: %w", p.Index, height, err)
	}
	p.Branch, p.Path = branch, path
	return nil
}

// Check verifies a proof without regard to any head seen before and returns the
// header of the block that holds the transaction. Errors wrap ErrHead or
// ErrProof.
func (p *Proof) Check(net ledger.Network, operator ledger.PublicKey) (ledger.Header, error) {
	head, err := OpenHead(p.Head, net, operator)
	if err != nil {
		return ledger.Header{}, err
	}
	return p.include(head)
}

// include checks the way from the transaction to the root of head.
func (p *Proof) include(head Head) (ledger.Header, error) {
	header, _, err := ReadLeaf(p.Leaf)
	if err != nil {
		return header, err
	}
	if header.Height == 0 || header.Height > head.Size {
		return header, fmt.Errorf("%w: block %d of %d", ErrProof, header.Height, head.Size)
	}
	if err := tlog.CheckRecord(p.Branch, int64(head.Size), head.Root, int64(header.Height)-1, tlog.RecordHash(p.Leaf)); err != nil {
		return header, fmt.Errorf("%w: block %d is not in the tree: %w", ErrProof, header.Height, err)
	}
	if p.Index >= p.Count {
		return header, fmt.Errorf("%w: transaction %d of %d", ErrProof, p.Index, p.Count)
	}
	if err := tlog.CheckRecord(p.Path, int64(p.Count), header.TxRoot, int64(p.Index), tlog.RecordHash(p.TxID[:])); err != nil {
		return header, fmt.Errorf("%w: transaction %s is not in block %d: %w", ErrProof, p.TxID, header.Height, err)
	}
	return header, nil
}
