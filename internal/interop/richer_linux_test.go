package interop

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// upLimit keeps peers from spreading among themselves what the seed gave: what
// is tested is whom the seed serves.
const upLimit = 16 << 10

// crowd are the clients of a mixed swarm and when each had the whole torrent.
type crowd struct {
	rich, poor *BTT
	took       map[string]time.Duration
	poorHad    float64 // bytes when rich was complete
}

// mixed runs a rate-limited seed with two btt peers and three other clients.
// With an economy the btt peers bid, one ten times as much as the other; without
// they are plain, as the seed is.
func (b *bench) mixed(ctx context.Context, s shared, e *economy, homes [3]string) *crowd {
	b.Helper()
	args := []string{"--slots", "2", "--optimistic", "1", "--choke-interval", "1s", "--limit-up", "768KiB"}
	seed := NewBTT(b.config("btt"), args...)
	c := &crowd{rich: b.btt(), poor: b.btt(), took: map[string]time.Duration{}}
	if e != nil {
		seed.args = append(args, "--speed", "--ledger", e.url, "--reserve", "1 BTT/GiB")
		c.rich.args = []string{"--speed", "--ledger", e.url, "--price-cap", "400 BTT/GiB"}
		c.poor.args = []string{"--speed", "--ledger", e.url, "--price-cap", "40 BTT/GiB"}
		seed.home, c.rich.home, c.poor.home = homes[0], homes[1], homes[2]
	}
	c.rich.config.LimitUp, c.poor.config.LimitUp = upLimit, upLimit
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	kind := map[bool]string{true: "paid", false: "plain"}[e != nil]
	peers := map[string]Peer{"rich": c.rich, "poor": c.poor}
	for _, d := range Drivers[:3] {
		peers[d.Name] = b.start(ctx, d, func(c *Config) { c.LimitUp = upLimit })
	}
	dirs := map[string]string{}
	began := time.Now()
	for name, p := range peers {
		dirs[name] = b.folder("got-" + kind + "-" + name)
		b.check(p.Fetch(ctx, s.File, dirs[name]))
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	for name, p := range peers {
		group.Go(func() { // ends with its download
			err := WaitDone(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				b.Errorf("%s: %v", name, err)
				return
			}
			c.took[name] = time.Since(began)
			if name == "rich" {
				if f := c.poor.Last("progress"); f != nil {
					c.poorHad, _ = f["bytes"].(float64)
				}
				if c.poor.Last("complete") != nil {
					c.poorHad = float64(s.bytes)
				}
			}
		})
	}
	group.Wait()
	for name, p := range peers {
		b.same(s.dir, dirs[name], s.Name, p)
	}
	for _, p := range []*BTT{c.rich, c.poor} {
		b.check(p.Wait(ctx))
	}
	b.check(seed.Stop())
	return c
}

// TestRicherFirst: btt peers that bid much and little, libtorrent, Transmission
// and aria2 share one slow seed. All finish; who bids more is served first by a
// wide margin; and how the others fare is set beside the same swarm in which
// nobody bids.
func TestRicherFirst(t *testing.T) {
	first := needBTT(t)
	ctx := first.within(3 * transferMax)
	content := Content{"single file.bin": 4 << 20}
	plain := first.mixed(ctx, first.shareTracked(content, overHTTP), nil, [3]string{})
	b := newBench(t) // a swarm of its own
	homes := [3]string{b.folder("home-seed"), b.folder("home-rich"), b.folder("home-poor")}
	e := b.newEconomy(ctx, homes[:]...)
	s := b.shareTracked(content, overHTTP)
	paid := b.mixed(ctx, s, e, homes)
	if t.Failed() {
		return
	}
	if paid.took["rich"] >= paid.took["poor"] || paid.poorHad > 0.9*float64(s.bytes) {
		t.Errorf("the rich peer was complete after %v, the poor one after %v; it had %.0f of %d bytes by then",
			paid.took["rich"], paid.took["poor"], paid.poorHad, s.bytes)
	}
	mean := 0.0
	for _, d := range Drivers[:3] {
		mean += paid.took[d.Name].Seconds() / plain.took[d.Name].Seconds() / 3
		t.Logf("%-12s %6.1f s beside bidders, %6.1f s without: %.2f times as long", d.Name, paid.took[d.Name].Seconds(),
			plain.took[d.Name].Seconds(), paid.took[d.Name].Seconds()/plain.took[d.Name].Seconds())
	}
	t.Logf("those three on average %.2f times as long", mean)
	t.Logf("rich %.1f s (poor had %.0f %% then), poor %.1f s", paid.took["rich"].Seconds(), 100*paid.poorHad/float64(s.bytes), paid.took["poor"].Seconds())
	_, err := RunBTT(ctx, b.config("audit"), "ledger", "audit", "--dir", filepath.Join(e.dir))
	b.check(err)
}
