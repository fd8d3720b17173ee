package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed/auction"
)

// transfer are the flags that get and seed share.
type transfer struct {
	set       *pflag.FlagSet  // nil in tests: nothing was given
	chosen    *consent.Choice // what "btt speed" keeps; nil = nothing is followed
	byChoice  bool            // it, and no flag, asks for Speed
	listen    string
	up, down  string
	slots     int
	optim     int
	speed     bool
	ledger    string
	reserve   string
	growth    string
	resCap    string
	noBids    bool
	strategy  string
	seedOrder string
	freeShare string
	paidOnly  bool
	whenPaid  bool
	join      *btt.Join // set by seed; nil = nothing is joined
	watch     time.Duration
	stay      time.Duration
	spendRate string
	bidsBy    string
	priceCap  string
	budget    string
	credit    string
	quantum   string
	earnOnly  bool
	choke     time.Duration
	trackers  []string
	peers     []string
	stateless bool
	encrypt   string
	allocate  string // of get; "" = sparse
	filter    string
	dht       dhtFlags
	each      each
	maxPeers  int
	maxOne    int
}

func (t *transfer) register(f *pflag.FlagSet) {
	t.set = f
	f.StringVar(&t.listen, "listen", "", "HOST:PORT to accept peers on (default any free port; \"off\" = none, with which some trackers tell no peers)")
	f.StringVar(&t.up, "limit-up", "", "upload limit per second, such as 2MiB")
	f.StringVar(&t.down, "limit-down", "", "download limit per second, such as 10MiB")
	f.IntVar(&t.slots, "slots", btt.DefaultSlots, "upload slots; -1 = no limit")
	f.IntVar(&t.optim, "optimistic", btt.DefaultOptimistic, "how many of the slots are optimistic: never sold")
	f.StringVar(&t.seedOrder, "seed-order", "turn", "which free peers get a seed's slots: turn (each for a time), or fastest (those that take most)")
	f.StringVar(&t.freeShare, "free-share", "auto", "with --speed: what peers that do not bid keep of a seed's upload: auto (nearly what sharing evenly would give them), or a part such as 25% (0% = what the slots leave)")
	f.StringArrayVar(&t.trackers, "tracker", nil, "another tracker's announce URL (may be repeated)")
	f.StringArrayVar(&t.peers, "peer", nil, "HOST:PORT of a peer (may be repeated)")
	f.BoolVar(&t.speed, "speed", false, "take part in BitTorrent Speed: bid, pay and earn BTT; --speed=false: do not (default as chosen with \"btt speed\"; flags \"with --speed\" hold either way, and wait while it is off)")
	f.StringVar(&t.ledger, "ledger", "", "URL of the ledger, http://HOST:PORT or unix:/PATH (needed with --speed; default $"+ledgerEnv+", or that of \"btt speed\")")
	f.StringVar(&t.reserve, "reserve", "", "least price of a paid slot while seeding, such as \"2 BTT/GiB\"; 0 = none (default: it grows)")
	f.StringVar(&t.growth, "reserve-growth", "", fmt.Sprintf("let that price begin at 0 and grow while nobody else proves to have the torrent, such as \"1 BTT/GiB/day\" (default a tenth a day of the median price seen of late, up to that median; %s/day, up to %s, while none was seen)",
		btt.DefaultGrowth, btt.DefaultGrowthCap))
	f.StringVar(&t.resCap, "reserve-cap", "", "with --reserve-growth: the highest it gets, such as \"10 BTT/GiB\"")
	f.BoolVar(&t.whenPaid, "when-paid", false, "with --speed: once complete, seed only while somebody bids the reserve price; trackers are asked for bids")
	f.DurationVar(&t.watch, "watch-every", market.DefaultWatchEvery, "with --when-paid: time between two questions to the trackers")
	f.DurationVar(&t.stay, "stay", market.DefaultStay, "with --when-paid: how long to go on without a bid that pays")
	f.StringVar(&t.strategy, "strategy", "paper", "with --speed: who buys slots: paper (the highest bids), or weighted (bids and what a peer gives us)")
	f.BoolVar(&t.paidOnly, "paid-only", false, "with --speed: serve nobody for nothing while seeding")
	f.BoolVar(&t.noBids, "no-tracker-bids", false, "with --speed: tell trackers no bids and ask for none")
	f.StringVar(&t.spendRate, "spend-rate", "", "how much of the balance bids may go up to, from 0.0 (no bids) to 1.0 (the default)")
	f.StringVar(&t.bidsBy, "bids", "paper", "with --speed: how bids are found: paper (what the balance allows for the bytes left), or market (what a slot costs of late and a quarter, more for rare pieces and where a bid loses, never more than paper)")
	f.StringVar(&t.priceCap, "price-cap", "", "highest price ever bid, such as \"50 BTT/GiB\"")
	f.StringVar(&t.budget, "budget", "", "most spent on one torrent, such as \"5 BTT\"")
	f.StringVar(&t.quantum, "quantum", "", "part of a piece that is paid for itself in torrents of version 2: 16KiB, 32KiB, … or piece (default: sell by 1MiB, pay by 256KiB or more)")
	f.StringVar(&t.credit, "credit", "", "most bytes a payer may owe (default 16MiB): it begins with one piece (or part, see --quantum) and gains one for each 64 paid; with the size of a piece or less it stays at one")
	f.BoolVar(&t.earnOnly, "earn-only", false, "with --speed: earn, but never bid")
	f.DurationVar(&t.choke, "choke-interval", choker.Period, "time between two choke rounds")
	f.StringVar(&t.encrypt, "encryption", mse.Allowed.String(), "encrypted connections to peers (MSE): off, allowed or required")
	f.StringVar(&t.filter, "ip-filter", "", "file of addresses never to talk to: CIDR, ipfilter.dat or P2P text")
	t.dht.register(f)
	t.each.register(f)
	f.IntVar(&t.maxPeers, "max-peers", swarm.DefaultMaxConnections, "most connections to peers")
	f.IntVar(&t.maxOne, "max-peers-torrent", swarm.MaxPeers, "most connections to peers of one torrent")
	f.BoolVar(&t.stateless, "no-resume", false, "keep no resume data: check everything at the start")
}

