package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/bttnet/btt/amount"
)

// TestRefusals gives every code its cases; Check, Prepare and Execute must
// agree, and the state must stay as it was.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	now := w.s.Head().LedgerTime
	sum := w.hundred.Amount
	resign := func(tx *Tx, coins ...Coin) *Tx { return w.sign(tx, coins, w.alice, w.payer, w.payee) }
	plain := func(change func(*Tx)) *Tx {
		tx := NewTransfer([]OutPoint{w.hundred.OutPoint}, []Output{w.toBob(sum)})
		change(tx)
		return resign(tx, w.hundred)
	}
	after := func(change func(*Tx)) *Tx {
		tx := w.spend(w.hundred, w.toBob(sum))
		change(tx)
		return tx
	}
	deposit := Deposit{Chain: [32]byte{5}}
	mint := func(a amount.Amount, keys ...Signer) *Tx {
		tx := MintTx(deposit, []Output{w.toBob(a)})
		if len(keys) > 0 {
			if err := Sign(tx, w.net, Lock{Kind: OperatorLock}, keys...); err != nil {
				t.Fatal(err)
			}
		}
		return tx
	}
	op := func(i int) Signer { return testKey(fmt.Sprint("operator ", i)) }
	foreign := func(net Network) *Tx {
		tx := NewTransfer([]OutPoint{w.hundred.OutPoint}, []Output{w.toBob(sum)})
		if err := SignInputs(tx, net, []Coin{w.hundred}, w.alice); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	highS := after(func(tx *Tx) {
		sig := &tx.Witnesses[0].Signatures[0]
		_, s, _ := sig.scalars()
		s.Negate()
		b := s.Bytes()
		copy(sig[32:64], b[:])
		sig[64] ^= 1
	})
	for _, c := range []struct {
		name string
		tx   *Tx
		want Code
	}{
		{"no inputs", &Tx{Kind: Transfer, Outputs: []Output{w.toBob(sum)}}, CodeMalformed},
		{"no outputs", plain(func(tx *Tx) { tx.Outputs = nil }), CodeMalformed},
		{"unknown kind", &Tx{Kind: 7}, CodeMalformed},
		{"transfer with a reference", plain(func(tx *Tx) { tx.Reference.Index = 1 }), CodeMalformed},
		{"shard", plain(func(tx *Tx) { tx.Outputs[0].Lock.Kind = 9 }), CodeMalformed},
		{"operator output", plain(func(tx *Tx) { tx.Outputs[0].Lock = Lock{Kind: OperatorLock} }), CodeMalformed},
		{"mint with inputs", &Tx{Kind: Mint, Inputs: []OutPoint{w.hundred.OutPoint}, Outputs: []Output{w.toBob(sum)}}, CodeMalformed},
		{"redeem to nobody", RedeemTx([]OutPoint{w.hundred.OutPoint}, Address{}, sum), CodeMalformed},
		{"256 inputs", &Tx{Kind: Transfer, Inputs: make([]OutPoint, 256), Outputs: []Output{w.toBob(sum)}}, CodeOversized},
		{"input twice", after(func(tx *Tx) { tx.Inputs = append(tx.Inputs, tx.Inputs[0]) }), CodeDuplicate},
		{"amount 0", plain(func(tx *Tx) { tx.Outputs = append(tx.Outputs, w.toBob(0)) }), CodeNegative},
		{"negative", plain(func(tx *Tx) { tx.Outputs = []Output{w.toBob(sum + 5000), w.toBob(-5000)} }), CodeNegative},
		{"lowest int64", plain(func(tx *Tx) { tx.Outputs[0].Amount = math.MinInt64 }), CodeNegative},
		{"dust", plain(func(tx *Tx) { tx.Outputs = []Output{w.toBob(sum - 999), w.toBob(999)} }), CodeDust},
		{"redeem dust", RedeemTx([]OutPoint{w.hundred.OutPoint}, w.bob.Address(), 999), CodeDust},
		{"redeem negative", RedeemTx([]OutPoint{w.hundred.OutPoint}, w.bob.Address(), -5000), CodeNegative},
		{"one output over supply", plain(func(tx *Tx) { tx.Outputs[0].Amount = amount.Supply + 1 }), CodeOverflow},
		{"sum over supply", plain(func(tx *Tx) { tx.Outputs = []Output{w.toBob(amount.Supply), w.toBob(sum)} }), CodeOverflow},
		{"sum wraps int64", plain(func(tx *Tx) {
			for range 20 {
				tx.Outputs = append(tx.Outputs, w.toBob(amount.Supply))
			}
		}), CodeOverflow},
		{"too much out", plain(func(tx *Tx) { tx.Outputs[0].Amount++ }), CodeBalance},
		{"too little out", plain(func(tx *Tx) { tx.Outputs[0].Amount-- }), CodeBalance},
		{"joint key no point", plain(func(tx *Tx) { tx.Outputs[0].Lock = Joint(w.payer.PublicKey(), PublicKey{2}) }), CodeKey},
		{"unknown input", after(func(tx *Tx) { tx.Inputs[0].Index = 99 }), CodeMissing},
		{"no witness", after(func(tx *Tx) { tx.Witnesses = nil }), CodeWitness},
		{"witness twice", after(func(tx *Tx) { tx.Witnesses = append(tx.Witnesses, tx.Witnesses[0]) }), CodeWitness},
		{"other key", after(func(tx *Tx) { tx.Witnesses[0].Keys[0] = w.bob.PublicKey() }), CodeWitness},
		{"key no point", after(func(tx *Tx) { tx.Witnesses[0].Keys[0] = PublicKey{} }), CodeWitness},
		{"joint with keys", func() *Tx {
			tx := w.settle(1, amount.BTT, 0)
			tx.Witnesses[0].Keys = []PublicKey{w.payer.PublicKey(), w.payee.PublicKey()}
			return tx
		}(), CodeWitness},
		{"one of two", func() *Tx {
			tx := w.settle(1, amount.BTT, 0)
			tx.Witnesses[0].Signatures = tx.Witnesses[0].Signatures[:1]
			return tx
		}(), CodeWitness},
		{"two swapped", func() *Tx {
			tx := w.settle(1, amount.BTT, 0)
			s := tx.Witnesses[0].Signatures
			s[0], s[1] = s[1], s[0]
			return tx
		}(), CodeSignature},
		{"changed after signing", after(func(tx *Tx) { tx.Outputs[0].Lock = PayTo(w.payer.Address()) }), CodeSignature},
		{"other network", foreign(Network{1}), CodeSignature},
		{"high s", highS, CodeSignature},
		{"recovery id 2", after(func(tx *Tx) { tx.Witnesses[0].Signatures[0][64] += 2 }), CodeSignature},
		{"TRON's v of 27", after(func(tx *Tx) { tx.Witnesses[0].Signatures[0][64] += 27 }), CodeSignature},
		{"locked address coin", plain(func(tx *Tx) { tx.LockTime = now + 1 }), CodeNotFinal},
		{"locked with three outputs", func() *Tx {
			tx := NewTransfer([]OutPoint{w.joint.OutPoint}, []Output{w.toBob(amount.BTT), w.toBob(amount.BTT), w.toBob(8 * amount.BTT)})
			tx.LockTime = now + 1
			return resign(tx, w.joint)
		}(), CodeNotFinal},
		{"locked with two inputs", func() *Tx {
			tx := NewTransfer([]OutPoint{w.joint.OutPoint, w.hundred.OutPoint}, []Output{w.toBob(110 * amount.BTT)})
			tx.LockTime = now + 1
			return resign(tx, w.joint, w.hundred)
		}(), CodeNotFinal},
		{"locked redeem", func() *Tx {
			tx := RedeemTx([]OutPoint{w.joint.OutPoint}, w.bob.Address(), w.joint.Amount)
			tx.LockTime = now + 1
			return resign(tx, w.joint)
		}(), CodeNotFinal},
		{"lock expired the limit", w.refund(now + DefaultMaxLock + 1), CodeLockFar},
		{"lock at the end of time", w.refund(math.MaxUint64), CodeLockFar},
		{"mint over the cap", mint(amount.BTT, op(0), op(1)), CodeOverCap},
		{"mint unsigned", mint(amount.BTT), CodeOverCap},
	} {
		before := w.image()
		err := w.s.Check(c.tx)
		_, execErr := w.s.Execute(Block{Height: w.s.Head().Height + 1, Time: w.clock, Txs: []*Tx{c.tx}})
		d, results, prepErr := w.s.Prepare(Block{Height: w.s.Head().Height + 1, Time: w.clock, Txs: []*Tx{c.tx}})
		if CodeOf(err) != c.want || CodeOf(execErr) != c.want {
			t.Errorf("%s: Check %v, Execute %v; want %s", c.name, err, execErr, c.want)
		} else if prepErr != nil || results[0].Rejection.Code != c.want || len(d.TxIDs) != 0 {
			t.Errorf("%s: Prepare %+v, %v", c.name, results, prepErr)
		}
		if !bytes.Equal(before, w.image()) {
			t.Fatalf("%s: a refused transaction changed the state", c.name)
		}
	}
}

