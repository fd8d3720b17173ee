package ledger

import (
	"testing"

	"github.com/bttnet/btt/amount"
)

// vectorSpecial is a refusal that needs a ledger of its own: its genesis, the
// blocks before, and the transaction, with zeros behind it up to Length bytes.
type vectorSpecial struct {
	Name    string        `json:"name"`
	Code    Code          `json:"code"`
	Genesis Genesis       `json:"genesis"`
	Blocks  []vectorBlock `json:"blocks"`
	Raw     hexBytes      `json:"raw"`
	Length  int           `json:"length"`
}

type vectorBlock struct {
	Time uint64     `json:"time"`
	Raws []hexBytes `json:"transactions"`
}

// special enters what tx meets in a world.
func (w *world) special(name string, code Code, g Genesis, tx *Tx, padding int) vectorSpecial {
	x := vectorSpecial{Name: name, Code: code, Genesis: g, Raw: tx.Encode()}
	x.Length = len(x.Raw) + padding
	for _, b := range w.log {
		e := vectorBlock{Time: b.Time}
		for _, t := range b.Txs {
			e.Raws = append(e.Raws, t.Encode())
		}
		x.Blocks = append(x.Blocks, e)
	}
	return x
}

// specialRefusals builds one for each code that a plain ledger never gives.
func specialRefusals(t *testing.T) (list []vectorSpecial) {
	g := testGenesis()
	w := newWorldOf(t, g)
	pay := w.spend(w.hundred, w.toBob(w.hundred.Amount))
	list = append(list, w.special("one byte above the most", CodeOversized, g, pay, MaxTxBytes+1-len(pay.Encode())))

	lock := w.s.Head().LedgerTime + 600
	w.block(0, w.refund(lock))
	for i := range uint32(MaxReplacements) {
		w.block(0, w.settle(i+1, amount.BTT, lock))
	}
	list = append(list, w.special("replaced 64 times before", CodeReplaced, g, w.settle(MaxReplacements+1, amount.BTT, lock), 0))

	g = testGenesis()
	g.Params.MaxParked = 1
	w = newWorldOf(t, g)
	open := w.spend(w.fifty, Output{w.fifty.Amount, w.joint.Lock})
	second := Coin{OutPoint: open.OutPoint(w.net, 0), Amount: w.fifty.Amount, Lock: w.joint.Lock}
	w.block(0, open, w.refund(lock))
	late := w.sign(RefundTx(second.OutPoint, second.Amount, w.payer.Address(), lock), []Coin{second}, w.payer, w.payee)
	list = append(list, w.special("every place for parked ones is taken", CodeParkFull, g, late, 0))

	g = testGenesis()
	g.Shares[1].Grants = []Grant{{Address: w.alice.Address(), Amount: amount.Supply / 2, NotBefore: g.Time + 86400}}
	w = newWorldOf(t, g)
	coins := g.Coins()
	early := w.spend(coins[len(coins)-1], w.toBob(amount.Supply/2))
	return append(list, w.special("a grant before its time", CodeReleased, g, early, 0))
}

// refusal runs the vector and returns the code of what happens.
func (x *vectorSpecial) refusal(t *testing.T) Code {
	s, err := NewState(x.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range x.Blocks {
		block := Block{Height: uint64(i) + 1, Time: b.Time}
		for _, raw := range b.Raws {
			tx, err := DecodeTx(raw)
			if err != nil {
				t.Fatal(x.Name, err)
			}
			block.Txs = append(block.Txs, tx)
		}
		if _, err := s.Execute(block); err != nil {
			t.Fatal(x.Name, err)
		}
	}
	tx, err := DecodeTx(append(append([]byte{}, x.Raw...), make([]byte, x.Length-len(x.Raw))...))
	if err == nil {
		err = s.Check(tx)
	}
	return CodeOf(err)
}
