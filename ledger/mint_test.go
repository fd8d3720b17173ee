package ledger

import (
	"fmt"
	"testing"

	"github.com/bttnet/btt/amount"
)

func TestMintRules(t *testing.T) {
	w := newWorld(t)
	w.block(1, w.sign(RedeemTx([]OutPoint{w.hundred.OutPoint}, w.bob.Address(), 40*amount.BTT, w.toBob(60*amount.BTT)), []Coin{w.hundred}, w.alice))
	if got := w.s.Head().Totals; got.Burned != 40*amount.BTT || got.Unspent != amount.Supply-40*amount.BTT {
		t.Fatalf("totals %+v", got)
	}
	op := func(i int) Signer { return testKey(fmt.Sprint("operator ", i)) }
	mint := func(index uint32, a amount.Amount, keys ...Signer) *Tx {
		tx := MintTx(Deposit{Chain: [32]byte{5}, Index: index}, []Output{w.toBob(a)})
		if err := Sign(tx, w.net, Lock{Kind: OperatorLock}, keys...); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	reversed := mint(0, amount.BTT, op(0), op(1))
	wit := &reversed.Witnesses[0]
	wit.Keys[0], wit.Keys[1] = wit.Keys[1], wit.Keys[0]
	wit.Signatures[0], wit.Signatures[1] = wit.Signatures[1], wit.Signatures[0]
	twice := mint(0, amount.BTT, op(0), op(0))
	for name, c := range map[string]struct {
		tx   *Tx
		want Code
	}{
		"one of three":     {mint(0, amount.BTT, op(0)), CodeWitness},
		"three of three":   {mint(0, amount.BTT, op(0), op(1), op(2)), CodeWitness},
		"stranger":         {mint(0, amount.BTT, op(0), w.bob), CodeWitness},
		"descending":       {reversed, CodeWitness},
		"one key twice":    {twice, CodeWitness},
		"above the burned": {mint(0, 41*amount.BTT, op(0), op(1)), CodeOverCap},
	} {
		if err := w.s.Check(c.tx); CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	w.block(1, mint(0, 15*amount.BTT, op(0), op(2)), mint(1, 25*amount.BTT, op(1), op(2)))
	if got := w.s.Head().Totals; got.Unspent != amount.Supply || got.Minted != amount.Supply+40*amount.BTT {
		t.Errorf("totals %+v", got)
	}
	if err := w.s.Check(mint(1, amount.BTT, op(0), op(1))); CodeOf(err) != CodeMinted {
		t.Errorf("used deposit: %v", err)
	}
	// Also inside one block.
	w.block(1, w.spendRedeem(w.fifty))
	_, res, err := w.s.Prepare(Block{Height: w.s.Head().Height + 1, Time: w.clock,
		Txs: []*Tx{mint(2, amount.BTT, op(0), op(1)), mint(2, 2*amount.BTT, op(0), op(1))}})
	if err != nil || res[0].Rejection != nil || CodeOf(res[1].Rejection) != CodeMinted {
		t.Errorf("same deposit twice in a block: %+v, %v", res, err)
	}
}
