package interop

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// setting is a swarm behind one rate-limited seed.
type setting struct {
	name              string
	slots, optimistic int
	seedUp, peerUp    int      // bytes a second
	rounds            int      // choke rounds that the file takes at the seed's full rate
	pairs             int      // with and without bids
	caps              []string // of the bidders' prices, the highest first
	others            int      // of each other client
	clock             bool     // the highest bidder is also complete before the lowest
}

// settings are the swarms of TestRicherFirst. Where peers hardly spread what they
// got, what is seen is whom the seed serves.
var settings = []setting{
	{"two slots, peers spread little", 2, 1, 768 << 10, 16 << 10, 8, 3, []string{"400", "40"}, 1, true},
	{"two slots, peers spread", 2, 1, 768 << 10, 192 << 10, 10, 1, []string{"400", "40"}, 1, false},
	{"four slots, peers spread little", 4, 1, 1 << 20, 16 << 10, 6, 3, []string{"400", "200", "100", "60", "40"}, 2, true},
	{"eight slots, peers spread little", 8, 1, 1 << 20, 16 << 10, 4, 1, []string{"400", "200", "100", "40"}, 2, true},
}

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
	var err error
	c.traffic, err = WatchTraffic(hosts)
	b.check(err)
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

// lookEvery is the time between two looks at a peer of a swarm: asking dozens of
// them costs more than serving them.
const lookEvery = 250 * time.Millisecond

// await waits until all peers are complete and books when each was.
func (b *bench) await(ctx context.Context, c *crowd, peers map[string]Peer, began time.Time) {
	b.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	for name, p := range peers {
		group.Go(func() { // ends with its download
			var err error
			if btt, ok := p.(*BTT); ok {
				_, err = btt.Event(ctx, "complete") // fails at once when btt does
			} else {
				err = waitDone(ctx, p, lookEvery)
			}
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
