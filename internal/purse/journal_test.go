package purse

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

func TestRecordIsIdempotent(t *testing.T) {
	b := newBench(t)
	for range 3 {
		if err := b.purse.Record(Entry{Kind: Earn, Amount: 7, ID: "settle-1"}); err != nil {
			t.Fatal(err)
		}
		b.reopen()
	}
	if h := b.history(); len(h) != 1 || h[0].Amount != 7 || !h[0].Time.Equal(b.clock.Now()) {
		t.Errorf("history %+v", h)
	}
	for _, bad := range []Entry{{Kind: "theft", Amount: 1}, {Kind: Pay, Amount: -1}, {Kind: Pay, Reason: strings.Repeat("x", MaxEntryText+1)}} {
		if err := b.purse.Record(bad); err == nil {
			t.Errorf("%+v recorded", bad)
		}
	}
}

func TestJournalTornAndDamaged(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		if err := b.purse.Record(Entry{Kind: Earn, Amount: amount.Amount(i)}); err != nil {
			t.Fatal(err)
		}
	}
	b.purse.Close()
	path := filepath.Join(b.cfg.Dir, "journal.log")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		n := 0
		size, err := scanJournal(bytes.NewReader(whole[:cut]), func(*Entry) { n++ })
		if err != nil || n != bytes.Count(whole[:cut], []byte("\n")) || int(size) != bytes.LastIndexByte(whole[:cut], '\n')+1 {
			t.Fatalf("cut at %d: %d entries, %d bytes, %v", cut, n, size, err)
		}
	}
	for i := range whole[:len(whole)-1] {
		for bit := range 8 {
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << bit
			if _, err := scanJournal(bytes.NewReader(bad), func(*Entry) {}); !errors.Is(err, ErrJournal) {
				t.Fatalf("byte %d bit %d altered: %v", i, bit, err)
			}
		}
	}
	if err := os.WriteFile(path, append(bytes.Clone(whole), "0123"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	if h := b.history(); len(h) != 5 {
		t.Errorf("%d entries after a torn line", len(h))
	}
	if err := b.purse.Record(Entry{Kind: Earn, Amount: 9}); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if h := b.history(); len(h) != 6 {
		t.Errorf("%d entries, want 6", len(h))
	}
}

// badDisk fails from the n-th sync on.
type badDisk struct {
	syncFile
	left int
}

func (d *badDisk) Sync() error {
	if d.left--; d.left < 0 {
		return errors.New("disk is broken")
	}
	return d.syncFile.Sync()
}

func TestNothingMovesAfterAFailedSync(t *testing.T) {
	b := newBench(t)
	b.gift(10*amount.BTT, 10*amount.BTT, 10*amount.BTT, 10*amount.BTT)
	b.purse.journal.file = &badDisk{b.purse.journal.file, 1}
	if _, err := b.purse.Fund(t.Context(), amount.BTT, b.channelLock(), ""); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if tx, err := b.purse.Fund(t.Context(), amount.BTT, b.channelLock(), ""); err == nil {
			t.Fatalf("funded %v without a journal", tx)
		}
		if _, err := b.purse.Send(t.Context(), ledgertest.Key("x").Address(), amount.BTT, "id"); err == nil {
			t.Fatal("sent without a journal")
		}
	}
}

func FuzzJournal(f *testing.F) {
	line, err := encodeLine(&Entry{Kind: Pay, Amount: 5, Reason: "seed"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(append(line, line...))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		size, err := scanJournal(bytes.NewReader(data), func(*Entry) { n++ })
		if err == nil && bytes.Count(data[:size], []byte("\n")) != n {
			t.Fatalf("%d entries in %d bytes", n, size)
		}
	})
}
