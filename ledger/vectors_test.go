package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/golden"
)

const vectorPath = "../testdata/vectors/ledger.json"

// vectorFile is what independent implementations check themselves against.
type vectorFile struct {
	About   string      `json:"about"`
	Genesis Genesis     `json:"genesis"`
	Network Network     `json:"network"`
	Keys    []vectorKey `json:"keys"`
	Txs     []vectorTx  `json:"transactions"`
	Run     []vectorRun `json:"run"`
	Final   vectorFinal `json:"final"`
	// Refusals are offered after the run, each by itself.
	Refusals  []vectorRefusal `json:"refusals"`
	Scheduled vectorSchedule  `json:"scheduled"`
	// Special are refusals that need a ledger of their own.
	Special []vectorSpecial `json:"special_refusals"`
}

type vectorKey struct {
	Name    string    `json:"name"`
	Private hexBytes  `json:"private_key"`
	Public  PublicKey `json:"public_key"`
	Address Address   `json:"address"`
}

// vectorTx is one signed transaction; Digests has one entry per witness.
type vectorTx struct {
	Name    string     `json:"name"`
	Raw     hexBytes   `json:"raw"`
	ID      TxID       `json:"id"`
	Digests []hexBytes `json:"digests"`
}

// vectorRun is one block offered to Prepare: per transaction "committed",
// "parked" or the code of the refusal.
type vectorRun struct {
	Time       uint64   `json:"time"`
	Offered    []string `json:"offered"` // names of transactions
	Results    []string `json:"results"`
	LedgerTime uint64   `json:"ledger_time"`
	TxRoot     hexBytes `json:"tx_root"`
	AppHash    hexBytes `json:"app_hash"`
	Header     hexBytes `json:"header_hash"`
	Events     []string `json:"events"`
}

type vectorFinal struct {
	Totals   Totals   `json:"totals"`
	Coins    []Coin   `json:"coins"`
	Snapshot hexBytes `json:"snapshot_sha256"`
}

// vectorScript builds the file by running a T1, T2, T3 life, a refund that
// matures, and a redeem with its mint.
type vectorScript struct {
	*testing.T
	file  vectorFile
	s     *State
	store *MemoryCoins
	clock uint64
	prev  [32]byte
	byID  map[string]*Tx
	joint Coin // 2-of-2, with a checkpoint of sequence 4 in its slot
}

func (v *vectorScript) tx(name string, tx *Tx, coins []Coin, keys ...Signer) *Tx {
	v.Helper()
	locks := make([]Lock, 0, 2)
	if tx.Kind == Mint {
		locks = append(locks, Lock{Kind: OperatorLock})
	}
	for _, c := range coins {
		locks = append(locks, c.Lock)
	}
	e := vectorTx{Name: name, ID: tx.ID(v.file.Network)}
	for _, l := range locks {
		if err := Sign(tx, v.file.Network, l, keys...); err != nil {
			v.Fatal(err)
		}
		d := tx.Digest(v.file.Network, l)
		e.Digests = append(e.Digests, d[:])
	}
	e.Raw = tx.Encode()
	v.file.Txs = append(v.file.Txs, e)
	v.byID[name] = tx
	return tx
}

func (v *vectorScript) coin(tx *Tx, i int) Coin {
	return Coin{OutPoint: tx.OutPoint(v.file.Network, i), Amount: tx.Outputs[i].Amount, Lock: tx.Outputs[i].Lock}
}

func (v *vectorScript) block(seconds int64, names ...string) {
	v.Helper()
	v.clock = uint64(int64(v.clock) + seconds)
	b := Block{Height: v.s.Head().Height + 1, Time: v.clock}
	for _, n := range names {
		b.Txs = append(b.Txs, v.byID[n])
	}
	d, results, err := v.s.Prepare(b)
	if err != nil {
		v.Fatal(err)
	}
	if err := v.s.Commit(d); err != nil {
		v.Fatal(err)
	}
	h := d.Header(v.prev)
	v.prev = h.Hash(v.file.Network)
	r := vectorRun{Time: v.clock, Offered: append([]string{}, names...), Results: []string{}, Events: []string{}, LedgerTime: d.Head.LedgerTime,
		TxRoot: h.TxRoot[:], AppHash: h.AppHash[:], Header: bytes.Clone(v.prev[:])}
	for _, res := range results {
		if res.Rejection != nil {
			r.Results = append(r.Results, string(res.Rejection.Code))
		} else {
			r.Results = append(r.Results, res.State.String())
		}
	}
	for _, e := range d.Events {
		r.Events = append(r.Events, e.Kind.String()+" "+e.TxID.String())
	}
	v.file.Run = append(v.file.Run, r)
}

