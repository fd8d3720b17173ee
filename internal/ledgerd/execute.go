package ledgerd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/ledger"
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
