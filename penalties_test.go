package btt

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
)

// Opened opens a node that ends with the test.
func Opened(t *testing.T, cfg Config) *Node {
	t.Helper()
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Logf("close node: %v", err)
		}
	})
	return n
}

// Film makes a torrent of random bytes with one tracker.
func Film(t *testing.T, size int, trackers ...string) (dir string, torrent *metainfo.Torrent) {
	t.Helper()
	dir = t.TempDir()
	b := make([]byte, size)
	_, _ = rand.Read(b)
	path := filepath.Join(dir, "film")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	o := create.Options{PieceLength: 64 << 10}
	if len(trackers) > 0 {
		o.Trackers = [][]string{trackers}
	}
	torrent, err := create.Torrent(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, torrent
}

// Patience is how long anything may take before a test gives up on it; nothing is
// measured by it.
const Patience = 3 * time.Minute

// Eventually waits until it is so, and gives up after [Patience].
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// BidsWith is the balance that a node's bids count with: it is looked up now and then.
func (n *Node) BidsWith() amount.Amount { return amount.Amount(n.money.Load().balance.Load()) }

// TestPenaltiesKept: who is banned for not paying is banned in the provider's next
// process too, even if this one is killed, and the next ban is longer (R12.3). A file
// that is damaged stops nobody.
func TestPenaltiesKept(t *testing.T) {
	l := ledgertest.New()
	start := func(home string, price amount.Price) *Node {
		t.Helper()
		return Opened(t, Config{Home: home, NoResume: true, Listen: "127.0.0.1:0", ChokeEvery: 100 * time.Millisecond,
			Speed: &SpeedConfig{Ledger: l, PriceCap: price, Reserve: 2 * amount.Price(amount.BTT)}})
	}
	buyer := start(t.TempDir(), 5*amount.Price(amount.BTT))
	if _, err := l.Fund(buyer.Purse().Address(), 1000*amount.BTT); err != nil {
		t.Fatal(err)
	}
	account, elsewhere := buyer.Purse().Address(), netip.MustParseAddr("192.0.2.7")
	home := t.TempDir()
	seller := start(home, 0)
	for range speed.BanAfter {
		seller.money.Load().market.Fail(account, elsewhere, time.Now())
	}
	var kept []byte
	Eventually(t, "the file", func() bool { // it is there while the process lives
		kept, _ = os.ReadFile(filepath.Join(home, penaltiesFile))
		return strings.Contains(string(kept), account.String()) && strings.Contains(string(kept), elsewhere.String()) &&
			strings.Count(string(kept), fmt.Sprintf(`"failures":%d`, speed.BanAfter)) == 2 // it may be written between two failures
	})

	dir, torrent := Film(t, 300_000)
	next := func(file []byte) *Node {
		t.Helper()
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, penaltiesFile), file, 0o600); err != nil {
			t.Fatal(err)
		}
		n := start(home, 0)
		s, err := n.Add(Add{Torrent: torrent, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		Eventually(t, "the seed", func() bool { return s.Status().State == Seeding })
		return n
	}
	after := next(kept)
	if !after.money.Load().market.Bans(elsewhere, time.Now()) {
		t.Error("the address is not banned after a restart")
	}
	g, err := buyer.Add(Add{Torrent: torrent, Dir: t.TempDir(), Peers: []netip.AddrPort{after.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // several choke rounds
	if have := g.Status().Have; have > 0 {
		t.Errorf("a banned account has %d pieces", have)
	}
	g.AddPeers(next(kept[:len(kept)/2]).Addr())
	Eventually(t, "the download", func() bool { return g.Status().State == Seeding })

	after.money.Load().market.Fail(account, netip.Addr{}, time.Now())
	list, _ := after.money.Load().market.Penalties(0, time.Now())
	for _, p := range list {
		if p.Account == account && (p.Failures != speed.BanAfter+1 || time.Until(p.Until) < 7*time.Minute) {
			t.Errorf("the next failure after a restart: %+v", p)
		}
	}
	if len(list) != 2 {
		t.Errorf("%d records", len(list))
	}
}

// TestSpoilersKept: an address that sent bad data, and an account that is banned for what it
// left unpaid, are refused in the node's next process too, even if this one is killed.
func TestSpoilersKept(t *testing.T) {
	l := ledgertest.New()
	start := func(home string) *Node {
		t.Helper()
		return Opened(t, Config{Home: home, NoResume: true, Listen: "127.0.0.1:0", Speed: &SpeedConfig{Ledger: l}})
	}
	home, next := t.TempDir(), t.TempDir()
	n, garbage, account := start(home), netip.MustParseAddr("192.0.2.7"), ledgertest.Key("debtor").PublicKey()
	n.money.Load().market.Spoiled(ledger.Address{}, garbage, time.Now())
	n.money.Load().book.SetDebtors([]payments.Debtor{{Account: account, Strikes: 3, Bans: 1, Until: time.Now().Add(time.Hour), Changed: time.Now().Add(-time.Minute)}})
	for _, name := range []string{penaltiesFile, debtorsFile} {
		var kept []byte
		Eventually(t, name, func() bool { // it is there while the process lives
			kept, _ = os.ReadFile(filepath.Join(home, name))
			return len(kept) >= 3
		})
		if err := os.WriteFile(filepath.Join(next, name), kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	after := start(next)
	if !after.money.Load().market.Bans(garbage, time.Now()) || after.money.Load().market.Bans(garbage, time.Now().Add(speed.SpoilFor)) {
		t.Error("the address is not refused after a restart, or for ever")
	}
	if _, banned := after.money.Load().book.Banned(account); !banned || after.money.Load().book.Strikes(account) != 3 {
		t.Error("the account is not banned after a restart")
	}
	damaged := t.TempDir()
	for _, name := range []string{penaltiesFile, debtorsFile} {
		if err := os.WriteFile(filepath.Join(damaged, name), []byte(`[{"who":`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, banned := start(damaged).money.Load().book.Banned(account); banned { // and it starts
		t.Error("a damaged file bans somebody")
	}
}

// FuzzPenalties, FuzzDebtors and FuzzPrices: whatever is in the files of an earlier run, it
// stops nobody, is kept within bounds, and bans nobody for longer than the longest ban.
func FuzzPenalties(f *testing.F) {
	f.Add([]byte(`[{"who":"192.0.2.7","failures":3,"until":"2030-01-01T00:00:00Z","spoiled":"2030-01-01T00:00:00Z"},` +
		`{"who":"TVpMSLwEAM31bHbFK48QrsgD74EA3um7Tk","failures":-1,"until":"0001-01-01T00:00:00Z","excused":true,"pardoned":"2026-11-22T10:00:00Z"}]`))
	f.Add([]byte(`[{"who":"2001:db8::1%eth0"},{"who":""}]`))
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodePenalties(b)
		if err != nil {
			return
		}
		var p speed.Penalties
		p.Restore(list, now)
		end := now.Add(speed.PenaltyMax)
		for _, r := range p.Records(now) {
			if p.Banned(end, r.Account, r.Addr) || !p.Eligible(end, r.Account, r.Addr) {
				t.Fatalf("%+v outlives the longest penalty", r)
			}
		}
		if p.Len() > 2*speed.MaxPenalties {
			t.Fatalf("%d records", p.Len())
		}
	})
}

func FuzzDebtors(f *testing.F) {
	key, err := ledgertest.Key("debtor").PublicKey().MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`[{"account":"` + string(key) + `","paid":1,"unpaid":2,"strikes":3,"bans":1,"until":"2030-01-01T00:00:00Z","changed":"2026-11-22T11:00:00Z"}]`))
	f.Add([]byte(`[{"account":"00","unpaid":-1}]`))
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	book, err := payments.Open(f.Context(), payments.Config{Dir: f.TempDir(), Purse: lockedPurse{}, Ledger: ledgertest.New(), Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = book.Close(context.Background()) }) // nothing is open
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeDebtors(b)
		if err != nil {
			return
		}
		book.SetDebtors(list)
		kept := book.Debtors()
		if len(kept) > payments.MaxDebtors {
			t.Fatalf("%d debtors", len(kept))
		}
		for _, d := range kept {
			if d.Paid < 0 || d.Unpaid < 0 || d.Forgiven < 0 || d.Beyond < 0 || d.Until.After(now.Add(payments.MaxBanTime)) {
				t.Fatalf("%+v", d)
			}
		}
	})
}

// lockedPurse is a wallet that is never asked.
type lockedPurse struct{ payments.Purse }

func FuzzPrices(f *testing.F) {
	f.Add([]byte(`[{"Price":"7 BTT/GiB","At":"2026-11-22T11:00:00Z"},{"Price":"-7 BTT/GiB","At":"2026-11-22T11:00:00Z"}]`))
	f.Add([]byte(`[{"Price":"99999999999999999999 BTT/GiB"}]`))
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodePrices(b)
		if err != nil {
			return
		}
		var n market.Node
		n.SetSightings(list, now)
		if kept := n.Sightings(); len(kept) > market.MaxSightings {
			t.Fatalf("%d prices", len(kept))
		}
		if g, ok := n.Observed(now); ok && (g.Cap <= 0 || !g.Cap.Valid()) {
			t.Fatalf("a reserve price of %v", g.Cap)
		}
	})
}
