package main

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/metainfo"
)

// choice are the flags about what is fetched of a torrent, and in which order.
type choice struct {
	files      []string
	sequential bool
}

func (c *choice) register(f *pflag.FlagSet) {
	f.StringArrayVar(&c.files, "files", nil, "fetch these files only: numbers as \"btt show\" tells them, such as 1,3-5, or patterns such as '*.mkv' (may be repeated)")
	f.BoolVar(&c.sequential, "sequential", false, "fetch the pieces in their order, to look at the beginning early")
}

// selector is one item of --files.
type selector struct {
	text        string
	first, last int    // from 1; 0 = a pattern
	pattern     string // in lower case
}

// selectors reads --files.
func (c *choice) selectors() ([]selector, error) {
	var list []selector
	for _, item := range strings.Split(strings.Join(c.files, ","), ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		p := selector{text: item}
		a, b, two := strings.Cut(item, "-")
		first, err := strconv.Atoi(a)
		last := first
		if two && err == nil {
			last, err = strconv.Atoi(b)
		}
		switch {
		case err == nil && (first < 1 || last < first):
			return nil, usage("--files %s: files are counted from 1, and a range goes up", item)
		case err == nil:
			p.first, p.last = first, last
		default:
			if _, err := path.Match(item, ""); err != nil {
				return nil, usage("--files %s: not a pattern: %v", item, err)
			}
			p.pattern = strings.ToLower(item)
		}
		list = append(list, p)
	}
	if len(list) == 0 && len(c.files) > 0 {
		return nil, usage("--files names no file")
	}
	return list, nil
}

// chooser returns the priorities of a torrent's files by --files; nil = all.
func (c *choice) chooser() (func(*metainfo.Info) ([]uint8, error), error) {
	list, err := c.selectors()
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return func(in *metainfo.Info) ([]uint8, error) {
		shown := countedFiles(in)
		wanted := map[int]bool{}
		for _, p := range list {
			found := false
			for n, f := range shown {
				if p.first > 0 && p.first <= n+1 && n+1 <= p.last || p.pattern != "" && p.matches(f.name) {
					found, wanted[f.index] = true, true
				}
			}
			if !found || p.last > len(shown) {
				return nil, usage("--files %s: the torrent has %d files, and none of that number or name (see: btt show)", p.text, len(shown))
			}
		}
		return btt.Select(in, func(i int) bool { return wanted[i] }), nil
	}, nil
}

// matches says whether a pattern means a file: by its whole path, its name, or
// a folder it lies in.
func (p *selector) matches(name string) bool {
	name = strings.ToLower(name)
	for rest := name; ; {
		if ok, _ := path.Match(p.pattern, rest); ok { // checked by selectors
			return true
		}
		if strings.TrimSuffix(p.pattern, "/") == rest {
			return true
		}
		if ok, _ := path.Match(p.pattern, path.Base(rest)); ok {
			return true
		}
		if rest = path.Dir(rest); rest == "." || rest == "/" {
			return false
		}
	}
}

// countedFile is a file as people count it.
type countedFile struct {
	index  int // in the torrent, pad files included
	name   string
	length int64
}

// countedFiles are the files of a torrent without pad files.
func countedFiles(in *metainfo.Info) []countedFile {
	var list []countedFile
	for i, f := range in.Files {
		if !f.Pad {
			list = append(list, countedFile{i, strings.Join(f.Path, "/"), f.Length})
		}
	}
	return list
}

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
	switch t.bidsBy {
	case "", "paper":
	case "market":
		c.BidMarket = true
	default:
		return usage("--bids %q is neither paper nor market", t.bidsBy)
	}
	if c.PriceCap, err = price("--price-cap", t.priceCap); err != nil {
		return err
	}
	if t.budget != "" {
		if c.TorrentBudget, err = amount.Parse(t.budget); err != nil {
			return usage("--budget: %v", err)
		}
	}
	if t.priceCap != "" && c.PriceCap == 0 || t.budget != "" && c.TorrentBudget == 0 { // 0 is no limit to the node
		return usage("--price-cap and --budget are above 0: --earn-only, or \"btt speed earn\", spends nothing")
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
