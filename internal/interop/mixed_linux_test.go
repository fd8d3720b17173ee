package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// addressForm is an address on the ledger.
var addressForm = regexp.MustCompile(`T[1-9A-HJ-NP-Za-km-z]{33}`)

// economy is a ledger with funded wallets.
type economy struct {
	*bench
	dir, url string
}

// newEconomy makes a ledger that grants each wallet's home 1000 BTT and serves it.
func (b *bench) newEconomy(ctx context.Context, homes ...string) *economy {
	b.Helper()
	c := b.config("ledger")
	e := &economy{bench: b, dir: filepath.Join(c.Dir, "books"), url: fmt.Sprintf("http://%s:7700", c.Host.Addr)}
	args := []string{"ledger", "init", "--dir", e.dir}
	for _, home := range homes {
		_, err := RunBTT(ctx, c, "wallet", "init", "--home", home)
		b.check(err)
		out, err := RunBTT(ctx, c, "wallet", "address", "--home", home)
		b.check(err)
		address := addressForm.FindString(strings.Join(out, "\n"))
		if address == "" {
			b.Fatalf("btt wallet address prints no address: %s", out)
		}
		args = append(args, "--grant", address+"=1000")
	}
	_, err := RunBTT(ctx, c, args...)
	b.check(err)
	server := b.startBTT(c, "ledger", "serve", "--dir", e.dir, "--listen", c.Host.Addr.String()+":7700")
	b.check(server.ready(ctx, func(context.Context) error { return dialOnce(c.Host.Addr.String() + ":7700") }))
	return e
}

// balance asks for what a wallet can spend, as the text of its JSON field.
func (e *economy) balance(ctx context.Context, home string) string {
	e.Helper()
	out, err := RunBTT(ctx, e.config("balance"), "wallet", "balance", "--home", home, "--ledger", e.url)
	e.check(err)
	var fields struct{ Free string }
	e.check(json.Unmarshal([]byte(strings.Join(out, "\n")), &fields))
	if fields.Free == "" {
		e.Fatalf("btt wallet balance prints no balance: %s", out)
	}
	return fields.Free
}

// TestMixedSwarm: one rate-limited btt seed sells and gives at once. A paying
// btt, a free btt and the other clients all finish, the payment arrives, and the
// ledger's books hold.
func TestMixedSwarm(t *testing.T) {
	b := needBTT(t)
	ctx := b.within(2 * transferMax)
	seedHome, payHome := b.folder("home-seed"), b.folder("home-pay")
	e := b.newEconomy(ctx, seedHome, payHome)
	s := b.shareTracked(Content{"single file.bin": 6 << 20}, overHTTP)

	seed := NewBTT(b.config("btt"), "--speed", "--ledger", e.url, "--slots", "4", "--optimistic", "2",
		"--reserve", "500 BTT/GiB", "--choke-interval", "1s", "--limit-up", "1MiB")
	seed.home = seedHome
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	payer, free := b.btt("--speed", "--ledger", e.url), b.btt()
	payer.home = payHome
	for p, dir := range map[*BTT]string{payer: b.folder("got-payer"), free: b.folder("got-free")} {
		b.check(p.Fetch(ctx, s.File, dir))
	}
	b.fetchAll(ctx, s, map[string]fetch{
		"libtorrent": {Drivers[0], s.File}, "transmission": {Drivers[1], s.File}, "aria2": {Drivers[2], s.File},
	})
	for name, p := range map[string]*BTT{"payer": payer, "free": free} {
		b.check(p.Wait(ctx))
		b.checkComplete(ctx, p, s)
		b.same(s.dir, filepath.Join(b.dir, "got-"+name), s.Name, p)
	}
	b.check(seed.Stop()) // settles
	earned, left := e.balance(ctx, seedHome), e.balance(ctx, payHome)
	if earned == "1000" || left == "1000" {
		t.Errorf("balances %s and %s: the payer paid nothing %s %s", earned, left, seed.tail(), payer.tail())
	}
	t.Logf("seed has %s BTT, payer %s BTT", earned, left)
	_, err := RunBTT(ctx, b.config("audit"), "ledger", "audit", "--dir", e.dir)
	b.check(err)
}

// TestFreeIsNotWorse: with nobody bidding, a selling seed serves clients that know
// nothing of BTT as a plain one does: each has as much of it at the same time, and
// the seed sends nothing twice.
func TestFreeIsNotWorse(t *testing.T) {
	b := needBTT(t)
	ctx := b.within(2 * transferMax)
	home := b.folder("home")
	e := b.newEconomy(ctx, home)
	s := b.shareTracked(Content{"single file.bin": 8 << 20}, overHTTP)
	limit := []string{"--choke-interval", "2s", "--limit-up", "1MiB"}
	plain := b.served(ctx, s, b.btt(limit...), "plain")
	seller := b.btt(append(limit, "--speed", "--ledger", e.url, "--reserve", "100 BTT/GiB")...)
	seller.home = home
	selling := b.served(ctx, s, seller, "selling")
	for name, had := range plain {
		t.Logf("%-12s had %d KiB of the plain seed and %d KiB of the selling one at half time, %d and %d KiB at the end", name,
			had[0]>>10, selling[name][0]>>10, had[1]>>10, selling[name][1]>>10)
	}
	// Clients find each other and the seed at different moments: together they
	// use the whole limit, alone each varies.
	half, end := sum(plain, 0), sum(plain, 1)
	if got := sum(selling, 0); 10*got < 8*half {
		t.Errorf("at half time the selling seed had sent %d KiB, the plain one %d KiB", got>>10, half>>10)
	}
	if got := sum(selling, 1); 10*got > 12*end {
		t.Errorf("the selling seed sent %d KiB for what the plain one sent %d KiB", got>>10, end>>10)
	}
}

// sum adds up what clients had, at half time (0) or the end (1).
func sum(had map[string][2]int64, at int) (n int64) {
	for _, x := range had {
		n += x[at]
	}
	return n
}

// halfTime is when half of what TestFreeIsNotWorse shares has passed the limit,
// counted from the seed's first bytes.
const halfTime = 8 * time.Second

// served lets libtorrent and aria2 fetch from a seed, and returns what each had of
// it halfTime after the first bytes, and at the end.
func (b *bench) served(ctx context.Context, s shared, seed *BTT, label string) map[string][2]int64 {
	b.Helper()
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	hosts, peers := map[string]*Host{"seed": seed.config.Host}, map[string]Peer{}
	for _, d := range []Driver{Drivers[0], Drivers[2]} {
		peers[d.Name] = b.start(ctx, d, func(c *Config) { c.LimitUp = 16 << 10 })
		hosts[d.Name] = b.hostOf[peers[d.Name].Addr().Addr()]
	}
	traffic, err := WatchTraffic(hosts)
	b.check(err)
	for name, p := range peers {
		b.check(p.Fetch(ctx, s.File, b.folder("got-"+label+"-"+name)))
	}
	for _, p := range peers {
		b.check(WaitDone(ctx, p))
	}
	b.check(traffic.Stop())
	b.check(seed.Stop())
	had := map[string][2]int64{}
	for name, p := range peers {
		b.same(s.dir, filepath.Join(b.dir, "got-"+label+"-"+name), s.Name, p)
		b.check(p.Stop())
		had[name] = [2]int64{traffic.At(traffic.First(payload) + halfTime)["seed "+name], traffic.At(math.MaxInt64)["seed "+name]}
	}
	return had
}

// payload is more than what peers send each other before the first piece.
const payload = 256 << 10
