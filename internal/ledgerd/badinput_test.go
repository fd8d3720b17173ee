package ledgerd

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// bench of the bad: a ledger with a spent coin, an unspent one, an open channel
// and one with a refund parked in it.
type badWorld struct {
	net           ledger.Network
	faucet, other *ledger.PrivateKey
	coin, spent   ledger.Coin
	joint         ledger.Lock
	open, parked  ledger.Coin // both 2-of-2
	settled       ledger.Coin // 2-of-2, gone
	done          *ledger.Tx  // spent the coin that is gone
	lockTime      uint64      // of the parked refund
	now           uint64
	deposit       ledger.Deposit // used
	operators     []ledger.Signer
}

func newBadWorld(t *testing.T, c ledger.Client, net ledger.Network) *badWorld {
	w := &badWorld{net: net, faucet: ledgertest.FaucetKey(), other: ledgertest.Key("other"), operators: ledgertest.OperatorKeys()}
	w.joint = ledger.Joint(w.faucet.PublicKey(), w.other.PublicKey())
	coins, err := c.Unspent(t.Context(), w.faucet.Address(), ledger.OutPoint{}, 0)
	if err != nil || len(coins) < 8 {
		t.Fatal(len(coins), err)
	}
	fund := func(coin ledger.Coin) ledger.Coin {
		t1 := transfer(net, w.faucet, coin, w.joint, 10*amount.BTT)
		mustSubmit(t, c, t1)
		return ledger.Coin{OutPoint: t1.OutPoint(net, 0), Amount: 10 * amount.BTT, Lock: w.joint}
	}
	w.coin, w.spent = coins[0], coins[1]
	w.open, w.parked, w.settled = fund(coins[2]), fund(coins[3]), fund(coins[4])
	w.done = transfer(net, w.faucet, w.spent, ledger.PayTo(w.other.Address()), amount.BTT)
	mustSubmit(t, c, w.done)
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.now = status.LedgerTime
	w.lockTime = w.now + 1000
	mustSubmit(t, c, w.close(w.parked, w.lockTime, 5))
	mustSubmit(t, c, w.close(w.settled, 0, 1))
	redeem := ledger.RedeemTx([]ledger.OutPoint{coins[5].OutPoint}, w.other.Address(), coins[5].Amount)
	sign(net, redeem, coins[5].Lock, w.faucet)
	mustSubmit(t, c, redeem)
	w.deposit = ledger.Deposit{Chain: [32]byte{7}, Index: 1}
	mustSubmit(t, c, w.mint(w.deposit, amount.BTT))
	return w
}

// close spends a 2-of-2 coin back to the faucet.
func (w *badWorld) close(c ledger.Coin, lockTime uint64, sequence uint32) *ledger.Tx {
	tx := &ledger.Tx{Kind: ledger.Transfer, LockTime: lockTime, Sequence: sequence, Inputs: []ledger.OutPoint{c.OutPoint},
		Outputs: []ledger.Output{{Amount: c.Amount, Lock: ledger.PayTo(w.faucet.Address())}}}
	sign(w.net, tx, w.joint, w.faucet, w.other)
	return tx
}

func (w *badWorld) mint(d ledger.Deposit, sum amount.Amount) *ledger.Tx {
	tx := ledger.MintTx(d, []ledger.Output{{Amount: sum, Lock: ledger.PayTo(w.other.Address())}})
	if err := ledger.Sign(tx, w.net, ledger.Lock{Kind: ledger.OperatorLock}, w.operators[0], w.operators[1]); err != nil {
		panic(err)
	}
	return tx
}

// pay is a good payment out of the unspent coin, altered before it is signed.
func (w *badWorld) pay(alter func(tx *ledger.Tx)) *ledger.Tx {
	tx := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{w.coin.OutPoint}, Outputs: []ledger.Output{
		{Amount: amount.BTT, Lock: ledger.PayTo(w.other.Address())}, {Amount: w.coin.Amount - amount.BTT, Lock: w.coin.Lock}}}
	if alter != nil {
		alter(tx)
	}
	sign(w.net, tx, w.coin.Lock, w.faucet)
	return tx
}

