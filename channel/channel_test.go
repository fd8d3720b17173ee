package channel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// key returns the n-th test key.
func key(t testing.TB, n uint64) *ledger.PrivateKey {
	t.Helper()
	var scalar [32]byte
	binary.BigEndian.PutUint64(scalar[24:], n)
	k, err := ledger.NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const testMin = amount.Amount(1000)

type pairOptions struct {
	deposit amount.Amount
	lock    uint64
}

// newPair returns machines of both sides, driven to the stage Opened.
func newPair(t testing.TB, opt pairOptions) (*Payer, *Payee) {
	t.Helper()
	payer, open := newTestPayer(t, opt)
	payee, err := NewPayee(PayeeConfig{Terms: testTerms(t), Signer: key(t, 4), MinOutput: testMin, Now: 1000}, open)
	if err != nil {
		t.Fatal(err)
	}
	payee.LookedUp(ledger.OutpointState{}, nil, nil)
	step := func(m Message, to func(Message) error) {
		t.Helper()
		if err := to(m); err != nil {
			t.Fatalf("%v: %v", m.Type(), err)
		}
	}
	for range 4 {
		for _, m := range payee.Ready().Messages {
			step(m, payer.Step)
		}
		for _, m := range payer.Ready().Messages {
			step(m, payee.Step)
		}
		if payee.Stage() == Funded {
			payee.Submitted(TaskFund, nil, false)
		}
	}
	if payer.Stage() != Opened || payee.Stage() != Opened {
		t.Fatalf("payer %v, payee %v", payer.Stage(), payee.Stage())
	}
	return payer, payee
}

func testTerms(t testing.TB) Terms {
	return Terms{Account: key(t, 2).PublicKey(), K2: key(t, 4).PublicKey(), Network: ledger.Network{7}, MinLock: 3600,
		MaxLock: 7 * 86400, MinDeposit: 2000, MaxDeposit: 1000 * amount.BTT, Quantum: 1 << 20}
}

func newTestPayer(t testing.TB, opt pairOptions) (*Payer, *Open) {
	t.Helper()
	if opt.lock == 0 {
		opt.lock = 1000 + 4*3600
	}
	k1 := key(t, 3)
	t1 := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{{TxID: ledger.TxID{9}}},
		Outputs: []ledger.Output{{Amount: opt.deposit, Lock: ledger.Joint(k1.PublicKey(), key(t, 4).PublicKey())}},
		Witnesses: []ledger.Witness{{Keys: []ledger.PublicKey{key(t, 1).PublicKey()},
			Signatures: []ledger.Signature{{1}}}}}
	payer, err := NewPayer(PayerConfig{Terms: testTerms(t), Account: key(t, 1).PublicKey(), Signer: k1, T1: t1,
		Network: ledger.Network{7}, MinOutput: testMin, Now: 1000, LockTime: opt.lock})
	if err != nil {
		t.Fatal(err)
	}
	open := payer.Ready().Messages[0].(*Open)
	return payer, open
}

