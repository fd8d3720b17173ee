package ledgerd

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// registerInput is one operation on an output: a submit of transaction tx that
// spends it, or (tx 0) a look at it.
type registerInput struct{ output, tx int }

// registerOutput is who had spent the output; 0 nobody.
type registerOutput struct{ by int }

// registerModel is an output as a register that is written once: a submit is a
// compare-and-set from unspent.
var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[int][]porcupine.Operation{}
		for _, op := range history {
			o := op.Input.(registerInput).output
			parts[o] = append(parts[o], op)
		}
		var list [][]porcupine.Operation
		for _, p := range parts {
			list = append(list, p)
		}
		return list
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		spent, in, out := state.(int), input.(registerInput), output.(registerOutput)
		if in.tx != 0 && spent == 0 {
			spent = in.tx
		}
		return out.by == spent, spent
	},
}

// TestLinearizable records submits that compete for the same outputs, and looks
// at them, over two transports at once, and checks the history.
func TestLinearizable(t *testing.T) {
	const outputs, rivals = 12, 4
	dir := t.TempDir()
	s := openServer(t, testConfig(t, dir, newClock()))
	local := s.Client()
	coin := coinOf(t, local, key(1).Address(), outputs*amount.BTT)
	split := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{coin.OutPoint}}
	for range outputs {
		split.Outputs = append(split.Outputs, ledger.Output{Amount: coin.Amount / outputs, Lock: coin.Lock})
	}
	split.Outputs[0].Amount += coin.Amount % outputs
	sign(s.Network(), split, coin.Lock, key(1))
	mustSubmit(t, local, split)

	raws := map[registerInput][]byte{}
	number := map[ledger.TxID]int{}
	for o := range outputs {
		for r := 1; r <= rivals; r++ {
			c := ledger.Coin{OutPoint: split.OutPoint(s.Network(), o), Amount: split.Outputs[o].Amount, Lock: coin.Lock}
			tx := transfer(s.Network(), key(1), c, ledger.PayTo(key(byte(10+r)).Address()), amount.BTT)
			raws[registerInput{o, r}], number[tx.ID(s.Network())] = tx.Encode(), r
		}
	}
	perform := func(c ledger.Client, in registerInput) (registerOutput, error) {
		if in.tx == 0 {
			state, err := c.Outpoint(t.Context(), split.OutPoint(s.Network(), in.output))
			return registerOutput{number[state.By]}, err
		}
		receipt, err := c.Submit(t.Context(), raws[in])
		if err == nil {
			return registerOutput{number[receipt.TxID]}, nil
		}
		if rej, ok := errors.AsType[*ledger.Rejection](err); ok && rej.Code == ledger.CodeConflict {
			return registerOutput{number[rej.By]}, nil
		}
		return registerOutput{}, err
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	start := time.Now()
	var wg sync.WaitGroup
	for id := range 2 * rivals {
		c := local
		if id%2 == 1 {
			c = connect(t, s, "http", dir)
		}
		wg.Go(func() {
			for o := range outputs {
				for _, in := range []registerInput{{o, 0}, {o, id/2 + 1}, {o, 0}} {
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
	if got := porcupine.CheckOperationsTimeout(registerModel, history, 30*time.Second); got != porcupine.Ok {
		t.Fatalf("history of %d operations: %v", len(history), got)
	}
}

// TestReplayIsDeterministic replays one log with one and with two cores.
func TestReplayIsDeterministic(t *testing.T) {
	dir := t.TempDir()
	s, _ := varied(t, dir)
	var wg sync.WaitGroup
	for n := range byte(4) {
		wg.Go(func() {
			c := s.Client()
			for range 40 {
				coin := coinOf(t, c, key(n+1).Address(), amount.BTT)
				mustSubmit(t, c, transfer(s.Network(), key(n+1), coin, ledger.PayTo(key(n+50).Address()), amount.BTT/2))
			}
		})
	}
	wg.Wait()
	view := func(s *Server) (out []string) {
		out = append(out, fmt.Sprintf("%+v", s.head()))
		for from := uint64(0); ; {
			list, _, err := s.since(from, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			for _, e := range list {
				out = append(out, fmt.Sprint(e))
			}
			from = list[len(list)-1].Cursor
		}
		return append(out, fmt.Sprint(s.db.Position()))
	}
	want := view(s)
	s.Close()
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, cores := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(cores)
		again := openServer(t, Config{Dir: dir, OperatorKey: key(200), Heartbeat: -1})
		if got := view(again); !reflect.DeepEqual(got, want) {
			t.Errorf("%d cores: another history", cores)
		}
		again.Close()
	}
}