// config turns the flags into a node's configuration.
func (t *transfer) config(ctx context.Context, g *global) (btt.Config, error) {
	cfg := btt.Config{Listen: t.listen, ChokeEvery: t.choke, Log: g.log()}
	err := checkListen("--listen", t.listen)
	if err != nil {
		return cfg, err
	}
	if t.choke <= 0 {
		return cfg, usage("--choke-interval is a time above 0, such as 15s")
	}
	if cfg.Choker, err = t.chokerConfig(); err != nil {
		return cfg, err
	}
	if cfg.Encryption, err = mse.ParsePolicy(t.encrypt); err != nil {
		return cfg, usage("--encryption: %v", err)
	}
	switch t.allocate {
	case "", "sparse":
	case "full":
		cfg.Preallocate = true
	default:
		return cfg, usage("--allocate %q: sparse or full", t.allocate)
	}
	for _, u := range t.trackers {
		if err := metainfo.CheckTrackerURL(u); err != nil {
			return cfg, usage("--tracker: %v", err)
		}
	}
	needed := !t.stateless || t.speed // else it may be, when Speed is chosen meanwhile
	if cfg.Home, err = g.dir(); err != nil && needed {
		return cfg, err
	}
	cfg.NoResume = t.stateless
	if err := t.limits(ctx, &cfg); err != nil {
		return cfg, err
	}
	if err := t.alone(); err != nil {
		return cfg, err
	}
	terms, err := t.terms() // what is wrong is told though nothing is traded
	if err != nil || !t.speed {
		return cfg, err
	}
	if t.ledger == "" {
		return cfg, usage("--speed needs --ledger: the URL of the ledger that holds the BTT (btt speed on keeps it)")
	}
	if terms.Ledger, err = dialLedger(ctx, t.ledger); err != nil {
		return cfg, err
	}
	t.lasting(terms)
	cfg.Speed = terms
	cfg.Speed.Password, err = walletPassword(cfg.Home, "")
	return cfg, err
}

// limits sets whom the node talks to, and how much it does at once.
func (t *transfer) limits(ctx context.Context, cfg *btt.Config) (err error) {
	if t.maxPeers < 1 || t.maxOne < 1 {
		return usage("--max-peers and --max-peers-torrent are 1 at least")
	}
	cfg.MaxPeers, cfg.MaxPeersTorrent = t.maxPeers, t.maxOne
	home := cfg.Home
	if t.stateless && !t.speed {
		home = ""
	}
	if cfg.DHT, err = t.dht.config(t.listen, home); err != nil {
		return err
	}
	if t.filter != "" {
		if cfg.IPFilter, err = loadFilter(ctx, t.filter); err != nil {
			return err
		}
	}
	if err := t.each.check(); err != nil {
		return err
	}
	cfg.MaxDownloads, cfg.MaxSeeds = t.each.downloads, t.each.seeds
	if cfg.UploadRate, err = rate("--limit-up", t.up); err != nil {
		return err
	}
	cfg.DownloadRate, err = rate("--limit-down", t.down)
	return err
}

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

// terms reads by what the node bids and sells.
func (t *transfer) terms() (*btt.SpeedConfig, error) {
	c := &btt.SpeedConfig{EarnOnly: t.earnOnly, NoTrackerBids: t.noBids}
	if err := t.reserves(c); err != nil {
		return nil, err
	}
	return c, t.bids(c)
}

