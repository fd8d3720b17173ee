package ledgertest

import (
	"context"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// suite is one case of RunClient.
type suite struct {
	*testing.T
	ctx     context.Context
	c       ledger.Client
	advance func(uint64)
	net     ledger.Network
}

func (s *suite) no(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// totals checks what every client can see of LR10.
func (s *suite) totals() {
	s.Helper()
	st, err := s.c.Status(s.ctx)
	s.no(err)
	if t := st.Totals; t.Unspent != t.Minted-t.Burned || !t.Unspent.Valid() {
		s.Errorf("totals do not add up: %+v", t)
	}
}

func (s *suite) submit(tx *ledger.Tx, want ledger.TxState) ledger.Receipt {
	s.Helper()
	r, err := s.c.Submit(s.ctx, tx.Encode())
	if err != nil || r.State != want || r.TxID != tx.ID(s.net) {
		s.Fatalf("Submit = %+v, %v; want %s of %s", r, err, want, tx.ID(s.net))
	}
	return r
}

func (s *suite) refused(tx *ledger.Tx, want ledger.Code) {
	s.Helper()
	r, err := s.c.Submit(s.ctx, tx.Encode())
	if ledger.CodeOf(err) != want {
		s.Fatalf("Submit = %+v, %v; want refusal %s", r, err, want)
	}
}

func (s *suite) outpoint(o ledger.OutPoint, want ledger.OutpointStatus) ledger.OutpointState {
	s.Helper()
	st, err := s.c.Outpoint(s.ctx, o)
	if err != nil || st.Status != want {
		s.Fatalf("Outpoint(%s) = %+v, %v; want %s", o, st, err, want)
	}
	return st
}

// pay pays from the faucet and returns the coin at output 0.
func (s *suite) pay(to ledger.Lock, sum amount.Amount) ledger.Coin {
	s.Helper()
	tx, err := fundTx(s.ctx, s.c, s.net, to, sum)
	s.no(err)
	s.submit(tx, ledger.Committed)
	return s.outpoint(tx.OutPoint(s.net, 0), ledger.OutpointUnspent).Coin
}

func (s *suite) spend(c ledger.Coin, key ledger.Signer, out ...ledger.Output) *ledger.Tx {
	s.Helper()
	tx := ledger.NewTransfer([]ledger.OutPoint{c.OutPoint}, out)
	s.no(ledger.Sign(tx, s.net, c.Lock, key))
	return tx
}

// channel is a funded 2-of-2 output with its refund.
type channel struct {
	payer, payee *ledger.PrivateKey
	coin         ledger.Coin
	refund       *ledger.Tx
}

const (
	deposit = 10 * amount.BTT
	lockFor = 600 // seconds
)

func (s *suite) open() channel {
	s.Helper()
	ch := channel{payer: Key("payer"), payee: Key("payee")}
	ch.coin = s.pay(ledger.Joint(ch.payer.PublicKey(), ch.payee.PublicKey()), deposit)
	st, err := s.c.Status(s.ctx)
	s.no(err)
	ch.refund = ledger.RefundTx(ch.coin.OutPoint, deposit, ch.payer.Address(), st.LedgerTime+lockFor)
	s.no(ledger.Sign(ch.refund, s.net, ch.coin.Lock, ch.payer, ch.payee))
	return ch
}

func (s *suite) settle(ch channel, sequence uint32, paid amount.Amount, lock uint64) *ledger.Tx {
	s.Helper()
	tx, err := ledger.SettlementTx(ledger.Settlement{
		Funding: ch.coin.OutPoint, Deposit: deposit, Paid: paid, Sequence: sequence, LockTime: lock,
		Payer: ch.payer.Address(), Payee: ch.payee.Address(), MinOutput: ledger.DefaultMinOutput,
	})
	s.no(err)
	s.no(ledger.Sign(tx, s.net, ch.coin.Lock, ch.payer, ch.payee))
	return tx
}
