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

// late is a ledger that takes settlements after a while.
type late struct {
	ledger.Client
	after time.Duration
}

func (l *late) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	t, err := ledger.DecodeTx(raw)
	if err == nil && len(t.Witnesses) == 1 && len(t.Witnesses[0].Signatures) == 2 { // T3: both keys of a channel
		select {
		case <-time.After(l.after):
		case <-ctx.Done():
			return ledger.Receipt{}, ctx.Err()
		}
	}
	return l.Client.Submit(ctx, raw)
}

// TestLateSettlement: the seed settles when those that paid it have left. The statement
// tells what the ledger moved, not what they had signed.
func TestLateSettlement(t *testing.T) {
	o := small(t)
	o.Timeout = 3 * time.Minute
	var mu sync.Mutex
	opened := map[string]int{}
	o.client = func(actor string, c ledger.Client) ledger.Client {
		mu.Lock()
		defer mu.Unlock()
		if opened[actor]++; actor == "seed" {
			return &late{Client: c, after: 6 * time.Second}
		}
		return c
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
