package interop

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// setting is a swarm behind one rate-limited seed.
type setting struct {
	name              string
	slots, optimistic int
	seedUp, peerUp    int // bytes a second
	bytes             int64
	caps              []string // of the bidders' prices, the highest first
	others            int      // of each other client
}

// settings are the swarms of TestRicherFirst. Where peers hardly spread what they
// got, what is seen is whom the seed serves.
var settings = []setting{
	{"two slots, peers spread little", 2, 1, 768 << 10, 16 << 10, 4 << 20, []string{"400", "40"}, 1},
	{"two slots, peers spread", 2, 1, 768 << 10, 192 << 10, 8 << 20, []string{"400", "40"}, 1},
	{"four slots, peers spread little", 4, 1, 1 << 20, 16 << 10, 3 << 20, []string{"400", "200", "100", "60", "40"}, 2},
	{"eight slots, peers spread little", 8, 1, 1 << 20, 16 << 10, 3 << 20, []string{"400", "200", "100", "40"}, 2},
}

// runsEnv is how often each swarm is run with and without bids: one run shows
// that it works, several show how much they differ.
const runsEnv = "BTT_FAIR_RUNS"

// crowd is what came of a swarm: when each peer had the whole torrent, and who
// sent what to whom. bidders are named b0, b1 … from the highest cap on.
type crowd struct {
	took            map[string]time.Duration
	traffic         *Traffic
	bidders, others []string
}

// mixed runs a swarm. With an economy its btt peers bid; without they are plain,
// as the seed is, and everything else is the same.
func (b *bench) mixed(ctx context.Context, set *setting, s shared, e *economy, homes []string) *crowd {
	b.Helper()
	args := []string{"--slots", strconv.Itoa(set.slots), "--optimistic", strconv.Itoa(set.optimistic), "--choke-interval", "1s",
		"--limit-up", fmt.Sprintf("%dKiB", set.seedUp>>10)}
	if e != nil {
		args = append(args, "--speed", "--ledger", e.url, "--reserve", "1 BTT/GiB")
	}
	seed := NewBTT(b.config("btt"), args...)
	c := &crowd{took: map[string]time.Duration{}}
	peers := map[string]Peer{}
	for i, limit := range set.caps {
		p := b.btt()
		p.config.LimitUp = set.peerUp
		if e != nil {
			p.args, p.home = []string{"--speed", "--ledger", e.url, "--price-cap", limit + " BTT/GiB"}, homes[i+1]
			seed.home = homes[0]
		}
		c.bidders = append(c.bidders, fmt.Sprintf("b%d", i))
		peers[c.bidders[i]] = p
	}
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	for _, d := range Drivers[:3] {
		for i := range set.others {
			name := fmt.Sprintf("%s %d", d.Name, i)
			c.others = append(c.others, name)
			peers[name] = b.start(ctx, d, func(c *Config) { c.LimitUp = set.peerUp })
		}
	}
	hosts := map[string]*Host{"seed": seed.config.Host}
	for name, p := range peers {
		hosts[name] = b.hostOf[p.Addr().Addr()]
	}
	c.traffic = WatchTraffic(hosts)
	dirs := map[string]string{}
	began := time.Now()
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		dirs[name] = b.folder(fmt.Sprintf("got-%t-%s-%d", e != nil, name, b.hosts.Load()))
		b.check(peers[name].Fetch(ctx, s.File, dirs[name]))
	}
	b.await(ctx, c, peers, began)
	b.check(c.traffic.Stop())
	for name, p := range peers {
		b.same(s.dir, dirs[name], s.Name, p)
		if btt, ok := p.(*BTT); ok {
			b.check(btt.Wait(ctx))
		} else {
			b.check(p.Stop())
		}
	}
	b.check(seed.Stop())
	return c
}

// await waits until all peers are complete and books when each was.
func (b *bench) await(ctx context.Context, c *crowd, peers map[string]Peer, began time.Time) {
	b.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	for name, p := range peers {
		group.Go(func() { // ends with its download
			err := WaitDone(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				b.Errorf("%s: %v", name, err)
			}
			c.took[name] = time.Since(began)
		})
	}
	group.Wait()
}

// mean is how long peers took on average, in seconds.
func (c *crowd) mean(names []string) (sum float64) {
	for _, n := range names {
		sum += c.took[n].Seconds() / float64(len(names))
	}
	return sum
}

// freePart is what part of the seed's upload went to peers other than bidders
// until a time, and what part of those are others that had anything of it by then:
// some clients find the seed late.
func (c *crowd) freePart(d time.Duration) (part, even float64) {
	free, all, some, heads := int64(0), int64(0), 0, 0
	for pair, n := range c.traffic.At(d) {
		to, ok := strings.CutPrefix(pair, "seed ")
		if !ok {
			continue
		}
		all += n
		known := n > payload/4
		if known {
			heads++
		}
		if slices.Contains(c.others, to) {
			free += n
			if known {
				some++
			}
		}
	}
	return float64(free) / float64(max(all, 1)), float64(some) / float64(max(heads, 1))
}

