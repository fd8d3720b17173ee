package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const zeroPhrase = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func testBackup() *Backup {
	return &Backup{Version: 1, Created: time.Unix(1_700_000_000, 0).UTC(), Phrase: zeroPhrase, NextKey: 40, Limits: DefaultBudget(),
		Channels: [][]byte{{1, 2, 3}, {4}}, Journal: []byte("line\n")}
}

func TestBackupRoundTrip(t *testing.T) {
	b := testBackup()
	sealed, err := SealBackup(b, []byte("pw"), quickKDF, &stream{seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("abandon")) {
		t.Fatal("the phrase is in the clear")
	}
	got, err := OpenBackup(sealed, []byte("pw"))
	if err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := OpenBackup(sealed, []byte("other")); !errors.Is(err, ErrPassword) {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := Unseal(sealed, []byte("pw")); !errors.Is(err, ErrKeystore) {
		t.Errorf("taken for a keystore: %v", err)
	}
	for _, cut := range []int{0, 8, keystoreHeader, len(sealed) - 1} {
		if _, err := OpenBackup(sealed[:cut], []byte("pw")); err == nil {
			t.Errorf("%d bytes of it opened", cut)
		}
	}
}

func TestBackupRefusesNonsense(t *testing.T) {
	for name, spoil := range map[string]func(*Backup){
		"phrase":  func(b *Backup) { b.Phrase = "abandon" },
		"index":   func(b *Backup) { b.NextKey = 1 << 31 },
		"limits":  func(b *Backup) { b.Limits.KeepBack = -1 },
		"channel": func(b *Backup) { b.Channels = [][]byte{{}} },
		"large":   func(b *Backup) { b.Channels = [][]byte{make([]byte, MaxChannelRecord+1)} },
		"many":    func(b *Backup) { b.Channels = make([][]byte, MaxBackupChannels+1) },
		"journal": func(b *Backup) { b.Journal = make([]byte, MaxBackupJournal+1) },
	} {
		b := testBackup()
		spoil(b)
		if _, err := SealBackup(b, nil, quickKDF, &stream{}); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := json.Marshal(testBackup())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{}", string(text) + "x", strings.Replace(string(text), "next_key", "nextkey", 1),
		strings.Replace(string(text), `"version":1`, `"version":2`, 1)} {
		if _, err := parseBackup([]byte(bad)); !errors.Is(err, ErrBackup) {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
}

func FuzzBackup(f *testing.F) {
	text, err := json.Marshal(testBackup())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := parseBackup(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := parseBackup(again); err != nil || !reflect.DeepEqual(b, c) {
			t.Fatalf("%q became %q (%v)", text, again, err)
		}
	})
}
