package interop

import (
	"context"
	"encoding/json"
	"fmt"
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

// TestFreeIsNotWorse: with nobody bidding, a selling seed serves a client that
// knows nothing of BTT as a plain one does, at the full rate limit.
func TestFreeIsNotWorse(t *testing.T) {
	b := needBTT(t)
	ctx := b.within(transferMax)
	home := b.folder("home")
	e := b.newEconomy(ctx, home)
	s := b.shareTracked(singleFile, overUDP)
	seed := b.btt("--speed", "--ledger", e.url, "--reserve", "100 BTT/GiB", "--choke-interval", "2s")
	seed.home = home
	b.check(seed.Seed(ctx, s.Torrent, s.dir))
	began := time.Now()
	b.fetchAll(ctx, s, map[string]fetch{"libtorrent": {Drivers[0], s.File}})
	t.Logf("took %s", time.Since(began).Round(time.Millisecond))
}
