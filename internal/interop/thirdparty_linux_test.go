package interop

import (
	"strings"
	"testing"
)

// TestThirdPartySwarm proves the harness without btt: in one swarm over one
// opentracker the clients fetch from the first of them and from one another.
func TestThirdPartySwarm(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		content  Content
		announce func(*Tracker) string
		seed     int // index into Drivers
		change   func(*Config)
	}{
		"single file over HTTP, libtorrent seeds": {singleFile, overHTTP, 0, func(*Config) {}},
		"multi file over UDP, transmission seeds": {multiFile, overUDP, 1, func(*Config) {}},
		"multi file over HTTP, aria2 seeds":       {multiFile, overHTTP, 2, func(c *Config) { c.PEX = true }},
		"encrypted, libtorrent seeds":             {multiFile, overHTTP, 0, func(c *Config) { c.Encrypt = true }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "mktorrent")
			ctx := b.within(transferMax)
			s := b.shareTracked(c.content, c.announce)
			seed := b.start(ctx, Drivers[c.seed], c.change)
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			fetchers, folders := []Peer{}, []string{}
			for i, d := range Drivers {
				if i == c.seed || (d.NoUDP && strings.HasPrefix(c.announce(&Tracker{UDP: "udp"}), "udp")) {
					continue
				}
				p, dir := b.start(ctx, d, c.change), b.folder("got-"+d.Name)
				b.check(p.Fetch(ctx, s.File, dir))
				fetchers, folders = append(fetchers, p), append(folders, dir)
			}
			for i, p := range fetchers {
				b.check(WaitDone(ctx, p))
				b.same(s.dir, folders[i], s.Name, p)
			}
		})
	}
}
