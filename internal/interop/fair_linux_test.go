package interop

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// What a measurement changes of TestRicherFirst: how many pairs of swarms each
// setting has, and for how many choke rounds at the seed's full rate a file lasts.
const (
	runsEnv   = "BTT_FAIR_RUNS"
	roundsEnv = "BTT_FAIR_ROUNDS"
)

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// pair is a swarm without bids and the same one with them, run side by side.
type pair struct{ plain, paid *crowd }

// TestRicherFirst: btt peers that bid, libtorrent, Transmission and aria2 share one
// slow seed. All finish; who bids most is served first by a wide margin; those who
// do not bid keep their part of the seed's upload meanwhile; and they take no longer
// than in the same swarm in which nobody bids, within what few runs can tell.
func TestRicherFirst(t *testing.T) {
	for i := range settings {
		t.Run(settings[i].name, func(t *testing.T) {
			needBTT(t)
			set := settings[i]
			set.rounds = envInt(roundsEnv, set.rounds)
			pairs := make([]pair, envInt(runsEnv, set.pairs))
			t.Run("swarms", func(t *testing.T) {
				for i := range pairs {
					t.Run(fmt.Sprintf("plain %d", i), func(t *testing.T) { pairs[i].plain = runPlain(t, &set) })
					t.Run(fmt.Sprintf("paid %d", i), func(t *testing.T) { pairs[i].paid = runPaid(t, &set) })
				}
			})
			if t.Failed() {
				return
			}
			for i := range pairs {
				if pairs[i].plain == nil || pairs[i].paid == nil {
					t.Skip("a swarm was skipped")
				}
				pairs[i].report(t)
				pairs[i].check(t, &set)
			}
			compare(t, &set, pairs)
		})
	}
}

func (s *setting) content() Content {
	return Content{"single file.bin": int64(s.rounds) * int64(s.seedUp)}
}

// limit is how long a swarm may take: ten times what the seed alone needs.
func (s *setting) limit() time.Duration {
	return transferMax + 10*time.Duration(s.rounds*(len(s.caps)+3*s.others))*time.Second
}

// swarmsMax bounds how many swarms run at once: the kernel keeps about a thousand
// neighbours for all namespaces together, and each host of a swarm has all others.
// Beyond that peers do not reach each other.
const swarmsMax = 5

var swarmSlots = make(chan struct{}, swarmsMax)

// needSwarm is needBTT once there is room for another swarm.
func needSwarm(t *testing.T) *bench {
	b := needBTT(t)
	swarmSlots <- struct{}{}
	t.Cleanup(func() { <-swarmSlots })
	return b
}

// swarmPieces are of 256 KiB. A buyer without a history has one piece unpaid at a time:
// with pieces of 32 KiB it is bound by how soon a busy machine passes a payment on,
// and not by the seed that it outbids others at.
const swarmPieces = 18

func runPlain(t *testing.T, set *setting) *crowd {
	b := needSwarm(t)
	return b.mixed(b.within(set.limit()), set, b.shareTrackedPieces(swarmPieces, set.content(), overHTTP), nil, nil)
}

func runPaid(t *testing.T, set *setting) *crowd {
	b := needSwarm(t)
	ctx := b.within(set.limit())
	homes := []string{b.folder("home-seed")}
	for i := range set.caps {
		homes = append(homes, b.folder(fmt.Sprintf("home-%d", i)))
	}
	e := b.newEconomy(ctx, homes...)
	c := b.mixed(ctx, set, b.shareTrackedPieces(swarmPieces, set.content(), overHTTP), e, homes)
	_, err := RunBTT(ctx, b.config("audit"), "ledger", "audit", "--dir", filepath.Join(e.dir))
	b.check(err)
	return c
}

func (p *pair) report(t *testing.T) {
	t.Logf("without bids:%s", p.plain)
	t.Logf("with bids:   %s", p.paid)
}

// partSlack is how much less of the seed's upload than promised peers without a
// bid may have had: a turn or two of one peer, in a short download.
const partSlack = 0.12

