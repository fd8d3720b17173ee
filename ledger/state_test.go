package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/bttnet/btt/amount"
)

// world is a ledger with some coins: alice has 100 and 50 BTT, and 10 BTT are
// locked to payer and payee.
type world struct {
	*testing.T
	s                           *State
	store                       *MemoryCoins
	net                         Network
	clock                       uint64
	alice, bob, payer, payee    *PrivateKey
	hundred, fifty, joint, rest Coin
	log                         []Block // executed so far
}

func newWorld(t *testing.T) *world { return newWorldOf(t, testGenesis()) }

func newWorldOf(t *testing.T, g Genesis) *world {
	t.Helper()
	store := NewMemoryCoins()
	s, err := NewStateOn(g, store)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, s: s, store: store, net: g.Hash(), clock: g.Time,
		alice: testKey("alice"), bob: testKey("bob"), payer: testKey("payer"), payee: testKey("payee")}
	faucet := g.Coins()[0]
	tx := NewTransfer([]OutPoint{faucet.OutPoint}, []Output{
		{100 * amount.BTT, PayTo(w.alice.Address())},
		{50 * amount.BTT, PayTo(w.alice.Address())},
		{10 * amount.BTT, Joint(w.payer.PublicKey(), w.payee.PublicKey())},
		{faucet.Amount - 160*amount.BTT, faucet.Lock},
	})
	w.sign(tx, []Coin{faucet}, testKey("faucet"))
	w.block(0, tx)
	id := tx.ID(w.net)
	for i, c := range []*Coin{&w.hundred, &w.fifty, &w.joint, &w.rest} {
		var ok bool
		if *c, ok, _ = store.Get(OutPoint{TxID: id, Index: uint16(i)}); !ok {
			t.Fatalf("coin %d was not made", i)
		}
	}
	return w
}

func (w *world) sign(tx *Tx, coins []Coin, signers ...Signer) *Tx {
	w.Helper()
	if err := SignInputs(tx, w.net, coins, signers...); err != nil {
		w.Fatal(err)
	}
	return tx
}

// block executes a block some seconds after the last.
func (w *world) block(seconds int64, txs ...*Tx) []Event {
	w.Helper()
	w.clock = uint64(int64(w.clock) + seconds)
	b := Block{Height: w.s.Head().Height + 1, Time: w.clock, Txs: txs}
	w.log = append(w.log, b)
	events, err := w.s.Execute(b)
	if err != nil {
		w.Fatal(err)
	}
	if sum, err := SumCoins(w.store); err != nil || sum != w.s.Head().Totals.Unspent {
		w.Fatalf("coins hold %s, %v; totals %+v", sum, err, w.s.Head().Totals)
	}
	return events
}

// spend signs a transfer of one of alice's or the joint coins.
func (w *world) spend(c Coin, out ...Output) *Tx {
	w.Helper()
	return w.sign(NewTransfer([]OutPoint{c.OutPoint}, out), []Coin{c}, w.alice, w.payer, w.payee)
}

func (w *world) refund(lock uint64) *Tx {
	w.Helper()
	return w.sign(RefundTx(w.joint.OutPoint, w.joint.Amount, w.payer.Address(), lock), []Coin{w.joint}, w.payer, w.payee)
}

func (w *world) settle(sequence uint32, paid amount.Amount, lock uint64) *Tx {
	w.Helper()
	tx, err := SettlementTx(Settlement{Funding: w.joint.OutPoint, Deposit: w.joint.Amount, Paid: paid,
		Payer: w.payer.Address(), Payee: w.payee.Address(), Sequence: sequence, LockTime: lock, MinOutput: DefaultMinOutput})
	if err != nil {
		w.Fatal(err)
	}
	return w.sign(tx, []Coin{w.joint}, w.payer, w.payee)
}

func (w *world) toBob(a amount.Amount) Output { return Output{a, PayTo(w.bob.Address())} }

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

