package ledgerd

import (
	"testing"

	"github.com/bttnet/btt/ledger"
)

// TestClosesBeforeOpens fills the queue with more than a block of payments and
// closes behind them: the next block has the closes, in the order of arrival.
func TestClosesBeforeOpens(t *testing.T) {
	s := &Server{queue: make(chan *request, queueLength), closes: make(chan *request, queueLength)}
	add := func(tx *ledger.Tx, n int) {
		for range n {
			r := &request{tx: tx, raw: make([]byte, 200), turn: s.turns.Add(1)}
			if tx.Closes() {
				s.closes <- r
			} else {
				s.queue <- r
			}
		}
	}
	open := &ledger.Tx{Kind: ledger.Transfer, Inputs: make([]ledger.OutPoint, 1), Witnesses: []ledger.Witness{{Keys: make([]ledger.PublicKey, 1), Signatures: make([]ledger.Signature, 1)}}}
	closing := &ledger.Tx{Kind: ledger.Transfer, Inputs: make([]ledger.OutPoint, 1), Witnesses: []ledger.Witness{{Signatures: make([]ledger.Signature, 2)}}}
	add(open, MaxBlockTransactions+100)
	add(closing, 300)
	count := func(batch []*request) (closes int) {
		for i, r := range batch {
			if r.tx.Closes() {
				closes++
			}
			if i > 0 && batch[i-1].turn >= r.turn {
				t.Fatal("a block is not in the order of arrival")
			}
		}
		return closes
	}
	first := s.collect(<-s.queue)
	if n := count(first); n != 300 || len(first) != MaxBlockTransactions {
		t.Errorf("the first block has %d closes in %d transactions", n, len(first))
	}
	second := s.collect(<-s.queue)
	if n := count(second); n != 0 || len(second) != 400 {
		t.Errorf("the second block has %d closes in %d transactions", n, len(second))
	}
}
