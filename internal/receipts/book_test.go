package receipts

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

func open(t testing.TB, dir string) *Book {
	t.Helper()
	b, err := Open(dir, clock)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBook: what is booked is in the receipt, also after a restart.
func TestBook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[no pattern")
	b := open(t, dir)
	film, song := [20]byte{1}, [20]byte{2}
	ann, bob := ledger.Address{1}, ledger.Address{2}
	b.Name(film, "too early: nothing is booked", 1)
	b.Deal(film, Paid, ann, "10.0.0.1:1", Deal{Price: 5, Bid: 9, Reserve: 4})
	b.Deal(film, Paid, ann, "10.0.0.1:2", Deal{Price: 4, Bid: 9, Reserve: 4})
	b.Moved(film, Paid, ann, channel.ID{1}, 50, 1000)
	b.Moved(film, Paid, ann, channel.ID{1}, 7, 100)
	b.Moved(song, Paid, ann, channel.ID{1}, 11, 10)
	b.Moved(film, Earned, bob, channel.ID{2}, 3, 30)
	b.Rounds(film, ann, 2, 1_900_000)
	b.Rounds(film, ann, 1, 500_000)
	b.Flow(film, ann, Traffic{Bytes: 16, Seconds: 2}, 9, true)
	b.Flow(film, ledger.Address{}, Traffic{Bytes: 20, Seconds: 3}, 0, true)
	b.Flow(film, ledger.Address{}, Traffic{Bytes: 1}, 0, false)
	b.Name(film, "film", 1146)
	b.Ended(channel.ID{1}, Paid, ann, 68)
	b.Ended(channel.ID{1}, Paid, ann, 1) // told twice
	b.Ended(channel.ID{2}, Earned, bob, 0)
	b.Ended(channel.ID{3}, Earned, bob, 13) // of before there were receipts
	b.Ended(channel.ID{4}, Earned, bob, 0)
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	list := b.List()
	if again := open(t, dir).List(); !reflect.DeepEqual(plain(again), plain(list)) {
		t.Errorf("read %+v, had %+v", again, list)
	}
	byHash := map[Hash]*Receipt{}
	for _, r := range list {
		byHash[r.InfoHash] = r
	}
	want := Totals{Paid: 57, PaidBytes: 1100, EarnedBytes: 30, FreeBytes: 37, PaidSeconds: 9, FreeSeconds: 5}
	if got := byHash[film].Totals(); got != want {
		t.Errorf("film: %+v, want %+v", got, want)
	}
	if got := byHash[song].Totals(); got != (Totals{Paid: 11, PaidBytes: 10}) {
		t.Errorf("song: %+v", got)
	}
	if got := byHash[Hash{}].Totals(); got != (Totals{Earned: 13}) {
		t.Errorf("unknown: %+v", got)
	}
	l := byHash[film].Lines[0]
	if l.Lowest != 4 || l.Highest != 5 || l.Deals != 2 || l.Peer != "10.0.0.1:2" || byHash[film].Name != "film" || byHash[film].Plain.Peers != 1 {
		t.Errorf("line %+v of %+v", l, byHash[film])
	}
	if part, ok := l.Share(); part != 800_000 || !ok {
		t.Errorf("the price is %d ppm of the bid, %v", part, ok)
	}
	if _, known := l.Last.Losing(); known {
		t.Error("a price at the reserve shows a losing bid")
	}
	if p, known := (Deal{Price: 5, Reserve: 4}).Losing(); !known || p != 5 {
		t.Errorf("losing bid %v, %v", p, known)
	}
}

// plain drops what is not in the files.
func plain(list []*Receipt) []*Receipt {
	for _, r := range list {
		for _, l := range r.Lines {
			l.of = nil
		}
	}
	return list
}

// TestCrash: what was not saved is made good by the channel's end, in sight.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	b.Moved([20]byte{1}, Paid, ledger.Address{1}, channel.ID{1}, 50, 1000)
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	b.Moved([20]byte{1}, Paid, ledger.Address{1}, channel.ID{1}, 70, 1000) // lost
	b = open(t, dir)
	old := b.Get([20]byte{1})
	b.Moved([20]byte{1}, Paid, ledger.Address{1}, channel.ID{2}, 9, 100)
	b.Moved([20]byte{1}, Earned, ledger.Address{1}, channel.ID{3}, 4, 40)
	b.Ended(channel.ID{1}, Paid, ledger.Address{1}, 120)
	b.Ended(channel.ID{3}, Earned, ledger.Address{1}, 3) // the ledger moved less: that is of now
	r := b.Get([20]byte{1})
	l := r.Lines[0]
	if l.Sum != 59 || l.Adjusted != 70 || l.Total() != 129 {
		t.Errorf("line %+v", l)
	}
	want := Totals{Paid: 9, PaidBytes: 100, Earned: 3, EarnedBytes: 40}
	if got := r.Since(old); got != want {
		t.Errorf("since the crash %+v, want %+v", got, want)
	}
	want.Paid, want.PaidBytes = 59, 1100 // but for what no run booked
	if got := r.Since(nil); got != want {
		t.Errorf("of all that was booked %+v, want %+v", got, want)
	}
	if got := b.Get([20]byte{2}); got != nil {
		t.Errorf("a receipt of nothing: %+v", got)
	}
}

