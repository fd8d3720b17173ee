package purse

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wallet"
)

// forgetful is a ledger that no longer keeps its events.
type forgetful struct{ ledger.Client }

func (forgetful) Watch(context.Context, ledger.Filter, uint64) (<-chan ledger.Event, error) {
	return nil, errors.New("these events are gone")
}

// TestScan finds, from the phrase alone, coins, money at other addresses of the
// phrase, deposits that are locked, and which channel keys are in use.
func TestScan(t *testing.T) {
	b := newBench(t)
	b.gift(100*amount.BTT, 3000)
	b.gift(7 * amount.BTT)
	for range 40 { // keys on offer that no channel used
		b.channelLock()
	}
	id, t1 := b.fund(5*amount.BTT, "aa")
	b.submit(t1)
	settled, t2 := b.fund(6*amount.BTT, "aa")
	b.submit(t2)
	b.spend(t2, "peer", 41) // the provider settled this one
	keys, err := wallet.Open(phrase, "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Key(4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.ledger.Fund(other.Address(), 9*amount.BTT); err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]ledger.Client{"by events": b.ledger, "by coins": forgetful{b.ledger}} {
		found, err := Scan(t.Context(), phrase, client)
		if err != nil {
			t.Fatal(err)
		}
		if want := b.balance(); found.Sum != want.Free || found.Coins != want.Coins {
			t.Errorf("%s: %v in %d coins, the wallet says %+v", name, found.Sum, found.Coins, want)
		}
		if len(found.Elsewhere) != 1 || found.Elsewhere[0].Index != 4 || found.Elsewhere[0].Sum != 9*amount.BTT {
			t.Errorf("%s: elsewhere %+v", name, found.Elsewhere)
		}
		if len(found.Channels) != 1 || found.Channels[0].ID.String() != id || found.Channels[0].Deposit != 5*amount.BTT {
			t.Errorf("%s: channels %+v, want %s and not %s", name, found.Channels, id, settled)
		}
		if found.NextKey != 42 {
			t.Errorf("%s: next key %d, want 42", name, found.NextKey)
		}
		if found.Incomplete != (name == "by coins") {
			t.Errorf("%s: incomplete %v", name, found.Incomplete)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Scan(ctx, phrase, b.ledger); err == nil {
		t.Error("scanned after the context ended")
	}
	if _, err := Scan(t.Context(), "no phrase", b.ledger); !errors.Is(err, wallet.ErrPhrase) {
		t.Errorf("no phrase: %v", err)
	}
}

// spend settles a channel: all but 1 BTT comes back.
func (b *bench) spend(t1 *ledger.Tx, peer string, key uint32) {
	b.Helper()
	own, err := b.purse.ChannelKey(key)
	if err != nil {
		b.Fatal(err)
	}
	lock := t1.Outputs[0].Lock
	tx := ledger.NewTransfer([]ledger.OutPoint{t1.OutPoint(b.network(), 0)}, []ledger.Output{
		{Amount: t1.Outputs[0].Amount - amount.BTT, Lock: ledger.PayTo(b.purse.Address())},
		{Amount: amount.BTT, Lock: ledger.PayTo(ledgertest.Key(peer).Address())}})
	tx.Sequence = 2
	if err := ledger.Sign(tx, b.network(), lock, own, ledgertest.Key(peer)); err != nil {
		b.Fatal(err)
	}
	b.submit(tx)
}

// TestExportImport moves a wallet to another folder, and lets the machine die at
// every step of it: doing it again succeeds, and no key comes twice.
func TestExportImport(t *testing.T) {
	b := newBench(t)
	b.cfg.Budget = nil
	b.reopen()
	_, last, err := b.purse.NewChannelKey()
	if err != nil {
		t.Fatal(err)
	}
	limits := wallet.Budget{PerDay: 1, PerTorrent: 2, PerChannel: 3, KeepBack: 4}
	if err := errors.Join(b.purse.SetBudget(limits), b.purse.Record(Entry{Kind: Earn, Amount: 5, ID: "e"})); err != nil {
		t.Fatal(err)
	}
	backup, err := Export(b.cfg.Dir, "", b.clock.Now()) // while the wallet is in use
	if err != nil {
		t.Fatal(err)
	}
	if err := Import(b.cfg.Dir, backup, "", 0, &counter{}); !errors.Is(err, ErrExists) {
		t.Errorf("over a wallet: %v", err)
	}
	died := errors.New("died")
	for _, file := range []string{limitsFile, indexFile, journalFile, accountFile, keyFile, vaultFile, ""} {
		dir := filepath.Join(t.TempDir(), "new")
		s := store{dir: dir, entropy: &counter{}, disk: durable.Disk{Fault: func(step durable.Step, name string) error {
			if name == file && step == durable.Rename {
				return died
			}
			return nil
		}}}
		if err := importInto(s, backup, "", 0); (file != "") != errors.Is(err, died) {
			t.Fatalf("%q: %v", file, err)
		}
		if file != "" {
			if Exists(dir) {
				t.Fatalf("%q: a wallet although its restore was cut short", file)
			}
			if err := Import(dir, backup, "", 0, &counter{}); err != nil {
				t.Fatalf("%q: again: %v", file, err)
			}
		}
		b.sameWallet(dir, limits, last)
	}
	if _, err := Export(filepath.Join(t.TempDir(), "none"), "", b.clock.Now()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("exported nothing: %v", err)
	}
}

func (b *bench) sameWallet(dir string, limits wallet.Budget, last ledger.Signer) {
	b.Helper()
	p, err := Open(Config{Dir: dir, Ledger: b.ledger, Now: b.clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if p.Address() != b.purse.Address() || p.Budget() != limits {
		b.Errorf("address %s, limits %+v", p.Address(), p.Budget())
	}
	if index, key, err := p.NewChannelKey(); err != nil || index < keyGap || key.PublicKey() == last.PublicKey() {
		b.Errorf("key %d, %v", index, err)
	}
	n := 0
	for range p.History() {
		n++
	}
	if err := p.Record(Entry{Kind: Earn, Amount: 5, ID: "e"}); err != nil || n != 1 {
		b.Errorf("%d movements, %v", n, err)
	}
}

// TestBackupKeepsTheNewestLines cuts a journal that is longer than a backup.
func TestBackupKeepsTheNewestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), journalFile)
	line, err := encodeLine(&Entry{Kind: Earn, Amount: 1, Reason: "a line"})
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for len(text) <= wallet.MaxBackupJournal {
		text = append(text, line...)
	}
	if err := os.WriteFile(path, append(text, "torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	tail, err := tailJournal(path)
	if err != nil || len(tail) > wallet.MaxBackupJournal || len(tail)%len(line) != 0 || len(tail) < wallet.MaxBackupJournal-2*len(line) {
		t.Errorf("%d bytes of %d, %v", len(tail), len(text), err)
	}
	if tail, err := tailJournal(path + "none"); err != nil || tail != nil {
		t.Errorf("of no journal: %q, %v", tail, err)
	}
}
