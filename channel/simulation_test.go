package channel

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

var (
	simRuns = flag.Int("sim.runs", 0, "number of simulated lives; 0 = 10,000, less with -short or -race")
	simSeed = flag.Uint64("sim.seed", 0, "replay the life of one seed, with a trace")
)

// sim is a ledger and some channels over it, driven one step at a time by one
// source of chance. There is no goroutine and no clock but the ledger's.
type sim struct {
	rng    *rand.Rand
	ledger *ledgertest.Memory
	net    ledger.Network
	clock  uint64 // ledger time
	lives  []*life
	outage bool
	fuse   int  // boundaries until the next crash, 0 = none
	calm   bool // no more faults
	// durable are the transactions that the ledger acknowledged.
	durable map[ledger.TxID]bool
	trace   func(format string, args ...any)
}

// life is one channel with its two processes and the line between them.
type life struct {
	*sim
	number   int
	payer    *Payer
	payee    *Payee
	accounts [2]*ledger.PrivateKey
	keys     [2]*ledger.PrivateKey
	terms    Terms
	logs     [2]simLog
	up       [2]bool
	line     [2][]packet // to the payer, to the payee
	tasks    [2][]Task
	open     bool // the line
	// The payer's side of the line, then the payee's.
	attached     bool
	lane         uint32
	position     int64
	served, paid int64
	selling      bool
	verified     int64         // ever
	held         amount.Amount // sum of payments that the payee told the swarm of
	lost         int           // lines that broke with something unpaid
	late         bool          // the payee slept through the time to settle
	born         uint64
}

// packet is a message, or so many bytes of data.
type packet struct {
	raw  []byte
	data int64
}

// simLog is a journal: what is durable, and what a crash may lose.
type simLog struct{ durable, pending [][]byte }

// crashed unwinds a step at a boundary.
type crashed struct{ side int }

var errSimOutage = errors.New("the ledger is away")

func newSim(seed uint64, trace func(string, ...any)) (*sim, error) {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), ledger: ledgertest.New(), trace: trace, durable: map[ledger.TxID]bool{}}
	status, err := s.ledger.Status(context.Background())
	if err != nil {
		return nil, err
	}
	s.net, s.clock = status.Network, status.LedgerTime
	for n := range 1 + s.rng.IntN(2) {
		l := &life{sim: s, number: n, born: status.LedgerTime}
		for i, who := range [...]string{"payer", "payee"} {
			l.accounts[i] = simKey(fmt.Sprint(who, n))
			l.keys[i] = simKey(fmt.Sprint(who, " key ", n))
		}
		if err := l.propose(status); err != nil {
			return nil, err
		}
		s.lives = append(s.lives, l)
	}
	return s, nil
}

var simKeys sync.Map // by name: making a key costs more than a step

func simKey(name string) *ledger.PrivateKey {
	if k, ok := simKeys.Load(name); ok {
		return k.(*ledger.PrivateKey)
	}
	k := ledgertest.Key("sim " + name)
	simKeys.Store(name, k)
	return k
}

func (l *life) propose(status ledger.Status) error {
	coin, err := l.ledger.Fund(l.accounts[0].Address(), worldDeposit)
	if err != nil {
		return err
	}
	l.terms = Terms{Account: l.accounts[1].PublicKey(), K2: l.keys[1].PublicKey(), Network: l.net, MinLock: 3600, MaxLock: 86400,
		MinDeposit: 2000, MaxDeposit: amount.Supply, Quantum: worldUnit}
	t1, err := ledger.FundingTx([]ledger.Coin{coin}, worldDeposit, l.keys[0].PublicKey(), l.keys[1].PublicKey(), l.accounts[0].Address())
	if err == nil {
		err = ledger.SignInputs(t1, l.net, []ledger.Coin{coin}, l.accounts[0])
	}
	if err != nil {
		return err
	}
	l.payer, err = NewPayer(PayerConfig{Terms: l.terms, Account: l.accounts[0].PublicKey(), Signer: l.keys[0], T1: t1, Network: l.net,
		MinOutput: testMin, Now: status.LedgerTime, LockTime: status.LedgerTime + 7200})
	l.up = [2]bool{true, true}
	return err
}

// boundary is a point between two writes or sends at which a process may die.
func (l *life) boundary(side int) {
	if l.fuse == 0 || l.calm {
		return
	}
	if l.fuse--; l.fuse == 0 {
		panic(crashed{side})
	}
}

