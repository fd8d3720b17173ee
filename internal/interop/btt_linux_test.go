package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bttnet/btt/internal/foreign"
)

// needBTT starts a test of btt against other clients.
func needBTT(t *testing.T, programs ...string) *bench {
	t.Helper()
	t.Parallel()
	b := newBench(t, append(programs, "mktorrent")...)
	if why := os.Getenv(buildErrorEnv); why != "" {
		t.Fatal(why)
	}
	foreign.Missing(t, BTTMissing())
	return b
}

// TestGetFrom: btt fetches from each client in three ways at once: a .torrent
// over an HTTP tracker, a magnet link over a UDP tracker, and a magnet link with
// no tracker from a named peer.
func TestGetFrom(t *testing.T) {
	t.Parallel()
	for _, d := range Drivers {
		t.Run(d.Name, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(transferMax)
			s := b.shareTracked(multiFile, overHTTP)
			seed := b.start(ctx, d)
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			bare := "magnet:?xt=urn:btih:" + s.InfoHash
			udp := bare + "&tr=" + strings.NewReplacer("http://", "udp://").Replace(s.trackers[0])
			gets, dirs := make(map[string]*BTT), make(map[string]string)
			for name, source := range map[string]string{"torrent": s.File, "magnet-udp": udp, "magnet-peer": bare} {
				get, dir := b.btt(), b.folder("got-"+name)
				if name == "magnet-peer" {
					b.check(get.AddPeer(ctx, seed.Addr()))
				}
				b.check(get.Fetch(ctx, source, dir))
				gets[name], dirs[name] = get, dir
			}
			for name, get := range gets {
				if err := get.Wait(ctx); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				b.checkComplete(ctx, get, s)
				b.same(s.dir, dirs[name], s.Name, get)
			}
		})
	}
}

// checkComplete looks at the last event of a get.
func (b *bench) checkComplete(ctx context.Context, get *BTT, s shared) {
	b.Helper()
	e, err := get.Event(ctx, "complete")
	b.check(err)
	if e["infohash"] != s.InfoHash {
		b.Errorf("complete says infohash %v, want %s", e["infohash"], s.InfoHash)
	}
	if n, _ := e["bytes"].(float64); int64(n) != s.bytes {
		b.Errorf("complete says %v bytes, want %d", e["bytes"], s.bytes)
	}
}

// TestSeedTo: btt serves each client, which fetches once by the .torrent and
// once by a magnet link, so that btt also serves the metadata.
func TestSeedTo(t *testing.T) {
	t.Parallel()
	for i, d := range Drivers {
		t.Run(d.Name, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(transferMax)
			announce := overHTTP
			if i%2 == 0 && !d.NoUDP {
				announce = overUDP
			}
			s := b.shareTracked(multiFile, announce)
			seed := b.btt("--slots", "8", "--choke-interval", "2s")
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			e, err := seed.Event(ctx, "seeding")
			b.check(err)
			if e["infohash"] != s.InfoHash {
				b.Errorf("seeding says infohash %v, want %s", e["infohash"], s.InfoHash)
			}
			b.fetchAll(ctx, s, map[string]fetch{
				"torrent": {d, s.File},
				"magnet":  {d, s.Magnet},
			})
		})
	}
}

// fetch is a client and what it is to fetch.
type fetch struct {
	Driver
	source string
}

// fetchAll lets every client fetch s at once and compares what arrived.
func (b *bench) fetchAll(ctx context.Context, s shared, fetches map[string]fetch) {
	b.Helper()
	peers, dirs := make(map[string]Peer), make(map[string]string)
	for name, f := range fetches {
		p, dir := b.start(ctx, f.Driver), b.folder("got-"+name)
		b.check(p.Fetch(ctx, f.source, dir))
		peers[name], dirs[name] = p, dir
	}
	for name, p := range peers {
		if err := WaitDone(ctx, p); err != nil {
			b.Errorf("%s: %v", name, err)
			continue
		}
		b.same(s.dir, dirs[name], s.Name, p)
	}
}

