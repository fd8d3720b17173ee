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

// TestCrash cuts the log at each byte of its last block: the ledger comes back as
// it was before that block, and with the whole log as it was after it.
func TestCrash(t *testing.T) {
	m := New()
	var sizes []int
	var heads []ledger.Head
	for i := range amount.Amount(4) {
		if _, err := m.Fund(Key("x").Address(), i+amount.BTT); err != nil {
			t.Fatal(err)
		}
		m.Advance(40)
		sizes, heads = append(sizes, m.LogSize()), append(heads, m.state.Head())
	}
	coin, err := m.Fund(Key("y").Address(), amount.BTT)
	if err != nil {
		t.Fatal(err)
	}
	last, events := m.state.Head(), len(m.events)
	for _, size := range []int{m.LogSize(), m.LogSize() - 1, sizes[3] + 9, sizes[3] + 1, sizes[3]} {
		want := heads[3]
		if size == m.LogSize() {
			want = last
		}
		if err := m.Crash(size); err != nil || m.state.Head() != want {
			t.Fatalf("%d bytes: %+v, want %+v (%v)", size, m.state.Head(), want, err)
		}
		if err := m.Audit(); err != nil {
			t.Fatal(err)
		}
		st, err := m.Outpoint(t.Context(), coin.OutPoint)
		if err != nil || (st.Status == ledger.OutpointUnspent) != (want == last) || (len(m.events) == events) != (want == last) {
			t.Fatalf("%d bytes: %+v, %d of %d events, %v", size, st, len(m.events), events, err)
		}
		if want == last {
			continue
		}
		if m.LogSize() != sizes[3] {
			t.Fatalf("%d bytes: the rest of a torn block is there", size)
		}
		if again, err := m.Fund(Key("y").Address(), amount.BTT); err != nil || again.OutPoint != coin.OutPoint {
			t.Fatalf("%d bytes: paid again: %+v, %v", size, again, err)
		}
	}
}