// step runs f, and the crash that it may run into.
func (l *life) step(f func()) {
	defer func() {
		if r := recover(); r != nil {
			c, ok := r.(crashed)
			if !ok {
				panic(r)
			}
			l.crash(c.side)
		}
	}()
	f()
}

// crash ends a process: a prefix of what was not synced survives, cut inside a
// record or not.
func (l *life) crash(side int) {
	log := &l.logs[side]
	n := l.rng.IntN(len(log.pending) + 1)
	l.trace("life %d: side %d dies, %d of %d records survive", l.number, side, n, len(log.pending))
	log.durable = append(log.durable, log.pending[:n]...)
	log.pending = nil
	if l.rng.IntN(4) == 0 && len(log.durable) > 0 { // a compacted journal
		if s := l.fold(side); s != nil {
			log.durable = [][]byte{(&Record{Snapshot: s}).Append(nil)}
		}
	}
	l.up[side], l.tasks[side] = false, nil
	l.cut()
}

// cut breaks the line; what is on it is gone.
func (l *life) cut() {
	if l.open && l.selling && l.served > l.paid {
		l.lost++
	}
	l.line, l.open, l.attached = [2][]packet{}, false, false
	l.position, l.served, l.paid, l.selling = 0, 0, 0, false
}

// fold reads a journal as package payments does.
func (l *life) fold(side int) (s *Snapshot) {
	var pays []Record
	for _, raw := range l.logs[side].durable {
		r, err := DecodeRecord(raw)
		if err != nil {
			panic(err)
		}
		switch {
		case r.Snapshot != nil && s == nil:
			s = r.Snapshot
		case r.Snapshot != nil:
			best := s.Best
			if s = r.Snapshot; best.Sequence > s.Best.Sequence {
				s.Best = best
			}
		case r.Pay != nil:
			pays = append(pays, r)
		case s != nil:
			_ = s.Apply(r)
		}
	}
	for ; s != nil && len(pays) > 0; pays = pays[:len(pays)-1] {
		if s.Apply(pays[len(pays)-1]) == nil {
			break
		}
	}
	return s
}

// start brings a process back from its journal.
func (l *life) start(side int) {
	l.up[side] = true
	s := l.fold(side)
	if side == 0 {
		if l.payer = nil; s == nil {
			return // its proposal was never sent
		}
		l.payer = RestorePayer(s, l.keys[0], l.now())
		if l.payer.Stage() == Proposed {
			l.payer.Abandon(CodeClosing, "restart")
		}
		l.payer.Look()
		l.flush(0)
		return
	}
	if l.payee = nil; s == nil {
		return
	}
	l.payee = RestorePayee(s, l.keys[1], l.now())
	if l.payee.Paid() < l.held {
		panic(fmt.Sprintf("the payee holds %v after a restart, it had told of %v", l.payee.Paid(), l.held))
	}
	l.payee.Look()
	l.payee.Tick(l.now())
	l.flush(1)
}

func (s *sim) now() uint64 { return s.clock }

// advance lets ledger time pass.
func (s *sim) advance(seconds uint64) {
	s.ledger.Advance(seconds)
	s.clock += seconds
	s.audit()
}

// audit compares the coins with the supply.
func (s *sim) audit() {
	if err := s.ledger.Audit(); err != nil {
		panic(err)
	}
}

func (l *life) append(side int, r *Record) {
	l.logs[side].pending = append(l.logs[side].pending, r.Append(nil))
}

func (l *life) sync(side int) {
	log := &l.logs[side]
	log.durable = append(log.durable, log.pending...)
	log.pending = nil
	if side == 0 && l.payer != nil {
		if s := l.fold(0); s != nil {
			l.payer.Stable(s.Ceiling)
		}
	}
}

// flush does what a machine wants, in the order that the package demands, with a
// boundary between any two parts.
func (l *life) flush(side int) {
	var rd Ready
	if side == 0 {
		rd = l.payer.Ready()
	} else {
		rd = l.payee.Ready()
	}
	for i := range rd.Records {
		l.append(side, &rd.Records[i])
		l.boundary(side)
	}
	if rd.Sync {
		l.sync(side)
	}
	l.boundary(side)
	for _, m := range rd.Messages {
		l.checkStored(side, m)
		l.send(1-side, packet{raw: Encode(m)})
		l.boundary(side)
	}
	l.tasks[side] = append(l.tasks[side], rd.Tasks...)
	for _, e := range rd.Events {
		l.event(side, e)
	}
}

