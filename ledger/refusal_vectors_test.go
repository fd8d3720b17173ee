package ledger

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/bttnet/btt/amount"
)

// vectorRefusal is a transaction that is refused after the run, and why.
type vectorRefusal struct {
	Name string   `json:"name"`
	Code Code     `json:"code"`
	Raw  hexBytes `json:"raw"`
}

// vectorSchedule is a genesis that releases a share in steps.
type vectorSchedule struct {
	Genesis  Genesis             `json:"genesis"`
	Network  Network             `json:"network"`
	Releases map[OutPoint]uint64 `json:"releases"`
}

// schedule is the genesis of the run with its second share in two steps.
func (v *vectorScript) schedule(g Genesis) {
	half := g.Shares[1].Grants[0].Amount / 2
	to := g.Shares[1].Grants[0].Address
	g.Shares = []Share{g.Shares[0], {Name: g.Shares[1].Name, Grants: []Grant{
		{Address: to, Amount: half}, {Address: to, Amount: half, NotBefore: g.Time + 86400},
	}}}
	v.file.Scheduled = vectorSchedule{Genesis: g, Network: g.Hash(), Releases: g.Releases()}
}

// coinOf returns the largest coin of a key.
func (v *vectorScript) coinOf(k *PrivateKey) Coin {
	v.Helper()
	var best Coin
	if err := v.store.Coins(func(c Coin) error {
		if c.Lock == PayTo(k.Address()) && c.Amount > best.Amount {
			best = c
		}
		return nil
	}); err != nil || best.Amount < amount.BTT {
		v.Fatalf("no coin of %s: %v", k, err)
	}
	return best
}

// refuse enters a transaction that must be refused.
func (v *vectorScript) refuse(name string, code Code, tx *Tx, coins []Coin, keys ...Signer) *Tx {
	v.Helper()
	if tx.Kind == Mint {
		if err := Sign(tx, v.file.Network, Lock{Kind: OperatorLock}, keys...); err != nil {
			v.Fatal(err)
		}
	}
	seen := map[Lock]bool{}
	for _, c := range coins {
		if seen[c.Lock] {
			continue
		}
		seen[c.Lock] = true
		if err := Sign(tx, v.file.Network, c.Lock, keys...); err != nil {
			v.Fatal(err)
		}
	}
	v.file.Refusals = append(v.file.Refusals, vectorRefusal{name, code, tx.Encode()})
	return tx
}

