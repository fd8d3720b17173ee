package ledgertest

import (
	"context"
	"errors"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

func TestMemoryConforms(t *testing.T) {
	RunClient(t, func(t *testing.T) Harness {
		m := New()
		t.Cleanup(func() {
			if err := m.Audit(); err != nil {
				t.Error(err)
			}
		})
		return Harness{Client: m, Advance: m.Advance}
	})
}

func TestFundAndOutage(t *testing.T) {
	m := New()
	c, err := m.Fund(Key("x").Address(), 3*amount.BTT)
	if err != nil || c.Amount != 3*amount.BTT {
		t.Fatalf("Fund = %+v, %v", c, err)
	}
	down := errors.New("down")
	m.SetOutage(down)
	if _, err := m.Status(context.Background()); !errors.Is(err, down) {
		t.Errorf("Status in an outage: %v", err)
	}
	if _, err := m.Submit(context.Background(), nil); !errors.Is(err, down) {
		t.Errorf("Submit in an outage: %v", err)
	}
	m.SetOutage(nil)
	if _, err := m.Outpoint(context.Background(), c.OutPoint); err != nil {
		t.Error(err)
	}
}

func TestJumpIsClamped(t *testing.T) {
	m := New()
	before := m.state.Head().LedgerTime
	m.Jump(1_000_000)
	if d := m.state.Head().LedgerTime - before; d != ledger.DefaultClamp {
		t.Errorf("a jump moved ledger time by %d s", d)
	}
	m.Jump(-5_000_000)
	if d := m.state.Head().LedgerTime - before; d != ledger.DefaultClamp {
		t.Errorf("a jump back moved ledger time to %d s", d)
	}
}
