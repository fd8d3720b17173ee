package session

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// TestCompetition: three requesters with different bids and a free peer want
// the one paid slot of a slow seed, which has one optimistic slot besides. The
// winner pays the highest losing bid, at least the reserve (R10.20, R10.21),
// never more than it bid; prices change only through choke, bid response,
// unchoke (R10.18); the free peer finishes too (A21).
func TestCompetition(t *testing.T) {
	l := ledgertest.New()
	files := map[string]int{"a.bin": 2 << 20}
	dir, torrent := content(t, files, piece)
	cfg := traderConfig{reserve: perGiB(100), session: Config{UploadRate: piece, Choker: slots(2)}}
	cfg.session.Choker.Optimistic = 1
	seed := newTrader(t, l, cfg) // at a piece a second until all have bid
	seed.seeds(dir, torrent)
	bids := []amount.Price{perGiB(900), perGiB(700), perGiB(500)}
	var buyers []*trader
	var taps []*tap
	var gets []*Torrent
	for _, b := range bids {
		x := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: b})
		tp := newTap(t, seed.Addr())
		g, _ := x.gets(torrent, tp.addr)
		buyers, taps, gets = append(buyers, x), append(taps, tp), append(gets, g)
		// The first has the slot before others bid, so that its price changes then.
		until(t, "the first sale", func() bool { return taps[0].priced(perGiB(100)) })
	}
	until(t, "the others' bids", func() bool { return taps[0].priced(perGiB(700)) })
	seed.SetLimits(4<<20, 0)
	free := open(t, Config{})
	g, err := free.Add(Add{Torrent: torrent, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	g.AddPeers(seed.Addr())
	for _, g := range append(gets, g) {
		await(t, g)
	}
	until(t, "the last payment", func() bool {
		var paid amount.Amount
		for _, x := range buyers {
			_, _, sum := x.seen(payments.EventPaid)
			paid += sum
		}
		_, _, earned := seed.seen(payments.EventEarned)
		return earned == paid
	})
	taps[0].check(t, bids[0], perGiB(700), perGiB(500), perGiB(100))
	taps[1].check(t, bids[1], perGiB(500), perGiB(100))
	taps[2].check(t, bids[2], perGiB(100))
	top := taps[0].priced(perGiB(700))
	if !top {
		t.Error("the highest bidder never paid the highest losing bid")
	}
	// The seed follows what bidders made of its slot, not what it asked itself.
	if saw, ok := seed.market.Observed(time.Now()); !ok || saw.Cap != perGiB(700) && saw.Cap != perGiB(500) {
		t.Errorf("the seed saw prices as %+v, %v", saw, ok)
	}
	if taps[0].repriced() == 0 {
		t.Error("no price changed in a running slot")
	}
	settleAll(append(buyers, seed)...)
	reconcile(t, l, append(buyers, seed)...)
}

// TestTwoTorrentsOneChannel: one channel pays for all torrents between two
// accounts, each on a lane of its own (R11, "channel" package).
func TestTwoTorrentsOneChannel(t *testing.T) {
	l := ledgertest.New()
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2), session: Config{Choker: slots(1)}})
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
	tap := newTap(t, seed.Addr())
	tap2 := newTap(t, seed.Addr())
	dir1, first := content(t, map[string]int{"a.bin": 1 << 20}, piece)
	dir2, second := content(t, map[string]int{"b.bin": 1<<20 + 77}, piece)
	seed.seeds(dir1, first)
	seed.seeds(dir2, second)
	g1, _ := leech.gets(first, tap.addr)
	await(t, g1)
	g2, _ := leech.gets(second, tap2.addr)
	await(t, g2)
	want := owed(t, perGiB(2), 1<<20) + owed(t, perGiB(2), 1<<20+77)
	until(t, "all payments", func() bool {
		_, _, earned := seed.seen(payments.EventEarned)
		return earned == want
	})
	tap.check(t, perGiB(5), perGiB(2))
	tap2.check(t, perGiB(5), perGiB(2))
	if n := len(leech.book.Summary()); n != 1 {
		t.Errorf("%d channels, want one with two lanes", n)
	}
	settleAll(leech, seed)
	reconcile(t, l, seed, leech)
}