// reserves sets the price of paid slots: fixed, or growing with a cap.
func (t *transfer) reserves(c *btt.SpeedConfig) (err error) {
	switch {
	case t.reserve != "" && t.growth != "":
		return usage("--reserve is a fixed price and --reserve-growth one that begins at 0: give one of them")
	case t.resCap != "" && t.growth == "":
		return usage("--reserve-cap needs --reserve-growth: a fixed price does not grow")
	}
	if c.Reserve, err = price("--reserve", t.reserve); err != nil {
		return err
	}
	if c.ReserveGrowth, err = growth("--reserve-growth", t.growth); err != nil {
		return err
	}
	if c.ReserveCap, err = price("--reserve-cap", t.resCap); err != nil {
		return err
	}
	c.NoReserve = t.reserve != "" && c.Reserve == 0
	if t.whenPaid {
		if c.NoTrackerBids || t.watch <= 0 || t.stay <= 0 {
			return usage("--when-paid asks trackers for bids: it goes without --no-tracker-bids, and with times above 0")
		}
		c.Demand = &btt.Demand{Every: t.watch, Stay: t.stay}
	}
	c.Join = t.join
	return nil
}

// growth reads a price with a time, such as "1 BTT/GiB/day", as one a day; a
// day is also meant where no time is given.
func growth(flag, s string) (amount.Price, error) {
	perDay, given := amount.Price(1), s != ""
	for suffix, n := range map[string]amount.Price{"/day": 1, "/hour": 24, "/minute": 24 * 60} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, perDay = rest, n
		}
	}
	p, err := price(flag, s)
	switch {
	case err == nil && p > amount.MaxPrice/perDay:
		return 0, usage("%s: grows faster than any price may be", flag)
	case err == nil && given && p == 0: // it would be the default
		return 0, usage("%s 0 does not grow: --reserve 0 asks for nothing", flag)
	}
	return p * perDay, err
}

func rate(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := terminal.ParseBytes(s)
	if err != nil {
		return 0, usage("%s: %v", flag, err)
	}
	return n, nil
}

func price(flag, s string) (amount.Price, error) {
	if s == "" || s == "0" { // nothing is nothing in any unit
		return 0, nil
	}
	p, err := amount.ParsePrice(s)
	if err != nil {
		return 0, usage("%s: %v", flag, err)
	}
	return p, nil
}

func (t *transfer) tiers() [][]string {
	var tiers [][]string
	for _, u := range t.trackers {
		tiers = append(tiers, []string{u})
	}
	return tiers
}

// source reads what is to be downloaded: a file, a magnet link or a URL.
func source(ctx context.Context, s string) (*metainfo.Torrent, *metainfo.Magnet, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	switch scheme = strings.ToLower(scheme); {
	case scheme == "magnet":
		m, err := metainfo.ParseMagnet("magnet:" + rest)
		return nil, m, err
	case (scheme == "http" || scheme == "https") && strings.HasPrefix(rest, "//"):
		t, err := fetchTorrent(ctx, scheme+":"+rest)
		return t, nil, err
	case strings.Contains(s, "://"):
		return nil, nil, usage("%.80q: torrents come from a file, an http or https URL, or a magnet link", s)
	}
	t, err := readTorrent(s)
	if h, bad := metainfo.ParseInfoHash(s); bad == nil && errors.Is(err, os.ErrNotExist) {
		return nil, nil, usage("there is no file %s; an info hash is written magnet:?xt=urn:btih:%s", s, h)
	}
	return t, nil, err
}

func readTorrent(path string) (*metainfo.Torrent, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read torrent %s: %w", path, bare(err))
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read torrent %s: it is no file (name the torrent file itself)", path)
	}
	if st.Size() > metainfo.MaxTorrentSize {
		return nil, fmt.Errorf("read torrent %s: %w", path, metainfo.ErrSize)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read torrent %s: %w", path, bare(err))
	}
	t, err := metainfo.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read torrent %s: %w", filepath.Base(path), err)
	}
	return t, nil
}

func fetchTorrent(ctx context.Context, url string) (*metainfo.Torrent, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil && req.URL.Host == "" {
		err = fmt.Errorf("%q names no host", url)
	}
	if err != nil {
		return nil, usage("%v", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch torrent: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch torrent %s: server answered %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, metainfo.MaxTorrentSize+1))
	if err != nil {
		return nil, fmt.Errorf("fetch torrent: %w", err)
	}
	t, err := metainfo.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read torrent from %s (give the address of the torrent file itself, not of a page about it): %w", url, err)
	}
	return t, nil
}
