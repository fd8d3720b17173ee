package btt_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// journal sums what a wallet's journal says was paid and earned in channels.
func journal(t *testing.T, n *btt.Node) (paid, earned amount.Amount) {
	t.Helper()
	for e, err := range n.Purse().History() {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case purse.Pay:
			paid += e.Amount
		case purse.Earn:
			earned += e.Amount
		}
	}
	return paid, earned
}

// totals sums receipts. Adjusted is what the ledger moved otherwise than was
// booked, but for channels under its least output, of which it moves nothing.
func totals(list []*btt.Receipt) (sum receipts.Totals, adjusted int64) {
	channels := map[receipts.ID]amount.Amount{}
	for _, r := range list {
		t := r.Totals()
		sum.Paid, sum.Earned = sum.Paid+t.Paid, sum.Earned+t.Earned
		for _, l := range r.Lines {
			adjusted += l.Adjusted
			for _, c := range l.Channels {
				channels[c.ID] += c.Sum
			}
		}
	}
	for _, sum := range channels {
		if sum < ledger.DefaultMinOutput {
			adjusted += int64(sum)
		}
	}
	return sum, adjusted
}

// TestReceipts: two downloads from two sellers and a plain seed; the receipts
// name who was paid for what, sum to the wallets' journals to the last µBTT,
// account for every byte, and outlive the nodes (R15.2, R17.5).
func TestReceipts(t *testing.T) {
	l := ledgertest.New()
	type side struct {
		home string
		node *btt.Node
	}
	start := func(s *btt.SpeedConfig, rate int64) side {
		x := side{home: t.TempDir()}
		x.node = open(t, s, func(c *btt.Config) { c.Home, c.UploadRate = x.home, rate })
		return x
	}
	buyer := start(&btt.SpeedConfig{Ledger: l, PriceCap: 50 * perGiB}, 0)
	rich(t, l, buyer.node)
	sellers := []side{start(&btt.SpeedConfig{Ledger: l, EarnOnly: true, Reserve: 7 * perGiB}, 2<<20),
		start(&btt.SpeedConfig{Ledger: l, EarnOnly: true, Reserve: 3 * perGiB}, 2<<20)}
	free := open(t, nil, func(c *btt.Config) { c.UploadRate = 512 << 10 })
	eventually(t, "the balance to count", func() bool { return buyer.node.BidsWith() > 0 })
	var sizes []int64
	for i, size := range []int{3<<20 + 5, 2 << 20} {
		dir, torrent := film(t, size)
		sizes = append(sizes, torrent.Info.TotalLength)
		var peers []netip.AddrPort
		for _, x := range append(sellers[i:], side{node: free}) {
			s := add(t, x.node, btt.Add{Torrent: torrent, Dir: dir})
			eventually(t, "a seed", func() bool { return s.Status().State == btt.Seeding })
			peers = append(peers, x.node.Addr())
		}
		g := add(t, buyer.node, btt.Add{Torrent: torrent, Dir: t.TempDir(), Peers: peers})
		eventually(t, "the download", func() bool { return g.Status().State == btt.Seeding })
	}
	for _, x := range append(sellers, buyer) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := x.node.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		cancel()
	}
	list, err := btt.ReadReceipts(buyer.home)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d receipts, %v", len(list), err)
	}
	sum, adjusted := totals(list)
	paid, _ := journal(t, buyer.node)
	if sum.Paid != paid || paid == 0 || adjusted != 0 {
		t.Errorf("receipts %d µBTT, journal %d, adjusted %d", sum.Paid, paid, adjusted)
	}
	for _, r := range list {
		got := r.Totals()
		if all := got.PaidBytes + got.FreeBytes; all != r.Size || !slices.Contains(sizes, r.Size) || r.Name != "film" {
			t.Errorf("%s: %d bytes paid and %d free of %d", r.Name, got.PaidBytes, got.FreeBytes, r.Size)
		}
		for _, line := range r.Lines {
			if line.Role == btt.ReceiptPaid && line.Sum > 0 && (line.Last.Reserve < line.Lowest && line.Lowest < 0 || line.Highest > line.Last.Bid) {
				t.Errorf("paid %+v", line)
			}
		}
	}
	var earned amount.Amount
	for i, x := range sellers {
		list, err := btt.ReadReceipts(x.home)
		got, adjusted := totals(list)
		if _, in := journal(t, x.node); err != nil || got.Earned != in || adjusted != 0 {
			t.Errorf("seller %d: receipts %d, journal %d, adjusted %d, %v", i, got.Earned, in, adjusted, err)
		}
		earned += got.Earned
	}
	if earned != paid {
		t.Errorf("paid %d, earned %d", paid, earned)
	}
	if _, err := btt.ReadReceipts(t.TempDir()); err != nil || errors.Is(err, receipts.ErrFormat) {
		t.Errorf("a home without receipts: %v", err)
	}
}
