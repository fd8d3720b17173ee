package channel_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/golden"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

const vectorPath = "../testdata/vectors/channel.json"

// stage is a payer and a payee over a ledger in memory, at the start of the
// example.
type stage struct {
	testing.TB
	ledger  *ledgertest.Memory
	network ledger.Network
	least   amount.Amount
	keys    map[string]*ledger.PrivateKey
	coin    ledger.Coin
	terms   channel.Terms
	t1      *ledger.Tx
	payer   *channel.Payer
	payee   *channel.Payee
	steps   []vectorStep
	lane    uint32
}

var vectorNames = []string{"payer", "payee", "K1", "K2", "other"}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{TB: t, ledger: ledgertest.New(), keys: map[string]*ledger.PrivateKey{}}
	for _, name := range vectorNames {
		s.keys[name] = ledgertest.Key(name)
	}
	status, err := s.ledger.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.network, s.least = status.Network, status.Params.MinOutput
	if s.coin, err = s.ledger.Fund(s.keys["payer"].Address(), 100_000); err != nil {
		t.Fatal(err)
	}
	s.terms = channel.Terms{Account: s.pub("payee"), K2: s.pub("K2"), Network: s.network, MinLock: 3600, MaxLock: 7 * 86400,
		MinDeposit: 10_000, MaxDeposit: 1_000_000, Quantum: uint32(mib)}
	s.t1, err = ledger.FundingTx([]ledger.Coin{s.coin}, vectorDeposit, s.pub("K1"), s.pub("K2"), s.keys["payer"].Address())
	if err == nil {
		err = ledger.SignInputs(s.t1, s.network, []ledger.Coin{s.coin}, s.keys["payer"])
	}
	if err == nil {
		s.payer, err = s.newPayer(s.terms)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) pub(name string) ledger.PublicKey { return s.keys[name].PublicKey() }

func (s *stage) newPayer(terms channel.Terms) (*channel.Payer, error) {
	return channel.NewPayer(channel.PayerConfig{Terms: terms, Account: s.pub("payer"), Signer: s.keys["K1"], T1: s.t1,
		Network: s.network, MinOutput: s.least, Now: vectorOpened, LockTime: vectorLock})
}

// run plays the whole example: open, three pieces, a higher price, one more
// piece, close.
func (s *stage) run() {
	s.Helper()
	s.exchange()
	var err error
	if s.lane, err = s.payer.Attach(channel.Tag{0xaa, 0xbb}, 0, channel.Tariff{{From: 0, Price: vectorPrice}}); err != nil {
		s.Fatal(err)
	}
	s.exchange()
	for _, position := range []int64{mib, 3 * mib} {
		s.pay(position)
	}
	quote := &channel.Quote{From: 3 * mib, Price: vectorHigher}
	s.note("payee", quote, vectorStep{Price: priceText(vectorHigher), Position: 3 * mib})
	if err := errors.Join(s.payee.Reprice(s.lane, 3*mib, vectorHigher), s.payer.Reprice(s.lane, 3*mib, vectorHigher)); err != nil {
		s.Fatal(err)
	}
	s.pay(4 * mib)
	s.payer.Close()
	s.exchange()
}

func (s *stage) pay(position int64) {
	s.Helper()
	if err := s.payer.Pay(s.lane, position); err != nil {
		s.Fatal(err)
	}
	s.exchange()
}

func (s *stage) note(from string, m channel.Message, more vectorStep) {
	more.From, more.Type, more.Hex = from, m.Type().String(), hex.EncodeToString(channel.Encode(m))
	if p, ok := m.(*channel.Pay); ok {
		more.Position, more.Owed = p.Bytes, sumText(p.Payment.Amount)
	}
	s.steps = append(s.steps, more)
}

// exchange carries messages and ledger tasks until both sides are quiet.
func (s *stage) exchange() {
	s.Helper()
	for quiet := false; !quiet; {
		rd := s.payer.Ready()
		quiet = rd.Empty()
		for _, m := range rd.Messages {
			s.note("payer", m, vectorStep{})
			if open, ok := m.(*channel.Open); ok && s.payee == nil {
				s.payee = s.accept(open)
			} else if err := s.payee.Step(m); err != nil {
				s.Fatal(err)
			}
		}
		for _, t := range rd.Tasks {
			s.do(t, s.payer.LookedUp, s.payer.Submitted)
		}
		if s.payee == nil {
			continue
		}
		rd = s.payee.Ready()
		quiet = quiet && rd.Empty()
		for _, e := range rd.Events {
			if e.Kind == channel.EventAttached {
				if err := s.payee.Tariff(e.Lane, e.Bytes, e.From, channel.Tariff{{From: 0, Price: vectorPrice}}); err != nil {
					s.Fatal(err)
				}
				quiet = false
			}
		}
		for _, t := range rd.Tasks {
			s.do(t, s.payee.LookedUp, s.payee.Submitted)
			quiet = false
		}
		for _, m := range rd.Messages {
			s.note("payee", m, vectorStep{})
			if err := s.payer.Step(m); err != nil {
				s.Fatal(err)
			}
			quiet = false
		}
	}
}

