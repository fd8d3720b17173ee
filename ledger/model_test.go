package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/bttnet/btt/amount"
	"pgregory.net/rapid"
)

// model is a second, naive ledger: maps, full scans, no batches, no deltas.
// It trusts the generator about signatures.
type model struct {
	net    Network
	params Params
	now    uint64
	clock  uint64
	coins  map[OutPoint]Output
	gone   map[OutPoint]TxID
	parked map[OutPoint]*Tx
	count  map[OutPoint]int
	used   map[Deposit]bool
	minted amount.Amount
	burned amount.Amount
}

func newModel(g Genesis) *model {
	m := &model{net: g.Hash(), params: g.Params, now: g.Time, clock: g.Time, coins: map[OutPoint]Output{},
		gone: map[OutPoint]TxID{}, parked: map[OutPoint]*Tx{}, count: map[OutPoint]int{}, used: map[Deposit]bool{}, minted: amount.Supply}
	for _, c := range g.Coins() {
		m.coins[c.OutPoint] = Output{c.Amount, c.Lock}
	}
	return m
}

func (m *model) tick(clock uint64) {
	if clock > m.clock {
		m.now += min(clock-m.clock, m.params.Clamp)
	}
	m.clock = clock
}

// submit says where a transaction of good shape goes (0: refused).
func (m *model) submit(tx *Tx, signed bool) TxState {
	var in, out amount.Amount
	for _, o := range tx.Inputs {
		c, ok := m.coins[o]
		if !ok {
			return 0
		}
		in += c.Amount
	}
	for _, o := range tx.Outputs {
		out += o.Amount
	}
	if !signed {
		return 0
	}
	switch tx.Kind {
	case Mint:
		if m.used[Deposit{tx.Reference.Chain, tx.Reference.Index}] || m.minted-m.burned+out > amount.Supply {
			return 0
		}
	case Redeem:
		if in != out+tx.Reference.Amount {
			return 0
		}
	default:
		if in != out {
			return 0
		}
	}
	if tx.LockTime <= m.now {
		m.apply(tx)
		return Committed
	}
	o := tx.Inputs[0]
	if len(tx.Inputs) != 1 || m.coins[o].Lock.Kind != JointLock || len(tx.Outputs) > 2 || tx.LockTime > m.now+m.params.MaxLock {
		return 0
	}
	if old := m.parked[o]; old != nil {
		if tx.Sequence <= old.Sequence || m.count[o] == MaxReplacements {
			return 0
		}
		m.count[o]++
	}
	m.parked[o] = tx
	return Parked
}

func (m *model) apply(tx *Tx) {
	id := tx.ID(m.net)
	for _, o := range tx.Inputs {
		delete(m.coins, o)
		delete(m.parked, o)
		delete(m.count, o)
		m.gone[o] = id
	}
	for i, o := range tx.Outputs {
		m.coins[tx.OutPoint(m.net, i)] = o
	}
	if tx.Kind == Mint {
		m.used[Deposit{tx.Reference.Chain, tx.Reference.Index}] = true
		for _, o := range tx.Outputs {
			m.minted += o.Amount
		}
	}
	m.burned += tx.Reference.Amount
}

func (m *model) mature() {
	for {
		var first *Tx
		for _, tx := range m.parked {
			if tx.LockTime > m.now {
				continue
			}
			if first == nil || tx.LockTime < first.LockTime ||
				(tx.LockTime == first.LockTime && bytes.Compare(idBytes(tx, m.net), idBytes(first, m.net)) < 0) {
				first = tx
			}
		}
		if first == nil {
			return
		}
		m.apply(first)
	}
}

func idBytes(tx *Tx, net Network) []byte { id := tx.ID(net); return id[:] }

// program draws transactions from what the model holds, good and bad.
type program struct {
	*rapid.T
	m       *model
	keys    []*PrivateKey
	history []*Tx
}

func (p *program) n(name string, low, high int) int { return rapid.IntRange(low, high).Draw(p.T, name) }

func (p *program) key() *PrivateKey { return p.keys[p.n("key", 0, len(p.keys)-1)] }

func (p *program) lock() Lock {
	if p.n("joint", 0, 2) == 0 {
		return Joint(p.key().PublicKey(), p.key().PublicKey())
	}
	return PayTo(p.key().Address())
}

// split divides a sum among 1 to 3 outputs of at least the minimum.
func (p *program) split(sum amount.Amount) []Output {
	var out []Output
	for range p.n("more outputs", 0, 2) {
		if sum < 4*DefaultMinOutput {
			break
		}
		a := amount.Amount(rapid.Int64Range(int64(DefaultMinOutput), int64(sum/2)).Draw(p.T, "amount"))
		out = append(out, Output{a, p.lock()})
		sum -= a
	}
	return append(out, Output{sum, p.lock()})
}

func (p *program) pick() OutPoint {
	all := slices.SortedFunc(maps.Keys(p.m.coins), OutPoint.Compare)
	if gone := slices.SortedFunc(maps.Keys(p.m.gone), OutPoint.Compare); len(gone) > 0 && (len(all) == 0 || p.n("spent", 0, 7) == 0) {
		return gone[p.n("which", 0, len(gone)-1)]
	}
	if slots := slices.SortedFunc(maps.Keys(p.m.parked), OutPoint.Compare); len(slots) > 0 && p.n("parked", 0, 2) == 0 {
		return slots[p.n("which", 0, len(slots)-1)]
	}
	return all[p.n("which", 0, len(all)-1)]
}

