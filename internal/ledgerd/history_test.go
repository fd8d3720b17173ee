package ledgerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// registerInput is one operation on an output: a submit of transaction tx that
// spends it, a look at the output (tx 0), or a question for transaction tx.
type registerInput struct {
	output, tx int
	get        bool
}

// registerOutput is who had spent the output; 0 nobody. A question for a
// transaction is answered with that transaction, or 0 if the ledger has it not.
type registerOutput struct{ by int }

// registerModel is an output as a register that is written once: a submit is a
// compare-and-set from unspent. A transaction is there if and only if it is what
// was written.
var registerModel = porcupine.Model{
	Partition: byOutput(func(in registerInput) int { return in.output }),
	Init:      func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		spent, in, out := state.(int), input.(registerInput), output.(registerOutput)
		if in.get {
			return out.by == in.tx && spent == in.tx || out.by == 0 && spent != in.tx, spent
		}
		if in.tx != 0 && spent == 0 {
			spent = in.tx
		}
		return out.by == spent, spent
	},
}

// byOutput parts a history into those of single outputs.
func byOutput[In any](output func(In) int) func([]porcupine.Operation) [][]porcupine.Operation {
	return func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[int][]porcupine.Operation{}
		for _, op := range history {
			o := output(op.Input.(In))
			parts[o] = append(parts[o], op)
		}
		return slices.Collect(maps.Values(parts))
	}
}

// TestRegisterModel: histories that no honest ledger gives do not pass.
func TestRegisterModel(t *testing.T) {
	look, submit, get := registerInput{}, registerInput{tx: 1}, registerInput{tx: 1, get: true}
	rival := registerInput{tx: 2, get: true}
	type step struct {
		in registerInput
		by int
	}
	for name, x := range map[string]struct {
		steps []step
		want  bool
	}{
		"honest":                           {[]step{{look, 0}, {get, 0}, {submit, 1}, {get, 1}, {rival, 0}, {look, 1}}, true},
		"forgotten":                        {[]step{{submit, 1}, {get, 0}}, false},
		"there before it was submitted":    {[]step{{get, 1}, {submit, 1}}, false},
		"there beside the one that won":    {[]step{{submit, 1}, {rival, 2}}, false},
		"gone again":                       {[]step{{submit, 1}, {get, 1}, {get, 0}}, false},
		"another one than was asked for":   {[]step{{submit, 1}, {rival, 1}}, false},
		"the output is behind its spender": {[]step{{submit, 1}, {get, 1}, {look, 0}}, false},
	} {
		var history []porcupine.Operation
		for i, st := range x.steps {
			history = append(history, porcupine.Operation{Input: st.in, Output: registerOutput{st.by}, Call: int64(2 * i), Return: int64(2*i + 1)})
		}
		if got := porcupine.CheckOperations(registerModel, history); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// rivalry is the transactions that compete for the outputs of one.
type rivalry struct {
	outputs func(ledger.Network, int) ledger.OutPoint
	network ledger.Network
	raws    map[registerInput][]byte
	ids     map[registerInput]ledger.TxID
	number  map[ledger.TxID]int
}

func (r *rivalry) perform(ctx context.Context, c ledger.Client, in registerInput) (registerOutput, error) {
	if in.get {
		in.get = false
		rec, err := c.Transaction(ctx, r.ids[in])
		if errors.Is(err, ledger.ErrNotFound) {
			return registerOutput{}, nil
		}
		if err == nil && !bytes.Equal(rec.Raw, r.raws[in]) {
			err = fmt.Errorf("transaction %v has other bytes than were submitted", in)
		}
		return registerOutput{r.number[rec.TxID]}, err
	}
	if in.tx == 0 {
		state, err := c.Outpoint(ctx, r.outputs(r.network, in.output))
		return registerOutput{r.number[state.By]}, err
	}
	receipt, err := c.Submit(ctx, r.raws[in])
	if err == nil {
		return registerOutput{r.number[receipt.TxID]}, nil
	}
	if rej, ok := errors.AsType[*ledger.Rejection](err); ok && rej.Code == ledger.CodeConflict {
		return registerOutput{r.number[rej.By]}, nil
	}
	return registerOutput{}, err
}

// TestLinearizable records submits that compete for the same outputs, looks at
// them, and questions for the rivals, over two transports at once, and checks the
// history.
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

	r := rivalry{outputs: split.OutPoint, network: s.Network(), raws: map[registerInput][]byte{}, ids: map[registerInput]ledger.TxID{}, number: map[ledger.TxID]int{}}
	for o := range outputs {
		for n := 1; n <= rivals; n++ {
			c := ledger.Coin{OutPoint: split.OutPoint(s.Network(), o), Amount: split.Outputs[o].Amount, Lock: coin.Lock}
			tx := transfer(s.Network(), key(1), c, ledger.PayTo(key(byte(10+n)).Address()), amount.BTT)
			in, id := registerInput{output: o, tx: n}, tx.ID(s.Network())
			r.raws[in], r.ids[in], r.number[id] = tx.Encode(), id, n
		}
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
			own, rival := id/2+1, (id/2+1)%rivals+1
			for o := range outputs {
				for _, in := range []registerInput{{o, 0, false}, {o, rival, true}, {o, own, false}, {o, own, true}, {o, rival, true}, {o, 0, false}} {
					op := porcupine.Operation{ClientId: id, Input: in, Call: time.Since(start).Nanoseconds()}
					out, err := r.perform(t.Context(), c, in)
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
	if got := porcupine.CheckOperationsTimeout(registerModel, history, 5*time.Minute); got != porcupine.Ok {
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
