package main

import (
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/speed/auction"
)

func TestReserveFlags(t *testing.T) {
	const one = amount.Price(amount.BTT)
	for _, tt := range []struct {
		name                 string
		reserve, growth, cap string
		want                 btt.SpeedConfig
		err                  string
	}{
		{name: "nothing"},
		{name: "fixed", reserve: "2 BTT/GiB", want: btt.SpeedConfig{Reserve: 2 * one}},
		{name: "none", reserve: "0 BTT/GiB", want: btt.SpeedConfig{NoReserve: true}},
		{name: "a day", growth: "1 BTT/GiB/day", want: btt.SpeedConfig{ReserveGrowth: one}},
		{name: "a day is meant", growth: "1 BTT/GiB", cap: "10 BTT/GiB", want: btt.SpeedConfig{ReserveGrowth: one, ReserveCap: 10 * one}},
		{name: "an hour", growth: "0.5 BTT/GiB/hour", want: btt.SpeedConfig{ReserveGrowth: 12 * one}},
		{name: "a minute", growth: "1 BTT/MiB/minute", want: btt.SpeedConfig{ReserveGrowth: 1024 * 1440 * one}},
		{name: "both", reserve: "1 BTT/GiB", growth: "1 BTT/GiB/day", err: "--reserve-growth"},
		{name: "a cap of a fixed price", reserve: "1 BTT/GiB", cap: "2 BTT/GiB", err: "--reserve-cap needs"},
		{name: "another time", growth: "1 BTT/GiB/week", err: "--reserve-growth"},
		{name: "no price", growth: "much", err: "--reserve-growth"},
		{name: "no growth", growth: "0", err: "--reserve 0"},
		{name: "no cap", growth: "1 BTT/GiB/day", cap: "much", err: "--reserve-cap"},
		{name: "no fixed price", reserve: "much", err: "--reserve"},
		{name: "too fast", growth: "900000000000 BTT/GiB/minute", err: "faster"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got btt.SpeedConfig
			f := transfer{reserve: tt.reserve, growth: tt.growth, resCap: tt.cap}
			err := f.reserves(&got)
			switch {
			case tt.err == "" && (err != nil || got != tt.want):
				t.Errorf("got %+v, %v", got, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got error %v", err)
			}
		})
	}
}

// TestSellerFlags: the strategy of the auction and who is served for nothing
// reach the node's configuration (R10.10, A18, A21).
func TestSellerFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    transfer
		want auction.Strategy
		err  string
	}{
		{name: "default", f: transfer{}, want: auction.Paper{}},
		{name: "paper", f: transfer{strategy: "paper"}, want: auction.Paper{}},
		{name: "weighted", f: transfer{strategy: "weighted"}, want: auction.Weighted{}},
		{name: "unknown", f: transfer{strategy: "luck"}, err: "neither paper nor weighted"},
		{name: "paid only, but nobody can pay", f: transfer{paidOnly: true}, err: "--paid-only needs --speed"},
		{name: "rests, but nobody can pay", f: transfer{whenPaid: true}, err: "--when-paid needs --speed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.slots, tt.f.choke, tt.f.stateless, tt.f.encrypt, tt.f.maxPeers, tt.f.maxOne = 8, time.Second, true, "off", 10, 10
			cfg, err := tt.f.config(t.Context(), &global{home: t.TempDir()})
			switch {
			case tt.err == "" && (err != nil || cfg.Choker.Strategy != tt.want || cfg.Choker.PaidOnly):
				t.Errorf("got %+v, %v", cfg.Choker, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got error %v", err)
			}
		})
	}
	var c btt.SpeedConfig
	for _, f := range []transfer{{whenPaid: true}, {whenPaid: true, watch: time.Second}, {whenPaid: true, stay: time.Second}} {
		if err := f.reserves(&c); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
	f := transfer{whenPaid: true, watch: time.Minute, stay: time.Hour}
	if err := f.reserves(&c); err != nil || *c.Demand != (btt.Demand{Every: time.Minute, Stay: time.Hour}) {
		t.Errorf("got %+v, %v", c.Demand, err)
	}
}

