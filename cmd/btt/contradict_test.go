package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/trackerd"
)

// TestContradictions: what could only be ignored is refused before anything is read or
// asked for, and the error names the flag.
func TestContradictions(t *testing.T) {
	for line, want := range map[string]string{
		"get x.torrent --leave --seed-after":                                            "--seed-after does not go with --leave",
		"get x.torrent --speed --earn-only --budget 5":                                  "--budget does not go with --earn-only",
		"get x.torrent --speed --earn-only --bids market":                               "--bids does not go with --earn-only",
		"get x.torrent --speed --earn-only --spend-rate 0.5":                            "--spend-rate does not go with --earn-only",
		"seed x --speed --earn-only --price-cap 5":                                      "--price-cap does not go with --earn-only",
		"seed x --speed --paid-only --free-share 50%":                                   "--free-share does not go with --paid-only",
		"seed x --speed=false --reserve 2":                                              "--reserve does not go with --speed=false",
		"get x.torrent --speed=false --budget 5":                                        "--budget does not go with --speed=false",
		"seed x --speed --stay 5s":                                                      "--stay needs --when-paid or --join-paid",
		"get x.torrent --speed --watch-every 5s":                                        "--watch-every needs --when-paid",
		"seed x --speed=false --when-paid":                                              "--when-paid needs --speed",
		"get x.torrent --speed=false --when-paid":                                       "--when-paid needs --speed",
		"seed x --speed=false --paid-only":                                              "--paid-only needs --speed",
		"seed --speed=false --join-paid http://127.0.0.1:1/announce":                    "--join-paid needs --speed",
		"seed x --speed --reserve 1 --reserve-growth 1":                                 "give one of them",
		"seed x --speed --reserve-cap 1":                                                "--reserve-cap needs --reserve-growth",
		"seed x --speed --plain y":                                                      "--plain y is none",
		"seed x --speed=false --reserve-for x=1":                                        "--reserve-for needs --speed",
		"seed x --speed=false --reserve-growth-for x=1":                                 "--reserve-growth-for needs --speed",
		"seed x --speed --ledger unix:/none --plain x --reserve-for x=1":                "--plain keeps \"x\" out",
		"seed x --speed --ledger unix:/none --plain x --reserve-growth-for x=1":         "--plain keeps \"x\" out",
		"seed x --speed --ledger unix:/none --reserve-for x=0 --reserve-growth-for x=1": "two prices",
		"seed x --join-max 1GiB":                                                        "--join-max needs --join-paid",
		"seed --speed --join-paid http://127.0.0.1:1/announce --no-tracker-bids":        "--no-tracker-bids",
		"seed x y --torrent z":                                                          "--torrent names the torrent of one PATH",
		"seed x --data d":                                                               "--data is for torrent files",
		"get x.torrent y.torrent --files 1":                                             "--files chooses of one torrent",
		"speed earn --ledger unix:/none --reserve 1 --reserve-growth 1":                 "",
		"receipts a b":                        "takes one ID at most",
		"tracker --no-bids --bid-interval 1m": "bid-interval",
		"tracker --no-udp --workers 2":        "workers",
		"tracker --no-http --metrics":         "metrics",
		"tracker --no-http --no-udp":          "nothing to serve",
		"demo --peers 0":                      "--peers must be",
		"demo --scenario none":                "scenario",
	} {
		cmd := newRoot(&global{})
		cmd.SetArgs(append(strings.Fields(line), "--home", filepath.Join(t.TempDir(), "home")))
		cmd.SetOut(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		if err == nil || want != "" && exitCode(err) != exitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("btt %s: %v, want %q", line, err, want)
		}
	}
}

// TestNoContradiction: a flag that is given as it is without it contradicts nothing, as
// scripts do with variables.
func TestNoContradiction(t *testing.T) {
	for _, line := range []string{
		"get none.torrent --leave=false --seed-after",
		"get none.torrent --leave --seed-after=false",
		"get none.torrent --earn-only=false --budget 5 --price-cap 1",
		"get none.torrent --speed=false --earn-only=false --no-tracker-bids=false",
		"seed none.torrent --paid-only=false --free-share 50%",
		"tracker --no-udp=false --workers 1 --no-http=false --metrics --interval 1h --min-interval 2h",
		"tracker --no-http --metrics=false --interval 1h --min-interval 2h",
	} {
		cmd := newRoot(&global{})
		cmd.SetArgs(append(strings.Fields(line), "--home", filepath.Join(t.TempDir(), "home")))
		cmd.SetOut(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); err == nil || strings.Contains(err.Error(), "does not go with") || strings.Contains(err.Error(), "none of the others") {
			t.Errorf("btt %s: %v", line, err)
		}
	}
}

// TestServed: what a tracker does not serve it does not name.
func TestServed(t *testing.T) {
	for want, c := range map[[2]string]trackerd.Config{
		{"http://a/announce", "http://a/announce (and udp://a)"}: {},
		{"http://a/announce", "http://a/announce"}:               {NoUDP: true},
		{"udp://a/announce", "udp://a/announce"}:                 {NoHTTP: true},
	} {
		if announce, all := served(&c, "a"); announce != want[0] || all != want[1] {
			t.Errorf("got %q and %q, want %q", announce, all, want)
		}
	}
}

// TestNoHome: commands that only look say that there is nothing to look at, and what to
// do, and make nothing.
func TestNoHome(t *testing.T) {
	for _, line := range []string{"receipts", "receipts abcd", "wallet address", "wallet history", "wallet limits", "channel list", "wallet lock",
		"wallet balance --ledger http://127.0.0.1:1", "ledger audit --dir HOME"} {
		home := filepath.Join(t.TempDir(), "none")
		cmd := newRoot(&global{})
		cmd.SetArgs(append(strings.Fields(strings.ReplaceAll(line, "HOME", home)), "--home", home))
		cmd.SetOut(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), home) && !strings.Contains(err.Error(), "no wallet") || !strings.Contains(err.Error(), "(") {
			t.Errorf("btt %s: %v", line, err)
		}
		if line != "wallet balance --ledger http://127.0.0.1:1" && exitCode(err) != exitNotFound {
			t.Errorf("btt %s: exit code %d: %v", line, exitCode(err), err)
		}
		if _, err := os.Stat(home); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("btt %s made the folder: %v", line, err)
		}
	}
}

// TestOwnPrices: a price that a path has of its own is fixed, or grows to its cap.
func TestOwnPrices(t *testing.T) {
	const one = amount.Price(amount.BTT)
	o := ownPrices{fixed: []string{"a=b=2 BTT/GiB", "zero=0"}, grow: []string{"c=1 BTT/GiB/hour", "d=1 BTT/GiB/day,10 BTT/GiB"}}
	got, err := o.read([]string{"a=b", "zero", "c", "d", "e"}, nil, &transfer{speed: true})
	if err != nil || len(got) != 4 {
		t.Fatal(got, err)
	}
	for path, want := range map[string]btt.Reserve{"a=b": {Fixed: 2 * one}, "zero": {}} {
		if *got[path] != want {
			t.Errorf("%s: %+v", path, got[path])
		}
	}
	if c, d := got["c"].Growth, got["d"].Growth; c.Slope != 24*one || c.Cap != 0 || d.Slope != one || d.Cap != 10*one {
		t.Errorf("grow %+v, %+v", c, d)
	}
	for _, bad := range []string{"c", "c=", "c=0", "c=,1", "c=1,", "c=1,0", "c=1,much", "x=1"} {
		o := ownPrices{grow: []string{bad}}
		if _, err := o.read([]string{"c"}, nil, &transfer{speed: true}); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
