package channel

import (
	"context"
	"fmt"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// world is a payer, a payee and a memory ledger joined by queues, driven one
// action at a time. What a side stored survives its crash, nothing else does.
type world struct {
	t        rapid.TB
	ledger   *ledgertest.Memory
	network  ledger.Network
	payer    *Payer
	payee    *Payee
	payerKey *ledger.PrivateKey
	payeeKey *ledger.PrivateKey
	k1, k2   *ledger.PrivateKey
	terms    Terms
	stored   [2]*Snapshot // durable state of payer and payee
	inbox    [2][]Message // to payer, to payee
	tasks    [2][]Task
	lane     uint32
	attached bool
	position int64 // verified by the payer on the current connection
	verified int64 // of all connections
	served   int64
	sent     int // messages sent so far: the step number
}

const (
	worldPrice   = amount.Price(1024 * 1000) // 1000 micro-BTT a MiB
	worldUnit    = 1 << 20
	worldDeposit = amount.Amount(20_000)
)

func newWorld(t rapid.TB) *world {
	w := &world{t: t, ledger: ledgertest.New(), payerKey: ledgertest.Key("payer"), payeeKey: ledgertest.Key("payee"),
		k1: ledgertest.Key("k1"), k2: ledgertest.Key("k2")}
	coin, err := w.ledger.Fund(w.payerKey.Address(), worldDeposit)
	if err != nil {
		t.Fatal(err)
	}
	status, _ := w.ledger.Status(context.Background())
	w.network = status.Network
	w.terms = Terms{Account: w.payeeKey.PublicKey(), K2: w.k2.PublicKey(), Network: w.network, MinLock: 3600, MaxLock: 86400,
		MinDeposit: 2000, MaxDeposit: amount.Supply, Quantum: worldUnit}
	t1, err := ledger.FundingTx([]ledger.Coin{coin}, worldDeposit, w.k1.PublicKey(), w.k2.PublicKey(), w.payerKey.Address())
	if err == nil {
		err = ledger.SignInputs(t1, w.network, []ledger.Coin{coin}, w.payerKey)
	}
	if err == nil {
		w.payer, err = NewPayer(PayerConfig{Terms: w.terms, Account: w.payerKey.PublicKey(), Signer: w.k1, T1: t1, Network: w.network,
			MinOutput: status.Params.MinOutput, Now: status.LedgerTime, LockTime: status.LedgerTime + 7200})
	}
	if err != nil {
		t.Fatal(err)
	}
	w.flushPayer()
	return w
}

func (w *world) now() uint64 {
	s, err := w.ledger.Status(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return s.LedgerTime
}

// keep stores records as a journal would.
func (w *world) keep(side int, records []Record) {
	for _, r := range records {
		if w.stored[side] == nil {
			w.stored[side] = new(Snapshot)
			*w.stored[side] = *r.Snapshot
			continue
		}
		raw := r.Append(nil)
		r, err := DecodeRecord(raw)
		if err == nil {
			err = w.stored[side].Apply(r)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) flushPayer() {
	if w.payer == nil {
		return
	}
	rd := w.payer.Ready()
	w.keep(0, rd.Records)
	w.inbox[1] = append(w.inbox[1], rd.Messages...)
	w.sent += len(rd.Messages)
	w.tasks[0] = append(w.tasks[0], rd.Tasks...)
}

func (w *world) flushPayee() {
	if w.payee == nil {
		return
	}
	rd := w.payee.Ready()
	w.keep(1, rd.Records)
	w.inbox[0] = append(w.inbox[0], rd.Messages...)
	w.sent += len(rd.Messages)
	w.tasks[1] = append(w.tasks[1], rd.Tasks...)
	for _, e := range rd.Events {
		if e.Kind == EventAttached {
			if err := w.payee.Tariff(e.Lane, e.Bytes, e.From, Tariff{{0, worldPrice}}); err != nil {
				w.t.Fatal(err)
			}
			w.flushPayee()
		}
	}
}

// deliver hands over the first message of a side's inbox, by its wire form.
func (w *world) deliver(side int) {
	if len(w.inbox[side]) == 0 {
		return
	}
	m, err := Decode(Encode(w.inbox[side][0]))
	w.inbox[side] = w.inbox[side][1:]
	if err != nil {
		w.t.Fatal(err)
	}
	if side == 0 && w.payer != nil {
		_ = w.payer.Step(m)
		w.flushPayer()
	}
	if side == 1 {
		if open, ok := m.(*Open); ok && w.payee == nil && w.stored[1] == nil {
			w.payee, err = NewPayee(PayeeConfig{Terms: w.terms, Signer: w.k2, MinOutput: testMin, Now: w.now()}, open)
			if err != nil {
				w.t.Fatal(err)
			}
		} else if w.payee != nil {
			_ = w.payee.Step(m)
		}
		w.flushPayee()
	}
}

// perform runs the first task of a side against the ledger.
func (w *world) perform(side int) {
	if len(w.tasks[side]) == 0 {
		return
	}
	task := w.tasks[side][0]
	w.tasks[side] = w.tasks[side][1:]
	var state ledger.OutpointState
	var spender *ledger.Tx
	var err error
	if task.Kind == TaskLookup {
		if state, err = w.ledger.Outpoint(context.Background(), task.Outpoint); err == nil && state.Status == ledger.OutpointSpent {
			if rec, rerr := w.ledger.Transaction(context.Background(), state.By); rerr == nil {
				spender, _ = ledger.DecodeTx(rec.Raw)
			}
		}
	} else {
		var r ledger.Receipt
		if r, err = w.ledger.Submit(context.Background(), task.Raw); err == nil && r.State != ledger.Committed {
			err = fmt.Errorf("transaction is %v", r.State)
		}
	}
	final := ledger.CodeOf(err) != "" && ledger.CodeOf(err) != ledger.CodeStale && ledger.CodeOf(err) != ledger.CodeNotFinal
	switch {
	case side == 0 && w.payer != nil && task.Kind == TaskLookup:
		w.payer.LookedUp(state, spender, err)
	case side == 0 && w.payer != nil:
		w.payer.Submitted(task.Kind, err, final)
	case side == 1 && w.payee != nil && task.Kind == TaskLookup:
		w.payee.LookedUp(state, spender, err)
	case side == 1 && w.payee != nil:
		w.payee.Submitted(task.Kind, err, final)
	}
	w.flushPayer()
	w.flushPayee()
}

func (w *world) settleQueues() {
	for range 60 {
		w.deliver(0)
		w.deliver(1)
		w.perform(0)
		w.perform(1)
	}
}

// crash restarts a side from what it stored; the connection is lost with it.
func (w *world) crash(side int) {
	w.disconnect()
	w.tasks[side] = nil
	s := w.stored[side]
	if side == 0 {
		w.payer = nil
		if s != nil {
			w.payer = RestorePayer(s, w.k1, w.now())
			if w.payer.Stage() == Proposed {
				w.payer.Abandon(CodeClosing, "restart")
			}
			w.payer.Look()
			w.flushPayer()
		}
		return
	}
	w.payee = nil
	if s != nil {
		w.payee = RestorePayee(s, w.k2, w.now())
		w.payee.Look()
		w.payee.Tick(w.now())
		w.flushPayee()
	}
}

func (w *world) disconnect() {
	w.inbox = [2][]Message{}
	w.attached = false
}

// connect makes a new connection, as internal/payments does.
func (w *world) connect() {
	if w.payer == nil {
		return
	}
	w.payer.Resend()
	w.flushPayer()
}

// trade serves one unit if the payee's window allows it, and pays for it.
func (w *world) trade() {
	if w.payer == nil || w.payer.Stage() != Opened {
		return
	}
	if !w.attached {
		lane, err := w.payer.Attach(Tag{1}, 0, Tariff{{0, worldPrice}})
		if err != nil {
			return
		}
		w.lane, w.attached, w.position = lane, true, 0
		w.flushPayer()
		return
	}
	if w.payer.Awaits(w.lane) || w.payer.NeedsState() {
		return
	}
	if w.payee == nil || w.payee.Stage() != Opened || len(w.inbox[1]) > 0 {
		return // the payee serves only when paid up
	}
	w.served += worldUnit
	w.verified += worldUnit
	w.position += worldUnit
	_ = w.payer.Pay(w.lane, w.position)
	w.flushPayer()
}

// finish lets time run beyond the lock; sides in dead never act again.
func (w *world) finish(dead map[int]bool) {
	if dead[0] {
		w.payer = nil
	}
	if dead[1] {
		w.payee = nil
	}
	w.disconnect()
	lock := uint64(7200 + ledgertest.StartTime + 3600)
	for range 40 {
		if w.payer != nil {
			w.payer.Tick(w.now())
			w.flushPayer()
		}
		if w.payee != nil {
			w.payee.Tick(w.now())
			w.flushPayee()
		}
		for range 6 {
			w.perform(0)
			w.perform(1)
		}
		if w.now() < lock {
			w.ledger.Advance(300)
		}
	}
}

func (w *world) balance(key *ledger.PrivateKey) (sum amount.Amount) {
	coins, err := w.ledger.Unspent(context.Background(), key.Address(), ledger.OutPoint{}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range coins {
		sum += c.Amount
	}
	return sum
}

// check holds the promises of LOSSES.md.
func (w *world) check(dead map[int]bool) {
	payer, payee := w.balance(w.payerKey), w.balance(w.payeeKey)
	value, _ := worldPrice.Owed(w.verified)
	if payer < worldDeposit-value {
		w.t.Fatalf("payer holds %v of %v after verifying %v", payer, worldDeposit, value)
	}
	if dead[0] && dead[1] {
		return
	}
	if !dead[0] && payer+payee != worldDeposit {
		w.t.Fatalf("payer %v and payee %v hold not all of %v: funds are stuck", payer, payee, worldDeposit)
	}
	if err := w.ledger.Audit(); err != nil {
		w.t.Fatal(err)
	}
	if !dead[1] && w.stored[1] != nil {
		quantum, _ := worldPrice.Owed(worldUnit)
		owed, _ := worldPrice.Owed(w.served)
		if least := min(owed-quantum, worldDeposit-testMin); least >= testMin && payee < least-1 {
			w.t.Fatalf("payee earned %v for %v served: more than one quantum lost", payee, owed)
		}
	}
}