// TestSumsEqualChannels: whatever is booked, lost or told twice, once all
// channels ended the lines sum to what the ledger moved.
func TestSumsEqualChannels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "receipts")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		b, err := Open(dir, clock)
		if err != nil {
			t.Fatal(err)
		}
		moved := map[channel.ID]amount.Amount{}
		small := rapid.IntRange(0, 3)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			id := channel.ID{1, byte(small.Draw(t, "channel"))}
			account := ledger.Address{id[1] % 2}
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				_ = b.Save() // a full disk is no subject here
			case 1: // crash
				if b, err = Open(dir, clock); err != nil {
					t.Fatal(err)
				}
			default:
				sum := amount.Amount(rapid.IntRange(1, 1000).Draw(t, "sum"))
				moved[id] += sum
				b.Moved([20]byte{byte(small.Draw(t, "torrent"))}, Paid, account, id, sum, 1)
			}
		}
		var want, got amount.Amount
		for id, sum := range moved {
			for range 2 {
				b.Ended(id, Paid, ledger.Address{id[1] % 2}, sum)
			}
			want += sum
		}
		for _, r := range b.List() {
			got += r.Totals().Paid
		}
		if got != want {
			t.Fatalf("lines sum to %d, the ledger moved %d", got, want)
		}
	})
}

// TestBounds: strangers' accounts and channels do not make a receipt grow
// without end, and its sums stay.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for i := range 2 * MaxLines {
		b.Moved([20]byte{1}, Earned, ledger.Address{1, byte(i >> 8), byte(i)}, channel.ID{byte(i >> 8), byte(i)}, 1, 1)
	}
	r := b.List()[0]
	if len(r.Lines) > MaxLines+1 || r.Totals().Earned != 2*MaxLines {
		t.Errorf("%d lines, sum %d", len(r.Lines), r.Totals().Earned)
	}
	for i := range MaxChannels + 10 {
		id := channel.ID{9, byte(i >> 8), byte(i)}
		b.Moved([20]byte{2}, Paid, ledger.Address{}, id, 1, 1)
		b.Ended(id, Paid, ledger.Address{}, 1)
	}
	for i := range byte(3) {
		b.Moved([20]byte{3}, Earned, ledger.Address{1}, channel.ID{8, i}, 1, math.MaxInt64)
	}
	if n := b.receipts[Hash{3}].Totals().EarnedBytes; n != maxBytes {
		t.Errorf("%d bytes", n)
	}
	e := b.receipts[Hash{2}]
	if n := len(e.Lines[0].Channels); n != MaxChannels || e.Totals().Paid != MaxChannels+10 {
		t.Errorf("%d channels, sum %d", n, e.Totals().Paid)
	}
	if want := 2*MaxLines + MaxChannels + 3; len(b.channels) != want {
		t.Errorf("%d channels are known, want %d", len(b.channels), want)
	}
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// TestForgetsOldest: of more channels than a receipt keeps the one that ended first is
// forgotten, whichever account it was with; those whose end is told again are not booked
// twice, and all that is written is read again.
func TestForgetsOldest(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	ann, bob, film := ledger.Address{1}, ledger.Address{2}, [20]byte{1}
	sum := 0
	ends := func(account ledger.Address, n int, booked bool) {
		id := channel.ID{account[0], byte(n >> 8), byte(n)}
		sum++
		if booked {
			b.Moved(film, Earned, account, id, 1, 1)
		}
		b.Ended(id, Earned, account, 1)
	}
	ends(bob, 0, true) // ends first, and its line is the first
	for i := range MaxChannels - 1 {
		ends(ann, i, true)
	}
	ends(bob, 1, true)
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	ends(ann, MaxChannels, true) // one more than is kept
	for i := range MaxChannels + 10 {
		ends(ann, 2*MaxChannels+i, false) // of which nothing was booked
	}
	for range 2 {
		b.Ended(channel.ID{bob[0], 0, 1}, Earned, bob, 1)
		b.Ended(channel.ID{ann[0], byte(MaxChannels >> 8), byte(MaxChannels & 0xff)}, Earned, ann, 1)
		if err := b.Save(); err != nil {
			t.Fatal(err)
		}
		got := amount.Amount(0)
		for _, r := range b.List() {
			got += r.Totals().Earned
		}
		if want := amount.Amount(sum); got != want {
			t.Errorf("receipts say %d, the ledger moved %d", got, want)
		}
		b = open(t, dir)
	}
}

// TestDamaged: a file that is no receipt is moved aside, the others are read.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	b.Moved([20]byte{1}, Paid, ledger.Address{1}, channel.ID{1}, 50, 1000)
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x.json")
	if err := os.WriteFile(path, []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir, clock)
	if !errors.Is(err, ErrFormat) || len(b.List()) != 1 {
		t.Errorf("%v, %d receipts", err, len(b.List()))
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
	open(t, dir)
}

func FuzzDecode(f *testing.F) {
	b, err := Open(f.TempDir(), clock)
	if err != nil {
		f.Fatal(err)
	}
	b.Deal([20]byte{1}, Paid, ledger.Address{1}, "peer", Deal{Price: 5, Bid: 9, Reserve: -1})
	b.Moved([20]byte{1}, Paid, ledger.Address{1}, channel.ID{1}, 50, 1000)
	good, err := b.List()[0].Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"lines":[null]}`))
	f.Add([]byte(`{"version":1,"lines":[{"role":"paid","sum":"-1"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Decode(in)
		if err != nil {
			return
		}
		out, err := r.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Decode(out)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(out, second) {
			t.Fatalf("%s became %s: %v", out, second, err)
		}
	})
}
