package purse

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wallet"
)

const phrase = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func TestNewWalletIsKept(t *testing.T) {
	for _, password := range []string{"", "secret"} {
		dir := t.TempDir()
		cfg := Config{Dir: dir, Password: password, Ledger: ledgertest.New()}
		p, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		address := p.Address()
		p.Close()
		for _, name := range []string{vaultFile, "journal.log"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		if p, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		if p.Address() != address || p.Account().Address() != address {
			t.Errorf("address %s after reopening, want %s", p.Address(), address)
		}
		words, err := p.Phrase(password)
		if err != nil || len(strings.Fields(words)) != 12 {
			t.Errorf("phrase %q, %v", words, err)
		}
		p.Close()
		if password != "" {
			cfg.Password = "wrong"
			if _, err := Open(cfg); !errors.Is(err, wallet.ErrPassword) {
				t.Errorf("wrong password: %v", err)
			}
			cfg.Password = ""
			if _, err := Open(cfg); !errors.Is(err, ErrPasswordNeeded) {
				t.Errorf("no password: %v", err)
			}
		}
	}
}

func TestRestoreAndSetPassword(t *testing.T) {
	b := newBench(t)
	if got := b.purse.Address().String(); got != "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH" {
		t.Fatalf("restored address %s", got)
	}
	if err := b.purse.SetPassword("", "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, keyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("key file is still there: %v", err)
	}
	b.cfg.Password = "new"
	b.reopen()
	if err := b.purse.SetPassword("bad", ""); !errors.Is(err, wallet.ErrPassword) {
		t.Errorf("wrong old password: %v", err)
	}
	if err := b.purse.SetPassword("new", ""); err != nil {
		t.Fatal(err)
	}
	b.cfg.Password = ""
	b.reopen()
	if got := b.purse.Address().String(); got != "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH" {
		t.Errorf("address %s after two new passwords", got)
	}
}

func TestChannelKeysNeverRepeat(t *testing.T) {
	b := newBench(t)
	seen := map[ledger.PublicKey]bool{}
	for range 5 {
		for range indexStride + 3 {
			index, key, err := b.purse.NewChannelKey()
			if err != nil {
				t.Fatal(err)
			}
			if seen[key.PublicKey()] {
				t.Fatalf("key %d was handed out before", index)
			}
			seen[key.PublicKey()] = true
			again, err := b.purse.ChannelKey(index)
			if err != nil || again.PublicKey() != key.PublicKey() {
				t.Fatalf("key %d is not found again: %v", index, err)
			}
		}
		b.reopen()
	}
}

func TestFundReservesAndRelease(t *testing.T) {
	b := newBench(t)
	b.gift(100 * amount.BTT)
	lock := b.channelLock()
	tx, err := b.purse.Fund(t.Context(), 10*amount.BTT, lock, "")
	if err != nil {
		t.Fatal(err)
	}
	if tx.Outputs[0] != (ledger.Output{Amount: 10 * amount.BTT, Lock: lock}) {
		t.Errorf("output 0 is %+v", tx.Outputs[0])
	}
	if v := b.balance(); v.Free+v.Reserved != 100*amount.BTT || v.Reserved < 10*amount.BTT {
		t.Errorf("balance %+v", v)
	}
	b.purse.Release(tx)
	b.purse.Release(tx)
	if v := b.balance(); v.Free != 100*amount.BTT || v.Reserved != 0 {
		t.Errorf("balance after release %+v", v)
	}
	tx, err = b.purse.Fund(t.Context(), 10*amount.BTT, lock, "")
	if err != nil {
		t.Fatal(err)
	}
	b.submit(tx)
	if v := b.balance(); v.Free != 90*amount.BTT {
		t.Errorf("balance after funding %+v", v)
	}
	if _, err := b.purse.Fund(t.Context(), 91*amount.BTT, lock, ""); !errors.Is(err, ErrFunds) {
		t.Errorf("more than the balance: %v", err)
	}
	if _, err := b.purse.Fund(t.Context(), 1, lock, ""); err == nil {
		t.Error("funded below the smallest output")
	}
	var sums []string
	for _, e := range b.history() {
		sums = append(sums, string(e.Kind)+" "+e.Amount.String())
	}
	want := "tidy 100 BTT, lock 10 BTT, unlock 10 BTT, lock 10 BTT"
	if got := strings.Join(sums, ", "); got != want {
		t.Errorf("history: %s, want %s", got, want)
	}
}

func TestConcurrentFundsNeverConflict(t *testing.T) {
	b := newBench(t)
	b.gift(50*amount.BTT, 50*amount.BTT)
	var wg sync.WaitGroup
	for range 40 {
		lock := b.channelLock()
		wg.Go(func() {
			tx, err := b.purse.Fund(t.Context(), 2*amount.BTT, lock, "")
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := b.ledger.Submit(t.Context(), tx.Encode()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v := b.balance(); v.Free != 20*amount.BTT || v.Reserved != 0 {
		t.Errorf("balance %+v", v)
	}
}

func TestFundWaitsForReservedCoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.gift(10 * amount.BTT)
		tx, err := b.purse.Fund(t.Context(), 10*amount.BTT, b.channelLock(), "")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		lock := b.channelLock()
		go func() {
			_, err := b.purse.Fund(t.Context(), 5*amount.BTT, lock, "")
			done <- err
		}()
		select {
		case err := <-done:
			t.Fatalf("funded with reserved coins: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		b.purse.Release(tx)
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := b.purse.Fund(ctx, 10*amount.BTT, lock, ""); err == nil {
			t.Error("funded after the context ended")
		}
	})
}

func TestBudgets(t *testing.T) {
	b := newBench(t)
	b.gift(1000 * amount.BTT)
	locked := amount.Amount(0)
	b.cfg.Locked = func() amount.Amount { return locked }
	b.cfg.Budget = &wallet.Budget{PerDay: 100 * amount.BTT, PerTorrent: 50 * amount.BTT, PerChannel: 60 * amount.BTT, KeepBack: 100}
	b.reopen()
	refused := func(what string, sum amount.Amount, limit wallet.Limit) {
		t.Helper()
		tx, err := b.purse.Fund(t.Context(), sum, b.channelLock(), "")
		var l *wallet.LimitError
		if !errors.As(err, &l) || l.Limit != limit {
			t.Errorf("%s: %v, want limit %q", what, err, limit)
		}
		b.purse.Release(tx)
	}
	refused("large channel", 61*amount.BTT, wallet.LimitChannel)
	tx, err := b.purse.Fund(t.Context(), 60*amount.BTT, b.channelLock(), "")
	if err != nil {
		t.Fatal(err)
	}
	refused("two openings at once", 41*amount.BTT, wallet.LimitDay)
	b.submit(tx)
	locked = 60 * amount.BTT
	refused("second channel", 41*amount.BTT, wallet.LimitDay)
	locked = 0
	ended := channel.MakeID(tx.ID(b.network())).String()
	if err := b.purse.Record(Entry{Kind: Pay, Amount: 45 * amount.BTT, Torrent: "aa", Channel: ended, ID: "ch1"}); err != nil {
		t.Fatal(err)
	}
	b.reopen() // sums come back from the journal
	if left, why, err := b.purse.Left(t.Context(), "aa"); err != nil || left != 5*amount.BTT || why != wallet.LimitTorrent {
		t.Errorf("left %v by %q, %v", left, why, err)
	}
	refused("rest of the day", 56*amount.BTT, wallet.LimitDay)
	b.clock.advance(25 * time.Hour)
	if left, why, err := b.purse.Left(t.Context(), "bb"); err != nil || left != 50*amount.BTT || why != wallet.LimitTorrent {
		t.Errorf("next day: left %v by %q, %v", left, why, err)
	}
	if err := b.purse.SetBudget(wallet.Budget{PerDay: wallet.Unlimited, PerTorrent: wallet.Unlimited, PerChannel: wallet.Unlimited, KeepBack: 1000}); err != nil {
		t.Fatal(err)
	}
	refused("keep all", amount.BTT, wallet.LimitKeepBack)
}

func TestSendIsIdempotent(t *testing.T) {
	b := newBench(t)
	b.gift(3*amount.BTT, 4*amount.BTT)
	to := ledgertest.Key("shop").Address()
	b.ledger.SetOutage(nil)
	first, err := b.purse.Send(t.Context(), to, 5*amount.BTT, "order 1")
	if err != nil {
		t.Fatal(err)
	}
	b.reopen()
	again, err := b.purse.Send(t.Context(), to, 5*amount.BTT, "order 1")
	if err != nil || again != first {
		t.Errorf("again: %s, %v, want %s", again, err, first)
	}
	if v := b.balance(); v.Free != 2*amount.BTT || v.Reserved != 0 {
		t.Errorf("balance %+v", v)
	}
	if _, err := b.purse.Send(t.Context(), to, 1*amount.BTT, "order 1"); !errors.Is(err, ErrIDReused) {
		t.Errorf("other sum under the same id: %v", err)
	}
	if _, err := b.purse.Send(t.Context(), to, amount.BTT, ""); err == nil {
		t.Error("sent without an id")
	}
}

// outage lets everything through but Submit.
type outage struct {
	ledger.Client
	down bool
}

var errDown = errors.New("ledger is down")

func (o *outage) Submit(ctx context.Context, raw []byte) (ledger.Receipt, error) {
	if o.down {
		return ledger.Receipt{}, errDown
	}
	return o.Client.Submit(ctx, raw)
}

// TestSendSurvivesCrash loses the process between the journal and the ledger.
func TestSendSurvivesCrash(t *testing.T) {
	b := newBench(t)
	b.gift(5 * amount.BTT)
	o := &outage{Client: b.ledger, down: true}
	b.cfg.Ledger = o
	b.reopen()
	to := ledgertest.Key("shop").Address()
	if _, err := b.purse.Send(t.Context(), to, 2*amount.BTT, "order 1"); !errors.Is(err, errDown) {
		t.Fatalf("send during an outage: %v", err)
	}
	b.reopen()
	if v := b.balance(); v.Reserved != 5*amount.BTT {
		t.Errorf("the coin of the pending payment is free: %+v", v)
	}
	o.down = false
	if err := b.purse.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := b.balance(); v.Free != 3*amount.BTT || v.Reserved != 0 {
		t.Errorf("balance %+v", v)
	}
	if _, err := b.purse.Send(t.Context(), to, 2*amount.BTT, "order 1"); err != nil {
		t.Errorf("repeat: %v", err)
	}
	if v := b.balance(); v.Free != 3*amount.BTT {
		t.Errorf("paid twice: %+v", v)
	}
}

// TestSendCancelled has the coin spent by another copy of the wallet.
func TestSendCancelled(t *testing.T) {
	b := newBench(t)
	b.gift(5 * amount.BTT)
	o := &outage{Client: b.ledger, down: true}
	b.cfg.Ledger = o
	b.reopen()
	to := ledgertest.Key("shop").Address()
	if _, err := b.purse.Send(t.Context(), to, 2*amount.BTT, "order 1"); err == nil {
		t.Fatal("sent during an outage")
	}
	twin := b.cfg
	twin.Dir, twin.Ledger = t.TempDir(), b.ledger
	other, err := Open(twin)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Send(t.Context(), to, 1*amount.BTT, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	o.down = false
	if _, err := b.purse.Send(t.Context(), to, 2*amount.BTT, "order 1"); ledger.CodeOf(err) != ledger.CodeConflict && ledger.CodeOf(err) != ledger.CodeMissing {
		t.Fatalf("payment with a spent coin: %v", err)
	}
	b.reopen()
	if _, err := b.purse.Send(t.Context(), to, 2*amount.BTT, "order 1"); err != nil {
		t.Fatal(err)
	}
	if v := b.balance(); v.Free != 2*amount.BTT || v.Reserved != 0 {
		t.Errorf("balance %+v", v)
	}
}

func TestConsolidate(t *testing.T) {
	b := newBench(t)
	for range 30 {
		b.gift(amount.BTT)
	}
	n, err := b.purse.Consolidate(t.Context(), 10)
	if err != nil || n != 21 {
		t.Fatalf("joined %d, %v", n, err)
	}
	coins, _ := b.ledger.Unspent(t.Context(), b.purse.Address(), ledger.OutPoint{}, 0)
	if len(coins) != 10 || b.balance().Free != 30*amount.BTT {
		t.Errorf("%d coins, balance %+v", len(coins), b.balance())
	}
	if n, err := b.purse.Consolidate(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}
