package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/internal/joiner"
	"github.com/bttnet/btt/internal/terminal"
)

// joinFlags say which torrents that the user never chose are joined for pay.
type joinFlags struct {
	trackers   []string
	max        string
	price      string
	spend      string
	dir        string
	torrents   int
	registered *pflag.FlagSet
}

func (j *joinFlags) register(f *pflag.FlagSet) {
	j.registered = f
	for _, name := range []string{"watch-every", "stay"} { // of this command they are about both
		flag := f.Lookup(name)
		flag.Usage = strings.Replace(flag.Usage, "with --when-paid:", "with --when-paid or --join-paid:", 1)
	}
	f.StringArrayVar(&j.trackers, "join-paid", nil, "with --speed: also join torrents that you never chose, when this tracker (a URL) tells that peers bid for them; fetch them and seed them while they pay (may be repeated; needs --join-max and --join-price)")
	f.StringVar(&j.max, "join-max", "", "with --join-paid: most bytes that joined torrents may hold on disk together, such as 10GiB")
	f.StringVar(&j.price, "join-price", "", "with --join-paid: least bid that is worth it, and the reserve price of joined torrents, such as \"1 BTT/GiB\"")
	f.StringVar(&j.spend, "join-spend", "0", "with --join-paid: most BTT that may be laid out for getting them and not earned back yet; 0 fetches only what is free")
	f.IntVar(&j.torrents, "join-torrents", joiner.DefaultTorrents, "with --join-paid: how many torrents at most")
	f.StringVar(&j.dir, "join-dir", "", "with --join-paid: their folder; what is left there of torrents that were joined before is removed (default \"joined\" in the home folder)")
}

// on says whether torrents are joined.
func (j *joinFlags) on() bool { return len(j.trackers) > 0 }

// config reads the flags; nil = nothing is joined.
func (j *joinFlags) config(g *global, t *transfer) (*btt.Join, error) {
	if !j.on() {
		for _, name := range []string{"join-max", "join-price", "join-spend", "join-torrents", "join-dir"} {
			if j.registered != nil && j.registered.Changed(name) {
				return nil, usage("--%s needs --join-paid with the URL of a tracker", name)
			}
		}
		return nil, nil
	}
	switch {
	case !t.mayTrade():
		return nil, usage("--join-paid needs --speed: nobody pays without it")
	case t.noBids || t.watch <= 0 || t.stay <= 0:
		return nil, usage("--join-paid asks trackers for bids: it goes without --no-tracker-bids, and with times above 0")
	case j.max == "" || j.price == "":
		return nil, usage("--join-paid fetches what you did not choose: say how much with --join-max, such as 10GiB, and from what bid on with --join-price, such as \"1 BTT/GiB\"")
	case j.torrents < 1 || j.torrents > joiner.MaxTorrents:
		return nil, usage("--join-torrents %d is not 1 to %d", j.torrents, joiner.MaxTorrents)
	}
	c := &btt.Join{Trackers: j.trackers, Dir: j.dir, MaxTorrents: j.torrents, Every: t.watch, Stay: t.stay}
	var err error
	if c.MaxBytes, err = rate("--join-max", j.max); err != nil {
		return nil, err
	}
	if c.MinPrice, err = price("--join-price", j.price); err != nil {
		return nil, err
	}
	if c.MaxSpend, err = amount.Parse(j.spend); err != nil {
		return nil, usage("--join-spend: %v", err)
	}
	if c.Dir == "" {
		home, err := g.dir()
		if err != nil {
			return nil, err
		}
		c.Dir = filepath.Join(home, "joined")
	}
	if home, err := g.dir(); err == nil {
		c.Bars = barred(home)
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, fmt.Errorf("find --join-dir: %w", err)
	}
	if err := c.Check(); err != nil {
		return nil, usage("--join-paid: %v", err)
	}
	return c, nil
}

// barred says which torrents stay out of Speed by "btt speed plain"; while the choice
// cannot be read all do.
func barred(home string) func(hash [20]byte) bool {
	return func(hash [20]byte) bool {
		c, err := consent.Load(home)
		return err != nil || c.IsPlain(hash)
	}
}

// joins tells which torrents were joined, and left.
type joins struct {
	dir string // "" = none ever
	now map[*btt.Torrent]string
}

// has says whether a torrent is a joined one.
func (j *joins) has(t *btt.Torrent) bool {
	return j.dir != "" && t != nil && strings.HasPrefix(t.Dir(), j.dir+string(filepath.Separator))
}

// tell shows what changed since it was called last.
func (j *joins) tell(r *terminal.Reporter, list []*btt.Torrent) {
	if j.dir == "" {
		return
	}
	there := map[*btt.Torrent]bool{}
	for _, t := range list {
		if !j.has(t) {
			continue
		}
		there[t] = true
		st := t.Status()
		name := printable(st.Name)
		if name == "" {
			name = t.String()
		}
		if _, known := j.now[t]; !known {
			r.Event("joined", "a tracker tells of bids: joined "+name, terminal.Fields{"infohash": t.String()})
		}
		j.now[t] = fmt.Sprintf("%s (paid %v, earned %v)", name, st.Paid, st.Earned)
	}
	for t, what := range j.now {
		if !there[t] {
			delete(j.now, t)
			r.Event("left", "it does not pay: left "+what, terminal.Fields{"infohash": t.String()})
		}
	}
}
