package interop

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/foreign"
)

// strangers runs testdata/stranger, a peer of BitTorrent Speed in Python that was
// written from docs/beps alone and shares no code with btt.
type strangers struct {
	*bench
	script string
}

func needStranger(t *testing.T) *strangers {
	t.Helper()
	b := needBTT(t)
	why := ""
	if exec.Command(systemPython, "-c", "").Run() != nil {
		why = systemPython
	}
	foreign.Missing(t, why)
	script, err := filepath.Abs(filepath.Join("testdata", "stranger", "stranger.py"))
	b.check(err)
	return &strangers{b, script}
}

// start runs a command of the stranger's until the end of the test.
func (s *strangers) start(c Config, args ...string) *process {
	s.Helper()
	p, err := startProcess(c.Host, "stranger "+args[0], c.Dir, append([]string{systemPython, "-B", s.script}, args...)...)
	s.check(err)
	s.Cleanup(func() { p.stop() }) // has ended by itself where the test passed
	return p
}

// end waits for the end of a command and returns its last line.
func (s *strangers) end(ctx context.Context, p *process) (out struct {
	Event, Address, Buyer, Seller       string
	Bytes, Payments                     int64
	Sum, Reserve, Before, After, Earned int64 // µBTT, Reserve for a GiB; Before and After only of buy and sell
	Checked                             map[string]int
}) {
	s.Helper()
	s.check(p.wait(ctx))
	s.check(json.Unmarshal([]byte(p.lines[len(p.lines)-1]), &out))
	return out
}

// micro is what a wallet can spend.
func (e *economy) micro(ctx context.Context, home string) int64 {
	e.Helper()
	a, err := amount.Parse(e.balance(ctx, home))
	e.check(err)
	return int64(a)
}

// TestStranger: who knows the specifications alone buys from btt and sells to it,
// and every µBTT is where its ledger says. testdata/stranger tells what it shows
// besides.
func TestStranger(t *testing.T) {
	s := needStranger(t)
	ctx := s.within(transferMax)
	seedHome, getHome := s.folder("home-seed"), s.folder("home-get")
	e := s.newEconomy(ctx, seedHome, getHome)
	ledger := strings.TrimPrefix(e.url, "http://")
	film := s.sharePieces(17, Content{"single file.bin": 1e6})
	c := s.config("stranger")
	keys := [2]string{filepath.Join(c.Dir, "buyer.key"), filepath.Join(c.Dir, "seller.key")}
	payer := s.end(ctx, s.start(c, "key", keys[0])).Address
	_, err := RunBTT(ctx, s.config("send"), "wallet", "send", payer, "10", "--home", getHome, "--ledger", e.url)
	s.check(err)

	seed := s.btt("--speed", "--ledger", e.url, "--reserve", "2 BTT/GiB")
	seed.home = seedHome
	s.check(seed.Seed(ctx, film.Torrent, film.dir))
	copied := filepath.Join(s.folder("bought"), film.Name)
	bought := s.end(ctx, s.start(c, "buy", keys[0], ledger, seed.Addr().String(), film.File, copied, "5000000"))
	s.same(film.dir, filepath.Dir(copied), film.Name, seed)
	if want := film.bytes * 2e6 >> 30; bought.Sum != want || bought.Before-bought.After != want || bought.Reserve != 2e6 || bought.Payments < 2 {
		t.Errorf("bought for 2 BTT/GiB: %+v, want a sum of %d", bought, want)
	}
	s.end(ctx, s.start(c, "prove", keys[0], ledger, seed.Addr().String(), film.File, filepath.Join(film.dir, film.Name)))
	s.check(seed.Stop())

	at := c.Host.Addr.String() + ":" + strconv.Itoa(peerPort)
	const gift = 5 << 14 // in the midst of a piece; what follows is sold
	selling := s.start(c, "sell", keys[1], ledger, at, film.File, copied, "3000000", strconv.Itoa(gift))
	_, err = selling.waitLine(ctx, isEvent("listening"))
	s.check(err)
	get := s.btt("--speed", "--ledger", e.url, "--leave")
	get.home, get.peers = getHome, []string{at}
	into := s.folder("sold")
	s.check(get.Fetch(ctx, film.File, into))
	s.check(get.Wait(ctx))
	s.same(film.dir, into, film.Name, get)
	sold := s.end(ctx, selling)
	if want := (film.bytes - gift) * 3e6 >> 30; sold.Sum != want || sold.After-sold.Before != want || sold.Bytes != film.bytes-gift {
		t.Errorf("sold for 3 BTT/GiB: %+v, want a sum of %d", sold, want)
	}

	has := map[string]int64{"seed": e.micro(ctx, seedHome), "get": e.micro(ctx, getHome), "buyer": bought.After, "seller": sold.After}
	if sum := has["seed"] + has["get"] + has["buyer"] + has["seller"]; sum != 2000e6 || has["seed"] != 1000e6+bought.Sum {
		t.Errorf("of 2000 BTT there are %d µBTT: %v", sum, has)
	}
	_, err = RunBTT(ctx, s.config("audit"), "ledger", "audit", "--dir", e.dir)
	s.check(err)
}

// TestStrangerTracker: the stranger tells a btt tracker bids over HTTP and UDP and
// reads them back.
func TestStrangerTracker(t *testing.T) {
	s := needStranger(t)
	ctx := s.within(transferMax)
	c := s.config("tracker")
	at := c.Host.Addr.String() + ":6969"
	_, err := s.startBTT(c, "tracker", "--listen", at).waitLine(ctx, isEvent("listening"))
	s.check(err)
	s.end(ctx, s.start(s.config("stranger"), "track", at))
}

// TestStrangerVectors: the stranger agrees with testdata/vectors.
func TestStrangerVectors(t *testing.T) {
	s := needStranger(t)
	folder, err := filepath.Abs(filepath.Join("..", "..", "testdata", "vectors"))
	s.check(err)
	out := s.end(s.within(transferMax), s.start(s.config("stranger"), "vectors", folder))
	files, err := os.ReadDir(folder)
	s.check(err)
	for _, f := range files {
		if out.Checked[f.Name()] == 0 {
			t.Errorf("%s: nothing was checked", f.Name())
		}
	}
	t.Logf("checked %v", out.Checked)
}