// part writes the content to a new folder with only the pieces that keep
// accepts; the others are zeros.
func part(t *testing.T, dir string, keep func(piece int) bool) string {
	t.Helper()
	to := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dir, "stuff", "a.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i*piece < len(b); i++ {
		if !keep(i) {
			clear(b[i*piece : min(len(b), (i+1)*piece)])
		}
	}
	if err := os.MkdirAll(filepath.Join(to, "stuff"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "stuff", "a.bin"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestLeechersTrade: three leechers with a third of the file each and one slot
// each sell to the highest bidder at the other's bid; both directions of a
// pair run at the same time, each on a channel of its own.
func TestLeechersTrade(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := content(t, map[string]int{"a.bin": 3 << 20}, piece)
	var all []*trader
	var gets []*Torrent
	for i, bid := range []int64{9, 7, 5} {
		cfg := traderConfig{funds: 10 * amount.BTT, cap: perGiB(100 * bid), session: Config{Choker: slots(1), UploadRate: 2 * piece}}
		cfg.session.Choker.PaidMaxLeeching = 1 // at two pieces a second, so that not all is bartered before the bids are there
		x := newTrader(t, l, cfg)
		g, err := x.Add(Add{Torrent: torrent, Dir: part(t, dir, func(p int) bool { return p%3 == i })})
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the check", func() bool { return g.Status().State == swarm.Downloading })
		all, gets = append(all, x), append(gets, g)
	}
	gets[0].AddPeers(all[1].Addr(), all[2].Addr())
	gets[1].AddPeers(all[2].Addr())
	until(t, "two leechers that sold to each other", func() bool { return tradesBothWays(all) })
	for _, x := range all {
		x.SetLimits(2<<20, 0)
	}
	for _, g := range gets {
		await(t, g)
	}
	reconciled := func() bool {
		var paid, earned amount.Amount
		for _, x := range all {
			_, _, p := x.seen(payments.EventPaid)
			_, _, e := x.seen(payments.EventEarned)
			paid, earned = paid+p, earned+e
		}
		return paid == earned && paid > 0
	}
	until(t, "all payments", reconciled)
	settleAll(all...)
	reconcile(t, l, all...)
}

// tradesBothWays says whether one of them was paid by one that it paid.
func tradesBothWays(all []*trader) bool {
	for _, x := range all {
		bought, sold := map[any]bool{}, map[any]bool{}
		for _, c := range x.book.Summary() {
			if c.Paid > 0 && c.Role == channel.RolePayer {
				bought[c.Account] = true
			} else if c.Paid > 0 {
				sold[c.Account] = true
			}
		}
		for a := range bought {
			if sold[a] {
				return true
			}
		}
	}
	return false
}

// TestSeveralProviders: a requester bids to each provider that has what it wants
// (R5.4), buys from all of them at once at their own prices, and pays each what
// it got from it, on one channel for each.
func TestSeveralProviders(t *testing.T) {
	l := ledgertest.New()
	files := map[string]int{"a.bin": 4 << 20}
	dir, torrent := content(t, files, piece)
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)})
	var seeds []*trader
	var at []netip.AddrPort
	for i := range 3 {
		seed := newTrader(t, l, traderConfig{reserve: perGiB(int64(100 * (i + 1))), session: Config{UploadRate: 1 << 20}})
		seed.seeds(dir, torrent)
		seeds, at = append(seeds, seed), append(at, seed.Addr())
	}
	g, to := leech.gets(torrent, at...)
	await(t, g)
	sameFiles(t, dir, to, files)
	until(t, "the last payment", func() bool {
		var bytes int64
		for _, seed := range seeds {
			_, n, _ := seed.seen(payments.EventEarned)
			bytes += n
		}
		return bytes == torrent.Info.TotalLength
	})
	for i, seed := range seeds {
		_, n, sum := seed.seen(payments.EventEarned)
		if most := owed(t, perGiB(int64(100*(i+1))), n); sum == 0 || sum > most || sum < most-amount.Amount(n/piece) {
			t.Errorf("seed %d earned %v for %d bytes", i, sum, n)
		}
	}
	if list := leech.book.Summary(); len(list) != len(seeds) {
		t.Errorf("%d channels for %d providers", len(list), len(seeds))
	}
	all := append(seeds, leech)
	settleAll(all...)
	reconcile(t, l, all...)
}

