package autobid

import (
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
)

const gib = 1 << 30

func TestPrice(t *testing.T) {
	full := Torrent{Left: gib, Size: gib, PieceLength: 1 << 20, Share: PPM, Budget: NoBudget}
	with := func(f func(*Torrent)) Torrent { t := full; f(&t); return t }
	plain := Config{SpendRate: PPM} // the paper's formula, no guard
	tests := []struct {
		name    string
		config  Config
		balance amount.Amount
		torrent Torrent
		want    amount.Price
	}{
		{"whole balance for one GiB", plain, 5 * amount.BTT, full, 5_000_000},
		{"the paper's unit: 1 BTT for 1 KiB left", plain, amount.BTT, with(func(t *Torrent) { t.Left, t.Size, t.PieceLength = 1024, 1024, 1024 }), 1_000_000 << 20},
		{"half the rate", Config{SpendRate: PPM / 2}, 5 * amount.BTT, full, 2_500_000},
		{"rate above one counts as one", Config{SpendRate: 3 * PPM}, 5 * amount.BTT, full, 5_000_000},
		{"keep-back", Default(), 100 * amount.BTT, full, 97_000_000},
		{"keep everything back", Config{SpendRate: PPM, KeepBack: 2 * PPM}, amount.BTT, full, 0},
		{"share of two torrents", plain, 4 * amount.BTT, with(func(t *Torrent) { t.Share = PPM / 4 }), 1_000_000},
		{"budget binds", plain, 4 * amount.BTT, with(func(t *Torrent) { t.Budget = amount.BTT }), 1_000_000},
		{"keep-back of a budget", Default(), 400 * amount.BTT, with(func(t *Torrent) { t.Budget = 100 * amount.BTT }), 97_000_000},
		{"no budget left", plain, 4 * amount.BTT, with(func(t *Torrent) { t.Budget = 0 }), 0},
		{"cap", Config{SpendRate: PPM, Cap: 7}, 4 * amount.BTT, full, 7},
		{"nothing left", plain, 4 * amount.BTT, with(func(t *Torrent) { t.Left = 0 }), 0},
		{"empty wallet", plain, 0, full, 0},
		{"floor of 1 % of the size", plain, amount.BTT, with(func(t *Torrent) { t.Left, t.Size = 1, 100*gib }), 1_000_000},
		{"floor of one piece", plain, amount.BTT, with(func(t *Torrent) { t.Left, t.Size = 16<<10, 16<<20 }), 1_024_000_000},
		{"rounds down", plain, 10, with(func(t *Torrent) { t.Left = 3 * gib }), 3},
		{"below one unit: no bid", plain, 2, with(func(t *Torrent) { t.Left = 3 * gib }), 0},
		{"the whole supply for one byte", plain, amount.Supply, Torrent{Left: 1, Size: 1, PieceLength: 1, Share: PPM, Budget: NoBudget}, amount.MaxPrice},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Price(tt.config, tt.balance, tt.torrent); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestPriceBuysRest: all bytes left at the bid never cost more than the
// spendable part, and the bid is the exact floor of the formula.
func TestPriceBuysRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{SpendRate: rapid.Uint32Range(0, PPM).Draw(t, "rate"), KeepBack: rapid.Uint32Range(0, PPM).Draw(t, "keep")}
		balance := amount.Amount(rapid.Int64Range(0, int64(amount.Supply)).Draw(t, "balance"))
		tor := Torrent{
			Left: rapid.Int64Range(1, 1<<50).Draw(t, "left"), Size: rapid.Int64Range(1, 1<<50).Draw(t, "size"),
			PieceLength: rapid.Int64Range(1, 1<<24).Draw(t, "piece"), Share: rapid.Uint32Range(0, PPM).Draw(t, "share"),
			Budget: amount.Amount(rapid.Int64Range(0, int64(amount.Supply)).Draw(t, "budget")),
		}
		got := Price(c, balance, tor)
		x := new(big.Int).SetInt64(int64(balance))
		for _, f := range []uint32{c.SpendRate, tor.Share, PPM - c.KeepBack} {
			x.Mul(x, big.NewInt(int64(f)))
		}
		x.Div(x, big.NewInt(PPM*PPM*PPM))
		b := big.NewInt(int64(tor.Budget))
		b.Mul(b, big.NewInt(int64(PPM-c.KeepBack))).Div(b, big.NewInt(PPM))
		if x.Cmp(b) > 0 {
			x = b
		}
		spend := amount.Amount(x.Int64())
		x.Lsh(x, 30).Div(x, big.NewInt(max(tor.Left, tor.PieceLength, tor.Size/100)))
		if m := big.NewInt(int64(amount.MaxPrice)); x.Cmp(m) > 0 {
			x = m
		}
		if int64(got) != x.Int64() {
			t.Fatalf("got %d, want %v", got, x)
		}
		if owed, err := got.Owed(tor.Left); err != nil || owed > spend {
			t.Fatalf("the rest costs %v (%v), spendable %v", owed, err, spend)
		}
	})
}

func TestShares(t *testing.T) {
	for _, tt := range []struct{ in, want []uint32 }{
		{[]uint32{1_000_000, 1_000_000}, []uint32{500_000, 500_000}},
		{[]uint32{300_000, 200_000}, []uint32{300_000, 200_000}},
		{[]uint32{1_000_000, 1_000_000, 1_000_000}, []uint32{333_333, 333_333, 333_333}},
		{[]uint32{4_000_000_000, 4_000_000_000}, []uint32{500_000, 500_000}},
		{nil, nil},
	} {
		got := slices.Clone(tt.in)
		Shares(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.in, got, tt.want)
		}
	}
}

