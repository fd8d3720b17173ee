package btt_test

import (
	"errors"
	"os"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/books"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestFollowLedger pays from a wallet through a followed ledger, then meets a
// twin of that ledger with another history: nothing is paid through it, and the
// evidence convinces somebody who has only the file.
func TestFollowLedger(t *testing.T) {
	home, to := t.TempDir(), ledgertest.Key("somebody").Address()
	reported := 0
	follow := func(m *ledgertest.Memory) *btt.FollowedLedger {
		l, err := btt.FollowLedger(t.Context(), btt.FollowConfig{Home: home, Ledger: m, Operator: ledgertest.OperatorKey().PublicKey(),
			Report: func(error) { reported++ }})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	pay := func(l *btt.FollowedLedger, m *ledgertest.Memory, id string) error {
		w, err := btt.OpenWallet(btt.WalletConfig{Home: home, Ledger: l})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := m.Fund(w.Purse().Address(), 10*amount.BTT); err != nil {
			t.Fatal(err)
		}
		_, err = w.Purse().Send(t.Context(), to, amount.BTT, id)
		return err
	}
	honest, twin := ledgertest.New(), ledgertest.New()
	l := follow(honest)
	if err := pay(l, honest, "first"); err != nil {
		t.Fatal(err)
	}
	honest.Advance(90)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = follow(honest) // sees the newest head
	if err := errors.Join(l.Err(), l.Close()); err != nil || reported > 0 {
		t.Fatal(err, reported)
	}
	twin.Advance(600)
	l = follow(twin)
	if _, fork := errors.AsType[*books.ForkError](l.Err()); !fork || reported != 1 {
		t.Fatalf("%v, reported %d times", l.Err(), reported)
	}
	if err := pay(l, twin, "second"); err == nil {
		t.Error("paid through a ledger with two histories")
	}
	text, err := os.ReadFile(l.Evidence())
	if err != nil {
		t.Fatal(err)
	}
	d, err := books.ParseDocument(text)
	if err == nil {
		_, err = d.Check()
	}
	if err != nil {
		t.Error(err)
	}
	if l.Close() == nil {
		t.Error("Close says nothing")
	}
	if _, err := btt.FollowLedger(t.Context(), btt.FollowConfig{Ledger: honest}); !errors.Is(err, btt.ErrNoHome) {
		t.Errorf("without a home: %v", err)
	}
}