func (c *crowd) String() string {
	out := ""
	last := c.traffic.At(math.MaxInt64)
	for _, n := range slices.Sorted(maps.Keys(c.took)) {
		got := int64(0)
		for _, from := range append(slices.Collect(maps.Keys(c.took)), "seed") {
			got += last[from+" "+n]
		}
		out += fmt.Sprintf("  %s %.1f s (%d KiB, of the seed %d)", n, c.took[n].Seconds(), got>>10, last["seed "+n]>>10)
	}
	return out
}

// TestRicherFirst: btt peers that bid, libtorrent, Transmission and aria2 share one
// slow seed. All finish; who bids most is served first by a wide margin; those who
// do not bid keep their part of the seed's upload meanwhile; and how long they take
// is set beside the same swarm in which nobody bids.
func TestRicherFirst(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv(runsEnv))
	for i := range settings {
		t.Run(settings[i].name, func(t *testing.T) {
			needBTT(t)
			var ratios, rich, poor []float64
			single := map[string][]float64{}
			for range max(runs, 1) {
				r := runPair(t, &settings[i])
				if t.Failed() {
					return
				}
				ratios, rich, poor = append(ratios, r.ratio), append(rich, r.rich), append(poor, r.poor)
				for name, x := range r.single {
					single[name] = append(single[name], x)
				}
			}
			t.Logf("others beside bidders, of the time without: %s; highest bidder %s, lowest %s", spread(ratios), spread(rich), spread(poor))
			for _, name := range slices.Sorted(maps.Keys(single)) {
				t.Logf("  %s: %s", name, spread(single[name]))
			}
		})
	}
}

// spread is the mean of a list, with its least and greatest.
func spread(list []float64) string {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", sum/float64(len(list)), slices.Min(list), slices.Max(list))
}

// pair is how many times as long peers took with bids as without.
type pair struct {
	ratio, rich, poor float64
	single            map[string]float64 // by client
}

// partSlack is how much less of the seed's upload than promised peers without a
// bid may have had: a turn or two of one peer, in a short download.
const partSlack = 0.12

func runPair(t *testing.T, set *setting) (r pair) {
	first := newBench(t)
	ctx := first.within(6 * transferMax)
	content := Content{"single file.bin": set.bytes}
	plain := first.mixed(ctx, set, first.shareTracked(content, overHTTP), nil, nil)
	b := newBench(t) // a swarm of its own
	homes := []string{b.folder("home-seed")}
	for i := range set.caps {
		homes = append(homes, b.folder(fmt.Sprintf("home-%d", i)))
	}
	e := b.newEconomy(ctx, homes...)
	paid := b.mixed(ctx, set, b.shareTracked(content, overHTTP), e, homes)
	if t.Failed() {
		return r
	}
	t.Logf("without bids:%s", plain)
	t.Logf("with bids:   %s", paid)
	top, last := paid.bidders[0], paid.bidders[len(paid.bidders)-1]
	until := paid.took[top]
	if had := paid.traffic.At(until); len(set.caps) > set.slots-set.optimistic && 10*had["seed "+top] < 11*had["seed "+last] {
		t.Errorf("when the highest bidder was complete it had %d KiB of the seed, the lowest %d KiB", had["seed "+top]>>10, had["seed "+last]>>10)
	}
	part, even := paid.freePart(until)
	before, _ := plain.freePart(until)
	t.Logf("until the highest bidder was complete the others had %.0f %% of the seed's upload (%.0f %% without bids); even is %.0f %%", 100*part, 100*before, 100*even)
	if part < 0.75*even-partSlack {
		t.Errorf("others had %.0f %% of the seed's upload beside bidders, of an even share of %.0f %%", 100*part, 100*even)
	}
	r = pair{ratio: paid.mean(paid.others) / plain.mean(plain.others), rich: paid.took[top].Seconds() / plain.mean(plain.bidders),
		poor: paid.took[last].Seconds() / plain.mean(plain.bidders), single: map[string]float64{}}
	for _, d := range Drivers[:3] {
		var names []string
		for i := range set.others {
			names = append(names, fmt.Sprintf("%s %d", d.Name, i))
		}
		r.single[d.Name] = paid.mean(names) / plain.mean(names)
	}
	_, err := RunBTT(ctx, b.config("audit"), "ledger", "audit", "--dir", filepath.Join(e.dir))
	b.check(err)
	return r
}
