package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
)

// bids sets how the node bids and what it lends (R9.3, R9.5).
func (t *transfer) bids(c *btt.SpeedConfig) (err error) {
	if t.spendRate != "" {
		ppm, err := fraction(t.spendRate)
		if err != nil {
			return usage("--spend-rate: %v", err)
		}
		c.SpendRate = ppm
		c.EarnOnly = c.EarnOnly || ppm == 0
	}
	if c.PriceCap, err = price("--price-cap", t.priceCap); err != nil {
		return err
	}
	if t.budget != "" {
		if c.TorrentBudget, err = amount.Parse(t.budget); err != nil {
			return usage("--budget: %v", err)
		}
	}
	if t.quantum == "piece" {
		c.Quantum = -1
	} else if c.Quantum, err = rate("--quantum", t.quantum); err != nil {
		return err
	} else if !btt.CheckQuantum(c.Quantum) {
		return usage("--quantum: %.20q is neither piece nor a size of 16KiB, 32KiB, 64KiB and so on", t.quantum)
	}
	if c.Credit, err = rate("--credit", t.credit); err != nil {
		return err
	}
	return nil
}

// fraction reads a number from 0 to 1 in parts per million.
func fraction(s string) (uint32, error) {
	whole, rest, _ := strings.Cut(s, ".")
	if whole == "" || len(rest) > 6 {
		return 0, fmt.Errorf("%.20q is not a number from 0 to 1 with six decimal places at most", s)
	}
	n, err := strconv.ParseUint(whole+rest+strings.Repeat("0", 6-len(rest)), 10, 32)
	if err != nil || n > 1_000_000 {
		return 0, fmt.Errorf("%.20q is not a number from 0 to 1", s)
	}
	return uint32(n), nil
}
