package ledgerd

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
)

// replayChunk is how many block signatures are verified together.
const replayChunk = 1024

// replayBuffer is how much of the log is read at once.
const replayBuffer = 1 << 20

// auditInline is how much history Open audits before it serves; more is audited
// while the server runs.
const auditInline = 128 << 20

// attach checks that the log holds the block that the database is at.
func (s *Server) attach(at ledgerdb.Position, end int64) error {
	if a := s.cfg.Anchor; a.Height != 0 && a.Height <= at.Head.Height {
		place, ok, err := s.db.Block(a.Height)
		if err != nil {
			return err
		}
		if !ok || place.Hash != a.Hash {
			return fmt.Errorf("%w: block %d differs", ErrAnchor, a.Height)
		}
	}
	if at.Head.Height == 0 {
		return nil
	}
	if end < at.End {
		return fmt.Errorf("%w: block %d (or delete %s to accept the loss)", ErrAnchor, at.Head.Height, cacheDir)
	}
	r := s.readLog(at.Start, end)
	b, err := r.next()
	if err != nil && !errors.Is(err, errTorn) && err != io.EOF {
		return err
	}
	if err != nil || b.Header.Hash(s.network) != at.Hash || r.offset != at.End {
		return fmt.Errorf("%w: block %d differs (or delete %s to accept the loss)", ErrAnchor, at.Head.Height, cacheDir)
	}
	return nil
}

// readLog reads the records between two offsets.
func (s *Server) readLog(from, to int64) *logReader {
	src := io.NewSectionReader(s.log, from, to-from)
	return &logReader{src: bufio.NewReaderSize(src, int(min(max(to-from, 16), replayBuffer))), size: to, offset: from}
}

// point is the end of a block in the log; before the first it is the network.
type point struct {
	height uint64
	offset int64
	hash   [32]byte
}

func pointOf(at ledgerdb.Position) point { return point{at.Head.Height, at.End, at.Hash} }

// walk checks the blocks between two places of the log: framing, checksums, hash
// chain, roots and the operator's signatures. It returns how far the log is whole
// and errTorn when what follows is unfinished. It ends early when quit closes.
func (s *Server) walk(from point, end int64, quit <-chan struct{}) (point, error) {
	r := s.readLog(from.offset, end)
	var seals []ledger.SignatureCheck
	check := func() error {
		if bad := parallelVerifier(s.cfg.Entropy)(seals); len(bad) > 0 {
			return fmt.Errorf("%w: %w (a block is not signed by %s)", ErrDamaged, ErrOperator, s.Operator())
		}
		seals = seals[:0]
		return nil
	}
	for {
		b, err := r.next()
		if err == io.EOF || errors.Is(err, errTorn) {
			if e := check(); e != nil {
				return from, e
			}
			if err == io.EOF {
				err = nil
			}
			return from, err
		}
		if err != nil {
			return from, err
		}
		h := &b.Header
		if h.Height != from.height+1 || h.Prev != from.hash || b.RawsRoot != treeHash(b.Raws) {
			return from, fmt.Errorf("%w: block %d does not follow the one before", ErrDamaged, h.Height)
		}
		from = point{h.Height, r.offset, h.Hash(s.network)}
		seals = append(seals, ledger.SignatureCheck{Key: s.Operator(), Digest: b.seal(s.network), Signature: b.Signature})
		if len(seals) == replayChunk {
			if err := check(); err != nil {
				return from, err
			}
		}
		select {
		case <-quit:
			return from, nil
		default:
		}
	}
}

// auditHistory walks the log up to a position. Its transactions were executed
// when the database took them in.
func (s *Server) auditHistory(at ledgerdb.Position, quit <-chan struct{}) error {
	reached, err := s.walk(point{hash: s.network}, at.End, quit)
	select {
	case <-quit:
		return nil
	default:
	}
	if errors.Is(err, errTorn) || err == nil && reached != pointOf(at) {
		return fmt.Errorf("%w: block %d is not the one that was executed", ErrDamaged, at.Head.Height)
	}
	return err
}

// replay executes the blocks up to an offset that walk has reached. Transaction
// signatures are not checked again: this node checked them before it wrote the
// block, and the checksum and the operator's signature say that these are the
// bytes it wrote.
func (s *Server) replay(end int64) error {
	r := s.readLog(s.writer.size, end)
	for {
		b, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := s.replayBlock(b, r.offset); err != nil {
			return err
		}
	}
	if at := s.db.Position().Head.Height; s.cfg.Anchor.Height > at {
		return fmt.Errorf("%w: block %d, the log ends at %d", ErrAnchor, s.cfg.Anchor.Height, at)
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

// replayBlock executes one block of the log, whose record ends at end.
func (s *Server) replayBlock(b *block, end int64) error {
	h := &b.Header
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
	place := ledgerdb.Place{Start: s.writer.size, End: end, Hash: h.Hash(s.network)}
	if err := s.db.Publish(ledgerdb.Block{Delta: delta, Place: place, Offsets: b.offsets, Sizes: sizes}); err != nil {
		return err
	}
	s.writer.size, s.writer.previous = place.End, place.Hash
	if a := s.cfg.Anchor; a.Height == h.Height && a.Height != 0 && a.Hash != s.writer.previous {
		return fmt.Errorf("%w: block %d differs", ErrAnchor, h.Height)
	}
	return nil
}

// errReplay marks a log that is whole but does not follow the ledger's rules.
var errReplay = errors.New("the block log does not follow the rules of the ledger")
