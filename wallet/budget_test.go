package wallet

import (
	"encoding/json"
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
)

func TestBudget(t *testing.T) {
	b := Budget{PerDay: 100, PerTorrent: 50, PerChannel: 20, KeepBack: 100}
	for _, tc := range []struct {
		name string
		b    Budget
		s    Spending
		left amount.Amount
		why  Limit
	}{
		{"fresh", b, Spending{Free: 1000}, 20, LimitChannel},
		{"channel filled", b, Spending{Free: 1000, Channel: 20}, 0, LimitChannel},
		{"torrent", b, Spending{Free: 1000, Torrent: 45}, 5, LimitTorrent},
		{"day", b, Spending{Free: 1000, Day: 97}, 3, LimitDay},
		{"overdrawn day", b, Spending{Free: 1000, Day: 300}, 0, LimitDay},
		{"keep-back rounds up", b, Spending{Free: 11}, 9, LimitKeepBack},
		{"keep-back counts locked", b, Spending{Free: 15, Locked: 95}, 4, LimitKeepBack},
		{"empty", b, Spending{}, 0, LimitBalance},
		{"zero allows nothing", Budget{}, Spending{Free: 9}, 0, LimitDay},
		{"unlimited", Budget{Unlimited, Unlimited, Unlimited, 0}, Spending{Free: amount.Supply}, amount.Supply, LimitBalance},
		{"keep all", Budget{Unlimited, Unlimited, Unlimited, WholeShare}, Spending{Free: amount.Supply}, 0, LimitKeepBack},
	} {
		left, why, err := tc.b.Left(tc.s)
		if err != nil || left != tc.left || why != tc.why {
			t.Errorf("%s: %v by %q (%v), want %v by %q", tc.name, left, why, err, tc.left, tc.why)
		}
		if err := tc.b.Allow(tc.left, tc.s); err != nil {
			t.Errorf("%s: %v refused: %v", tc.name, tc.left, err)
		}
		var limit *LimitError
		if err := tc.b.Allow(tc.left+1, tc.s); !errors.As(err, &limit) || limit.Limit != tc.why || limit.Left != tc.left {
			t.Errorf("%s: one more than allowed: %v", tc.name, err)
		}
	}
}

func TestBudgetRefusesNonsense(t *testing.T) {
	for _, b := range []Budget{{PerDay: -1}, {PerTorrent: Unlimited + 1}, {PerChannel: -5}, {KeepBack: -1}, {KeepBack: 1001}} {
		if b.Check() == nil {
			t.Errorf("%+v accepted", b)
		}
		if b.Allow(0, Spending{}) == nil {
			t.Errorf("%+v allowed a payment", b)
		}
	}
	ok := DefaultBudget()
	if err := ok.Check(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Spending{{Free: -1}, {Day: -1}, {Torrent: amount.Supply + 1}, {Free: amount.Supply, Locked: 1}} {
		if err := ok.Allow(0, s); !errors.Is(err, ErrSpending) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if err := ok.Allow(-1, Spending{Free: 5}); !errors.Is(err, ErrSpending) {
		t.Errorf("negative payment: %v", err)
	}
}

func TestKeptAgainstBigIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.Int64Range(0, int64(amount.Supply)).Draw(t, "whole")
		share := rapid.IntRange(0, WholeShare).Draw(t, "share")
		got := Budget{KeepBack: share}.kept(amount.Amount(whole))
		p := new(big.Int).Mul(big.NewInt(whole), big.NewInt(int64(share)))
		q, r := new(big.Int).QuoRem(p, big.NewInt(WholeShare), new(big.Int))
		if r.Sign() > 0 {
			q.Add(q, big.NewInt(1))
		}
		if q.Int64() != int64(got) {
			t.Fatalf("kept %d of %d at %d, want %v", got, whole, share, q)
		}
	})
}

func TestParseBudget(t *testing.T) {
	b := Budget{PerDay: 1_500_000, PerTorrent: Unlimited, PerChannel: 1, KeepBack: 7}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"per_day":"1.5","per_torrent":"990000000000","per_channel":"0.000001","keep_back":7}`; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	if got, err := ParseBudget(text); err != nil || got != b {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "{}", "null", `{"per_day":"1","per_torrent":"1","per_channel":"1"}`,
		`{"per_day":1,"per_torrent":"1","per_channel":"1","keep_back":0}`,
		`{"per_day":null,"per_torrent":"1","per_channel":"1","keep_back":0}`,
		`{"per_day":"1","per_torrent":"1","per_channel":"1","keep_back":1001}`,
		`{"per_day":"1","per_torrent":"1","per_channel":"1","keep_back":1.5}`,
		`{"per_day":"1","per_torrent":"1","per_channel":"1","keep_back":0,"more":1}`,
	} {
		if _, err := ParseBudget([]byte(bad)); !errors.Is(err, ErrBudget) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if up := b; !b.Raises(Budget{PerDay: b.PerDay + 1, PerTorrent: up.PerTorrent, PerChannel: 1, KeepBack: 7}) ||
		!b.Raises(Budget{KeepBack: 6}) || b.Raises(Budget{KeepBack: 8}) {
		t.Error("what raises a limit")
	}
}

func FuzzParseBudget(f *testing.F) {
	f.Add([]byte(`{"per_day":"1","per_torrent":"1","per_channel":"1","keep_back":0}`))
	f.Add([]byte(`{"per_day":1e3}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ParseBudget(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := ParseBudget(again); err != nil || c != b {
			t.Fatalf("%s became %s (%v)", text, again, err)
		}
	})
}