func buildVectors(t *testing.T) vectorFile {
	g := testGenesis()
	v := &vectorScript{T: t, store: NewMemoryCoins(), clock: g.Time, prev: g.Hash(), byID: map[string]*Tx{}}
	v.file = vectorFile{About: "Private ledger: encodings, ids, digests, signatures and a run of T1, T2, T3. Private keys are SHA-256 of their names.", Genesis: g, Network: g.Hash()}
	var err error
	if v.s, err = NewStateOn(g, v.store); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"faucet", "payer", "payee", "K1", "K2", "operator 0", "operator 1", "operator 2"} {
		k := testKey(n)
		secret := k.Scalar()
		v.file.Keys = append(v.file.Keys, vectorKey{n, secret[:], k.PublicKey(), k.Address()})
	}
	v.script(g)
	v.refusals()
	v.schedule(g)
	v.file.Special = specialRefusals(t)
	var image bytes.Buffer
	if err := v.s.WriteSnapshot(&image, v.store); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(image.Bytes())
	v.file.Final = vectorFinal{Totals: v.s.Head().Totals, Snapshot: sum[:]}
	if err := v.store.Coins(func(c Coin) error { v.file.Final.Coins = append(v.file.Final.Coins, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return v.file
}

func (v *vectorScript) script(g Genesis) {
	payer, payee, k1, k2 := testKey("payer"), testKey("payee"), testKey("K1"), testKey("K2")
	faucet := g.Coins()[0]
	fund := v.tx("fund", NewTransfer([]OutPoint{faucet.OutPoint}, []Output{
		{30 * amount.BTT, PayTo(payer.Address())}, {20 * amount.BTT, PayTo(payer.Address())},
		{faucet.Amount - 50*amount.BTT, faucet.Lock}}), []Coin{faucet}, testKey("faucet"))
	open := func(name string, c Coin) *Tx {
		tx, err := FundingTx([]Coin{c}, 10*amount.BTT, k1.PublicKey(), k2.PublicKey(), payer.Address())
		if err != nil {
			v.Fatal(err)
		}
		return v.tx(name, tx, []Coin{c}, payer)
	}
	settle := func(name string, f Coin, seq uint32, paid amount.Amount, lock uint64) {
		tx, err := SettlementTx(Settlement{Funding: f.OutPoint, Deposit: f.Amount, Paid: paid, Payer: payer.Address(),
			Payee: payee.Address(), Sequence: seq, LockTime: lock, MinOutput: DefaultMinOutput})
		if err != nil {
			v.Fatal(err)
		}
		v.tx(name, tx, []Coin{f}, k1, k2)
	}
	t1a, t1b := open("T1 a", v.coin(fund, 0)), open("T1 b", v.coin(fund, 1))
	a, b := v.coin(t1a, 0), v.coin(t1b, 0)
	lock := g.Time + 60
	v.tx("T2 a", RefundTx(a.OutPoint, a.Amount, payer.Address(), lock), []Coin{a}, k1, k2)
	v.tx("T2 b", RefundTx(b.OutPoint, b.Amount, payer.Address(), lock), []Coin{b}, k1, k2)
	settle("T3 a checkpoint 1", a, 1, amount.BTT, lock-30)
	settle("T3 a 2", a, 2, 2_500_000, 0)
	settle("T3 b all", b, 3, 10*amount.BTT, 0)
	dust := v.coin(fund, 2)
	red := v.tx("redeem", RedeemTx([]OutPoint{dust.OutPoint}, payee.Address(), dust.Amount), []Coin{dust}, testKey("faucet"))
	mint := MintTx(Deposit{Chain: [32]byte{0xab, 0xcd}, Index: 7}, []Output{{7 * amount.BTT, PayTo(payee.Address())}})
	v.tx("mint", mint, nil, testKey("operator 0"), testKey("operator 2"))
	bad := NewTransfer(red.Inputs, []Output{{dust.Amount, PayTo(payee.Address())}})
	v.tx("thief", bad, []Coin{{OutPoint: dust.OutPoint, Amount: dust.Amount, Lock: PayTo(payee.Address())}}, payee)

	v.block(1, "fund", "mint", "T1 a", "T1 b", "thief")
	v.block(5, "T2 a", "T2 b", "T2 a", "T3 a checkpoint 1")
	v.block(0, "T2 a", "T3 a 2", "T3 a checkpoint 1")
	v.block(1_000_000)
	v.block(-1_000_000, "redeem")
	v.block(30, "mint", "mint")
	v.block(5, "T3 b all", "fund")

	t1c := open("T1 c", v.coin(v.byID["T1 a"], 1))
	v.joint = v.coin(t1c, 0)
	settle("T3 c checkpoint 4", v.joint, 4, 4*amount.BTT, v.clock+1000)
	v.block(5, "T1 c", "T3 c checkpoint 4")
}

func sortRefusals(list []vectorRefusal) {
	slices.SortStableFunc(list, func(a, b vectorRefusal) int { return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Name, b.Name)) })
}

// TestVectors: what the ledger no longer produces is a consensus change, and
// needs a new network.
func TestVectors(t *testing.T) {
	golden.JSON(t, vectorPath, " ", buildVectors(t))
}

// TestVectorsReadBack reads the file as another implementation would: decode,
// identify, verify.
func TestVectorsReadBack(t *testing.T) {
	var f vectorFile
	readJSON(t, vectorPath, &f)
	if f.Genesis.Hash() != f.Network || len(f.Txs) < 10 || len(f.Run) < 7 {
		t.Fatal("network hash or size of the file is wrong")
	}
	for _, e := range f.Txs {
		tx, err := DecodeTx(e.Raw)
		if err != nil || tx.ID(f.Network) != e.ID || len(tx.Witnesses) != len(e.Digests) {
			t.Errorf("%s: id %s, %v", e.Name, tx.ID(f.Network), err)
			continue
		}
		for i, w := range tx.Witnesses {
			for k, sig := range w.Signatures {
				key, err := RecoverKey([32]byte(e.Digests[i]), sig)
				if err != nil || (len(w.Keys) > 0 && key != w.Keys[k]) || !VerifySignature(key, [32]byte(e.Digests[i]), sig) {
					t.Errorf("%s: signature %d of witness %d: %s, %v", e.Name, k, i, key, err)
				}
			}
		}
	}
}