// refusals enters one transaction for each code that the state gives without
// blocks of thousands.
func (v *vectorScript) refusals() {
	payer, payee, k1, k2 := testKey("payer"), testKey("payee"), testKey("K1"), testKey("K2")
	ops := []Signer{testKey("operator 0"), testKey("operator 2")}
	c := v.coinOf(payer)
	to := func(sum amount.Amount) Output { return Output{sum, PayTo(payee.Address())} }
	pay := func(out ...Output) *Tx { return NewTransfer([]OutPoint{c.OutPoint}, out) }
	mine := []Coin{c}
	v.refuse("nothing is paid", CodeMalformed, pay(), mine, payer)
	v.refuse("an input twice", CodeDuplicate, NewTransfer([]OutPoint{c.OutPoint, c.OutPoint}, []Output{to(2 * c.Amount)}), []Coin{c}, payer)
	v.refuse("an output of nothing", CodeNegative, pay(to(c.Amount), to(0)), mine, payer)
	v.refuse("an output under the least", CodeDust, pay(to(c.Amount-999), to(999)), mine, payer)
	v.refuse("an output above the supply", CodeOverflow, pay(to(amount.Supply+1)), mine, payer)
	v.refuse("outputs above the supply together", CodeOverflow, pay(to(amount.Supply), to(amount.Supply)), mine, payer)
	v.refuse("more out than in", CodeBalance, pay(to(c.Amount+1)), mine, payer)
	v.refuse("less out than in", CodeBalance, pay(to(c.Amount-1)), mine, payer)
	bad := k1.PublicKey()
	bad[0] = 5
	v.refuse("a channel with a key that is none", CodeKey, pay(Output{c.Amount, Joint(bad, k2.PublicKey())}), mine, payer)
	v.refuse("an amount of 2^63", CodeNegative, pay(to(c.Amount), to(math.MinInt64)), mine, payer)
	v.orders(c, payer, bad)
	gone := c
	gone.OutPoint.Index = 77
	v.refuse("an input that never was", CodeMissing, NewTransfer([]OutPoint{gone.OutPoint}, []Output{to(c.Amount)}), []Coin{gone}, payer)
	v.refuse("no witness", CodeWitness, pay(to(c.Amount)), nil)
	v.refuse("the witness of another lock", CodeWitness, pay(to(c.Amount)), []Coin{{Lock: PayTo(payee.Address())}}, payee)
	forged := v.refuse("an altered signature", CodeSignature, pay(to(c.Amount)), mine, payer)
	forged.Witnesses[0].Signatures[0][40] ^= 1
	v.file.Refusals[len(v.file.Refusals)-1].Raw = forged.Encode()
	high := v.refuse("a signature with a high s", CodeSignature, pay(to(c.Amount)), mine, payer)
	flipS(&high.Witnesses[0].Signatures[0])
	v.file.Refusals[len(v.file.Refusals)-1].Raw = high.Encode()
	elsewhere := pay(to(c.Amount))
	if err := Sign(elsewhere, Network{1}, c.Lock, payer); err != nil {
		v.Fatal(err)
	}
	v.refuse("signed for another network", CodeSignature, elsewhere, nil)
	late := pay(to(c.Amount))
	late.LockTime = v.clock + 100
	v.refuse("a payment with a lock time", CodeNotFinal, late, mine, payer)
	mint := func(index uint32, sum amount.Amount) *Tx {
		return MintTx(Deposit{Chain: [32]byte{0xab, 0xcd}, Index: index}, []Output{to(sum)})
	}
	v.refuse("a deposit minted twice", CodeMinted, mint(7, 7*amount.BTT), nil, ops...)
	v.refuse("more minted than there may be", CodeOverCap, mint(8, amount.Supply), nil, ops...)
	v.refuse("minted by one operator", CodeWitness, mint(9, amount.BTT), nil, ops[0])
	joint := v.joint
	v.refuse("a lower sequence than the parked one", CodeStale, RefundTx(joint.OutPoint, joint.Amount, payer.Address(), v.clock+500), []Coin{joint}, k1, k2)
	v.refuse("locked for too long", CodeLockFar, RefundTx(joint.OutPoint, joint.Amount, payer.Address(), v.clock+DefaultMaxLock+1000), []Coin{joint}, k1, k2)
	good := pay(to(c.Amount))
	if err := Sign(good, v.file.Network, c.Lock, payer); err != nil {
		v.Fatal(err)
	}
	raw := good.Encode()
	for name, spoil := range map[string]func([]byte) []byte{
		"1 version 2":                     func(b []byte) []byte { b[0] = 2; return b },
		"2 kind 9":                        func(b []byte) []byte { b[1] = 9; return b },
		"3 a byte after the end":          func(b []byte) []byte { return append(b, 0) },
		"4 cut short":                     func(b []byte) []byte { return b[:len(b)-1] },
		"5 an input of shard 1":           func(b []byte) []byte { b[15+34] = 1; return b },
		"6 more inputs counted than come": func(b []byte) []byte { b[14] = 255; return b },
		"7 seventeen keys in a witness":   crowd,
	} {
		v.file.Refusals = append(v.file.Refusals, vectorRefusal{name, CodeMalformed, spoil(append([]byte{}, raw...))})
	}
	sortRefusals(v.file.Refusals)
}

// orders enters transactions with several faults: the first by the order of the rules
// gives the code.
func (v *vectorScript) orders(c Coin, payer *PrivateKey, bad PublicKey) {
	v.Helper()
	to := func(sum amount.Amount) Output { return Output{sum, PayTo(payer.Address())} }
	v.refuse("an output to a key that is none before one under the least", CodeKey,
		NewTransfer([]OutPoint{c.OutPoint}, []Output{{c.Amount - 999, Joint(bad, payer.PublicKey())}, to(999)}), []Coin{c}, payer)
	burn := func(sum amount.Amount) *Tx {
		tx := RedeemTx([]OutPoint{c.OutPoint, c.OutPoint}, payer.Address(), sum, to(999))
		tx.LockTime = v.clock + 100
		return tx
	}
	v.refuse("less burned than the least, locked, of an input twice", CodeDust, burn(999), []Coin{c}, payer)
	v.refuse("burned with a lock time, of an input twice", CodeNotFinal, burn(c.Amount), []Coin{c}, payer)
	twice := NewTransfer([]OutPoint{c.OutPoint, c.OutPoint}, []Output{to(999)})
	v.refuse("under the least, of an input twice", CodeDuplicate, twice, []Coin{c}, payer)
}

