package interop

import (
	"context"
	"encoding/json"
	"fmt"
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

// strangersEnd is the last line that a command of the stranger's prints.
type strangersEnd struct {
	Event, Address, Buyer, Seller       string
	Bytes, Payments                     int64
	Unit, Given                         int64 // bytes; 0 where whole pieces are bought
	Sum, Reserve, Before, After, Earned int64 // µBTT, Reserve for a GiB; Before and After only of buy and sell
	Checked                             map[string]int
}

// end waits for the end of a command and returns its last line.
func (s *strangers) end(ctx context.Context, p *process) (out strangersEnd) {
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

// strangePieces is the size of pieces in strangeTorrents of version 2, strangeUnit
// the part of one that btt sells and buys there.
const strangePieces, strangeUnit = 256 << 10, 64 << 10

// strangeContent has, beside files of many units whose last one is short, or all that
// their last piece has, one of less than a piece, one of less than a unit and an empty one.
var strangeContent = Content{
	"album/a many units.bin":   3*strangePieces + 100_000,
	"album/b/half a piece.bin": 100_000,
	"album/c less.bin":         20_000,
	"album/d empty":            0,
	"album/e a unit more.bin":  strangePieces + 5,
}

// strangeTorrents are what is bought and sold; gift is what the stranger gives before
// it sells, in the midst of a piece.
var strangeTorrents = []struct {
	version    string
	content    Content
	unit, gift int64
}{
	{"v1", Content{"single file.bin": 1e6}, 0, 5 << 14},
	{"v2", strangeContent, strangeUnit, 0},
	{"hybrid", Content{"single file.bin": 1e6}, strangeUnit, 0},
}

// TestStranger: who knows the specifications alone buys from btt and sells to it, in
// version 2 and hybrids by units, and every µBTT is where its ledger says. testdata/stranger
// tells what it shows besides. Called for a hybrid it answers by the version 1 hash.
func TestStranger(t *testing.T) {
	t.Parallel()
	for _, c := range strangeTorrents {
		t.Run(c.version, func(t *testing.T) {
			s := needStranger(t)
			ctx := s.within(transferMax)
			e := s.newEconomy(ctx, s.folder("home-seed"), s.folder("home-get"))
			film := s.strange(ctx, c.version, c.content)
			bought := s.buys(ctx, e, film, c.unit)
			sold := s.sells(ctx, e, film, c.unit, c.gift)
			seed, get := e.micro(ctx, filepath.Join(s.dir, "home-seed")), e.micro(ctx, filepath.Join(s.dir, "home-get"))
			if sum := seed + get + bought.After + sold.After; sum != 2000e6 || seed != 1000e6+bought.Sum {
				t.Errorf("of 2000 BTT there are %d µBTT: %d, %d, %d and %d", sum, seed, get, bought.After, sold.After)
			}
			_, err := RunBTT(ctx, s.config("audit"), "ledger", "audit", "--dir", e.dir)
			s.check(err)
		})
	}
}

// strange makes a torrent of a version.
func (s *strangers) strange(ctx context.Context, version string, c Content) shared {
	s.Helper()
	if version == "v1" {
		return s.sharePieces(17, c)
	}
	film, _ := s.shareV2(ctx, c, "btt", version, strangePieces)
	return film
}

// buys lets the stranger buy film from a btt seed and prove that it has it.
func (s *strangers) buys(ctx context.Context, e *economy, film shared, unit int64) (bought strangersEnd) {
	s.Helper()
	c := s.config("stranger")
	key, ledger := filepath.Join(c.Dir, "account"), strings.TrimPrefix(e.url, "http://")
	payer := s.end(ctx, s.start(c, "key", key)).Address
	_, err := RunBTT(ctx, s.config("send"), "wallet", "send", payer, "10", "--home", filepath.Join(s.dir, "home-get"), "--ledger", e.url)
	s.check(err)
	seed := s.btt("--speed", "--ledger", e.url, "--reserve", "2 BTT/GiB", "--quantum", fmt.Sprint(strangeUnit>>10, "KiB"))
	seed.home = filepath.Join(s.dir, "home-seed")
	s.check(seed.Seed(ctx, film.Torrent, film.dir))
	copied := filepath.Join(s.folder("bought"), film.Name)
	bought = s.end(ctx, s.start(c, "buy", key, ledger, seed.Addr().String(), film.File, copied, "5000000"))
	s.same(film.dir, filepath.Dir(copied), film.Name, seed)
	if want := film.bytes * 2e6 >> 30; bought.Sum != want || bought.Before-bought.After != want || bought.Reserve != 2e6 {
		s.Errorf("bought for 2 BTT/GiB: %+v, want a sum of %d", bought, want)
	}
	if quanta := int64(8); bought.Unit != unit || bought.Payments < quanta {
		s.Errorf("bought by units of %d in %d payments, want %d and at least %d", bought.Unit, bought.Payments, unit, quanta)
	}
	s.end(ctx, s.start(c, "prove", key, ledger, seed.Addr().String(), film.File, filepath.Join(film.dir, film.Name)))
	s.check(seed.Stop())
	return bought
}

// sells lets the stranger sell film to a btt get, for nothing up to gift.
func (s *strangers) sells(ctx context.Context, e *economy, film shared, unit, gift int64) (sold strangersEnd) {
	s.Helper()
	c := s.config("stranger")
	at := c.Host.Addr.String() + ":" + strconv.Itoa(peerPort)
	selling := s.start(c, "sell", filepath.Join(c.Dir, "account"), strings.TrimPrefix(e.url, "http://"), at, film.File,
		filepath.Join(film.dir, film.Name), "3000000", strconv.FormatInt(gift, 10))
	_, err := selling.waitLine(ctx, isEvent("listening"))
	s.check(err)
	get := s.btt("--speed", "--ledger", e.url, "--leave", "--quantum", fmt.Sprint(strangeUnit>>10, "KiB"))
	get.home, get.peers = filepath.Join(s.dir, "home-get"), []string{at}
	into := s.folder("sold")
	s.check(get.Fetch(ctx, film.File, into))
	s.check(get.Wait(ctx))
	s.same(film.dir, into, film.Name, get)
	sold = s.end(ctx, selling)
	want := (film.bytes - sold.Given) * 3e6 >> 30
	if sold.Sum != want || sold.After-sold.Before != want || sold.Bytes != film.bytes-sold.Given || sold.Given < gift {
		s.Errorf("sold for 3 BTT/GiB but for a gift of %d: %+v, want a sum of %d", gift, sold, want)
	}
	if sold.Unit != unit {
		s.Errorf("sold by units of %d, want %d", sold.Unit, unit)
	}
	return sold
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
