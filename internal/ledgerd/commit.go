package ledgerd

import (
	"fmt"

	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// writer belongs to the goroutine of write (and to replay before that).
type writer struct {
	previous [32]byte // hash of the newest header; at first the network
	size     int64    // of the log
	buf      []byte
	offsets  []int64
	sizes    []uint32
}

// write makes blocks durable, in order, and answers. It owns s.writer and s.log,
// and ends when the executor has ended.
func (s *Server) write() {
	defer close(s.stopped)
	for out := range s.executor.sealed {
		if err := s.failure(); err != nil {
			out.fail(err)
			continue
		}
		if out.delta != nil {
			if err := s.persist(out); err != nil {
				s.fail(err)
				out.fail(s.failure())
				continue
			}
		}
		s.reply(out)
	}
	s.drain()
	if err := s.prover.tree.Close(); err != nil {
		s.fail(fmt.Errorf("close tree: %w", err))
	}
	s.audits.Wait()
	if err := s.db.Close(); err != nil {
		s.fail(err)
	}
	if err := s.log.Close(); err != nil {
		s.fail(fmt.Errorf("close block log: %w", err))
	}
	s.lock.Release()
}

func (o *sealed) fail(err error) {
	answer(o.accepted, err)
	answer(o.refused, err)
	answer(o.waiting, err)
}

// drain answers what still waits after the executor has ended.
func (s *Server) drain() {
	err := s.failure()
	if err == nil {
		err = ErrClosed
	}
	if r := s.executor.carry; r != nil {
		answer([]*request{r}, err)
	}
	for r := s.next(); r != nil; r = s.next() {
		answer([]*request{r}, err)
	}
}

// persist writes the block and waits for the disk, then shows it to readers.
func (s *Server) persist(out *sealed) error {
	w := &s.writer
	b := block{Header: out.delta.Header(w.previous), offsets: w.offsets}
	for _, r := range out.accepted {
		b.Raws = append(b.Raws, r.raw)
	}
	b.RawsRoot = treeHash(b.Raws)
	var err error
	if b.Signature, err = s.cfg.OperatorKey.Sign(b.seal(s.network)); err != nil {
		return fmt.Errorf("sign block %d: %w", b.Header.Height, err)
	}
	w.buf = appendFrame(w.buf[:0], &b)
	if _, err := s.log.Write(w.buf); err != nil {
		return fmt.Errorf("write block %d: %w", b.Header.Height, err)
	}
	if err := s.log.Sync(); err != nil {
		return fmt.Errorf("sync block %d: %w", b.Header.Height, err)
	}
	if err := s.prover.tree.Append(books.Leaf(&b.Header, b.RawsRoot), w.size); err != nil {
		return fmt.Errorf("take block %d into the tree: %w", b.Header.Height, err)
	}
	w.offsets, w.sizes = b.offsets, w.sizes[:0]
	for i, raw := range b.Raws {
		w.offsets[i] += w.size
		w.sizes = append(w.sizes, uint32(len(raw)))
	}
	place := ledgerdb.Place{Start: w.size, End: w.size + int64(len(w.buf)), Hash: b.Header.Hash(s.network)}
	w.size, w.previous = place.End, place.Hash
	return s.db.Publish(ledgerdb.Block{Delta: out.delta, Place: place, Offsets: w.offsets, Sizes: w.sizes})
}

// reply answers a batch whose effects are durable. A refusal is answered only
// now, since it may rest on a block that was not durable when it was found; the
// database knows by now whether the refused bytes are in fact already in.
func (s *Server) reply(out *sealed) {
	for i, r := range out.accepted {
		receipt, ok, err := s.db.Receipt(r.id)
		if !ok { // displaced in its own block
			receipt = ledger.Receipt{TxID: r.id, State: ledger.Displaced, Height: out.delta.Head.Height, Index: uint32(i)}
		}
		r.reply <- reply{receipt, err}
	}
	for i, r := range out.refused {
		row, ok, err := s.db.Row(r.id)
		// "Known" was parked when it came, whatever happened to it since.
		if ok && err == nil && (row.State != ledger.Displaced || out.why[i].Code == ledger.CodeKnown) {
			r.reply <- reply{receipt: row.Receipt(r.id)}
			continue
		}
		if err == nil {
			err = s.explain(r.tx, out.why[i])
		}
		r.reply <- reply{err: err}
	}
	answer(out.waiting, nil)
}

// explain turns "missing input" into "conflict" when the spender is known.
func (s *Server) explain(tx *ledger.Tx, why *ledger.Rejection) error {
	if why.Code != ledger.CodeMissing {
		return why
	}
	for _, in := range tx.Inputs {
		o, err := s.db.Outpoint(in)
		if err != nil {
			return err
		}
		if o.Status == ledger.OutpointSpent {
			return &ledger.Rejection{Code: ledger.CodeConflict, Reason: fmt.Sprintf("input %s is spent", in), By: o.By}
		}
	}
	return why
}
