package btt_test

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wallet"
)

// TestWalletWithoutNode uses a wallet as another program would: what is in it, a
// payment, a backup, and the same wallet again elsewhere.
func TestWalletWithoutNode(t *testing.T) {
	l := ledgertest.New()
	home := filepath.Join(t.TempDir(), "home")
	w, err := btt.OpenWallet(btt.WalletConfig{Home: home, Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := l.Fund(w.Purse().Address(), 20*amount.BTT); err != nil {
		t.Fatal(err)
	}
	if err := w.Purse().SetBudget(wallet.Budget{PerDay: amount.BTT, PerTorrent: wallet.Unlimited, PerChannel: wallet.Unlimited, KeepBack: 500}); err != nil {
		t.Fatal(err)
	}
	st, err := w.Statement(t.Context())
	if err != nil || st.Total != 20*amount.BTT || st.KeptBack != 10*amount.BTT || st.Left != amount.BTT || st.Limit != wallet.LimitDay {
		t.Errorf("statement %+v, %v", st, err)
	}
	if _, err := w.Purse().Send(t.Context(), ledgertest.Key("shop").Address(), 5*amount.BTT, "order"); err != nil {
		t.Fatal(err)
	}
	b, err := btt.ExportWallet(home, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := wallet.SealBackup(b, []byte("pw"), wallet.KDF{Time: 1, MemoryKiB: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = wallet.OpenBackup(sealed, []byte("pw")); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	cfg := btt.RestoreConfig{Home: elsewhere, Backup: b, Ledger: l, Entropy: rand.Reader, Rehearse: true}
	for _, rehearse := range []bool{true, false} {
		cfg.Rehearse = rehearse
		found, err := btt.RestoreWallet(t.Context(), cfg)
		if err != nil || found.Address != w.Purse().Address() || found.Ledger.Sum != 15*amount.BTT || len(found.Lost)+len(found.Channels) != 0 {
			t.Fatalf("rehearsal %v: %+v, %v", rehearse, found, err)
		}
	}
	again(t, elsewhere, l, w)
	if _, err := btt.RestoreWallet(t.Context(), cfg); err == nil {
		t.Error("restored over a wallet")
	}
	if _, err := btt.RestoreWallet(t.Context(), btt.RestoreConfig{Home: t.TempDir(), Phrase: "no phrase", Ledger: l, Entropy: rand.Reader}); !errors.Is(err, wallet.ErrPhrase) {
		t.Errorf("no phrase: %v", err)
	}
}

// again opens a restored wallet: money, limits and the payment's id are there.
func again(t *testing.T, home string, l ledger.Client, was *btt.Wallet) {
	t.Helper()
	w, err := btt.OpenWallet(btt.WalletConfig{Home: home, Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	st, err := w.Statement(t.Context())
	if err != nil || st.Total != 15*amount.BTT || w.Purse().Budget() != was.Purse().Budget() {
		t.Errorf("restored statement %+v, %v", st, err)
	}
	if _, err := w.Purse().Send(t.Context(), ledgertest.Key("shop").Address(), 5*amount.BTT, "order"); err != nil {
		t.Error(err)
	}
	if st, err := w.Statement(t.Context()); err != nil || st.Total != 15*amount.BTT {
		t.Errorf("the order was paid twice: %+v, %v", st, err)
	}
}
