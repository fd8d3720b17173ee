package interop

import (
	"testing"
	"time"
)

func exchanging(c *Config) { c.PEX = true }

// trickle is an upload limit in bytes a second by which nothing here arrives
// within its test.
const trickle = 1024

// alonePatience is twice what an introduction takes.
const alonePatience = 8 * time.Second

// TestPEXFromLibtorrent: libtorrent, which gives next to nothing itself,
// introduces a btt get to the btt seed that it is fetching from.
func TestPEXFromLibtorrent(t *testing.T) {
	b := needBTT(t)
	ctx := b.within(transferMax)
	s := b.share(singleFile)
	seed := b.btt("--limit-up", "100KiB")
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	hub := b.start(ctx, Drivers[0], exchanging, func(c *Config) { c.LimitUp = trickle })
	b.check(hub.Fetch(ctx, s.File, b.folder("hub")))
	b.check(hub.AddPeer(ctx, seed.Addr()))
	get, dir := b.btt(), b.folder("got")
	b.check(get.AddPeer(ctx, hub.Addr()))
	b.check(get.Fetch(ctx, s.File, dir))
	b.check(get.Wait(ctx))
	b.checkComplete(ctx, get, s)
	b.same(s.dir, dir, s.Name, get)
}

// TestPEXFromBTT: a btt get that gives next to nothing introduces a client to
// the libtorrent seed that it is fetching from; one that does not exchange
// peers does not get there.
func TestPEXFromBTT(t *testing.T) {
	for name, c := range map[string]struct {
		Driver
		pex bool
	}{"libtorrent": {Drivers[0], true}, "qbittorrent": {Drivers[3], true}, "nobody": {Drivers[0], false}} {
		t.Run(name, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(transferMax)
			s := b.share(singleFile)
			seed := b.start(ctx, Drivers[0])
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			hub := NewBTT(b.config("btt"), "--limit-up", "1KiB", "--limit-down", "10KiB")
			b.check(hub.AddPeer(ctx, seed.Addr()))
			b.check(hub.Fetch(ctx, s.File, b.folder("hub")))
			t.Cleanup(func() { hub.Stop() }) // not complete: its exit status says so
			p, dir := b.start(ctx, c.Driver, func(f *Config) { f.PEX = c.pex }), b.folder("got")
			b.check(p.Fetch(ctx, s.File, dir))
			b.check(p.AddPeer(ctx, hub.Addr()))
			if !c.pex {
				short := b.within(alonePatience)
				if err := WaitDone(short, p); err == nil {
					t.Error("the seed was found without peer exchange")
				}
				return
			}
			b.check(WaitDone(ctx, p))
			b.same(s.dir, dir, s.Name, p)
		})
	}
}
