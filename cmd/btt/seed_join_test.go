package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
)

// TestJoinFlags: what may be joined for pay is what the user said, and nothing
// without limits.
func TestJoinFlags(t *testing.T) {
	good := joinFlags{trackers: []string{"http://127.0.0.1:1/announce"}, max: "10GiB", price: "1 BTT/GiB", spend: "0.5", torrents: 3}
	speed := transfer{speed: true, watch: time.Minute, stay: time.Hour}
	home := t.TempDir()
	c, err := good.config(&global{home: home}, &speed)
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxBytes != 10<<30 || c.MinPrice != amount.Price(amount.BTT) || c.MaxSpend != amount.BTT/2 || c.MaxTorrents != 3 ||
		c.Every != time.Minute || c.Stay != time.Hour || c.Dir != filepath.Join(home, "joined") || len(c.Trackers) != 1 {
		t.Errorf("got %+v", c)
	}
	for want, change := range map[string]func(*joinFlags, *transfer){
		"needs --speed":                  func(_ *joinFlags, t *transfer) { t.speed = false },
		"without --no-tracker-bids":      func(_ *joinFlags, t *transfer) { t.noBids = true },
		"how much with --join-max":       func(j *joinFlags, _ *transfer) { j.max = "" },
		"what bid on with --join-price":  func(j *joinFlags, _ *transfer) { j.price = "" },
		"say how many bytes":             func(j *joinFlags, _ *transfer) { j.max = "0" },
		"say the least price":            func(j *joinFlags, _ *transfer) { j.price = "0 BTT/GiB" },
		"--join-torrents 0 is not 1 to":  func(j *joinFlags, _ *transfer) { j.torrents = 0 },
		"--join-spend":                   func(j *joinFlags, _ *transfer) { j.spend = "much" },
		`"nonsense" is no tracker's URL`: func(j *joinFlags, _ *transfer) { j.trackers = []string{"nonsense"} },
	} {
		j, tr := good, speed
		change(&j, &tr)
		if c, err := j.config(&global{home: home}, &tr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: got %+v, %v", want, c, err)
		}
	}
	if c, err := new(joinFlags).config(&global{}, &speed); c != nil || err != nil {
		t.Errorf("nothing is asked for: %+v, %v", c, err)
	}
	var cfg btt.SpeedConfig
	speed.join = c
	if err := speed.reserves(&cfg); err != nil || cfg.Join != c {
		t.Errorf("the limits do not reach the node: %v", err)
	}
}

// TestSeedJoinPaid: a node that shares nothing looks for bids at a tracker, joins
// the torrent of a paying download, sells it, and says so.
func TestSeedJoinPaid(t *testing.T) {
	w := newTown(t)
	w.content(bankSize)
	tracker := w.start("tracker", "tracker", "--listen", "127.0.0.1:0", "--min-interval", "1s", "--json")
	announce := w.await(tracker, tracker.stdout, `"announce":"([^"]+)"`)
	w.run("create", "share/film.bin", "--piece-size", "64KiB", "--tracker", announce)
	leech := w.run("wallet", "init", "--home", "leech")[0]["address"].(string)
	w.run("wallet", "init", "--home", "joiner")
	w.run("ledger", "init", "--dir", "ledger", "--grant", leech+"=100")
	ledger := w.start("ledger", "ledger", "serve", "--dir", "ledger", "--listen", "127.0.0.1:0", "--json")
	url := w.await(ledger, ledger.stdout, `"url":"([^"]+)"`)
	seed := w.start("seed", "seed", "share/film.bin", "--home", "seed", "--listen", "127.0.0.1:0", "--json")
	w.await(seed, seed.stdout, `"event":"seeding"`)
	joiner := w.start("joiner", "seed", "--home", "joiner", "--listen", "127.0.0.1:0", "--speed", "--ledger", url, "--join-paid", announce,
		"--join-max", "1GiB", "--join-price", "1 BTT/GiB", "--watch-every", "1s", "--choke-interval", "1s", "--json")
	w.await(joiner, joiner.stdout, `"event":"looking"`) // what a slow machine needs for its start is no part of the download's time
	args := []string{"get", "share/film.bin.torrent", "-o", "download", "--home", "leech", "--listen", "127.0.0.1:0", "--speed", "--ledger", url, "--json"}
	get := w.start("get", append(args, "--limit-down", "64KiB")...) // for over a minute, so that there is somebody to sell to
	w.await(joiner, joiner.stdout, `"event":"joined"`)
	w.await(joiner, joiner.stdout, `"kind":"earned"`)
	if code, err := get.stop(syscall.SIGINT); err != nil || code != exitInterrupted {
		t.Errorf("ended with code %d, %v", code, err)
	}
	w.end(w.start("again", args...), false)
	w.end(joiner, true)
	if w.sum("download/film.bin") != w.sum("share/film.bin") {
		t.Error("the file differs")
	}
}
