package channel

import (
	"errors"
	"slices"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// refusedWith holds that err is a refusal with a code and a reason.
func refusedWith(t *testing.T, err error, want Code) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Code != want || r.Reason == "" {
		t.Errorf("%v, want a refusal with %v", err, want)
	}
}

// TestWrongRefundSignature: the payer ends the process when T2's signature is not
// K2's on exactly this T2 (R11.8). T1 was never shown, so nothing is at risk.
func TestWrongRefundSignature(t *testing.T) {
	sign := func(k *ledger.PrivateKey, digest [32]byte) ledger.Signature {
		s, err := k.Sign(digest)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, forge := range map[string]func(c Contract) ledger.Signature{
		"none":          func(Contract) ledger.Signature { return ledger.Signature{} },
		"another key":   func(c Contract) ledger.Signature { return sign(key(t, 5), c.refundDigest()) },
		"a later lock":  func(c Contract) ledger.Signature { c.LockTime += 86400; return sign(key(t, 4), c.refundDigest()) },
		"less back":     func(c Contract) ledger.Signature { c.Deposit -= 1000; return sign(key(t, 4), c.refundDigest()) },
		"another T1":    func(c Contract) ledger.Signature { c.Funding.TxID[0] ^= 1; return sign(key(t, 4), c.refundDigest()) },
		"another chain": func(c Contract) ledger.Signature { c.Network[0] ^= 1; return sign(key(t, 4), c.refundDigest()) },
		"T3 instead":    func(c Contract) ledger.Signature { return sign(key(t, 4), c.paymentDigest(5000, 9)) },
	} {
		t.Run(name, func(t *testing.T) {
			payer, _ := newTestPayer(t, pairOptions{deposit: amount.BTT})
			refusedWith(t, payer.Step(&RefundSig{ID: payer.ID(), Signature: forge(payer.Contract())}), CodeSignature)
			rd := payer.Ready()
			if payer.Stage() != Abandoned || len(rd.Tasks) > 0 {
				t.Errorf("the payer is %v and wants %v", payer.Stage(), rd.Tasks)
			}
			if slices.ContainsFunc(rd.Messages, func(m Message) bool { return m.Type() != TypeRefuse }) {
				t.Errorf("the payer says %v", rd.Messages)
			}
			if payer.Fund(); len(payer.Ready().Tasks) > 0 {
				t.Error("T1 goes to the ledger")
			}
			if _, err := payer.T1(); err != nil {
				t.Errorf("the inputs of T1 cannot be released: %v", err)
			}
		})
	}
}

// TestWrongProposal: the payee signs no T2 that does not fit its terms.
func TestWrongProposal(t *testing.T) {
	for name, x := range map[string]struct {
		change func(o *Open)
		want   Code
	}{
		"lock too near":     {func(o *Open) { o.LockTime = 1000 + 3599 }, CodeLock},
		"lock too far":      {func(o *Open) { o.LockTime = 1000 + 8*86400 }, CodeLock},
		"lock in the past":  {func(o *Open) { o.LockTime = 999 }, CodeLock},
		"deposit too small": {func(o *Open) { o.Deposit = 1999 }, CodeDeposit},
		"deposit too great": {func(o *Open) { o.Deposit = 1001 * amount.BTT }, CodeDeposit},
		"another K2":        {func(o *Open) { o.K2 = key(t, 5).PublicKey() }, CodeKeyUsed},
		"K1 is K2":          {func(o *Open) { o.K1 = o.K2 }, CodeFunding},
		"K1 is no key":      {func(o *Open) { o.K1 = ledger.PublicKey{2, 1} }, CodeFunding},
	} {
		t.Run(name, func(t *testing.T) {
			_, open := newTestPayer(t, pairOptions{deposit: amount.BTT})
			x.change(open)
			_, err := NewPayee(PayeeConfig{Terms: testTerms(t), Signer: key(t, 4), MinOutput: testMin, Now: 1000}, open)
			refusedWith(t, err, x.want)
		})
	}
}

// TestWrongFunding: a T1 or a first T3 that is not as agreed gets no confirmation
// and never reaches the ledger through the payee.
func TestWrongFunding(t *testing.T) {
	for name, x := range map[string]struct {
		change func(f *Fund)
		want   Code
	}{
		"T3 not signed":      {func(f *Fund) { f.First = ledger.Signature{} }, CodeSignature},
		"T3 signed by K2":    {func(f *Fund) { f.First, _ = key(t, 4).Sign([32]byte{1}) }, CodeSignature},
		"T1 of another sum":  {func(f *Fund) { f.T1 = changedT1(t, f.T1, func(o *ledger.Output) { o.Amount-- }) }, CodeFunding},
		"T1 of another lock": {func(f *Fund) { f.T1 = changedT1(t, f.T1, func(o *ledger.Output) { o.Lock.K2 = key(t, 6).PublicKey() }) }, CodeFunding},
		"T1 is nothing":      {func(f *Fund) { f.T1 = nil }, CodeFunding},
	} {
		t.Run(name, func(t *testing.T) {
			payer, open := newTestPayer(t, pairOptions{deposit: amount.BTT})
			payee, err := NewPayee(PayeeConfig{Terms: testTerms(t), Signer: key(t, 4), MinOutput: testMin, Now: 1000}, open)
			if err != nil {
				t.Fatal(err)
			}
			payee.LookedUp(ledger.OutpointState{}, nil, nil)
			if err := payer.Step(payee.Ready().Messages[0]); err != nil {
				t.Fatal(err)
			}
			f := *payer.Ready().Messages[0].(*Fund)
			x.change(&f)
			refusedWith(t, payee.Step(&f), x.want)
			if rd := payee.Ready(); payee.Stage() != Accepted || len(rd.Tasks)+len(rd.Messages) > 0 {
				t.Errorf("the payee is %v, wants %v and says %v", payee.Stage(), rd.Tasks, rd.Messages)
			}
		})
	}
}

func changedT1(t *testing.T, raw []byte, f func(*ledger.Output)) []byte {
	t.Helper()
	t1, err := ledger.DecodeTx(raw)
	if err != nil {
		t.Fatal(err)
	}
	f(&t1.Outputs[0])
	return t1.Encode()
}

// TestWrongPayment: a T3 that is not signed, pays less than it claims, more than
// there is, or falls, is refused; what the payee held before stays, and it settles
// for that.
func TestWrongPayment(t *testing.T) {
	for name, x := range map[string]struct {
		change func(p *Pay)
		want   Code
	}{
		"not signed":           {func(p *Pay) { p.Payment.Signature = ledger.Signature{} }, CodeSignature},
		"signed by K2":         {func(p *Pay) { p.Payment.Signature, _ = key(t, 4).Sign([32]byte{1}) }, CodeSignature},
		"another sum":          {func(p *Pay) { p.Payment.Amount++ }, CodeSignature},
		"another number":       {func(p *Pay) { p.Payment.Sequence++ }, CodeSignature},
		"more bytes than paid": {func(p *Pay) { p.Bytes += 1 << 20 }, CodeAmount},
		"beyond the deposit":   {func(p *Pay) { p.Payment.Amount = amount.BTT }, CodeAmount},
		"a fallen sum":         {func(p *Pay) { p.Payment.Amount, p.Bytes = 1, 1<<20 }, CodeStale},
	} {
		t.Run(name, func(t *testing.T) {
			payer, payee := newPair(t, pairOptions{deposit: amount.BTT})
			tariff := Tariff{{0, amount.Price(2 * amount.BTT)}}
			lane, err := payer.Attach(Tag{1}, 0, tariff)
			if err == nil {
				err = payer.Pay(lane, 1<<20)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range payer.Ready().Messages {
				if err := payee.Step(m); err != nil {
					t.Fatal(err)
				}
				for _, e := range payee.Ready().Events {
					if e.Kind == EventAttached {
						_ = payee.Tariff(e.Lane, e.Bytes, e.From, tariff)
					}
				}
			}
			held := payee.Earned()
			if err := payer.Pay(lane, 2<<20); err != nil {
				t.Fatal(err)
			}
			p := *payer.Ready().Messages[0].(*Pay)
			x.change(&p)
			refusedWith(t, payee.Step(&p), x.want)
			if rd := payee.Ready(); len(rd.Records) > 0 || payee.Earned() != held {
				t.Errorf("the payee holds %v of %v and stores %d records", payee.Earned(), held, len(rd.Records))
			}
			payee.Close()
			for _, task := range payee.Ready().Tasks {
				if tx, err := ledger.DecodeTx(task.Raw); err != nil || tx.Outputs[1].Amount != held {
					t.Errorf("the payee settles for %v, %v", tx, err)
				}
			}
		})
	}
}