func TestPayAndEarn(t *testing.T) {
	payer, payee := newPair(t, pairOptions{deposit: 10 * amount.BTT})
	tariff := Tariff{{0, amount.Price(2 * amount.BTT)}}
	lane, err := payer.Attach(Tag{1}, 0, tariff)
	if err != nil {
		t.Fatal(err)
	}
	deliver := func() {
		t.Helper()
		for _, m := range payer.Ready().Messages {
			if err := payee.Step(m); err != nil {
				t.Fatalf("%v: %v", m.Type(), err)
			}
			r := payee.Ready()
			for _, e := range r.Events {
				if e.Kind == EventAttached {
					if err := payee.Tariff(e.Lane, e.Bytes, e.From, tariff); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	deliver()
	for i := int64(1); i <= 10; i++ {
		if i%2 == 0 {
			payer.Presign(lane, i<<20)
		}
		if err := payer.Pay(lane, i<<20); err != nil {
			t.Fatal(err)
		}
		deliver()
	}
	want, _ := amount.Price(2 * amount.BTT).Owed(10 << 20)
	if payee.Earned() != want || payer.Paid() != want {
		t.Fatalf("earned %v, paid %v, want %v", payee.Earned(), payer.Paid(), want)
	}
}

func TestMessagesHaveOneEncoding(t *testing.T) {
	terms := testTerms(t)
	sig := ledger.Signature{3, 64: 1}
	for _, m := range []Message{
		&Open{Payer: key(t, 1).PublicKey(), Deposit: 5, LockTime: 9, Funding: ledger.OutPoint{Index: 3, Shard: 1}},
		&RefundSig{ID: ID{1}, Signature: sig}, &Fund{ID: ID{2}, First: sig, T1: []byte{1, 2}}, &Confirm{ID: ID{3}},
		&Attach{ID: ID{4}, Lane: 7, Tag: Tag{9}, From: 8, Bytes: 11}, &State{ID: ID{5}, Bytes: 4, Payment: Payment{1, 2, sig}, Attached: true},
		&Pay{ID: ID{6}, Lane: 1, Bytes: 1 << 40, Payment: Payment{1, 2, sig}}, &Close{ID: ID{7}}, &Closed{ID: ID{8}, Amount: 5},
		&Quote{From: 3, Price: 4}, &Refuse{ID: ID{9}, Code: CodeKeyUsed, Reason: "why", Terms: &terms}, &Refuse{Code: CodeLock},
	} {
		b := Encode(m)
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("%v: %v", m.Type(), err)
		}
		if !bytes.Equal(Encode(got), b) {
			t.Fatalf("%v: not the same after a round trip", m.Type())
		}
		for n := range b {
			if _, err := Decode(b[:n]); err == nil {
				t.Fatalf("%v: %d of %d bytes decode", m.Type(), n, len(b))
			}
		}
		if _, err := Decode(append(b, 0)); err == nil {
			t.Fatalf("%v: trailing byte decodes", m.Type())
		}
	}
}

func FuzzDecode(f *testing.F) {
	for t := TypeOpen; t <= TypeRefuse; t++ {
		m := newMessage(t)
		if r, ok := m.(*Refuse); ok {
			r.Code = CodeMalformed
		}
		f.Add(Encode(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err == nil && !bytes.Equal(Encode(m), b) {
			t.Fatalf("%x decodes to %#v, which encodes to %x", b, m, Encode(m))
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	s := &Snapshot{Role: RolePayee, Stage: Opened, T1: []byte{1}, Lanes: []LaneState{{1, Tag{2}, 3}}}
	f.Add((&Record{Snapshot: s}).Append(nil))
	f.Add((&Record{Pay: &Pay{Bytes: 3}}).Append(nil))
	f.Add((&Record{Ceiling: &Ceiling{Amount: 3}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("%x decodes to %#v", b, r)
		}
	})
}

func BenchmarkPayment(b *testing.B) {
	payer, payee := newPair(b, pairOptions{deposit: 900 * amount.BTT})
	tariff := Tariff{{0, 1}}
	lane, _ := payer.Attach(Tag{1}, 0, tariff)
	for _, m := range payer.Ready().Messages {
		_ = payee.Step(m)
		r := payee.Ready()
		for _, e := range r.Events {
			_ = payee.Tariff(e.Lane, e.Bytes, e.From, tariff)
		}
	}
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		if err := payer.Pay(lane, i<<20); err != nil {
			b.Fatal(err)
		}
		payee.Ready()
		for _, m := range payer.Ready().Messages {
			raw := Encode(m)
			m, err := Decode(raw)
			if err != nil {
				b.Fatal(err)
			}
			if err := payee.Step(m); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func FuzzDecodeTerms(f *testing.F) {
	terms := testTerms(f)
	f.Add(terms.Append(nil))
	f.Add(make([]byte, TermsSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		terms, err := DecodeTerms(b)
		if err == nil && !bytes.Equal(terms.Append(nil), b) {
			t.Fatalf("%x became %x", b, terms.Append(nil))
		}
	})
}

// TestRefundSignedBySomebodyElse is step 5: the process ends, and T1 was shown to
// nobody (R11.8).
func TestRefundSignedBySomebodyElse(t *testing.T) {
	payer, open := newTestPayer(t, pairOptions{deposit: amount.BTT})
	c := payer.Contract()
	sig, err := key(t, 9).Sign(c.refundDigest())
	if err != nil {
		t.Fatal(err)
	}
	var refused *Refusal
	if err := payer.Step(&RefundSig{ID: open.Channel(), Signature: sig}); !errors.As(err, &refused) || refused.Code != CodeSignature {
		t.Errorf("%v, want a refusal for the signature", err)
	}
	if payer.Stage() != Abandoned {
		t.Errorf("stage %v", payer.Stage())
	}
	good, err := key(t, 4).Sign(c.refundDigest())
	if err != nil {
		t.Fatal(err)
	}
	if err := payer.Step(&RefundSig{ID: open.Channel(), Signature: good}); err != nil {
		t.Error(err)
	}
	for _, m := range payer.Ready().Messages {
		if m.Type() == TypeFund {
			t.Error("T1 was shown")
		}
	}
}

// TestPriced: of a span of bytes those count that cost anything, whatever the last price.
func TestPriced(t *testing.T) {
	tariff := Tariff{{From: 100, Price: 5}, {From: 200, Price: 0}, {From: 300, Price: 7}, {From: 400, Price: 0}}
	for _, tt := range []struct{ from, to, want int64 }{
		{100, 100, 0}, {100, 150, 50}, {120, 250, 80}, {210, 290, 0}, {150, 350, 100}, {150, 1000, 150},
		{0, 120, 20}, {350, 340, 0}, {1000, 2000, 0},
	} {
		if got := tariff.Priced(tt.from, tt.to); got != tt.want {
			t.Errorf("%d to %d: %d bytes, want %d", tt.from, tt.to, got, tt.want)
		}
	}
	if got := (Tariff(nil)).Priced(0, 10); got != 0 {
		t.Errorf("without a price: %d", got)
	}
}

// TestPaymentOvertakesAttach: lanes are on several connections, so the newest payment, said
// again on one, may come before the attach of its lane on another. It is good for its money
// there, and for its bytes when it comes behind the attach; so it is when the first
// connection ended and it is said again.
func TestPaymentOvertakesAttach(t *testing.T) {
	payer, payee := newPair(t, pairOptions{deposit: 10 * amount.BTT})
	tariff := Tariff{{0, amount.Price(2 * amount.BTT)}}
	step := func(messages []Message) (earned amount.Amount) {
		t.Helper()
		for _, m := range messages {
			if err := payee.Step(m); err != nil {
				t.Fatalf("%v: %v", m.Type(), err)
			}
			for _, e := range payee.Ready().Events {
				earned += e.Sum
				if e.Kind == EventAttached {
					if err := payee.Tariff(e.Lane, e.Bytes, e.From, tariff); err != nil {
						t.Fatal(err)
					}
				} else if e.Tag == (Tag{}) {
					t.Errorf("a payment for no lane: %+v", e)
				}
			}
		}
		return earned
	}
	attach := func(tag Tag) (uint32, []Message) {
		t.Helper()
		lane, err := payer.Attach(tag, 0, tariff)
		if err != nil {
			t.Fatal(err)
		}
		return lane, payer.Ready().Messages
	}
	pay := func(lane uint32, to int64) []Message {
		t.Helper()
		if err := payer.Pay(lane, to); err != nil {
			t.Fatal(err)
		}
		return payer.Ready().Messages
	}
	lane, before := attach(Tag{1})
	step(append(before, pay(lane, 5<<20)...))
	payer.Leave(lane) // the connection ends

	_, slow := attach(Tag{1})
	slow = append(slow, pay(lane, 1<<20)...)
	payer.Resend() // on a connection that is faster
	_, other := attach(Tag{2})
	want, _ := amount.Price(2 * amount.BTT).Owed(1 << 20)
	if got := step(append(payer.Ready().Messages, other...)); got != want {
		t.Errorf("%v came, want %v", got, want)
	}
	step(slow)
	if got := payee.Position(lane); got != 1<<20 || payee.LaneBytes(lane) != 6<<20 {
		t.Errorf("paid up to %d of the stream and %d in all, want %d and %d", got, payee.LaneBytes(lane), 1<<20, 6<<20)
	}
	lost := pay(lane, 2<<20)
	payer.Leave(lane)
	payer.Resend()
	if again := payer.Ready().Messages; len(lost) != 1 || len(again) != 1 || *again[0].(*Pay) != *lost[0].(*Pay) {
		t.Errorf("%+v is said again, want %+v", again, lost)
	}
}
