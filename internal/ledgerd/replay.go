package ledgerd

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/bttnet/btt/ledger"
)

// replayChunk is how many block signatures are verified together.
const replayChunk = 1024

// replayBuffer is how much of the log is read at once.
const replayBuffer = 1 << 20

// replay brings state and index to the end of the log and cuts an unfinished
// record. Transaction signatures are not checked again: this node checked them
// before it wrote the block, and the checksum and the operator's signature say
// that these are the bytes it wrote.
func (s *Server) replay() error {
	end, err := s.log.Size()
	if err != nil {
		return fmt.Errorf("read block log: %w", err)
	}
	r := &logReader{src: bufio.NewReaderSize(io.NewSectionReader(s.log, 0, end), replayBuffer), size: end}
	var seals []ledger.SignatureCheck
	for {
		b, err := r.next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, errTorn) {
			if err := s.cut(r.offset); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
		if err := s.replayBlock(b); err != nil {
			return err
		}
		seals = append(seals, ledger.SignatureCheck{Key: s.Operator(), Digest: b.seal(s.network), Signature: b.Signature})
		if len(seals) == replayChunk {
			if err := s.checkSeals(seals); err != nil {
				return err
			}
			seals = seals[:0]
		}
	}
	if err := s.checkSeals(seals); err != nil {
		return err
	}
	s.writer.size = r.offset
	if a := s.cfg.Anchor; a.Height > s.index.head().Height {
		return fmt.Errorf("%w: block %d, the log ends at %d", ErrAnchor, a.Height, s.index.head().Height)
	}
	return nil
}

// cut removes the unfinished record at the end of the log.
func (s *Server) cut(size int64) error {
	if err := s.log.Truncate(size); err != nil {
		return fmt.Errorf("cut unfinished record: %w", err)
	}
	if err := s.log.Sync(); err != nil {
		return fmt.Errorf("sync after cutting an unfinished record: %w", err)
	}
	return nil
}

func (s *Server) checkSeals(seals []ledger.SignatureCheck) error {
	if bad := parallelVerifier(s.cfg.Entropy)(seals); len(bad) > 0 {
		return fmt.Errorf("%w: %w (a block is not signed by %s)", ErrDamaged, ErrOperator, s.Operator())
	}
	return nil
}

// replayBlock executes one block of the log.
func (s *Server) replayBlock(b *block) error {
	h := &b.Header
	if h.Prev != s.writer.previous || b.RawsRoot != treeHash(b.Raws) {
		return fmt.Errorf("%w: block %d does not follow the one before", ErrDamaged, h.Height)
	}
	next := ledger.Block{Height: h.Height, Time: h.Time, Txs: make([]*ledger.Tx, len(b.Raws))}
	sizes := make([]uint32, len(b.Raws))
	for i, raw := range b.Raws {
		tx, err := ledger.DecodeTx(raw)
		if err != nil {
			return fmt.Errorf("%w: block %d, transaction %d: %w", errReplay, h.Height, i, err)
		}
		next.Txs[i], sizes[i] = tx, uint32(len(raw))
	}
	state := s.executor.state
	delta, err := state.Replay(next)
	if err != nil {
		return fmt.Errorf("%w: %w", errReplay, err)
	}
	if got := delta.Header(h.Prev); got != *h {
		return fmt.Errorf("%w: block %d gives another result than when it was written", errReplay, h.Height)
	}
	if err := state.Commit(delta); err != nil {
		return err
	}
	s.index.publish(delta, state.Status(), b.offsets, sizes)
	s.writer.previous = h.Hash(s.network)
	if a := s.cfg.Anchor; a.Height == h.Height && a.Height != 0 && a.Hash != s.writer.previous {
		return fmt.Errorf("%w: block %d differs", ErrAnchor, h.Height)
	}
	return nil
}
