package interop

import (
	"testing"
	"time"
)

// mismatchWait is long enough for several calls that must come to nothing.
const mismatchWait = 5 * time.Second

func encrypted(c *Config) { c.Encrypt = true }

// TestEncryptedGetFrom: btt fetches from each client that takes encrypted
// connections alone, once as it runs by default, which calls in the clear
// first, and once where it demands encryption itself. It is told the peer, so
// that the call is its own.
func TestEncryptedGetFrom(t *testing.T) {
	t.Parallel()
	for _, d := range Drivers {
		t.Run(d.Name, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(transferMax)
			s := b.share(singleFile)
			seed := b.start(ctx, d, encrypted)
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			gets, dirs := make(map[string]*BTT), make(map[string]string)
			for _, policy := range []string{"allowed", "required"} {
				get, dir := b.btt("--encryption", policy), b.folder("got-"+policy)
				b.check(get.AddPeer(ctx, seed.Addr()))
				b.check(get.Fetch(ctx, s.File, dir))
				gets[policy], dirs[policy] = get, dir
			}
			for policy, get := range gets {
				if err := get.Wait(ctx); err != nil {
					t.Errorf("%s: %v", policy, err)
					continue
				}
				b.checkComplete(ctx, get, s)
				b.same(s.dir, dirs[policy], s.Name, get)
			}
		})
	}
}

// TestEncryptedSeedTo: each client, which demands encryption, fetches from a
// btt that allows it and from one that demands it too. They find one another
// by the tracker; whoever calls first has to do it encrypted.
func TestEncryptedSeedTo(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allowed", "required"} {
		t.Run(policy, func(t *testing.T) {
			for _, d := range Drivers {
				t.Run(d.Name, func(t *testing.T) {
					b := needBTT(t)
					ctx := b.within(transferMax)
					s := b.shareTracked(singleFile, overHTTP)
					seed := b.btt("--encryption", policy, "--choke-interval", "2s")
					b.check(seed.Seed(ctx, s.Torrent, s.dir))
					p, dir := b.start(ctx, d, encrypted), b.folder("got")
					b.check(p.Fetch(ctx, s.File, dir))
					b.check(WaitDone(ctx, p))
					b.same(s.dir, dir, s.Name, p)
				})
			}
		})
	}
}

// TestEncryptionMismatch: a btt that demands encryption and a client that
// refuses it do not trade, and a btt without it does not with one that demands
// it.
func TestEncryptionMismatch(t *testing.T) {
	t.Parallel()
	for policy, change := range map[string]func(*Config){"required": func(*Config) {}, "off": encrypted} {
		t.Run(policy, func(t *testing.T) {
			b := needBTT(t)
			ctx := b.within(transferMax)
			s := b.share(singleFile)
			seed := b.start(ctx, Drivers[0], change) // libtorrent, which is strict in both
			b.check(seed.Seed(ctx, s.Torrent, s.dir))
			get := NewBTT(b.config("btt"), "--encryption", policy)
			b.check(get.AddPeer(ctx, seed.Addr()))
			b.check(get.Fetch(ctx, s.File, b.folder("got")))
			t.Cleanup(func() { get.Stop() }) // not complete: its exit status says so
			short := b.within(mismatchWait)
			if err := get.Wait(short); short.Err() == nil {
				t.Errorf("the get ended: %v", err)
			}
		})
	}
}
