package interop

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// dhtMax is how long a lookup and a small transfer may take: Transmission waits
// for its table to fill before it asks for peers.
const dhtMax = 6 * time.Minute

// dhtNodes is how many nodes of btt the DHT has beside those who trade, and
// transmissionNodes where Transmission does: it asks nothing of a DHT of which it
// knows fewer than nine nodes.
const (
	dhtNodes          = 2
	transmissionNodes = 8
)

// TestDHT: each client and btt find one another without a tracker, in both
// directions, in a DHT that they join by other nodes of btt, which share
// something else; all have a magnet link alone. qBittorrent seeds only: it
// can be told a first node by a .torrent alone (BEP 5), and looks for peers before
// it has spoken to that node, and then not for a quarter of an hour.
func TestDHT(t *testing.T) {
	t.Parallel()
	for _, d := range Drivers {
		t.Run(d.Name, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(dhtMax)
			count := dhtNodes
			if d.Name == "transmission" {
				count = transmissionNodes
			}
			entry := b.dhtNodes(ctx, count)
			join := func(c *Config) { c.DHT = entry }
			theirs, ours := b.shareAs("theirs", multiFile), b.shareAs("ours", multiFile)
			b.check(NameNode(theirs.File, entry))

			seed := b.start(ctx, d, join)
			b.check(seed.Seed(ctx, theirs.Torrent, theirs.dir))
			shared := b.bttWith(join, "--choke-interval", "2s")
			b.check(shared.Seed(ctx, ours.Torrent, ours.dir))

			get, dir := b.bttWith(join), b.folder("got-btt")
			b.check(get.Fetch(ctx, "magnet:?xt=urn:btih:"+theirs.InfoHash, dir))
			if d.Name == "qbittorrent" {
				b.check(WaitDone(ctx, get))
				b.same(theirs.dir, dir, theirs.Name, get)
				return
			}
			p, to := b.start(ctx, d, join), b.folder("got-"+d.Name)
			b.check(p.Fetch(ctx, "magnet:?xt=urn:btih:"+ours.InfoHash, to))
			b.check(WaitDone(ctx, get))
			b.same(theirs.dir, dir, theirs.Name, get)
			b.check(WaitDone(ctx, p))
			b.same(ours.dir, to, ours.Name, p)
		})
	}
}

// dhtNodes starts btt nodes that know each other by the first one, whose
// address it returns.
func (b *bench) dhtNodes(ctx context.Context, count int) netip.AddrPort {
	b.Helper()
	elsewhere := b.share(Content{"single file.bin": 1000})
	first := b.btt("--dht-bootstrap", "none")
	b.check(first.Seed(ctx, elsewhere.Torrent, elsewhere.dir))
	for range count - 1 {
		n := b.bttWith(func(c *Config) { c.DHT = first.Addr() })
		b.check(n.Seed(ctx, elsewhere.Torrent, elsewhere.dir))
	}
	return first.Addr()
}

// copySize is large enough that a swarm's members hold different pieces while
// they fetch it.
const copySize = 12 << 20

// TestSeedLeaves: five different clients in one swarm; the only seed ends when
// the first of them is complete, and all of them finish. Once btt is the seed and
// one of those who fetch, once libtorrent seeds.
func TestSeedLeaves(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		name := map[bool]string{true: "btt seeds", false: "libtorrent seeds"}[own]
		t.Run(name, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(2 * transferMax)
			s := b.shareTracked(Content{"single file.bin": copySize}, overHTTP)
			var seed Peer
			if own {
				c := b.config("btt")
				c.LimitUp = 3 << 20
				seed = NewBTT(c, "--choke-interval", "2s", "--slots", "8")
			} else {
				c := b.config("libtorrent")
				c.LimitUp, c.PEX = 3<<20, true
				var err error
				seed, err = startLibtorrent(ctx, c)
				b.check(err)
			}
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			peers, dirs := map[string]Peer{}, map[string]string{}
			for _, d := range Drivers {
				peers[d.Name] = b.start(ctx, d, exchanging)
			}
			peers["btt"] = b.btt("--seed-after", "--choke-interval", "2s", "--slots", "8")
			for name, p := range peers {
				dirs[name] = b.folder("got-" + name)
				b.check(p.Fetch(ctx, s.File, dirs[name]))
			}
			first := b.firstDone(ctx, peers)
			b.check(seed.Stop())
			t.Logf("%s is complete first", first)
			for name, p := range peers {
				if err := WaitDone(ctx, p); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				b.same(s.dir, dirs[name], s.Name, p)
			}
		})
	}
}

// firstDone waits until one of the peers is complete.
func (b *bench) firstDone(ctx context.Context, peers map[string]Peer) string {
	b.Helper()
	for {
		for name, p := range peers {
			if done, _ := p.Done(ctx); done {
				return name
			}
		}
		select {
		case <-ctx.Done():
			b.Fatal("nobody is complete")
		case <-time.After(pollInterval):
		}
	}
}