// altered is the encoding of a good payment with its bytes altered.
func (w *badWorld) altered(alter func(b []byte) []byte) []byte { return alter(w.pay(nil).Encode()) }

type badCase struct {
	name string
	raw  []byte
	code ledger.Code // "" = taken, as before
}

func (w *badWorld) cases() []badCase {
	first := func(a amount.Amount) *ledger.Tx { return w.pay(func(tx *ledger.Tx) { tx.Outputs[0].Amount = a }) }
	foreign := w.pay(nil)
	sign(ledger.Network{1}, foreign, w.coin.Lock, w.faucet)
	stranger := w.pay(nil)
	sign(w.net, stranger, w.coin.Lock, w.other)
	flipped := w.pay(nil)
	flipped.Witnesses[0].Signatures[0][40] ^= 1
	highS := w.pay(nil)
	highS.Witnesses[0].Signatures[0] = otherS(highS.Witnesses[0].Signatures[0])
	twice := w.pay(nil)
	twice.Witnesses = append(twice.Witnesses, twice.Witnesses[0])
	again := *w.done
	again.Witnesses = nil
	return []badCase{
		{"nothing", nil, ledger.CodeMalformed},
		{"noise", []byte("pay me a million"), ledger.CodeMalformed},
		{"cut short", w.altered(func(b []byte) []byte { return b[:len(b)-1] }), ledger.CodeMalformed},
		{"a byte too many", w.altered(func(b []byte) []byte { return append(b, 0) }), ledger.CodeMalformed},
		{"unknown version", w.altered(func(b []byte) []byte { b[0] = 2; return b }), ledger.CodeMalformed},
		{"unknown kind", w.altered(func(b []byte) []byte { b[1] = 9; return b }), ledger.CodeMalformed},
		{"too long", bytes.Repeat([]byte{1}, ledger.MaxTxBytes+1), ledger.CodeOversized},
		{"no output", w.pay(func(tx *ledger.Tx) { tx.Outputs = nil }).Encode(), ledger.CodeMalformed},
		{"another shard", w.pay(func(tx *ledger.Tx) { tx.Inputs[0].Shard = 1 }).Encode(), ledger.CodeMalformed},
		{"an input twice", w.pay(func(tx *ledger.Tx) { tx.Inputs = append(tx.Inputs, tx.Inputs[0]) }).Encode(), ledger.CodeDuplicate},
		{"a high s", highS.Encode(), ledger.CodeSignature},
		{"a witness too many", twice.Encode(), ledger.CodeWitness},
		{"signed by a stranger", stranger.Encode(), ledger.CodeWitness},
		{"signature altered", flipped.Encode(), ledger.CodeSignature},
		{"signed for another network", foreign.Encode(), ledger.CodeSignature},
		{"replayed", w.done.Encode(), ""},
		{"replayed without signatures", again.Encode(), ""},
		{"conflicting", transfer(w.net, w.faucet, w.spent, ledger.PayTo(w.other.Address()), 2*amount.BTT).Encode(), ledger.CodeConflict},
		{"input never made", w.pay(func(tx *ledger.Tx) { tx.Inputs[0].TxID[0] ^= 1 }).Encode(), ledger.CodeMissing},
		{"dust", w.pay(func(tx *ledger.Tx) { tx.Outputs[0].Amount, tx.Outputs[1].Amount = 999, w.coin.Amount-999 }).Encode(), ledger.CodeDust},
		{"amount 0", first(0).Encode(), ledger.CodeNegative},
		{"negative", first(-amount.BTT).Encode(), ledger.CodeNegative},
		{"lowest number", first(math.MinInt64).Encode(), ledger.CodeNegative},
		{"highest number", first(math.MaxInt64).Encode(), ledger.CodeOverflow},
		{"sum above the supply", w.pay(func(tx *ledger.Tx) { tx.Outputs[0].Amount, tx.Outputs[1].Amount = amount.Supply, amount.Supply }).Encode(), ledger.CodeOverflow},
		{"more out than in", first(2 * amount.BTT).Encode(), ledger.CodeBalance},
		{"less out than in", first(amount.BTT / 2).Encode(), ledger.CodeBalance},
		{"mint above the cap", w.mint(ledger.Deposit{Chain: [32]byte{8}}, amount.Supply).Encode(), ledger.CodeOverCap},
		{"mint of a used deposit", w.mint(w.deposit, 2*amount.BTT).Encode(), ledger.CodeMinted},
		{"expired: a refund after the settlement", w.close(w.settled, w.now+500, 0).Encode(), ledger.CodeConflict},
		{"locked too far", w.close(w.open, w.now+ledger.DefaultMaxLock+3600, 0).Encode(), ledger.CodeLockFar},
		{"locked and not a channel's", w.pay(func(tx *ledger.Tx) { tx.LockTime = w.now + 500 }).Encode(), ledger.CodeNotFinal},
		{"an older close", w.close(w.parked, w.lockTime+1, 5).Encode(), ledger.CodeStale},
		{"a key that is none", w.pay(func(tx *ledger.Tx) { tx.Outputs[0].Lock = ledger.Joint(ledger.PublicKey{5, 1}, w.other.PublicKey()) }).Encode(), ledger.CodeKey},
	}
}