// TestSeedOrder: how a seed ranks free peers reaches the choker (R10.4).
func TestSeedOrder(t *testing.T) {
	for order, want := range map[string]choker.SeedPolicy{"": choker.RoundRobin, "turn": choker.RoundRobin, "fastest": choker.FastestUpload} {
		f := transfer{slots: 8, choke: time.Second, stateless: true, encrypt: "off", maxPeers: 10, maxOne: 10, seedOrder: order}
		cfg, err := f.config(t.Context(), &global{home: t.TempDir()})
		if err != nil || cfg.Choker.Seed != want {
			t.Errorf("--seed-order %q gives %v, %v", order, cfg.Choker.Seed, err)
		}
	}
	f := transfer{slots: 8, choke: time.Second, stateless: true, encrypt: "off", maxPeers: 10, maxOne: 10, seedOrder: "luck"}
	if _, err := f.config(t.Context(), &global{home: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "neither turn nor fastest") {
		t.Errorf("got error %v", err)
	}
}

// TestBidFlags: the flags of R9.3 and R9.5 reach the node's configuration.
func TestBidFlags(t *testing.T) {
	const one = amount.Price(amount.BTT)
	for _, tt := range []struct {
		name string
		f    transfer
		want btt.SpeedConfig
		err  string
	}{
		{name: "nothing"},
		{name: "all of it", f: transfer{spendRate: "1.0"}, want: btt.SpeedConfig{SpendRate: 1_000_000}},
		{name: "a half", f: transfer{spendRate: "0.5"}, want: btt.SpeedConfig{SpendRate: 500_000}},
		{name: "a millionth", f: transfer{spendRate: "0.000001"}, want: btt.SpeedConfig{SpendRate: 1}},
		{name: "no bids", f: transfer{spendRate: "0"}, want: btt.SpeedConfig{EarnOnly: true}},
		{name: "more than all", f: transfer{spendRate: "1.1"}, err: "--spend-rate"},
		{name: "less than none", f: transfer{spendRate: "-0.1"}, err: "--spend-rate"},
		{name: "too fine", f: transfer{spendRate: "0.0000001"}, err: "--spend-rate"},
		{name: "no number", f: transfer{spendRate: "half"}, err: "--spend-rate"},
		{name: "by the market", f: transfer{bidsBy: "market"}, want: btt.SpeedConfig{BidMarket: true}},
		{name: "by luck", f: transfer{bidsBy: "luck"}, err: "--bids"},
		{name: "guards", f: transfer{priceCap: "50 BTT/GiB", budget: "5 BTT", credit: "4MiB"},
			want: btt.SpeedConfig{PriceCap: 50 * one, TorrentBudget: 5 * amount.BTT, Credit: 4 << 20}},
		{name: "no price", f: transfer{priceCap: "much"}, err: "--price-cap"},
		{name: "a cap of 0, which is none", f: transfer{priceCap: "0"}, err: "--earn-only"},
		{name: "a cap of 0 with its unit", f: transfer{priceCap: "0 BTT/GiB"}, err: "--earn-only"},
		{name: "a budget of 0, which is none", f: transfer{budget: "0 BTT"}, err: "--earn-only"},
		{name: "no sum", f: transfer{budget: "much"}, err: "--budget"},
		{name: "no size", f: transfer{credit: "much"}, err: "--credit"},
		{name: "parts of pieces", f: transfer{quantum: "64KiB"}, want: btt.SpeedConfig{Quantum: 64 << 10}},
		{name: "whole pieces", f: transfer{quantum: "piece"}, want: btt.SpeedConfig{Quantum: -1}},
		{name: "no power of two", f: transfer{quantum: "100KiB"}, err: "--quantum"},
		{name: "less than a block", f: transfer{quantum: "8KiB"}, err: "--quantum"},
		{name: "no quantum", f: transfer{quantum: "much"}, err: "--quantum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got btt.SpeedConfig
			err := tt.f.bids(&got)
			switch {
			case tt.err == "" && (err != nil || got != tt.want):
				t.Errorf("got %+v, %v", got, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got error %v", err)
			}
		})
	}
}

// TestTermsWithoutSpeed: what is wrong of what would be bid and sold is told, though
// without --speed nothing is; what is right does no harm.
func TestTermsWithoutSpeed(t *testing.T) {
	config := func(f transfer) (btt.Config, error) {
		f.slots, f.choke, f.stateless, f.encrypt, f.maxPeers, f.maxOne = 8, time.Second, true, "off", 10, 10
		return f.config(t.Context(), &global{home: t.TempDir()})
	}
	for want, f := range map[string]transfer{
		"--price-cap":  {priceCap: "foo"},
		"--spend-rate": {spendRate: "2"},
		"--budget":     {budget: "-1"},
		"--reserve":    {reserve: "-2"},
		"--quantum":    {quantum: "3KiB"},
		"--credit":     {credit: "-1"},
	} {
		if _, err := config(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if cfg, err := config(transfer{priceCap: "5 BTT/GiB", budget: "1", reserve: "2 BTT/GiB", quantum: "64KiB"}); err != nil || cfg.Speed != nil {
		t.Errorf("%+v, %v", cfg.Speed, err)
	}
}