func (s *stage) accept(open *channel.Open) *channel.Payee {
	s.Helper()
	p, err := s.newPayee(open, vectorOpened)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

func (s *stage) newPayee(open *channel.Open, now uint64) (*channel.Payee, error) {
	return channel.NewPayee(channel.PayeeConfig{Terms: s.terms, Signer: s.keys["K2"], MinOutput: s.least, Now: now}, open)
}

func (s *stage) do(t channel.Task, lookedUp func(ledger.OutpointState, *ledger.Tx, error), submitted func(channel.TaskKind, error, bool)) {
	s.Helper()
	if t.Kind == channel.TaskLookup {
		state, err := s.ledger.Outpoint(context.Background(), t.Outpoint)
		if err != nil {
			s.Fatal(err)
		}
		var spender *ledger.Tx
		if state.Status == ledger.OutpointSpent {
			rec, err := s.ledger.Transaction(context.Background(), state.By)
			if err == nil {
				spender, err = ledger.DecodeTx(rec.Raw)
			}
			if err != nil {
				s.Fatal(err)
			}
		}
		lookedUp(state, spender, nil)
		return
	}
	_, err := s.ledger.Submit(context.Background(), t.Raw)
	submitted(t.Kind, err, ledger.CodeOf(err) != "")
}

func sumText(a amount.Amount) string  { return strconv.FormatInt(int64(a), 10) }
func priceText(p amount.Price) string { return strconv.FormatInt(int64(p), 10) }

// flatten turns a message into plain names and texts: bytes in hex, sums,
// prices and 64-bit counts in decimal.
func flatten(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return flatten(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			out[snake(v.Type().Field(i).Name)] = flatten(v.Field(i))
		}
		return out
	case reflect.Array, reflect.Slice:
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return hex.EncodeToString(b)
	case reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	}
	return v.Interface()
}

func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func fieldsOf(m channel.Message) json.RawMessage {
	text, err := json.Marshal(flatten(reflect.ValueOf(m)))
	if err != nil {
		panic(err) // texts and numbers only
	}
	return text
}

// build makes the whole file. Nothing in it depends on a clock or a random
// source.
func build(t *testing.T) vectorFile {
	s := newStage(t)
	s.run()
	c := s.payee.Contract()
	f := vectorFile{
		About:   "Payment channel: messages, T1, T2, T3, a worked example, ledger verdicts and refusals. Private keys are SHA-256 of \"btt test key \" and their names.",
		Network: s.network, MinOutput: sumText(s.least), Example: s.steps,
		Coin: vectorCoin{Outpoint: outpointHex(s.coin.OutPoint), Amount: sumText(s.coin.Amount)},
		Contract: vectorContract{Opened: vectorOpened, LockTime: vectorLock, Margin: channel.Margin(vectorLock - vectorOpened),
			Deposit: sumText(c.Deposit), Capacity: sumText(c.Capacity()), T1: hex.EncodeToString(s.t1.Encode()), T1ID: s.t1.ID(s.network).String(), ID: c.ID().String()},
	}
	for _, name := range vectorNames {
		k := s.keys[name]
		scalar := k.Scalar()
		f.Keys = append(f.Keys, vectorKey{Name: name, Private: hex.EncodeToString(scalar[:]), Public: k.PublicKey(), Address: k.Address()})
	}
	f.Messages, f.Malformed = vectorMessages(s), vectorsMalformed(s)
	f.Refund = s.refund(&c)
	f.Payments = append(f.Payments, s.payment(&c, 1, 0))
	for i := range s.steps {
		if m := s.decode(s.steps[i].Hex); m.Type() == channel.TypePay {
			p := m.(*channel.Pay).Payment
			f.Payments = append(f.Payments, s.payment(&c, p.Sequence, p.Amount))
		}
	}
	f.Runs = vectorRuns()
	for i := range f.Runs {
		playRun(t, &f, &f.Runs[i])
	}
	f.Refusals = vectorRefusals(s)
	for i := range f.Refusals {
		r := &f.Refusals[i]
		code := refusal(t, &f, r)
		r.Code, r.Word = uint8(code), code.String()
	}
	return f
}

func outpointHex(o ledger.OutPoint) string {
	return hex.EncodeToString(append(append(o.TxID[:], byte(o.Index>>8), byte(o.Index)), o.Shard))
}

func (s *stage) decode(text string) channel.Message {
	s.Helper()
	m, err := channel.Decode(unhex(s, text))
	if err != nil {
		s.Fatal(err)
	}
	return m
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// both signs t with both channel keys.
func (s *stage) both(c *channel.Contract, tx *ledger.Tx) vectorTx {
	s.Helper()
	digest := tx.Digest(s.network, c.Lock())
	one, err := s.keys["K1"].Sign(digest)
	if err != nil {
		s.Fatal(err)
	}
	two, err := s.keys["K2"].Sign(digest)
	if err != nil {
		s.Fatal(err)
	}
	tx.Witnesses = []ledger.Witness{ledger.JointWitness(one, two)}
	return vectorTx{Digest: hex.EncodeToString(digest[:]), K1: hex.EncodeToString(one[:]), K2: hex.EncodeToString(two[:]),
		Raw: hex.EncodeToString(tx.Encode()), ID: tx.ID(s.network).String()}
}

func (s *stage) refund(c *channel.Contract) vectorTx { return s.both(c, c.Refund()) }

func (s *stage) payment(c *channel.Contract, sequence uint32, sum amount.Amount) vectorPayment {
	v := s.both(c, c.Settlement(sum, sequence))
	return vectorPayment{Sequence: sequence, Amount: sumText(sum), Digest: v.Digest, K1: v.K1, K2: v.K2, Raw: v.Raw, ID: v.ID}
}

// TestVectorsAreCurrent builds the file anew and compares it; -rewrite writes it.
func TestVectorsAreCurrent(t *testing.T) { golden.JSON(t, vectorPath, " ", build(t)) }