// otherS is the signature with n - s in the place of s, which plain ECDSA takes.
func otherS(sig ledger.Signature) ledger.Signature {
	n := [32]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
		0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41}
	borrow := 0
	for i := 31; i >= 0; i-- {
		d := int(n[i]) - int(sig[32+i]) - borrow
		if borrow = 0; d < 0 {
			d, borrow = d+256, 1
		}
		sig[32+i] = byte(d)
	}
	sig[64] ^= 1
	return sig
}

// view is everything that a refusal may not change.
type view struct {
	status ledger.Status
	coins  []ledger.Coin
	states []ledger.OutpointState
}

func (w *badWorld) view(t *testing.T, c ledger.Client) (v view) {
	var err error
	if v.status, err = c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*ledger.PrivateKey{w.faucet, w.other} {
		coins, err := c.Unspent(t.Context(), k.Address(), ledger.OutPoint{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		v.coins = append(v.coins, coins...)
	}
	for _, coin := range []ledger.Coin{w.coin, w.spent, w.open, w.parked, w.settled} {
		o, err := c.Outpoint(t.Context(), coin.OutPoint)
		if err != nil {
			t.Fatal(err)
		}
		v.states = append(v.states, o)
	}
	return v
}

// TestBadInput hands in what nobody should, over every transport: each has its
// stable code, and nothing changes.
func TestBadInput(t *testing.T) {
	for _, transport := range []string{"in process", "http", "unix socket"} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			cfg := testConfig(t, dir, newClock())
			cfg.Genesis = ledgertest.Genesis()
			s := openServer(t, cfg)
			c := connect(t, s, transport, dir)
			w := newBadWorld(t, c, s.Network())
			before := w.view(t, c)
			for _, x := range w.cases() {
				_, err := c.Submit(t.Context(), x.raw)
				if got := ledger.CodeOf(err); got != x.code || x.code == "" && err != nil {
					t.Errorf("%s: %v, want code %q", x.name, err, x.code)
				}
				if after := w.view(t, c); !reflect.DeepEqual(after, before) {
					t.Fatalf("%s: the ledger has changed", x.name)
				}
			}
			gone, stop := context.WithCancel(t.Context())
			stop()
			if _, err := c.Submit(gone, w.pay(nil).Encode()); !errors.Is(err, context.Canceled) {
				t.Errorf("submit of someone who has left: %v", err)
			}
			mustSubmit(t, c, w.pay(nil)) // the ledger still works
		})
	}
}
