package demo

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

// late is a ledger that takes settlements when those that pay have left.
type late struct {
	ledger.Client
	left <-chan struct{}
}

func (l *late) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	t, err := ledger.DecodeTx(raw)
	if err == nil && len(t.Witnesses) == 1 && len(t.Witnesses[0].Signatures) == 2 { // T3: both keys of a channel
		select {
		case <-l.left:
		case <-ctx.Done():
			return ledger.Receipt{}, ctx.Err()
		}
	}
	return l.Client.Submit(ctx, raw)
}

// payer is a ledger that notes when who uses it leaves.
type payer struct {
	ledger.Client
	leaves func()
}

func (p *payer) Watch(ctx context.Context, f ledger.Filter, from uint64) (<-chan ledger.Event, error) {
	if len(f.Addresses) > 0 { // what comes in, to the end of the node
		context.AfterFunc(ctx, p.leaves)
	}
	return p.Client.Watch(ctx, f, from)
}

// TestLateSettlement: the seed settles when those that paid it have left. The statement
// tells what the ledger moved, not what they had signed.
func TestLateSettlement(t *testing.T) {
	o := small(t)
	o.Timeout = 3 * time.Minute
	var mu sync.Mutex
	opened := map[string]int{}
	gone := map[string]bool{}
	left := make(chan struct{})
	o.client = func(actor string, c ledger.Client) ledger.Client {
		mu.Lock()
		defer mu.Unlock()
		if opened[actor]++; actor == "seed" {
			return &late{c, left}
		}
		return &payer{c, func() {
			mu.Lock()
			defer mu.Unlock()
			if gone[actor] {
				return
			}
			if gone[actor] = true; len(gone) == 3 {
				close(left)
			}
		}}
	}
	var out bytes.Buffer
	st, err := Run(context.Background(), o, terminal.New(terminal.JSON, &out))
	if err != nil || !st.Reconciled || st.Payments == 0 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if opened["alice"]+opened["bob"]+opened["carol"] <= 3 {
		t.Errorf("nobody left before the settlement: %v", opened)
	}
}
