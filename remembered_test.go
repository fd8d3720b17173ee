package btt_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// medianOf is the median price of a node that begins with a file of prices.
func medianOf(t *testing.T, prices string) amount.Price {
	t.Helper()
	l := ledgertest.New()
	home := t.TempDir()
	if prices != "" {
		if err := os.WriteFile(filepath.Join(home, "prices.json"), []byte(prices), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := open(t, &btt.SpeedConfig{Ledger: l}, func(c *btt.Config) { c.Home = home })
	median, _ := n.PricesSeen()
	return median
}

// TestPricesKept: the prices at which a node traded are there after a restart, so
// its reserve prices go on to follow them; what is damaged, too old, too much or of
// times to come is left out and stops nobody.
func TestPricesKept(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 1<<20)
	seed := open(t, &btt.SpeedConfig{Ledger: l, Reserve: 2 * perGiB}, nil)
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	home := t.TempDir()
	buyer := func() *btt.Node {
		return open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, func(c *btt.Config) { c.Home = home })
	}
	n := buyer()
	rich(t, l, n)
	g := add(t, n, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	eventually(t, "a bid", func() bool { return g.Status().Bid > 0 })
	eventually(t, "the download", func() bool {
		g.AddPeers(seed.Addr())
		return g.Status().State == btt.Seeding && g.Status().Paid > 0
	})
	if median, ok := n.PricesSeen(); !ok || median != 2*perGiB {
		t.Fatalf("before the restart: %v, %v", median, ok)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if median, ok := buyer().PricesSeen(); !ok || median != 2*perGiB {
		t.Errorf("after the restart: %v, %v", median, ok)
	}
	now, old, later := time.Now().Format(time.RFC3339), time.Now().Add(-4*24*time.Hour).Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339)
	one := func(price, at string) string { return `{"Price":"` + price + ` BTT/GiB","At":"` + at + `"}` }
	for name, tt := range map[string]struct {
		file string
		want amount.Price
	}{
		"none":     {"", 0},
		"one":      {"[" + one("7", now) + "]", 7 * perGiB},
		"old":      {"[" + one("7", old) + "]", 0},
		"to come":  {"[" + one("7", later) + "]", 0},
		"damaged":  {"[" + one("7", now), 0},
		"no price": {"[" + one("-7", now) + "]", 0},
		"many":     {"[" + strings.Repeat(one("7", now)+",", 100) + strings.Repeat(one("3", now)+",", 63) + one("3", now) + "]", 3 * perGiB},
		"too many": {"[" + strings.Repeat(one("7", now)+",", 1000) + one("3", now) + "]", 0},
	} {
		if got := medianOf(t, tt.file); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
