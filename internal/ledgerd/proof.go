package ledgerd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/internal/blocktree"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// proofBlocks is how many blocks are kept ready for proofs: clients ask for the
// newest ones, most of them for the same.
const proofBlocks = 16

// prover makes signed heads and proofs (A31). It is a leaf: its lock is held
// while a head is signed or a block is read, never while anything waits.
type prover struct {
	tree *blocktree.Tree

	mu     sync.Mutex
	head   books.Head // that note signs
	note   string
	blocks []*blockIDs // the newest last
}

// blockIDs is a block as proofs need it.
type blockIDs struct {
	height uint64
	leaf   []byte
	ids    []ledger.TxID
	tree   books.Tree // over ids
}

// serialSigner lets the writer and the prover sign with one key.
type serialSigner struct {
	mu sync.Mutex
	ledger.Signer
}

// Sign implements ledger.Signer.
func (s *serialSigner) Sign(digest [32]byte) (ledger.Signature, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Signer.Sign(digest)
}

// openTree brings the tree over the blocks to the end of the log, which is whole
// and ends at height. A log that ends before what the tree knows to have been
// durable has lost blocks: ErrAnchor.
func (s *Server) openTree(height uint64, end int64) error {
	t, err := blocktree.Open(s.cfg.Dir)
	if err != nil {
		return err
	}
	if err := s.fillTree(t, height, end); err != nil {
		return errors.Join(err, t.Close())
	}
	s.prover.tree = t
	return nil
}

func (s *Server) fillTree(t *blocktree.Tree, height uint64, end int64) error {
	size := t.Head().Size
	if size > height {
		return fmt.Errorf("%w: it ends at block %d, block %d was durable (tree.mark)", ErrAnchor, height, size)
	}
	offset := int64(0)
	if size > 0 {
		next, err := s.checkTree(t, size)
		if errors.Is(err, blocktree.ErrDamaged) {
			next, err = 0, t.Reset()
		}
		if err != nil {
			return err
		}
		offset = next
	}
	r := &logReader{src: bufio.NewReaderSize(io.NewSectionReader(s.log, offset, end-offset), replayBuffer), size: end, offset: offset}
	for {
		at := r.offset
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("build tree over the blocks: %w", err)
		}
		if err := t.Append(books.Leaf(&b.Header, b.RawsRoot), at); err != nil {
			return err
		}
	}
}

// checkTree compares the newest block of the tree with the log and returns where
// the next record starts.
func (s *Server) checkTree(t *blocktree.Tree, height uint64) (next int64, err error) {
	start, err := t.Offset(height)
	if err != nil {
		return 0, err
	}
	b, next, err := s.readBlock(start)
	if err != nil || b.Header.Height != height {
		return 0, blocktree.ErrDamaged
	}
	stored, err := t.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(height)-1)})
	if err != nil || stored[0] != tlog.RecordHash(books.Leaf(&b.Header, b.RawsRoot)) {
		return 0, blocktree.ErrDamaged
	}
	return next, nil
}

// readBlock reads the record at start of the log and returns where the next one
// starts.
func (s *Server) readBlock(start int64) (*block, int64, error) {
	var lead [frameLead]byte
	if _, err := s.log.ReadAt(lead[:], start); err != nil {
		return nil, 0, fmt.Errorf("read block log at %d: %w", start, err)
	}
	end := start + frameLead + int64(min(binary.BigEndian.Uint32(lead[4:]), MaxBlockBytes)) + frameTail
	r := &logReader{src: io.NewSectionReader(s.log, start, end-start), size: end, offset: start}
	b, err := r.next()
	return b, end, err
}

// signed returns the newest head with the operator's signature, made when
// somebody asks for the first time.
func (p *prover) signed(net ledger.Network, key ledger.Signer) (books.Head, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	head := p.tree.Head()
	if head == p.head && p.note != "" {
		return head, p.note, nil
	}
	text, err := books.SignHead(head, net, key)
	if err != nil {
		return head, "", err
	}
	p.head, p.note = head, string(text)
	return head, p.note, nil
}

// block returns a block's identifiers, from memory when it was asked for lately.
func (s *Server) blockIDs(height uint64) (*blockIDs, error) {
	p := &s.prover
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.blocks, func(b *blockIDs) bool { return b.height == height }); i >= 0 {
		return p.blocks[i], nil
	}
	start, err := p.tree.Offset(height)
	if err != nil {
		return nil, err
	}
	b, _, err := s.readBlock(start)
	if err != nil {
		return nil, err
	}
	kept := &blockIDs{height: b.Header.Height, leaf: books.Leaf(&b.Header, b.RawsRoot)}
	for _, raw := range b.Raws {
		tx, err := ledger.DecodeTx(raw)
		if err != nil {
			return nil, fmt.Errorf("read block %d: %w", height, err)
		}
		id := tx.ID(s.network)
		kept.ids = append(kept.ids, id)
		kept.tree.Append(id[:])
	}
	if p.blocks = append(p.blocks, kept); len(p.blocks) > proofBlocks {
		p.blocks = slices.Delete(p.blocks, 0, 1)
	}
	return kept, nil
}

// extension returns the newest head and the proof that it continues from.
func (s *Server) extension(from uint64) (books.Head, books.Extension, error) {
	if err := s.failure(); err != nil {
		return books.Head{}, books.Extension{}, err
	}
	head, note, err := s.prover.signed(s.network, s.cfg.OperatorKey)
	x := books.Extension{Operator: s.Operator(), Head: note, From: from}
	if err == nil && from < head.Size {
		x.Prefix, err = books.ProvePrefix(from, head.Size, s.prover.tree)
	}
	return head, x, err
}

// Head implements books.Source.
func (l local) Head(ctx context.Context, from uint64) (books.Extension, error) {
	if ctx.Err() != nil {
		return books.Extension{}, context.Cause(ctx)
	}
	_, x, err := l.s.extension(from)
	return x, err
}

// Proof implements books.Source.
func (l local) Proof(ctx context.Context, id ledger.TxID, from uint64) (books.Proof, error) {
	if ctx.Err() != nil {
		return books.Proof{}, context.Cause(ctx)
	}
	row, ok, err := l.s.db.Row(id)
	if err != nil {
		return books.Proof{}, l.s.late(err)
	}
	if !ok {
		return books.Proof{}, ledger.ErrNotFound
	}
	head, x, err := l.s.extension(from)
	if err != nil {
		return books.Proof{}, err
	}
	height, err := l.s.prover.tree.Find(row.Offset)
	if err != nil {
		return books.Proof{}, fmt.Errorf("find transaction %s: %w", id, err)
	}
	b, err := l.s.blockIDs(height)
	if err != nil {
		return books.Proof{}, fmt.Errorf("find transaction %s: %w", id, err)
	}
	p := books.Proof{Extension: x, TxID: id, Leaf: b.leaf, Index: uint32(max(slices.Index(b.ids, id), 0)), Count: uint32(len(b.ids))}
	return p, p.ProveInclusion(head, height, &b.tree, l.s.prover.tree)
}