// checkStored holds that nothing leaves before its record is durable.
func (l *life) checkStored(side int, m Message) {
	s := l.fold(side)
	switch m := m.(type) {
	case *Pay:
		if s == nil || m.Payment.Amount > s.Ceiling.Amount || m.Payment.Sequence > s.Ceiling.Sequence {
			panic(fmt.Sprintf("payment %d of %v leaves above the stored ceiling", m.Payment.Sequence, m.Payment.Amount))
		}
	case *Fund:
		if s == nil || s.Refund == (ledger.Signature{}) {
			panic("T1 leaves before T2's signature is stored")
		}
	case *RefundSig:
		if s == nil || s.Stage < Accepted {
			panic("T2's signature leaves before the contract is stored")
		}
	}
}

// send puts a packet on the line; it may be doubled or overtaken.
func (l *life) send(to int, p packet) {
	if !l.open {
		return
	}
	q := append(l.line[to], p)
	if !l.calm {
		switch l.rng.IntN(40) {
		case 0:
			q = append(q, packet{raw: p.raw}) // data is not doubled: it would be other data
			if p.data > 0 {
				q = q[:len(q)-1]
			}
		case 1:
			i := l.rng.IntN(len(q))
			q[i], q[len(q)-1] = q[len(q)-1], q[i]
		}
	}
	l.line[to] = q
}

func (l *life) event(side int, e Event) {
	switch {
	case side == 1 && e.Kind == EventAttached && e.From <= l.paid:
		if l.payee.Tariff(e.Lane, e.Bytes, e.From, Tariff{{0, worldPrice}}) == nil {
			l.lane, l.selling = e.Lane, true
		}
		l.flush(1)
	case side == 1 && e.Kind == EventAttached:
		l.payee.Detached(e.Lane, l.paid)
		l.flush(1)
	case e.Kind == EventEarned:
		l.held = max(l.held, e.Amount)
		if l.selling && e.Lane == l.lane {
			l.paid = max(l.paid, e.From)
		}
	}
}

func (l *life) deliver(side int) {
	if len(l.line[side]) == 0 || !l.up[side] {
		return
	}
	p := l.line[side][0]
	l.line[side] = l.line[side][1:]
	if p.data > 0 {
		l.position += p.data
		l.verified += p.data
		l.pay()
		return
	}
	m, err := Decode(p.raw)
	if err != nil {
		panic(err)
	}
	if side == 0 {
		if l.payer != nil {
			_ = l.payer.Step(m) // refusals are answers
			l.flush(0)
			l.pay()
		}
		return
	}
	l.toPayee(m)
}

func (l *life) toPayee(m Message) {
	if l.payee == nil {
		open, ok := m.(*Open)
		if !ok || len(l.logs[1].durable) > 0 {
			return
		}
		p, err := NewPayee(PayeeConfig{Terms: l.terms, Signer: l.keys[1], MinOutput: testMin, Now: l.now()}, open)
		if err != nil {
			return
		}
		l.payee = p
		l.flush(1)
		return
	}
	pay, ok := m.(*Pay)
	if !ok {
		_ = l.payee.Step(m)
		l.flush(1)
		return
	}
	c, err := l.payee.Check(pay)
	if c == nil || err != nil {
		return
	}
	if c.Pay != nil { // stored while it is verified
		r := c.Record()
		l.append(1, &r)
		l.boundary(1)
		if !c.Verify() {
			return
		}
		l.sync(1)
		l.boundary(1)
	}
	if err := l.payee.Accept(c); err != nil {
		panic(err)
	}
	l.flush(1)
}

// pay pays what is verified on the line.
func (l *life) pay() {
	if l.payer == nil || l.payer.Stage() != Opened || !l.open || l.position == 0 {
		return
	}
	if !l.attached {
		lane, err := l.payer.Attach(Tag{1}, 0, Tariff{{0, worldPrice}})
		if err != nil {
			return
		}
		l.lane, l.attached = lane, true
		l.flush(0)
	}
	if l.payer.Awaits(l.lane) || l.payer.NeedsState() {
		return
	}
	if l.rng.IntN(3) == 0 {
		l.payer.Presign(l.lane, l.position)
	}
	if l.payer.Pay(l.lane, l.payer.Fit(l.lane, l.position)) == nil {
		l.flush(0)
	}
}

// serve sends one unit if no other is unpaid.
func (l *life) serve() {
	if l.up[0] && l.up[1] && l.open && l.served-l.paid < worldUnit && len(l.line[0]) < 8 {
		l.served += worldUnit
		l.send(0, packet{data: worldUnit})
	}
}

