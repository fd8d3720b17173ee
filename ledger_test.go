package btt_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// give sends sum from a key that owns coins.
func give(t *testing.T, c ledger.Client, from *ledger.PrivateKey, to ledger.Address, sum amount.Amount) {
	t.Helper()
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	coins, err := c.Unspent(t.Context(), from.Address(), ledger.OutPoint{}, 1)
	if err != nil || len(coins) != 1 {
		t.Fatalf("%d coins, %v", len(coins), err)
	}
	tx := ledger.NewTransfer([]ledger.OutPoint{coins[0].OutPoint}, []ledger.Output{{Amount: sum, Lock: ledger.PayTo(to)},
		{Amount: coins[0].Amount - sum, Lock: coins[0].Lock}})
	if err := ledger.SignInputs(tx, st.Network, coins, from); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(t.Context(), tx.Encode()); err != nil {
		t.Fatal(err)
	}
}

// holds is what an address owns on a ledger.
func holds(t *testing.T, c ledger.Client, a ledger.Address) (sum amount.Amount) {
	t.Helper()
	coins, err := c.Unspent(t.Context(), a, ledger.OutPoint{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, coin := range coins {
		sum += coin.Amount
	}
	return sum
}

// TestOpenLedger: a node pays another one through a ledger in the same program,
// which is opened again afterwards and knows it all.
func TestOpenLedger(t *testing.T) {
	owner := ledgertest.Key("owner")
	cfg := btt.LedgerConfig{Dir: t.TempDir(), Fatal: func(err error) { t.Error(err) }, Genesis: ledger.Genesis{
		Name: "private", Time: uint64(time.Now().Unix()), Params: ledger.DefaultParams(),
		Shares: []ledger.Share{{Name: "all", Grants: []ledger.Grant{{Address: owner.Address(), Amount: amount.Supply}}}}}}
	l, err := btt.OpenLedger(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if _, err := btt.OpenLedger(cfg); !errors.Is(err, btt.ErrLedgerLocked) {
		t.Errorf("opened twice: %v", err)
	}
	followed, err := btt.FollowLedger(t.Context(), btt.FollowConfig{Home: t.TempDir(), Ledger: l.Client(), Operator: l.Operator()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { followed.Close() })

	dir, torrent := film(t, 2<<20)
	seed := open(t, &btt.SpeedConfig{Ledger: l.Client(), EarnOnly: true, Reserve: 3 * perGiB}, nil)
	leech := open(t, &btt.SpeedConfig{Ledger: followed, PriceCap: 50 * perGiB}, nil)
	payee, payer := seed.Purse().Address(), leech.Purse().Address()
	give(t, l.Client(), owner, payer, 1000*amount.BTT)
	eventually(t, "the balance to count", func() bool { return leech.BidsWith() > 0 })
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	g := add(t, leech, btt.Add{Torrent: torrent, Dir: t.TempDir(), Peers: []netip.AddrPort{seed.Addr()}})
	eventually(t, "the download", func() bool { return g.Status().State == btt.Seeding })
	for _, n := range []*btt.Node{leech, seed} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := n.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		cancel()
	}
	earned, left := holds(t, l.Client(), payee), holds(t, l.Client(), payer)
	if earned == 0 || earned+left != 1000*amount.BTT {
		t.Errorf("the payee has %s, the payer %s of 1000 BTT", earned, left)
	}
	reopened(t, l, followed, cfg, func(c ledger.Client) {
		if e, r := holds(t, c, payee), holds(t, c, payer); e != earned || r != left {
			t.Errorf("opened again: %s and %s, were %s and %s", e, r, earned, left)
		}
	})
}

// reopened closes a ledger and opens it again, without its genesis; another
// genesis is refused.
func reopened(t *testing.T, l *btt.EmbeddedLedger, followed *btt.FollowedLedger, cfg btt.LedgerConfig, look func(ledger.Client)) {
	t.Helper()
	c := l.Client()
	before, err := c.Status(t.Context())
	if err := errors.Join(err, followed.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unspent(t.Context(), ledger.Address{}, ledger.OutPoint{}, 1); !errors.Is(err, btt.ErrLedgerClosed) {
		t.Errorf("after Close: %v", err)
	}
	other := cfg
	other.Genesis.Name = "another"
	if _, err := btt.OpenLedger(other); !errors.Is(err, btt.ErrLedgerNetwork) {
		t.Errorf("another genesis: %v", err)
	}
	again, err := btt.OpenLedger(btt.LedgerConfig{Dir: cfg.Dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	after, err := again.Client().Status(t.Context())
	if err != nil || after.Network != before.Network || after.Height < before.Height || after.Totals != before.Totals || again.Operator() != l.Operator() {
		t.Errorf("opened again: %+v, was %+v, %v", after, before, err)
	}
	look(again.Client())
}
