package ledger

import (
	"bytes"
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

// image is the whole state as bytes.
func (w *world) image() []byte {
	w.Helper()
	var b bytes.Buffer
	if err := w.s.WriteSnapshot(&b, w.store); err != nil {
		w.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) spendRedeem(c Coin) *Tx {
	return w.sign(RedeemTx([]OutPoint{c.OutPoint}, w.bob.Address(), c.Amount), []Coin{c}, w.alice)
}