func (l *life) connect() {
	if l.open || !l.up[0] || !l.up[1] {
		return
	}
	l.open = true
	if l.payer != nil {
		l.payer.Resend()
		l.flush(0)
	}
}

// perform runs the first task of a side; the answer may be lost on the way.
func (l *life) perform(side int) {
	if len(l.tasks[side]) == 0 || !l.up[side] {
		return
	}
	task := l.tasks[side][0]
	l.tasks[side] = l.tasks[side][1:]
	var state ledger.OutpointState
	var spender *ledger.Tx
	err := errSimOutage
	if !l.outage {
		state, spender, err = l.ask(task)
		if !l.calm && l.rng.IntN(10) == 0 {
			err = errSimOutage
		}
	}
	final := ledger.CodeOf(err) != "" && ledger.CodeOf(err) != ledger.CodeStale && ledger.CodeOf(err) != ledger.CodeNotFinal
	switch {
	case side == 0 && task.Kind == TaskLookup:
		l.payer.LookedUp(state, spender, err)
	case side == 0:
		l.payer.Submitted(task.Kind, err, final)
	case task.Kind == TaskLookup:
		l.payee.LookedUp(state, spender, err)
	default:
		l.payee.Submitted(task.Kind, err, final)
	}
	l.flush(side)
}

// ask asks the ledger, which may die before its answer: nothing, a part or all of
// the block that it was writing is on its disk then, and it starts again from
// there. What it ever acknowledged must be there still.
func (s *sim) ask(task Task) (state ledger.OutpointState, spender *ledger.Tx, err error) {
	before := s.ledger.LogSize()
	state, spender, err = simTask(s.ledger, task)
	s.audit()
	after := s.ledger.LogSize()
	if s.calm || after == before || s.rng.IntN(8) > 0 {
		if tx, bad := ledger.DecodeTx(task.Raw); err == nil && bad == nil {
			s.durable[tx.ID(s.net)] = true
		}
		return state, spender, err
	}
	size := before + s.rng.IntN(after-before+1)
	if s.rng.IntN(3) == 0 {
		size = after
	}
	s.trace("the ledger dies with %d of %d bytes of a block", size-before, after-before)
	if err := s.ledger.Crash(size); err != nil {
		panic(err)
	}
	s.audit()
	for id := range s.durable {
		if r, err := s.ledger.Transaction(context.Background(), id); err != nil || r.State != ledger.Committed {
			panic(fmt.Sprintf("the ledger acknowledged %s and lost it: %v", id, err))
		}
	}
	return ledger.OutpointState{}, nil, errSimOutage
}

func simTask(m *ledgertest.Memory, task Task) (state ledger.OutpointState, spender *ledger.Tx, err error) {
	ctx := context.Background()
	if task.Kind != TaskLookup {
		r, err := m.Submit(ctx, task.Raw)
		if err == nil && r.State != ledger.Committed {
			err = fmt.Errorf("transaction is %v", r.State)
		}
		return state, nil, err
	}
	state, err = m.Outpoint(ctx, task.Outpoint)
	if err == nil && state.Status == ledger.OutpointSpent {
		if rec, err := m.Transaction(ctx, state.By); err == nil {
			spender, _ = ledger.DecodeTx(rec.Raw)
		}
	}
	return state, spender, err
}

func (l *life) tick() {
	if l.up[0] && l.payer != nil {
		l.payer.Tick(l.now())
		l.flush(0)
	}
	if l.up[1] && l.payee != nil {
		l.payee.Tick(l.now())
		l.flush(1)
	}
}

// act is one random step of a random channel.
func (s *sim) act() {
	l := s.lives[s.rng.IntN(len(s.lives))]
	switch a := s.rng.IntN(100); {
	case a < 22:
		l.step(func() { l.deliver(0) })
	case a < 44:
		l.step(func() { l.deliver(1) })
	case a < 52:
		l.step(func() { l.perform(0) })
	case a < 60:
		l.step(func() { l.perform(1) })
	case a < 78:
		l.step(l.serve)
	case a < 84:
		l.step(l.connect)
	case a < 85:
		l.cut()
	case a < 88:
		s.fuse = 1 + s.rng.IntN(12)
	case a < 93:
		for side, up := range l.up {
			if !up {
				l.step(func() { l.start(side) })
			}
		}
	case a < 95:
		l.sync(s.rng.IntN(2))
	case a < 96:
		s.outage = !s.outage
	case a < 97 && l.payer != nil && l.up[0]:
		l.step(func() { l.payer.Fund(); l.flush(0) })
	default:
		s.advance(uint64(s.rng.IntN(300)))
		l.step(l.tick)
	}
	for _, l := range s.lives {
		l.check()
	}
}