// TestTracker: other clients and btt find one another by `btt tracker`, over
// HTTP and over UDP.
func TestTracker(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "udp"} {
		t.Run(scheme, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(transferMax)
			c := b.config("tracker")
			addr := c.Host.Addr.String() + ":6969"
			tracker := b.startBTT(c, "tracker", "--listen", addr, "--interval", "5s")
			b.check(tracker.ready(ctx, func(context.Context) error { return dialOnce(addr) }))
			s := b.share(singleFile, scheme+"://"+addr+"/announce")
			seed := b.start(ctx, Drivers[0])
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			get, dir := b.btt(), b.folder("got-btt")
			b.check(get.Fetch(ctx, s.File, dir))
			fetches := make(map[string]fetch)
			for _, d := range Drivers {
				if scheme != "udp" || !d.NoUDP {
					fetches[d.Name] = fetch{d, s.File}
				}
			}
			b.fetchAll(ctx, s, fetches)
			b.check(get.Wait(ctx))
			b.same(s.dir, dir, s.Name, get)
		})
	}
}

// TestCreate: other clients accept the .torrent that `btt create` makes, find
// the data complete, and agree on the infohash.
func TestCreate(t *testing.T) {
	b := needBTT(t)
	ctx := b.within(transferMax)
	c := b.config("opentracker")
	url := fmt.Sprintf("http://%s:6969/announce", c.Host.Addr)
	s := b.share(multiFile, url)
	s.File = filepath.Join(b.dir, "made by btt.torrent")
	out, err := RunBTT(ctx, b.config("create"), "create", filepath.Join(s.dir, s.Name), "-o", s.File,
		"--tracker", url, "--piece-size", "32KiB", "--comment", "für alle")
	b.check(err)
	made, err := ReadTorrent(s.File, s.Name, url)
	b.check(err)
	if !strings.Contains(strings.Join(out, ""), made.InfoHash) {
		t.Errorf("create does not print the infohash %s: %s", made.InfoHash, out)
	}
	s.Torrent = made
	b.openTracker(ctx, c, made.InfoHash)
	seed := b.start(ctx, Drivers[0])
	b.check(seed.Seed(ctx, made, s.dir))
	fetches := make(map[string]fetch)
	for _, d := range Drivers[1:] {
		fetches[d.Name] = fetch{d, made.File}
	}
	b.fetchAll(ctx, s, fetches)
}

// TestOddNames: unusual names that are legal everywhere arrive as they were.
func TestOddNames(t *testing.T) {
	b := needBTT(t)
	ctx := b.within(transferMax)
	s := b.share(Content{
		"album/ leading space":                             2,
		"album/e\u0301 decomposed":                         32_768,
		"album/%2e%2e & $HOME `x` #;":                      40_000,
		"album/" + strings.Repeat("long name ", 20) + ".x": 5,
		"album/" + strings.Repeat("d/", 30) + "deep":       0,
		"album/.torrent":                                   70_000,
		"album/-rf":                                        1,
	})
	seed := b.btt()
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	get, dir := b.btt(), b.folder("got")
	b.check(get.AddPeer(ctx, seed.Addr()))
	b.check(get.Fetch(ctx, s.File, dir))
	b.check(get.Wait(ctx))
	b.checkComplete(ctx, get, s)
	b.same(s.dir, dir, s.Name, get)
}

// TestForbiddenNames: names that some system forbids are changed on arrival, on
// every system alike, and hold what they should.
func TestForbiddenNames(t *testing.T) {
	arrives := map[string]string{
		"\"quoted\" <a> b|c*d?e:f": "_quoted_ _a_ b_c_d_e_f",
		"CON":                      "CON_",
		"plain":                    "plain",
	}
	b := needBTT(t)
	ctx := b.within(transferMax)
	content := make(Content)
	for name := range arrives {
		content["album/"+name] = 40_000
	}
	s := b.share(content)
	seed := b.start(ctx, Drivers[0])
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	get, dir := b.btt(), b.folder("got")
	b.check(get.AddPeer(ctx, seed.Addr()))
	b.check(get.Fetch(ctx, s.File, dir))
	b.check(get.Wait(ctx))
	for name, changed := range arrives {
		b.check(os.Rename(filepath.Join(dir, "album", changed), filepath.Join(dir, "album", name)))
	}
	b.same(s.dir, dir, s.Name, get)
}
