package btt_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
)

// TestPlainTorrent: one torrent of a paying node stays out of the market, then
// comes in (R9.2, R9.3, R9.5).
func TestPlainTorrent(t *testing.T) {
	l := ledgertest.New()
	seed := open(t, &btt.SpeedConfig{Ledger: l, EarnOnly: true, Reserve: 2 * perGiB}, func(c *btt.Config) { c.UploadRate = 2 << 20 })
	leech := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, nil)
	rich(t, l, leech)
	eventually(t, "the balance to count", func() bool { return leech.BidsWith() > 0 })
	var torrents []*btt.Torrent
	for i, size := range []int{2 << 20, 2<<20 + 1, 24 << 20} {
		dir, torrent := film(t, size)
		s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
		eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
		torrents = append(torrents, add(t, leech, btt.Add{Torrent: torrent, Dir: t.TempDir(), Plain: i > 0, Peers: []netip.AddrPort{seed.Addr()}}))
	}
	paid, plain, late := torrents[0], torrents[1], torrents[2]
	eventually(t, "the downloads", func() bool { return paid.Status().State == btt.Seeding && plain.Status().State == btt.Seeding })
	if paid.Status().Paid == 0 {
		t.Error("the torrent in the market paid nothing")
	}
	if st := plain.Status(); st.Paid != 0 || st.Bid != 0 || !st.Plain {
		t.Errorf("the plain torrent paid %v and bid %v", st.Paid, st.Bid)
	}
	if st := late.Status(); st.Paid != 0 || st.State != btt.Downloading {
		t.Fatalf("the large torrent is %s and paid %v", st.State, st.Paid)
	}
	if err := late.SetSpeed(true); err != nil {
		t.Fatal(err)
	}
	meet := func() { late.AddPeers(seed.Addr()) } // again: one that came while the torrent began anew is lost
	eventually(t, "a payment", func() bool { meet(); return late.Status().Paid > 0 })
	if err := late.SetSpeed(false); err != nil {
		t.Fatal(err)
	}
	seed.SetLimits(0, 0)
	eventually(t, "the rest", func() bool { meet(); return late.Status().State == btt.Seeding })
	if st := late.Status(); st.Bid != 0 || st.Paid >= 24*amount.BTT/1024*5 {
		t.Errorf("out of the market again it bids %v and paid %v", st.Bid, st.Paid)
	}
}

// TestHybridByVersion2: who has a hybrid by its version 2 hash alone proves, buys and sells
// with those who have it by version 1, and its receipt stands under the hash that the user knows.
func TestHybridByVersion2(t *testing.T) {
	l := ledgertest.New()
	dir, _ := film(t, 1<<20)
	torrent, err := create.Torrent(t.Context(), filepath.Join(dir, "film"), create.Options{PieceLength: 64 << 10, Version: metainfo.Hybrid})
	if err != nil {
		t.Fatal(err)
	}
	seed := open(t, &btt.SpeedConfig{Ledger: l, ReserveGrowth: 864_000 * perGiB, ReserveCap: 2 * perGiB}, nil)
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the price to grow", func() bool { return s.Status().Reserve > 0 })
	other := btt.Add{InfoHash: torrent.InfoHashV2.Truncated(), InfoHashV2: torrent.InfoHashV2, Peers: []netip.AddrPort{seed.Addr()}}
	leech := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, nil)
	rich(t, l, leech)
	eventually(t, "the balance to count", func() bool { return leech.BidsWith() > 0 })
	other.Dir = t.TempDir()
	g := add(t, leech, other)
	eventually(t, "the download", func() bool { return g.Status().State == btt.Seeding })
	r := leech.Receipt(other.InfoHash)
	if g.Status().Paid == 0 || r == nil || leech.Receipt(torrent.InfoHash) != nil {
		t.Errorf("paid %v, receipt %+v", g.Status().Paid, r)
	}
	second := open(t, &btt.SpeedConfig{Ledger: l, ReserveGrowth: perGiB}, nil)
	other.Dir = dir
	add(t, second, other)
	eventually(t, "a proof", func() bool { return s.Status().Proofs == 1 })
}

// TestKeep: a node brings its torrents back.
func TestKeep(t *testing.T) {
	if _, err := btt.Open(t.Context(), btt.Config{Keep: true, Listen: "off"}); !errors.Is(err, btt.ErrKeep) {
		t.Errorf("without a home: %v", err)
	}
	home := t.TempDir()
	keep := func(c *btt.Config) { c.Home, c.NoResume, c.Keep = home, false, true }
	n := open(t, nil, keep)
	dir, torrent := film(t, 1<<20)
	x := add(t, n, btt.Add{Torrent: torrent, Dir: dir, Labels: []string{"films"}})
	eventually(t, "the seed", func() bool { return x.Status().State == btt.Seeding })
	if _, err := n.Add(btt.Add{Torrent: torrent, Dir: dir}); !errors.Is(err, btt.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	n = open(t, nil, keep)
	x = n.Torrent(torrent.InfoHash)
	if x == nil || !slices.Equal(x.Status().Labels, []string{"films"}) {
		t.Fatal("the torrent did not come back")
	}
	eventually(t, "the seed", func() bool { return x.Status().State == btt.Seeding })
	n.SetLimits(5<<20, 6<<20)
	if up, down := n.Limits(); up != 5<<20 || down != 6<<20 {
		t.Errorf("limits are %d and %d", up, down)
	}
}

func TestFromMagnet(t *testing.T) {
	m, err := metainfo.ParseMagnet("magnet:?xt=urn:btih:" + strings.Repeat("ab", 20) + "&dn=x&so=0,2-3&x.pe=127.0.0.1:7&x.pe=host.example:8&tr=http%3A%2F%2Ft.example%2Fa")
	if err != nil {
		t.Fatal(err)
	}
	a := btt.FromMagnet(m)
	if a.Name != "x" || len(a.Trackers) != 1 || !slices.Equal(a.Peers, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7")}) {
		t.Errorf("%+v", a)
	}
	prios, err := a.Choose(&metainfo.Info{Files: make([]metainfo.File, 5)})
	if err != nil || !slices.Equal(prios, []uint8{4, 0, 4, 4, 0}) {
		t.Errorf("selects %v, %v", prios, err)
	}
}

func TestLoadIPFilter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "filter")
	if _, err := btt.LoadIPFilter(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("192.0.2.0/24\nnonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := btt.LoadIPFilter(path); err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), path) {
		t.Errorf("a bad line: %v", err)
	}
	if err := os.WriteFile(path, []byte("192.0.2.0/24"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := btt.LoadIPFilter(path)
	if err != nil || !l.Contains(netip.MustParseAddr("192.0.2.9")) {
		t.Errorf("%v", err)
	}
}
