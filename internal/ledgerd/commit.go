package ledgerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// request is one transaction on its way through the server, or (tx nil) the
// wish for a block.
type request struct {
	raw   []byte
	tx    *ledger.Tx
	id    ledger.TxID
	turn  uint64     // order of arrival
	reply chan reply // buffered, one answer
}

type reply struct {
	receipt ledger.Receipt
	err     error
}

// sealed is a batch that was executed: the writer makes it durable and answers.
type sealed struct {
	delta    *ledger.Delta // nil when no transaction was accepted
	accepted []*request    // in block order
	refused  []*request
	why      []*ledger.Rejection // of refused
	waiting  []*request          // wishes for a block
}

// executor belongs to the goroutine of execute.
type executor struct {
	state  *ledger.State
	sealed chan *sealed
	carry  *request // taken from the queue but too long for the last block
}

// execute runs the state machine until Close or a failure. It owns s.executor and
// ends after closing the channel to the writer.
func (s *Server) execute() {
	defer close(s.executor.sealed)
	beat := newBeat(s.cfg.Heartbeat)
	defer beat.stop()
	for {
		var first *request
		if first = s.executor.carry; first == nil {
			select {
			case first = <-s.closes:
			case first = <-s.queue:
			case <-beat.tick():
			case <-s.quit:
				return
			}
		}
		batch := s.collect(first)
		out, err := s.executor.run(batch, uint64(max(s.cfg.Now().Unix(), 0)), first == nil)
		if err != nil {
			s.fail(err)
			answer(batch, s.failure())
			return
		}
		if out.delta != nil {
			beat.reset()
		}
		s.executor.sealed <- out
	}
}

// beat makes a heartbeat from a duration; none when it is negative.
type beat struct {
	every time.Duration
	timer *time.Timer
}

func newBeat(every time.Duration) *beat {
	b := &beat{every: every}
	if every > 0 {
		b.timer = time.NewTimer(every)
	}
	return b
}

func (b *beat) tick() <-chan time.Time {
	if b.timer == nil {
		return nil
	}
	return b.timer.C
}

func (b *beat) reset() {
	if b.timer != nil {
		b.timer.Reset(b.every)
	}
}

func (b *beat) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

// collect takes what waits in the queue behind first, within the limits of one
// block.
func (s *Server) collect(first *request) []*request {
	s.executor.carry = nil
	if first == nil {
		return nil
	}
	batch := []*request{first}
	size := frameFixed + 4 + len(first.raw)
	for len(batch) < MaxBlockTransactions {
		r := s.next()
		if r == nil {
			break
		}
		if size += 4 + len(r.raw); size > MaxBlockBytes {
			s.executor.carry = r
			break
		}
		batch = append(batch, r)
	}
	// Closes come first into a full block, not inside it: who pays out of a channel
	// that it has just funded finds the funding before it.
	slices.SortStableFunc(batch, func(a, b *request) int { return cmp.Compare(a.turn, b.turn) })
	return batch
}

// next takes what waits: closes of channels before all else, since their time may
// run out; nil when nothing waits.
func (s *Server) next() *request {
	select {
	case r := <-s.closes:
		return r
	default:
	}
	select {
	case r := <-s.closes:
		return r
	case r := <-s.queue:
		return r
	default:
		return nil
	}
}

// run executes a batch as the next block. A block without transactions is made
// only when forced, by the heartbeat or a wish.
func (e *executor) run(batch []*request, now uint64, forced bool) (*sealed, error) {
	out := &sealed{}
	b := ledger.Block{Height: e.state.Head().Height + 1, Time: now}
	list := make([]*request, 0, len(batch))
	for _, r := range batch {
		if r.tx == nil {
			out.waiting = append(out.waiting, r)
			forced = true
			continue
		}
		list = append(list, r)
		b.Txs = append(b.Txs, r.tx)
	}
	delta, results, err := e.state.Prepare(b)
	if err != nil {
		return nil, fmt.Errorf("execute block %d: %w", b.Height, err)
	}
	for i, r := range list {
		if rej := results[i].Rejection; rej != nil {
			out.refused, out.why = append(out.refused, r), append(out.why, rej)
		} else {
			out.accepted = append(out.accepted, r)
		}
	}
	if len(out.accepted) == 0 && len(delta.Matured) == 0 && !forced {
		return out, nil
	}
	if err := e.state.Commit(delta); err != nil {
		return nil, err
	}
	out.delta = delta
	return out, nil
}

func answer(list []*request, err error) {
	for _, r := range list {
		r.reply <- reply{err: err}
	}
}

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

// submit queues a request and waits for its answer.
func (s *Server) submit(ctx context.Context, r *request) (ledger.Receipt, error) {
	r.reply = make(chan reply, 1)
	r.turn = s.turns.Add(1)
	queue := s.queue
	if r.tx != nil && r.tx.Closes() {
		queue = s.closes
	}
	select {
	case queue <- r:
	case <-s.quit:
		return ledger.Receipt{}, s.ended()
	case <-ctx.Done():
		return ledger.Receipt{}, context.Cause(ctx)
	}
	select {
	case a := <-r.reply:
		return a.receipt, a.err
	case <-ctx.Done():
		return ledger.Receipt{}, context.Cause(ctx)
	case <-s.stopped:
	}
	// Both goroutines have ended; the answer is there or will never come.
	select {
	case a := <-r.reply:
		return a.receipt, a.err
	default:
		return ledger.Receipt{}, s.ended()
	}
}

func (s *Server) ended() error {
	if err := s.failure(); err != nil {
		return err
	}
	return ErrClosed
}

// verifyChunk is the smallest number of signatures worth a second goroutine.
const verifyChunk = 64

// parallelVerifier verifies on all cores. Its goroutines end before it returns.
func parallelVerifier(entropy io.Reader) ledger.Verifier {
	entropy = &lockedReader{r: entropy}
	return func(checks []ledger.SignatureCheck) []int {
		parts := min(runtime.GOMAXPROCS(0), len(checks)/verifyChunk)
		if parts < 2 {
			return ledger.BadSignatures(checks, entropy)
		}
		found := make([][]int, parts)
		var wg sync.WaitGroup
		for p := range parts {
			from, to := len(checks)*p/parts, len(checks)*(p+1)/parts
			wg.Go(func() {
				for _, i := range ledger.BadSignatures(checks[from:to], entropy) {
					found[p] = append(found[p], from+i)
				}
			})
		}
		wg.Wait()
		var bad []int
		for _, list := range found {
			bad = append(bad, list...)
		}
		return bad
	}
}

// lockedReader lets several goroutines read one source.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// errReplay marks a log that is whole but does not follow the ledger's rules.
var errReplay = errors.New("the block log does not follow the rules of the ledger")
