package main

import (
	"strconv"
	"strings"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/speed/auction"
)

// chokerConfig says how the upload slots are given.
func (t *transfer) chokerConfig() (choker.Config, error) {
	switch {
	case t.slots == 0:
		return choker.Config{}, usage("--slots 0 would serve nobody: give a number, or -1 for no limit")
	case t.slots < -1:
		return choker.Config{}, usage("--slots %d: give a number above 0, or -1 for no limit", t.slots)
	case t.optim < 0:
		return choker.Config{}, usage("--optimistic %d: give 0 or more", t.optim)
	}
	cfg := choker.Default(t.slots)
	cfg.Optimistic, cfg.PaidOnly = t.optim, t.paidOnly
	var err error
	if cfg.Keep, err = freeShare(t.freeShare); err != nil {
		return cfg, err
	}
	switch t.strategy {
	case "", "paper":
	case "weighted":
		cfg.Strategy = auction.Weighted{}
	default:
		return cfg, usage("--strategy %q is neither paper nor weighted", t.strategy)
	}
	switch t.seedOrder {
	case "", "turn":
	case "fastest":
		cfg.Seed = choker.FastestUpload
	default:
		return cfg, usage("--seed-order %q is neither turn nor fastest", t.seedOrder)
	}
	if t.paidOnly && !t.speed {
		return cfg, usage("--paid-only needs --speed: nobody pays without it")
	}
	return cfg, nil
}

// freeShare reads --free-share.
func freeShare(text string) (choker.Keep, error) {
	if text == "" || text == "auto" {
		return choker.Keep{}, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !percent || n > 100 {
		return choker.Keep{}, usage("--free-share %q is neither auto nor a percentage from 0%% to 100%%", text)
	}
	return choker.Keep{Fixed: true, Part: uint32(n) * 10_000}, nil
}