// strand plays one of several equal wallets that tie with each other: the
// clearing price is its own bid. Each hundredth piece and the last one are
// bought twice (damaged by a stranger, end-game duplicate), and each 16 pieces
// cost a channel fee. It returns the bytes it could not pay for.
func strand(bid func(balance amount.Amount, left int64) amount.Price) int64 {
	const fee = amount.Amount(10_000)
	balance := 100 * amount.BTT
	for left, n := int64(strandSize), 1; left > 0; n++ {
		price := bid(balance, left)
		cost, err := price.Owed(strandPiece)
		if n%16 == 0 {
			cost += fee
		}
		if price == 0 || err != nil || cost > balance {
			return left
		}
		balance -= cost
		if n%100 != 0 && n != strandSize/strandPiece+7 {
			left -= strandPiece
		}
	}
	return 0
}

const strandPiece, strandSize = 1 << 20, 700 << 20

// TestStrandingTrap is the trap of the paper's own defaults: spending rate 1
// and equal wallets leave bytes nobody can pay for. The guards cure it.
func TestStrandingTrap(t *testing.T) {
	bare := func(balance amount.Amount, left int64) amount.Price {
		return Price(Config{SpendRate: PPM}, balance, Torrent{Left: left, Share: PPM, Budget: NoBudget})
	}
	if left := strand(bare); left == 0 {
		t.Error("the bare formula did not strand: the scenario tests nothing")
	}
	guarded := func(balance amount.Amount, left int64) amount.Price {
		return Price(Default(), balance, Torrent{Left: left, Size: strandSize, PieceLength: strandPiece, Share: PPM, Budget: NoBudget})
	}
	if left := strand(guarded); left != 0 {
		t.Errorf("guarded wallet stranded with %d bytes left", left)
	}
}

func TestBidder(t *testing.T) {
	t0 := time.Unix(1000, 0)
	type step struct {
		at    time.Duration
		want  amount.Price
		force bool
		sent  bool
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"first bid at once, zero never", []step{{0, 0, false, false}, {time.Second, 100, false, true}}},
		{"10 % is not enough, 11 % is", []step{{0, 100, false, true}, {time.Hour, 110, false, false}, {time.Hour, 90, false, false}, {time.Hour, 111, false, true}}},
		{"compared with the last bid sent, not computed", []step{{0, 100, false, true}, {time.Hour, 108, false, false}, {2 * time.Hour, 115, false, true}}},
		{"once a minute", []step{{0, 100, false, true}, {59 * time.Second, 500, false, false}, {time.Minute, 500, false, true}}},
		{"user change waits for the minute", []step{{0, 100, false, true}, {time.Second, 101, true, false}, {time.Minute, 101, false, true}, {3 * time.Minute, 102, true, true}}},
		{"user change taken back", []step{{0, 100, false, true}, {time.Second, 101, true, false}, {2 * time.Second, 100, false, false}, {time.Hour, 101, false, false}}},
		{"withdraw and return", []step{{0, 100, false, true}, {time.Hour, 0, false, true}, {2 * time.Hour, 0, false, false}, {3 * time.Hour, 1, false, true}}},
		{"user withdraws at once, and bids anew after two minutes", []step{{0, 100, false, true}, {time.Second, 0, true, true}, {2 * time.Second, 100, true, false}, {120 * time.Second, 100, true, false}, {121 * time.Second, 100, true, true}}},
		{"a withdrawal of its own waits", []step{{0, 100, false, true}, {time.Second, 0, false, false}, {time.Minute, 0, false, true}}},
		{"a withdrawal just after two bids waits", []step{{0, 100, false, true}, {time.Minute, 200, false, true}, {61 * time.Second, 0, true, false}, {2 * time.Minute, 0, false, true}}},
		{"a withdrawal after two bids", []step{{0, 100, false, true}, {2 * time.Minute, 200, false, true}, {121 * time.Second, 0, true, true}}},
		{"small bids", []step{{0, 1, false, true}, {time.Hour, 2, false, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b Bidder
			for i, s := range tt.steps {
				if s.force {
					b.Force()
				}
				now := t0.Add(s.at)
				due := b.Next(s.want)
				got := b.Step(now, s.want)
				if got != s.sent {
					t.Fatalf("step %d: sent %v, want %v", i, got, s.sent)
				}
				if want := !due.IsZero() && !now.Before(due); got != want {
					t.Fatalf("step %d: sent %v, but Next said %v", i, got, due)
				}
				if got && b.Sent() != s.want {
					t.Fatalf("step %d: Sent %d", i, b.Sent())
				}
			}
		})
	}
}

// TestBidderRate: whatever is wanted, no bid follows anything within a minute but a
// withdrawal, and never are there more messages than two at once and one a minute.
func TestBidderRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Bidder
		now, last := time.Unix(0, 0), time.Time{}
		tokens, at := 2*time.Minute, now // of who receives them
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "s")) * time.Second)
			if rapid.Bool().Draw(t, "force") {
				b.Force()
			}
			want := amount.Price(max(0, rapid.Int64Range(-200, 300).Draw(t, "want")))
			if b.Step(now, want) {
				if !last.IsZero() && now.Sub(last) < MinInterval && want > 0 {
					t.Fatalf("two bids in %v", now.Sub(last))
				}
				last = now
				tokens, at = min(2*time.Minute, tokens+now.Sub(at))-time.Minute, now
				if tokens < 0 {
					t.Fatal("more than two at once and one a minute")
				}
			}
		}
	})
}

func BenchmarkPrice(b *testing.B) {
	c, tor := Default(), Torrent{Left: 3e8, Size: 7e8, PieceLength: 1 << 20, Share: PPM, Budget: NoBudget}
	b.ReportAllocs()
	for b.Loop() {
		Price(c, 12345*amount.BTT, tor)
	}
}
