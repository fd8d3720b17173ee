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
