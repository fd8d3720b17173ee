package ledger

import (
	"testing"

	"github.com/bttnet/btt/amount"
)

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
