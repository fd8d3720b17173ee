package ledgerd

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// slotInput is one operation on a channel's output: a look at it (tx 0), or a
// submit. Transactions 1 to parkers are closes with a lock time and their number
// as sequence; those above are final.
type slotInput struct{ output, tx int }

const parkers = 3

// slotState is an output with its slot: who spent it, or who is parked; as the
// answer to an operation, what the client learned of it.
type slotState struct {
	spent, parked int
	stale         bool // an answer: the slot holds as high a sequence
}

// slotModel is LR3 and LR5 for one output: a final transaction takes it, once; a
// parked one waits in the slot until one of a higher sequence comes.
var slotModel = porcupine.Model{
	Partition: byOutput(func(in slotInput) int { return in.output }),
	Init:      func() any { return slotState{} },
	Step: func(state, input, output any) (bool, any) {
		s, tx, answer := state.(slotState), input.(slotInput).tx, output.(slotState)
		switch {
		case tx == 0 || s.spent != 0:
		case tx > parkers:
			s = slotState{spent: tx}
		case tx >= s.parked:
			s.parked = tx
		default:
			return answer == slotState{parked: s.parked, stale: true}, s
		}
		return answer == s, s
	},
}

// TestLinearizableSlots records closes of channels that compete for the same
// outputs, parked and final, and looks at them, over two transports at once.
func TestLinearizableSlots(t *testing.T) {
	const outputs, finals = 10, 2
	dir := t.TempDir()
	s := openServer(t, testConfig(t, dir, newClock()))
	local := s.Client()
	joint := ledger.Joint(key(2).PublicKey(), key(3).PublicKey())
	coin := coinOf(t, local, key(1).Address(), outputs*amount.BTT)
	funding := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{coin.OutPoint}}
	for range outputs {
		funding.Outputs = append(funding.Outputs, ledger.Output{Amount: amount.BTT, Lock: joint})
	}
	funding.Outputs = append(funding.Outputs, ledger.Output{Amount: coin.Amount - outputs*amount.BTT, Lock: coin.Lock})
	sign(s.Network(), funding, coin.Lock, key(1))
	mustSubmit(t, local, funding)

	raws, number := map[slotInput][]byte{}, map[ledger.TxID]int{}
	lock := s.head().LedgerTime + 1000
	for o := range outputs {
		for n := 1; n <= parkers+finals; n++ {
			tx := &ledger.Tx{Kind: ledger.Transfer, Sequence: uint32(n), Inputs: []ledger.OutPoint{funding.OutPoint(s.Network(), o)},
				Outputs: []ledger.Output{{Amount: amount.BTT, Lock: ledger.PayTo(key(byte(20 + n)).Address())}}}
			if n <= parkers {
				tx.LockTime = lock
			}
			sign(s.Network(), tx, joint, key(2), key(3))
			raws[slotInput{o, n}], number[tx.ID(s.Network())] = tx.Encode(), n
		}
	}
	perform := func(c ledger.Client, in slotInput) (slotState, error) {
		if in.tx == 0 {
			o, err := c.Outpoint(t.Context(), funding.OutPoint(s.Network(), in.output))
			if o.Status == ledger.OutpointParked {
				return slotState{parked: number[o.By]}, err
			}
			return slotState{spent: number[o.By]}, err
		}
		receipt, err := c.Submit(t.Context(), raws[in])
		if err == nil {
			if receipt.State == ledger.Committed {
				return slotState{spent: number[receipt.TxID]}, nil
			}
			return slotState{parked: number[receipt.TxID]}, nil
		}
		rej, ok := errors.AsType[*ledger.Rejection](err)
		switch {
		case ok && rej.Code == ledger.CodeConflict:
			return slotState{spent: number[rej.By]}, nil
		case ok && rej.Code == ledger.CodeStale:
			return slotState{parked: number[rej.By], stale: true}, nil
		}
		return slotState{}, err
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	start := time.Now()
	var wg sync.WaitGroup
	for id := range 6 {
		c := local
		if id%2 == 1 {
			c = connect(t, s, "http", dir)
		}
		wg.Go(func() {
			for o := range outputs {
				// Each client in another order, so that every close meets every other.
				for _, in := range []slotInput{{o, 0}, {o, 1 + id%parkers}, {o, 0}, {o, 1 + (id+o)%(parkers+finals)}, {o, 0}} {
					op := porcupine.Operation{ClientId: id, Input: in, Call: time.Since(start).Nanoseconds()}
					out, err := perform(c, in)
					if err != nil {
						t.Error(err)
						return
					}
					op.Output, op.Return = out, time.Since(start).Nanoseconds()
					mu.Lock()
					history = append(history, op)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if got := porcupine.CheckOperationsTimeout(slotModel, history, 5*time.Minute); got != porcupine.Ok {
		t.Fatalf("history of %d operations: %v", len(history), got)
	}
}