// crowd repeats key and signature of a transaction's one witness beyond their limit.
func crowd(b []byte) []byte {
	at := len(b) - (1 + 33 + 1 + 65)
	return slices.Concat(b[:at], []byte{17}, bytes.Repeat(b[at+1:at+34], 17), []byte{17}, bytes.Repeat(b[at+35:], 17))
}

// flipS replaces s by n - s and v by its counterpart: the same signature in its
// other form.
func flipS(sig *Signature) {
	order := [4]uint64{0xffffffffffffffff, 0xfffffffffffffffe, 0xbaaedce6af48a03b, 0xbfd25e8cd0364141}
	borrow := uint64(0)
	for i := 3; i >= 0; i-- {
		s := binary.BigEndian.Uint64(sig[32+8*i:])
		d := order[i] - s - borrow
		if order[i] < s || (order[i] == s && borrow == 1) {
			borrow = 1
		} else {
			borrow = 0
		}
		binary.BigEndian.PutUint64(sig[32+8*i:], d)
	}
	sig[64] ^= 1
}

// TestVectorsExecute runs the file as another implementation would: it decodes
// the transactions, executes the blocks, and asks for the refusals.
func TestVectorsExecute(t *testing.T) {
	var f vectorFile
	readJSON(t, vectorPath, &f)
	if g := f.Scheduled.Genesis; g.Hash() != f.Scheduled.Network || len(f.Scheduled.Releases) != 1 || g.Validate() != nil {
		t.Errorf("schedule %+v", f.Scheduled)
	}
	s, err := NewState(f.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]hexBytes{}
	for _, e := range f.Txs {
		byName[e.Name] = e.Raw
	}
	prev := [32]byte(f.Network)
	for i, b := range f.Run {
		block := Block{Height: uint64(i) + 1, Time: b.Time}
		for _, n := range b.Offered {
			tx, err := DecodeTx(byName[n])
			if err != nil {
				t.Fatal(n, err)
			}
			block.Txs = append(block.Txs, tx)
		}
		d, results, err := s.Prepare(block)
		if err != nil || s.Commit(d) != nil {
			t.Fatal(err)
		}
		for k, r := range results {
			got := r.State.String()
			if r.Rejection != nil {
				got = string(r.Rejection.Code)
			}
			if got != b.Results[k] {
				t.Errorf("block %d, %s: %s, want %s", i+1, b.Offered[k], got, b.Results[k])
			}
		}
		h := d.Header(prev)
		if prev = h.Hash(f.Network); string(prev[:]) != string(b.Header) {
			t.Errorf("block %d: another header", i+1)
		}
	}
	codes := map[Code]bool{}
	for _, r := range f.Refusals {
		tx, err := DecodeTx(r.Raw)
		if err == nil {
			err = s.Check(tx)
		}
		if CodeOf(err) != r.Code {
			t.Errorf("%s: %v, want %s", r.Name, err, r.Code)
		}
		codes[r.Code] = true
	}
	for _, x := range f.Special {
		if got := x.refusal(t); got != x.Code {
			t.Errorf("%s: %q, want %s", x.Name, got, x.Code)
		}
		codes[x.Code] = true
	}
	for _, b := range f.Run {
		for _, r := range b.Results {
			codes[Code(r)] = true
		}
	}
	for _, c := range []Code{CodeMalformed, CodeOversized, CodeDuplicate, CodeNegative, CodeDust, CodeOverflow, CodeOverCap, CodeBalance, CodeKey,
		CodeMissing, CodeConflict, CodeKnown, CodeWitness, CodeSignature, CodeNotFinal, CodeReleased, CodeLockFar, CodeStale, CodeReplaced, CodeParkFull, CodeMinted} {
		if !codes[c] {
			t.Errorf("no vector for %s", c)
		}
	}
}