// check holds the promises of LOSSES.md after each step.
func (l *life) check() {
	value, err := worldPrice.Owed(l.verified)
	if err != nil {
		panic(err)
	}
	if l.payee != nil && l.payee.Stage() < Settled && l.payee.Paid() > value {
		panic(fmt.Sprintf("the payee can take %v for %v that was verified", l.payee.Paid(), value))
	}
	if l.served-l.paid > worldUnit {
		panic(fmt.Sprintf("%d bytes are served unpaid", l.served-l.paid))
	}
	if l.now()+Margin(7200) >= l.born+7200 && !l.calm {
		l.late = true
	}
}

// finish ends all faults, lets the locks run out and compares every balance.
func (s *sim) finish() {
	s.calm, s.outage, s.fuse = true, false, 0
	for _, l := range s.lives {
		for side, up := range l.up {
			if !up {
				l.start(side)
			}
		}
		l.connect()
	}
	for range 40 {
		for _, l := range s.lives {
			for range 4 {
				l.deliver(0)
				l.deliver(1)
				l.perform(0)
				l.perform(1)
			}
			l.tick()
			l.check()
		}
		if s.now() < ledgertest.StartTime+7200+600 {
			s.advance(300)
		}
	}
	for _, l := range s.lives {
		l.reconcile()
	}
}

func (l *life) reconcile() {
	payer, payee := simBalance(l.ledger, l.accounts[0]), simBalance(l.ledger, l.accounts[1])
	value, _ := worldPrice.Owed(l.verified)
	switch {
	case payer+payee != worldDeposit:
		panic(fmt.Sprintf("payer %v and payee %v: the rest of %v is stuck", payer, payee, worldDeposit))
	case payer < worldDeposit-value:
		panic(fmt.Sprintf("payer holds %v after verifying %v", payer, value))
	case !l.late && l.held >= testMin && payee < l.held:
		panic(fmt.Sprintf("payee holds %v of %v that it had accepted", payee, l.held))
	}
}

func simBalance(m *ledgertest.Memory, key *ledger.PrivateKey) (sum amount.Amount) {
	coins, err := m.Unspent(context.Background(), key.Address(), ledger.OutPoint{}, 0)
	if err != nil {
		panic(err)
	}
	for _, c := range coins {
		sum += c.Amount
	}
	return sum
}

// simulate runs the life of a seed; the error says what broke.
func simulate(seed uint64, trace func(string, ...any)) (paid bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			buf := make([]byte, 4<<10)
			err = fmt.Errorf("%v\n%s", r, buf[:runtime.Stack(buf, false)])
		}
	}()
	s, err := newSim(seed, trace)
	if err != nil {
		return false, err
	}
	for _, l := range s.lives {
		l.step(func() { l.open = true; l.flush(0) })
	}
	for range 60 + s.rng.IntN(200) {
		s.act()
	}
	s.finish()
	for _, l := range s.lives {
		paid = paid || l.held > 0
	}
	return paid, nil
}

// TestSimulation runs channels through crashes at every boundary between storing
// and sending, crashes of the ledger within a block, lost and torn writes, delayed, doubled and overtaken messages and
// outages of the ledger. Supply and both sides' greatest loss are checked after
// each step.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if _, err := simulate(*simSeed, t.Logf); err != nil {
			t.Fatal(err)
		}
		return
	}
	runs := *simRuns
	if runs == 0 {
		if runs = 10_000; raceEnabled || testing.Short() {
			runs = 300
		}
	}
	var next, paid atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for seed := next.Add(1); seed <= int64(runs) && !t.Failed(); seed = next.Add(1) {
				ok, err := simulate(uint64(seed), func(string, ...any) {})
				if err != nil {
					t.Errorf("%v\nreplay: go test ./channel -run TestSimulation -v -sim.seed %d", err, seed)
				}
				if ok {
					paid.Add(1)
				}
			}
		})
	}
	group.Wait()
	if n := paid.Load(); n < int64(runs)/3 && !t.Failed() {
		t.Errorf("only %d of %d lives got to a payment", n, runs)
	}
	t.Logf("%d lives, %d with payments", runs, paid.Load())
}