// TestOutage: the ledger is away while a download runs. Payments go on; only
// the opening of the next channel and the settlement wait (R11, A2).
func TestOutage(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := content(t, map[string]int{"a.bin": 2 << 20}, piece)
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2), session: Config{UploadRate: 4 << 20}})
	seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
	tap := newTap(t, seed.Addr())
	g, _ := leech.gets(torrent, tap.addr)
	until(t, "the first payment", func() bool { return g.Status().Paid > 0 })
	l.SetOutage(errors.New("ledger is away"))
	await(t, g)
	want := owed(t, perGiB(2), torrent.Info.TotalLength)
	until(t, "all payments without the ledger", func() bool {
		_, _, earned := seed.seen(payments.EventEarned)
		return earned == want
	})
	tap.check(t, perGiB(5), perGiB(2))
	l.SetOutage(nil)
	settleAll(leech, seed)
	reconcile(t, l, seed, leech)
	if got := seed.gained(); got != int64(want) {
		t.Errorf("the provider has %d more, want %d", got, want)
	}
}

// TestLimitedSeller: a provider that its user limits to 20 KiB/s, asked first, sells its
// part of a download beside a fast one, and loses the piece that it has at the end: the
// requester waits for no whole piece of it. What it brought is paid, to the last unit
// of the ledger, and nobody holds anything against anybody.
func TestLimitedSeller(t *testing.T) {
	t.Parallel()
	l := ledgertest.New()
	const big = 4 << 20
	dir, torrent := content(t, map[string]int{"a.bin": 6 * big}, big)
	slow := newTrader(t, l, traderConfig{reserve: perGiB(200), session: Config{UploadRate: 20 << 10}})
	slow.seeds(dir, torrent)
	fast := newTrader(t, l, traderConfig{reserve: perGiB(200), session: Config{UploadRate: 8 << 20}})
	fast.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: perGiB(500)})
	g, _ := leech.gets(torrent, slow.Addr())
	until(t, "blocks of the slow one", func() bool { p := g.Status().Peers; return len(p) == 1 && p[0].Received > 4*wire.BlockSize })
	g.AddPeers(fast.Addr())
	await(t, g)
	brought := int64(0)
	for _, p := range g.Status().Peers {
		if p.Addr == slow.Addr() {
			brought = p.Received
		}
	}
	if brought == 0 || brought >= big {
		t.Errorf("%d bytes came from the slow one, a piece has %d", brought, big)
	}
	now := time.Now()
	for _, x := range []*trader{slow, fast} {
		if eligible, banned := x.market.Standing(leech.purse.Address(), netip.Addr{}, now); !eligible || banned {
			t.Errorf("the requester is blamed: eligible %v, banned %v", eligible, banned)
		}
		if _, banned := leech.market.Standing(x.purse.Address(), netip.Addr{}, now); banned {
			t.Error("a provider is banned")
		}
	}
	settleAll(leech, slow, fast)
	reconcile(t, l, leech, slow, fast)
	if got, want := -leech.gained(), int64(owed(t, perGiB(200), torrent.Info.TotalLength)); got > want || got < want-2 {
		t.Errorf("the requester paid %d for what costs %d", got, want)
	}
	if got := slow.gained(); got == 0 || got > int64(owed(t, perGiB(200), brought)) {
		t.Errorf("the slow one has %d for %d bytes", got, brought)
	}
}
