package ledger

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/bttnet/btt/amount"
)

// TestRelease spends each part of a share that is released in three steps: not
// one second before its time, and from then on (R14.14).
func TestRelease(t *testing.T) {
	g := testGenesis()
	plain := g.Hash()
	third := amount.Supply / 6
	team := testKey("faucet").Address()
	g.Shares[1].Grants = []Grant{
		{Address: team, Amount: third},
		{Address: team, Amount: third, NotBefore: g.Time + 20},
		{Address: team, Amount: amount.Supply/2 - 2*third, NotBefore: g.Time + 40},
	}
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	scheduled := g.Hash()
	if scheduled == plain {
		t.Error("a schedule does not change the network")
	}
	g.Shares[1].Grants[2].NotBefore++
	if g.Hash() == scheduled {
		t.Error("another time does not change the network")
	}
	g.Shares[1].Grants[2].NotBefore--
	raw, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseGenesis(raw); err != nil || back.Hash() != scheduled {
		t.Fatalf("the schedule does not come back: %v", err)
	}
	w := newWorldOf(t, g)
	coins := g.Coins()
	if len(g.Releases()) != 2 || g.Releases()[coins[3].OutPoint] != g.Time+40 || coins[3].NotBefore != g.Time+40 {
		t.Errorf("releases %v", g.Releases())
	}
	spend := func(i int) *Tx {
		c := coins[i]
		return w.sign(NewTransfer([]OutPoint{c.OutPoint}, []Output{{c.Amount, PayTo(w.bob.Address())}}), []Coin{c}, testKey("faucet"))
	}
	refused := func(i int) {
		t.Helper()
		if err := w.s.Check(spend(i)); CodeOf(err) != CodeReleased {
			t.Errorf("part %d at %d: %v", i, w.s.Head().LedgerTime-g.Time, err)
		}
	}
	refused(2)
	refused(3)
	w.block(19, spend(1))
	refused(2)
	w.block(1, spend(2))
	refused(3)
	w.block(19)
	refused(3)
	// A new state over the same store knows the schedule too.
	again, err := Resume(g, w.store, Meta{Head: w.s.Head()})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Check(spend(3)); CodeOf(err) != CodeReleased {
		t.Errorf("after a restart: %v", err)
	}
	w.block(1, spend(3))
	g.Shares[1].Grants[2].NotBefore = g.Time + MaxRelease + 1
	if err := g.Validate(); !errors.Is(err, ErrGenesis) {
		t.Errorf("released in the next century: %v", err)
	}
}