// check asserts what holds in every pair.
func (p *pair) check(t *testing.T, set *setting) {
	top, last := p.paid.bidders[0], p.paid.bidders[len(p.paid.bidders)-1]
	until := p.paid.took[top]
	if had := p.paid.traffic.At(until); len(set.caps) > set.slots-set.optimistic && 10*had["seed "+top] < 11*had["seed "+last] {
		t.Errorf("when the highest bidder was complete it had %d KiB of the seed, the lowest %d KiB", had["seed "+top]>>10, had["seed "+last]>>10)
	}
	part, even := p.paid.freePart(until)
	before, _ := p.plain.freePart(until)
	t.Logf("until the highest bidder was complete the others had %.0f %% of the seed's upload (%.0f %% without bids); even is %.0f %%", 100*part, 100*before, 100*even)
	if part < 0.75*even-partSlack {
		t.Errorf("others had %.0f %% of the seed's upload beside bidders, of an even share of %.0f %%", 100*part, 100*even)
	}
}

// What few pairs of short downloads can tell: in most runs peers that do not bid
// take 0.9 to 1.05 times as long beside bidders; without their share it was 1.5.
const (
	legacyMost  = 1.10
	enoughPairs = 3
)

// compare prints how many times as long peers took with bids as without, and
// asserts what holds in the median.
func compare(t *testing.T, set *setting, pairs []pair) {
	ratios := map[string][]float64{}
	add := func(name string, paid, plain float64) { ratios[name] = append(ratios[name], paid/plain) }
	var ranks, ends []float64
	for _, p := range pairs {
		add("others", p.paid.mean(p.paid.others), p.plain.mean(p.plain.others))
		add("last of others", p.paid.last(p.paid.others), p.plain.last(p.plain.others))
		for i, b := range p.paid.bidders {
			add(fmt.Sprintf("bidder %d", i), p.paid.took[b].Seconds(), p.plain.mean(p.plain.bidders))
		}
		for _, d := range Drivers[:3] {
			names := p.paid.named(d.Name)
			add(d.Name, p.paid.mean(names), p.plain.mean(names))
		}
		ranks = append(ranks, p.paid.kendall())
		ends = append(ends, p.paid.took[p.paid.bidders[0]].Seconds()/p.paid.took[p.paid.bidders[len(p.paid.bidders)-1]].Seconds())
	}
	for _, name := range slices.Sorted(maps.Keys(ratios)) {
		t.Logf("%-15s %s of the time without bids", name, spread(ratios[name]))
	}
	t.Logf("richer first: Kendall's tau of bid and order of completion %s, the highest bidder %s of the lowest's time", spread(ranks), spread(ends))
	if len(pairs) >= enoughPairs && median(ratios["others"]) > legacyMost {
		t.Errorf("peers that do not bid take %.2f times as long beside bidders", median(ratios["others"]))
	}
	if set.clock && len(pairs) >= enoughPairs && median(ends) >= 1 {
		t.Errorf("the highest bidder takes %.2f times as long as the lowest", median(ends))
	}
}

// last is when the last of the peers was complete, in seconds.
func (c *crowd) last(names []string) (at float64) {
	for _, n := range names {
		at = max(at, c.took[n].Seconds())
	}
	return at
}

// named are the peers of one client.
func (c *crowd) named(client string) (list []string) {
	for _, n := range c.others {
		if len(n) > len(client) && n[:len(client)] == client {
			list = append(list, n)
		}
	}
	return list
}

// kendall compares all pairs of bidders: 1 if each was complete before all who
// bid less, -1 if after.
func (c *crowd) kendall() float64 {
	sum, n := 0.0, 0.0
	for i, a := range c.bidders {
		for _, b := range c.bidders[i+1:] {
			n++
			if c.took[a] < c.took[b] {
				sum++
			} else {
				sum--
			}
		}
	}
	return sum / n
}

// resamples is how often spread draws anew.
const resamples = 10_000

// spread is the median of a list, with the interval that holds it with 95 %
// confidence (bootstrap, percentiles), and the list's least and greatest.
func spread(list []float64) string {
	rng := rand.New(rand.NewPCG(1, 2)) // equal lists give equal intervals
	medians, draw := make([]float64, resamples), make([]float64, len(list))
	for i := range medians {
		for j := range draw {
			draw[j] = list[rng.IntN(len(list))]
		}
		medians[i] = median(draw)
	}
	slices.Sort(medians)
	return fmt.Sprintf("%.3f [%.3f, %.3f] (%.2f to %.2f, n %d)", median(list), medians[resamples/40], medians[resamples-resamples/40],
		slices.Min(list), slices.Max(list), len(list))
}

func median(list []float64) float64 {
	l := slices.Sorted(slices.Values(list))
	return (l[(len(l)-1)/2] + l[len(l)/2]) / 2
}