// tx draws one transaction and whether its signatures are right.
func (p *program) tx() (*Tx, bool) {
	if len(p.history) > 0 && p.n("replay", 0, 9) == 0 {
		return p.history[p.n("old", 0, len(p.history)-1)], true
	}
	if p.n("mint", 0, 7) == 0 {
		tx := MintTx(Deposit{Index: uint32(p.n("deposit", 0, 5))}, p.split(amount.Amount(p.n("minted", 1000, 1<<30))))
		must(p.T, Sign(tx, p.m.net, Lock{Kind: OperatorLock}, testKey("operator 0"), testKey("operator 2")))
		return tx, true
	}
	var in []OutPoint
	var coins []Coin
	var sum amount.Amount
	known := true
	for range p.n("inputs", 1, 2) {
		o := p.pick()
		if slices.Contains(in, o) {
			continue
		}
		c, ok := p.m.coins[o]
		known = known && ok
		in, coins = append(in, o), append(coins, Coin{OutPoint: o, Amount: c.Amount, Lock: c.Lock})
		sum += c.Amount
	}
	if !known {
		tx := NewTransfer(in, []Output{{max(sum, DefaultMinOutput), p.lock()}})
		return tx, false
	}
	tx := NewTransfer(in, p.split(sum))
	last := &tx.Outputs[len(tx.Outputs)-1]
	switch p.n("flavour", 0, 9) {
	case 0: // wrong sum
		last.Amount++
	case 1, 2:
		tx.Kind, tx.Reference = Redeem, Reference{Payee: Address{1}, Amount: last.Amount}
		tx.Outputs = tx.Outputs[:len(tx.Outputs)-1]
	case 3, 4, 5, 6:
		tx.LockTime = p.m.now + uint64(p.n("lock", 0, 90))
		tx.Sequence = uint32(p.n("sequence", 0, 4))
	case 7:
		tx.LockTime = p.m.now + DefaultMaxLock + uint64(p.n("far", 0, 40))
	}
	must(p.T, SignInputs(tx, p.m.net, coins, signers(p.keys)...))
	if p.n("spoil", 0, 7) == 0 {
		w := &tx.Witnesses[p.n("witness", 0, len(tx.Witnesses)-1)]
		w.Signatures[len(w.Signatures)-1][p.n("byte", 0, 63)] ^= 1
		return tx, false
	}
	return tx, true
}

func signers(keys []*PrivateKey) []Signer {
	list := make([]Signer, len(keys))
	for i, k := range keys {
		list[i] = k
	}
	return list
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// TestAgainstModel runs random programs on the state machine and on the naive
// model: same answers, same coins, same slots, sums conserved, and every
// replica that executes the accepted block reaches the same bytes.
func TestAgainstModel(t *testing.T) {
	g := testGenesis()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(g)
		store, twin := NewMemoryCoins(), NewMemoryCoins()
		s, err := NewStateOn(g, store)
		must(t, err)
		s.SetVerifier(BatchVerifier(entropy("model")))
		replica, err := NewStateOn(g, twin)
		must(t, err)
		p := &program{T: t, m: m, keys: []*PrivateKey{testKey("faucet"), testKey("m1"), testKey("m2")}}
		for height := range uint64(p.n("blocks", 1, 6)) {
			m.tick(uint64(int64(m.clock) + int64(p.n("seconds", -10, 45))))
			b := Block{Height: height + 1, Time: m.clock}
			var want []TxState
			for range p.n("transactions", 0, 8) {
				tx, signed := p.tx()
				b.Txs = append(b.Txs, tx)
				want = append(want, m.submit(tx, signed))
				if want[len(want)-1] != 0 {
					p.history = append(p.history, tx)
				}
			}
			m.mature()
			d, res, err := s.Prepare(b)
			must(t, err)
			for i := range res {
				if res[i].State != want[i] {
					t.Fatalf("block %d transaction %d: %+v (%v), model says %s", b.Height, i, res[i], res[i].Rejection, want[i])
				}
			}
			must(t, s.Commit(d))
			_, err = replica.Execute(d.Block)
			must(t, err)
			m.compare(t, s, store)
			if a, b := snapshotOf(t, s, store), snapshotOf(t, replica, twin); !bytes.Equal(a, b) {
				t.Fatal("a replica differs")
			}
		}
	})
}

func snapshotOf(t *rapid.T, s *State, store *MemoryCoins) []byte {
	var b bytes.Buffer
	must(t, s.WriteSnapshot(&b, store))
	return b.Bytes()
}

func (m *model) compare(t *rapid.T, s *State, store *MemoryCoins) {
	h := s.Head()
	var sum amount.Amount
	n := 0
	must(t, store.Coins(func(c Coin) error {
		n++
		sum += c.Amount
		if m.coins[c.OutPoint] != (Output{c.Amount, c.Lock}) {
			return fmt.Errorf("coin %s is not in the model", c.OutPoint)
		}
		return nil
	}))
	if n != len(m.coins) || sum != m.minted-m.burned || h.Totals != (Totals{m.minted, m.burned, sum}) {
		t.Fatalf("%d coins of %s, totals %+v; model has %d coins, minted %s, burned %s", n, sum, h.Totals, len(m.coins), m.minted, m.burned)
	}
	if h.LedgerTime != m.now || len(s.slots) != len(m.parked) || len(s.due) != len(m.parked) {
		t.Fatalf("time %d, %d slots, %d due; model %d, %d", h.LedgerTime, len(s.slots), len(s.due), m.now, len(m.parked))
	}
	for o, tx := range m.parked {
		if p, ok := s.Slot(o); !ok || p.TxID != tx.ID(m.net) || int(p.Replacements) != m.count[o] {
			t.Fatalf("slot of %s: %+v", o, p)
		}
	}
}
