package btt

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
)

// TestPenaltiesKept: who is banned for not paying is banned in the provider's next
// process too, even if this one is killed, and the next ban is longer (R12.3). A file
// that is damaged stops nobody.
func TestPenaltiesKept(t *testing.T) {
	l := ledgertest.New()
	start := func(home string, price amount.Price) *Node {
		t.Helper()
		n, err := Open(t.Context(), Config{Home: home, NoResume: true, Listen: "127.0.0.1:0", ChokeEvery: 100 * time.Millisecond,
			Speed: &SpeedConfig{Ledger: l, PriceCap: price, Reserve: 2 * amount.Price(amount.BTT)}})
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
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("waited in vain for " + what)
			}
		}
	}
	buyer := start(t.TempDir(), 5*amount.Price(amount.BTT))
	if _, err := l.Fund(buyer.Purse().Address(), 1000*amount.BTT); err != nil {
		t.Fatal(err)
	}
	account, elsewhere := buyer.Purse().Address(), netip.MustParseAddr("192.0.2.7")
	home := t.TempDir()
	seller := start(home, 0)
	for range speed.BanAfter {
		seller.market.Fail(account, elsewhere, time.Now())
	}
	var kept []byte
	until("the file", func() bool { // it is there while the process lives
		kept, _ = os.ReadFile(filepath.Join(home, penaltiesFile))
		return strings.Contains(string(kept), account.String()) && strings.Contains(string(kept), elsewhere.String())
	})

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "film"), make([]byte, 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	torrent, err := create.Torrent(t.Context(), filepath.Join(dir, "film"), create.Options{PieceLength: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
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
		until("the seed", func() bool { return s.Status().State == Seeding })
		return n
	}
	after := next(kept)
	if !after.market.Bans(elsewhere, time.Now()) {
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
	until("the download", func() bool { return g.Status().State == Seeding })

	after.market.Fail(account, netip.Addr{}, time.Now())
	list, _ := after.market.Penalties(0, time.Now())
	for _, p := range list {
		if p.Account == account && (p.Failures != speed.BanAfter+1 || time.Until(p.Until) < 7*time.Minute) {
			t.Errorf("the next failure after a restart: %+v", p)
		}
	}
	if len(list) != 2 {
		t.Errorf("%d records", len(list))
	}
}
