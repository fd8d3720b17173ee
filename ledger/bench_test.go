package ledger

import (
	"fmt"
	"testing"

	"github.com/bttnet/btt/amount"
)

// benchChain returns a state with n coins of distinct keys and n signed
// one-input, two-output transfers of them.
func benchChain(b *testing.B, n int) (*State, []*Tx) {
	g := testGenesis()
	s, err := NewState(g)
	if err != nil {
		b.Fatal(err)
	}
	from := g.Coins()[0]
	var txs []*Tx
	height := uint64(1)
	for len(txs) < n {
		k := min(200, n-len(txs))
		fan := NewTransfer([]OutPoint{from.OutPoint}, nil)
		keys := make([]*PrivateKey, k)
		for i := range k {
			keys[i] = testKey(fmt.Sprint("bench ", len(txs)+i))
			fan.Outputs = append(fan.Outputs, Output{amount.BTT, PayTo(keys[i].Address())})
		}
		rest := from.Amount - amount.Amount(k)*amount.BTT
		fan.Outputs = append(fan.Outputs, Output{rest, from.Lock})
		if err := SignInputs(fan, s.Network(), []Coin{from}, testKey("faucet")); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Execute(Block{Height: height, Time: g.Time, Txs: []*Tx{fan}}); err != nil {
			b.Fatal(err)
		}
		height++
		for i := range k {
			c := Coin{OutPoint: fan.OutPoint(s.Network(), i), Amount: amount.BTT, Lock: fan.Outputs[i].Lock}
			tx := NewTransfer([]OutPoint{c.OutPoint}, []Output{{amount.BTT / 2, PayTo(Address{byte(i)})}, {amount.BTT / 2, c.Lock}})
			if err := SignInputs(tx, s.Network(), []Coin{c}, keys[i]); err != nil {
				b.Fatal(err)
			}
			txs = append(txs, tx)
		}
		from = Coin{OutPoint: fan.OutPoint(s.Network(), k), Amount: rest, Lock: from.Lock}
	}
	return s, txs
}

// BenchmarkPrepare decodes, checks and executes blocks of one-signature
// transfers; "trusted" skips the signatures, as recovery does.
func BenchmarkPrepare(b *testing.B) {
	for _, n := range []int{16, 64, 256, 512} {
		s, txs := benchChain(b, n)
		raw := make([][]byte, n)
		for i := range txs {
			raw[i] = txs[i].Encode()
		}
		block := func() Block {
			list := make([]*Tx, n)
			for i := range raw {
				tx, err := DecodeTx(raw[i])
				if err != nil {
					b.Fatal(err)
				}
				list[i] = tx
			}
			return Block{Height: s.Head().Height + 1, Time: s.Head().BlockTime, Txs: list}
		}
		s.SetVerifier(BatchVerifier(entropy("bench")))
		for _, c := range []struct {
			name string
			run  func(Block) (*Delta, error)
		}{{"verified", s.Apply}, {"trusted", s.Replay}} {
			b.Run(fmt.Sprint(c.name, "/", n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.run(block()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n)/1000, "us/tx")
			})
		}
	}
}
