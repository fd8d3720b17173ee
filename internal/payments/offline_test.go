package payments

import (
	"context"
	"errors"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// alone is one side of an open channel whose peer is gone.
type alone struct {
	*testing.T
	ledger *ledgertest.Memory
	dir    string
	keys   map[uint32]string // of the wallet: index, name
}

// aloneKeys is a wallet of named keys.
type aloneKeys struct {
	Purse
	keys map[uint32]string
}

func (p aloneKeys) ChannelKey(i uint32) (ledger.Signer, error) {
	if p.keys[i] == "" {
		return nil, errors.New("no such key")
	}
	return ledgertest.Key(p.keys[i]), nil
}

const aloneDeposit = 10 * amount.BTT

// newAlone opens a channel, pays 3 BTT, and keeps what a side stored.
func newAlone(t *testing.T, role channel.Role) (*alone, channel.ID) {
	t.Helper()
	a := &alone{T: t, ledger: ledgertest.New(), dir: t.TempDir(), keys: map[uint32]string{5: "K1", 6: "K2"}}
	payer, payee := ledgertest.Key("payer"), ledgertest.Key("payee")
	coin, err := a.ledger.Fund(payer.Address(), aloneDeposit)
	if err != nil {
		t.Fatal(err)
	}
	status, err := a.ledger.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	terms := channel.Terms{Account: payee.PublicKey(), K2: ledgertest.Key("K2").PublicKey(), Network: status.Network, MinLock: 3600, MaxLock: 86400,
		MinDeposit: 1, MaxDeposit: amount.Supply, Quantum: 1 << 20}
	t1, err := ledger.FundingTx([]ledger.Coin{coin}, aloneDeposit, ledgertest.Key("K1").PublicKey(), terms.K2, payer.Address())
	if err == nil {
		err = ledger.SignInputs(t1, status.Network, []ledger.Coin{coin}, payer)
	}
	if err != nil {
		t.Fatal(err)
	}
	buyer, err := channel.NewPayer(channel.PayerConfig{Terms: terms, Account: payer.PublicKey(), Signer: ledgertest.Key("K1"), KeyIndex: 5, T1: t1,
		Network: status.Network, MinOutput: status.Params.MinOutput, Now: status.LedgerTime, LockTime: status.LedgerTime + 7200})
	if err != nil {
		t.Fatal(err)
	}
	seller, err := channel.NewPayee(channel.PayeeConfig{Terms: terms, Signer: ledgertest.Key("K2"), KeyIndex: 6, MinOutput: status.Params.MinOutput,
		Now: status.LedgerTime}, buyer.Ready().Messages[0].(*channel.Open))
	if err != nil {
		t.Fatal(err)
	}
	seller.LookedUp(ledger.OutpointState{}, nil, nil)
	a.talk(buyer, seller)
	tariff := channel.Tariff{{From: 0, Price: amount.Price(amount.BTT)}}
	lane, err := buyer.Attach(channel.Tag{1}, 0, tariff)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range buyer.Ready().Messages {
		if err := errors.Join(seller.Step(m), seller.Tariff(lane, 0, 0, tariff)); err != nil {
			t.Fatal(err)
		}
	}
	if err := buyer.Pay(lane, 3<<30); err != nil {
		t.Fatal(err)
	}
	a.talk(buyer, seller)
	snapshot := buyer.Snapshot()
	if role == channel.RolePayee {
		snapshot = seller.Snapshot()
	}
	if err := WriteChannels(a.dir, []*channel.Snapshot{snapshot}); err != nil {
		t.Fatal(err)
	}
	return a, buyer.ID()
}

func (a *alone) talk(buyer *channel.Payer, seller *channel.Payee) {
	a.Helper()
	for range 4 {
		rd := seller.Ready()
		for _, t := range rd.Tasks {
			_, err := a.ledger.Submit(a.Context(), t.Raw)
			seller.Submitted(t.Kind, err, false)
		}
		for _, m := range append(rd.Messages, seller.Ready().Messages...) {
			if err := buyer.Step(m); err != nil {
				a.Fatal(err)
			}
		}
		for _, m := range buyer.Ready().Messages {
			if err := seller.Step(m); err != nil {
				a.Fatal(err)
			}
		}
	}
}

func (a *alone) attend(id channel.ID, settle bool) (*channel.Snapshot, error) {
	return Attend(a.Context(), Offline{Dir: a.dir, Purse: aloneKeys{keys: a.keys}, Ledger: a.ledger}, id, settle)
}

// stored is the channel's state in the journal.
func (a *alone) stored() *channel.Snapshot {
	a.Helper()
	list, err := ReadChannels(a.dir)
	if err != nil || len(list) != 1 {
		a.Fatalf("%d channels, %v", len(list), err)
	}
	return list[0]
}

func (a *alone) holds(name string) (sum amount.Amount) {
	a.Helper()
	coins, err := a.ledger.Unspent(a.Context(), ledgertest.Key(name).Address(), ledger.OutPoint{}, 0)
	if err != nil {
		a.Fatal(err)
	}
	for _, c := range coins {
		sum += c.Amount
	}
	return sum
}

func TestAttendTakesTheRefundAtTheLock(t *testing.T) {
	a, id := newAlone(t, channel.RolePayer)
	for _, wait := range []uint64{0, 7199} {
		a.ledger.Advance(wait)
		if s, err := a.attend(id, true); err != nil || s.Stage.Final() {
			t.Fatalf("before the lock: %v, %v", s.Stage, err)
		}
	}
	a.ledger.Advance(1)
	a.ledger.SetOutage(errors.New("down"))
	if _, err := a.attend(id, true); err == nil {
		t.Error("no error without a ledger")
	}
	a.ledger.SetOutage(nil)
	s, err := a.attend(id, true)
	if err != nil || s.Stage != channel.Refunded || a.stored().Stage != channel.Refunded || a.holds("payer") != aloneDeposit {
		t.Errorf("at the lock: %v, %v; the payer holds %v", s.Stage, err, a.holds("payer"))
	}
	if _, err := a.attend(id, true); !errors.Is(err, ErrNoChannel) {
		t.Errorf("again: %v", err)
	}
}

func TestAttendSettlesWhatWasEarned(t *testing.T) {
	a, id := newAlone(t, channel.RolePayee)
	if s, err := a.attend(id, false); err != nil || s.Stage != channel.Opened {
		t.Fatalf("only a look: %v, %v", s.Stage, err)
	}
	s, err := a.attend(id, true)
	if err != nil || s.Stage != channel.Settled || a.holds("payee") != 3*amount.BTT || a.holds("payer") != aloneDeposit-3*amount.BTT {
		t.Errorf("%v, %v: %v and %v", s.Stage, err, a.holds("payer"), a.holds("payee"))
	}
	if sum := SummaryOf(a.stored()); sum.Paid != 3*amount.BTT || sum.Stage != channel.Settled {
		t.Errorf("summary %+v", sum)
	}
	if err := a.ledger.Audit(); err != nil {
		t.Error(err)
	}
}

// TestAttendGivesUpAProposal: a provider that was killed between its word and the deposit
// has nothing to settle, and none of it stays open.
func TestAttendGivesUpAProposal(t *testing.T) {
	for _, stage := range []channel.Stage{channel.Checking, channel.Accepted} {
		a, id := newAlone(t, channel.RolePayee)
		s := a.stored()
		s.Stage, s.T1, s.Best, s.Lanes = stage, nil, channel.Payment{}, nil
		a.dir = t.TempDir()
		if err := WriteChannels(a.dir, []*channel.Snapshot{s}); err != nil {
			t.Fatal(err)
		}
		if stage == channel.Accepted { // of what is being checked a look may be the end
			if s, err := a.attend(id, false); err != nil || s.Stage != stage {
				t.Fatalf("%v, only a look: %v, %v", stage, s, err)
			}
		}
		if s, err := a.attend(id, true); err != nil || s.Stage != channel.Abandoned || a.stored().Stage != channel.Abandoned {
			t.Errorf("%v: %v, %v", stage, s.Stage, err)
		}
	}
}

func TestAttendRefusesAnotherWallet(t *testing.T) {
	a, id := newAlone(t, channel.RolePayer)
	a.keys[5] = "somebody else's"
	if _, err := a.attend(id, true); err == nil {
		t.Error("another wallet's key signed")
	}
	if _, err := a.attend(channel.ID{1}, true); !errors.Is(err, ErrNoChannel) {
		t.Errorf("unknown channel: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Attend(ctx, Offline{Dir: t.TempDir(), Ledger: a.ledger}, id, true); !errors.Is(err, ErrNoChannel) {
		t.Errorf("no journal: %v", err)
	}
}

// TestWriteChannelsKeepsNewerState restores over a journal that knows more.
func TestWriteChannelsKeepsNewerState(t *testing.T) {
	a, id := newAlone(t, channel.RolePayee)
	old := a.stored()
	if _, err := a.attend(id, true); err != nil {
		t.Fatal(err)
	}
	if err := WriteChannels(a.dir, []*channel.Snapshot{old}); err != nil {
		t.Fatal(err)
	}
	if s := a.stored(); s.Stage != channel.Settled {
		t.Errorf("stage %v after an old backup", s.Stage)
	}
	if list, err := ReadChannels(t.TempDir()); err != nil || len(list) != 0 {
		t.Errorf("of no journal: %v, %v", list, err)
	}
}
