package main

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/internal/terminal"
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

// given says whether a flag was on the command line.
func (t *transfer) given(name string) bool { return t.set != nil && t.set.Changed(name) }

// meant says whether a flag was given and asks for something: --leave=false does not.
func meant(f *pflag.FlagSet, name string) bool {
	flag := f.Lookup(name)
	return flag != nil && flag.Changed && !(flag.Value.Type() == "bool" && flag.Value.String() == "false")
}

// apart are flags of which one makes the other mean nothing.
var apart = []struct{ flag, other, why string }{
	{"leave", "seed-after", "one ends when it is complete, the other goes on"},
	{"earn-only", "spend-rate", "nothing is bid"},
	{"earn-only", "bids", "nothing is bid"},
	{"earn-only", "price-cap", "nothing is bid"},
	{"earn-only", "budget", "nothing is spent"},
	{"paid-only", "free-share", "nobody is served for nothing"},
}

// traders are the flags that mean nothing with --speed=false. Without that word they
// wait for the choice of "btt speed".
var traders = []string{"reserve", "reserve-growth", "reserve-cap", "free-share", "strategy", "no-tracker-bids", "spend-rate", "bids",
	"price-cap", "budget", "quantum", "credit", "earn-only"}

// waiters are the flags that wait for Speed, besides those of traders.
var waiters = []string{"when-paid", "paid-only", "join-paid", "reserve-for", "reserve-growth-for", "ledger"}

// mayTrade says whether the command takes part in Speed, now or when "btt speed" says so.
func (t *transfer) mayTrade() bool {
	return t.speed || t.chosen != nil && !t.given("speed")
}

// alone refuses what would never come into force: nobody pays without Speed.
func (t *transfer) alone() error {
	switch {
	case t.mayTrade():
	case t.whenPaid:
		return usage("--when-paid needs --speed: nobody pays without it")
	case t.paidOnly:
		return usage("--paid-only needs --speed: nobody pays without it")
	}
	return nil
}

// waiting are the flags given that mean nothing as long as the command is a plain client.
func (t *transfer) waiting() (list []string) {
	if t.set == nil || !t.mayTrade() {
		return nil
	}
	for _, name := range slices.Concat(waiters, traders) {
		if meant(t.set, name) {
			list = append(list, "--"+name)
		}
	}
	return list
}

// waitText says which flags wait; "" = none does.
func waitText(list []string) string {
	switch n := len(list); n {
	case 0:
		return ""
	case 1:
		return list[0] + " waits for it"
	default:
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1] + " wait for it"
	}
}

// tellWaiting says what the flags wait for that mean nothing yet.
func (t *transfer) tellWaiting(r *terminal.Reporter) {
	if list := t.waiting(); len(list) > 0 {
		r.Warn("speed", "BitTorrent Speed is off: "+waitText(list)+"; until \"btt speed on\" or \"btt speed earn\" this command is a plain client",
			terminal.Fields{"phase": consent.Off, "waiting": list})
	}
}

// contradicts refuses flags that were given and could only be ignored.
func (t *transfer) contradicts() error {
	if t.set == nil {
		return nil
	}
	for _, x := range apart {
		if meant(t.set, x.flag) && meant(t.set, x.other) {
			return usage("--%s does not go with --%s: %s", x.other, x.flag, x.why)
		}
	}
	if t.given("speed") && !t.speed {
		for _, name := range traders {
			if meant(t.set, name) {
				return usage("--%s does not go with --speed=false: nothing is bid, paid or sold", name)
			}
		}
	}
	for _, name := range []string{"watch-every", "stay"} {
		if t.given(name) && !t.whenPaid && !t.given("join-paid") {
			return usage("--%s needs --when-paid%s", name, map[bool]string{true: " or --join-paid"}[t.set.Lookup("join-paid") != nil])
		}
	}
	return nil
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