func TestOversizedShape(t *testing.T) {
	p := DefaultParams()
	tx := &Tx{Kind: Transfer, Inputs: []OutPoint{{}}, Outputs: []Output{{amount.BTT, PayTo(Address{1})}}}
	for range 70 {
		tx.Witnesses = append(tx.Witnesses, Witness{Signatures: make([]Signature, 16)})
	}
	if rej := CheckShape(tx, &p); rej == nil || rej.Code != CodeOversized || tx.Encode() != nil {
		t.Errorf("70 KiB: %v", rej)
	}
}

func TestReplacementLimit(t *testing.T) {
	w := newWorld(t)
	lock := w.s.Head().LedgerTime + 600
	w.block(0, w.refund(lock))
	for i := range uint32(MaxReplacements) {
		w.block(0, w.settle(i+1, amount.BTT, lock))
		if err := w.s.Check(w.settle(i+1, 2*amount.BTT, lock)); CodeOf(err) != CodeStale && i+1 < MaxReplacements {
			t.Fatalf("the same sequence with another sum: %v", err)
		}
		if len(w.s.slots) != 1 || len(w.s.due) != 1 {
			t.Fatalf("%d slots, %d due after replacement %d", len(w.s.slots), len(w.s.due), i+1)
		}
	}
	if err := w.s.Check(w.settle(MaxReplacements+1, amount.BTT, lock)); CodeOf(err) != CodeReplaced {
		t.Errorf("replacement %d: %v", MaxReplacements+1, err)
	}
	// The limit survives a restart, and a final settlement is still taken.
	meta := w.s.Meta()
	back, err := DecodeMeta(meta.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if w.s, err = Resume(testGenesis(), w.store, back); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Check(w.settle(MaxReplacements+1, amount.BTT, lock)); CodeOf(err) != CodeReplaced {
		t.Errorf("after restart: %v", err)
	}
	w.block(0, w.settle(1, amount.BTT, 0))
}

func TestParkingFull(t *testing.T) {
	g := testGenesis()
	g.Params.MaxParked = 1
	w := newWorldOf(t, g)
	now := w.s.Head().LedgerTime
	open := w.spend(w.fifty, Output{w.fifty.Amount, w.joint.Lock})
	second := Coin{OutPoint: open.OutPoint(w.net, 0), Amount: w.fifty.Amount, Lock: w.joint.Lock}
	late := w.sign(RefundTx(second.OutPoint, second.Amount, w.payer.Address(), now+60), []Coin{second}, w.payer, w.payee)
	w.block(0, open, w.refund(now+60))
	if err := w.s.Check(late); CodeOf(err) != CodeParkFull {
		t.Errorf("second park: %v", err)
	}
	w.block(0, w.settle(9, amount.BTT, now+60)) // replacing needs no room
	w.block(0, w.settle(1, amount.BTT, 0))
	if err := w.s.Check(late); err != nil {
		t.Errorf("after the close: %v", err)
	}
}

// TestHalt makes the store lose money behind the ledger's back.
func TestHalt(t *testing.T) {
	w := newWorld(t)
	d, err := w.s.Apply(Block{Height: w.s.Head().Height + 1, Time: w.clock, Txs: []*Tx{w.spend(w.fifty, w.toBob(w.fifty.Amount))}})
	if err != nil {
		t.Fatal(err)
	}
	d.Created[0].Amount++
	if err := w.s.Commit(d); !errors.Is(err, ErrHalted) {
		t.Fatalf("Commit of a coin too large: %v", err)
	}
	if _, err := w.s.Execute(Block{Height: w.s.Head().Height + 1, Time: w.clock}); !errors.Is(err, ErrHalted) {
		t.Errorf("after the halt: %v", err)
	}
	h := w.s.Head()
	h.Totals.Minted++
	if _, err := Resume(testGenesis(), w.store, Meta{Head: h}); !errors.Is(err, ErrHalted) {
		t.Errorf("Resume with wrong totals: %v", err)
	}
}

type brokenStore struct{ Coins }

var errStore = errors.New("disk gone")

func (brokenStore) Get(OutPoint) (Coin, bool, error) { return Coin{}, false, errStore }

func TestStoreFaultIsNoRefusal(t *testing.T) {
	w := newWorld(t)
	tx := w.spend(w.fifty, w.toBob(w.fifty.Amount))
	w.s.coins = brokenStore{w.store}
	if err := w.s.Check(tx); !errors.Is(err, errStore) || CodeOf(err) != "" {
		t.Errorf("Check: %v", err)
	}
	if _, _, err := w.s.Prepare(Block{Height: w.s.Head().Height + 1, Txs: []*Tx{tx}}); !errors.Is(err, errStore) {
		t.Errorf("Prepare: %v", err)
	}
}

func TestManyInputsOneWitness(t *testing.T) {
	w := newWorld(t)
	var outs []Output
	for range 100 {
		outs = append(outs, Output{amount.BTT, PayTo(w.alice.Address())})
	}
	split := w.spend(w.hundred, outs...)
	w.block(0, split)
	var in []OutPoint
	var coins []Coin
	for i := range 100 {
		c, _, _ := w.store.Get(split.OutPoint(w.net, i))
		in, coins = append(in, c.OutPoint), append(coins, c)
	}
	in, coins = append(in, w.joint.OutPoint), append(coins, w.joint)
	sweep := w.sign(NewTransfer(in, []Output{w.toBob(110 * amount.BTT)}), coins, w.alice, w.payer, w.payee)
	if len(sweep.Witnesses) != 2 {
		t.Fatalf("%d witnesses for two locks", len(sweep.Witnesses))
	}
	w.block(0, sweep)
	in[100] = in[3]
	if p := w.s.Params(); CodeOf(CheckShape(NewTransfer(in, []Output{w.toBob(amount.BTT)}), &p)) != CodeDuplicate {
		t.Error("input named twice among many")
	}
}

func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	now := w.s.Head().LedgerTime
	w.block(3, w.refund(now+60), w.spendRedeem(w.fifty))
	mint := MintTx(Deposit{Chain: [32]byte{5}, Index: 7}, []Output{w.toBob(amount.BTT)})
	if err := Sign(mint, w.net, Lock{Kind: OperatorLock}, testKey("operator 0"), testKey("operator 1")); err != nil {
		t.Fatal(err)
	}
	w.block(3, mint)
	image := w.image()
	store := NewMemoryCoins()
	s, err := ReadSnapshot(bytes.NewReader(image), testGenesis(), store)
	if err != nil {
		t.Fatal(err)
	}
	v := *w
	v.s, v.store = s, store
	if !bytes.Equal(v.image(), image) || s.Head() != w.s.Head() {
		t.Fatal("a restored state writes another snapshot")
	}
	// Both go on in the same way.
	if a, b := fmt.Sprint(w.block(60)), fmt.Sprint(v.block(60)); a != b {
		t.Errorf("events differ: %s and %s", a, b)
	}
	if !bytes.Equal(v.image(), w.image()) {
		t.Error("states differ after one more block")
	}
	if err := s.Check(mint); CodeOf(err) != CodeMinted {
		t.Errorf("the restored state forgot a deposit: %v", err)
	}
	for i := range image {
		bad := bytes.Clone(image)
		bad[i] ^= 1
		if _, err := ReadSnapshot(bytes.NewReader(bad), testGenesis(), NewMemoryCoins()); err == nil {
			t.Fatalf("damage at byte %d not seen", i)
		}
	}
	for _, n := range []int{0, 1, 60, len(image) / 2, len(image) - 1} {
		if _, err := ReadSnapshot(bytes.NewReader(image[:n]), testGenesis(), NewMemoryCoins()); !errors.Is(err, ErrSnapshot) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	other := testGenesis()
	other.Name = "other"
	if _, err := ReadSnapshot(bytes.NewReader(image), other, NewMemoryCoins()); !errors.Is(err, ErrSnapshot) {
		t.Errorf("another network: %v", err)
	}
}