// image is the whole state as bytes.
func (w *world) image() []byte {
	w.Helper()
	var b bytes.Buffer
	if err := w.s.WriteSnapshot(&b, w.store); err != nil {
		w.Fatal(err)
	}
	return b.Bytes()
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

func (w *world) spendRedeem(c Coin) *Tx {
	return w.sign(RedeemTx([]OutPoint{c.OutPoint}, w.bob.Address(), c.Amount), []Coin{c}, w.alice)
}

func TestLedgerTimeIsClamped(t *testing.T) {
	w := newWorld(t)
	at := w.s.Head().LedgerTime
	for _, c := range []struct {
		seconds int64
		want    uint64
	}{{5, 5}, {30, 30}, {31, 30}, {1_000_000, 30}, {0, 0}, {-50, 0}, {50, 30}, {-2_000_000, 0}, {7, 7}} {
		w.block(c.seconds)
		if got := w.s.Head().LedgerTime - at; got != c.want {
			t.Errorf("block time %+d s moved ledger time by %d, want %d", c.seconds, got, c.want)
		}
		at = w.s.Head().LedgerTime
	}
}

func TestEmptyBlockKeepsAppHash(t *testing.T) {
	w := newWorld(t)
	h := w.s.Head()
	before := h.AppHash()
	w.block(20)
	if h = w.s.Head(); h.AppHash() != before {
		t.Error("an empty block changed the app hash")
	}
	w.block(20, w.spend(w.fifty, w.toBob(w.fifty.Amount)))
	if h = w.s.Head(); h.AppHash() == before {
		t.Error("a transaction left the app hash")
	}
}

// TestBlockOrder is LR7: time first, then transactions in order, then what is
// due in (lock time, id) order.
func TestBlockOrder(t *testing.T) {
	w := newWorld(t)
	now := w.s.Head().LedgerTime
	t2, t3 := w.refund(now+30), w.settle(1, 4*amount.BTT, 0)
	w.block(0, t2)
	d, err := w.s.Apply(Block{Height: w.s.Head().Height + 1, Time: w.clock + 30, Txs: []*Tx{t3}})
	if err != nil || len(d.Matured) != 0 || len(d.Displaced) != 1 {
		t.Errorf("T3 in the block of its refund: %+v, %v", d, err)
	}
	// The same refund, submitted again once it is final, applies at once.
	d, err = w.s.Apply(Block{Height: w.s.Head().Height + 1, Time: w.clock + 30, Txs: []*Tx{t2}})
	if err != nil || len(d.Matured) != 0 || len(d.Displaced) != 0 || len(d.Freed) != 1 {
		t.Errorf("refund submitted at its time: %+v, %v", d, err)
	}
	events := w.block(30)
	if len(events) != 2 || events[0].Kind != EventMatured || events[1].Kind != EventSpent {
		t.Errorf("events %+v", events)
	}
	if c, ok, _ := w.s.Coin(t2.OutPoint(w.net, 0)); !ok || c.Amount != w.joint.Amount {
		t.Error("the payer has no refund")
	}
	if len(w.s.slots) != 0 || len(w.s.due) != 0 {
		t.Error("slot or due index not emptied")
	}
}

func TestDueOrder(t *testing.T) {
	w := newWorld(t)
	now := w.s.Head().LedgerTime
	// Ten channels opened and parked in one block, with lock times mixed up.
	var outs []Output
	for range 10 {
		outs = append(outs, Output{5 * amount.BTT, w.joint.Lock})
	}
	open := w.spend(w.fifty, outs...)
	txs := []*Tx{open}
	for i := range 10 {
		c := Coin{OutPoint: open.OutPoint(w.net, i), Amount: 5 * amount.BTT, Lock: w.joint.Lock}
		tx := RefundTx(c.OutPoint, c.Amount, w.payer.Address(), now+1+uint64(i*7%3))
		txs = append(txs, w.sign(tx, []Coin{c}, w.payer, w.payee))
	}
	w.block(0, txs...)
	if len(w.s.slots) != 10 {
		t.Fatalf("%d parked", len(w.s.slots))
	}
	var last *Pending
	d, err := w.s.Apply(Block{Height: w.s.Head().Height + 1, Time: w.clock + 2})
	if err != nil || len(d.Matured) != 7 {
		t.Fatalf("%d matured, %v", len(d.Matured), err)
	}
	for _, p := range d.Matured {
		if p.Tx.LockTime > now+2 || (last != nil && comparePending(last, p) >= 0) {
			t.Errorf("%d %s after %v", p.Tx.LockTime, p.TxID, last)
		}
		last = p
	}
	w.block(5)
	if len(w.s.slots) != 0 {
		t.Errorf("%d left", len(w.s.slots))
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

// TestPrepareLeavesOutBadSignatures mixes good, bad and dependent
// transactions: what only conflicts with a bad one must still get in.
func TestPrepareLeavesOutBadSignatures(t *testing.T) {
	w := newWorld(t)
	w.s.SetVerifier(BatchVerifier(entropy("prepare")))
	bad := w.spend(w.hundred, w.toBob(w.hundred.Amount))
	bad.Witnesses[0].Signatures[0][10] ^= 1
	good := w.spend(w.hundred, Output{w.hundred.Amount, PayTo(w.alice.Address())})
	chained := func() *Tx {
		c := Coin{OutPoint: good.OutPoint(w.net, 0), Amount: w.hundred.Amount, Lock: PayTo(w.alice.Address())}
		return w.sign(NewTransfer([]OutPoint{c.OutPoint}, []Output{w.toBob(c.Amount)}), []Coin{c}, w.alice)
	}()
	orphan := func() *Tx {
		c := Coin{OutPoint: bad.OutPoint(w.net, 0), Amount: w.hundred.Amount, Lock: PayTo(w.bob.Address())}
		return w.sign(NewTransfer([]OutPoint{c.OutPoint}, []Output{w.toBob(c.Amount)}), []Coin{c}, w.bob)
	}()
	b := Block{Height: w.s.Head().Height + 1, Time: w.clock, Txs: []*Tx{bad, orphan, good, good, chained, w.spend(w.fifty, w.toBob(w.fifty.Amount))}}
	d, res, err := w.s.Prepare(b)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Code{CodeSignature, CodeMissing, "", CodeKnown, "", ""} {
		if (res[i].Rejection == nil) != (want == "") || (want != "" && res[i].Rejection.Code != want) {
			t.Errorf("transaction %d: %+v, want %q", i, res[i], want)
		}
	}
	if len(d.TxIDs) != 3 || len(d.Passed) != 1 || res[4].Index != 1 || res[4].TxID != d.TxIDs[1] {
		t.Fatalf("delta %+v", d)
	}
	if _, err := w.s.Apply(b); CodeOf(err) != CodeSignature {
		t.Errorf("strict: %v", err)
	}
	if err := w.s.Commit(d); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Commit(d); err == nil {
		t.Error("one delta committed twice")
	}
	for _, h := range []uint64{0, w.s.Head().Height, w.s.Head().Height + 2} {
		if _, err := w.s.Apply(Block{Height: h}); err == nil {
			t.Errorf("height %d executed", h)
		}
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

func TestHeader(t *testing.T) {
	w := newWorld(t)
	d, err := w.s.Apply(Block{Height: w.s.Head().Height + 1, Time: w.clock + 9, Txs: []*Tx{w.spend(w.fifty, w.toBob(w.fifty.Amount))}})
	if err != nil {
		t.Fatal(err)
	}
	h := d.Header([32]byte{1})
	back, err := DecodeHeader(h.Encode())
	if err != nil || back != h || h.TxRoot == MerkleRoot(nil) || h.AppHash == [32]byte{} {
		t.Errorf("header %+v, %v", back, err)
	}
	if h.Hash(w.net) == h.Hash(Network{1}) {
		t.Error("the header hash does not depend on the network")
	}
	if _, err := DecodeHeader(h.Encode()[1:]); err == nil {
		t.Error("short header decoded")
	}
	// The tree hash separates leaves, order and length.
	a, b, c := TxID{1}, TxID{2}, TxID{3}
	seen := map[[32]byte]int{}
	for i, list := range [][]TxID{nil, {a}, {b}, {a, b}, {b, a}, {a, b, c}, {a, b, c, c}, {a, a}} {
		root := MerkleRoot(list)
		if k, ok := seen[root]; ok {
			t.Errorf("lists %d and %d have one root", k, i)
		}
		seen[root] = i
	}
}

func TestFilter(t *testing.T) {
	e := Event{TxID: TxID{1}, By: TxID{2}, OutPoint: OutPoint{TxID: TxID{3}}, Addresses: []Address{{4}}}
	for i, c := range []struct {
		f    Filter
		want bool
	}{
		{Filter{}, true},
		{Filter{TxIDs: []TxID{{1}}}, true}, {Filter{TxIDs: []TxID{{2}}}, true}, {Filter{TxIDs: []TxID{{3}}}, false},
		{Filter{Outpoints: []OutPoint{{TxID: TxID{3}}}}, true}, {Filter{Outpoints: []OutPoint{{TxID: TxID{3}, Index: 1}}}, false},
		{Filter{Addresses: []Address{{9}, {4}}}, true}, {Filter{Addresses: []Address{{}}}, false},
	} {
		if c.f.Match(&e) != c.want {
			t.Errorf("filter %d: want %v", i, c.want)
		}
	}
	empty := Event{Kind: EventCommitted, TxID: TxID{1}}
	if f := (Filter{Outpoints: []OutPoint{{}}, TxIDs: []TxID{{}}}); f.Match(&empty) {
		t.Error("zero entries match absent fields")
	}
}
