package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestExitCodesAreDocumented: README.md and btt help exit-codes tell the same.
func TestExitCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "| Code | Meaning |\n|---|---|\n")
	if !ok {
		t.Fatal("README.md has no table of exit codes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	if rows := strings.Count(table, "\n") + 1; rows != len(exitCodes) {
		t.Errorf("README.md tells %d codes, the program %d", rows, len(exitCodes))
	}
	for _, c := range exitCodes {
		if !strings.Contains("\n"+table, fmt.Sprintf("\n| %d | ", c.code)) {
			t.Errorf("README.md does not tell code %d", c.code)
		}
	}
}

// TestListenHint: only who listens is told of the flags for that; the address that is not
// there may be the ledger's.
func TestListenHint(t *testing.T) {
	for op, want := range map[string]string{"listen": "this machine has no such address: choose another with --listen", "dial": ""} {
		err := fmt.Errorf("start: %w", &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, syscall.EADDRNOTAVAIL)})
		if got := hintFor(err, "btt seed"); got != want {
			t.Errorf("%v: hint %q, want %q", err, got, want)
		}
	}
}

func TestFraction(t *testing.T) {
	for text, want := range map[string]uint32{"0": 0, "0.0": 0, "1": 1_000_000, "1.0": 1_000_000, "0.25": 250_000, "0.000001": 1, "1.000000": 1_000_000} {
		if got, err := fraction(text); err != nil || got != want {
			t.Errorf("fraction(%q) = %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", ".", ".5", "1.000001", "2", "-1", "1e3", "0.0000001", "0,5", "0.-5", "999999999999"} {
		if got, err := fraction(bad); err == nil {
			t.Errorf("fraction(%q) = %d", bad, got)
		}
	}
}

func FuzzSelectors(f *testing.F) {
	f.Add("1,3-5,*.mkv")
	f.Add("[,-,1-,99999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		c := choice{files: []string{text}}
		list, err := c.selectors()
		for i := range list {
			p := &list[i]
			if err == nil && p.pattern == "" && (p.first < 1 || p.last < p.first) {
				t.Fatalf("%q means files %d to %d", text, p.first, p.last)
			}
			p.matches("folder/some file.mkv")
		}
	})
}

// TestInterrupted: whatever a command waits for, Ctrl-C has its own code.
func TestInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // ends with its only caller
		c, err := l.Accept()
		cancel(context.Canceled)
		if err == nil {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1<<10)) // its end
		}
	}()
	if code := run(ctx, []string{"get", "http://" + l.Addr().String() + "/x.torrent", "-o", t.TempDir()}); code != exitInterrupted {
		t.Errorf("ended with code %d", code)
	}
}

// TestPlain: an error is one line, and nothing in it commands the terminal.
func TestPlain(t *testing.T) {
	err := errors.Join(errors.New("purse: wallet: first\x1b[31m"), errors.New("second\nthird\a"))
	if got, want := plain(err), "first?[31m; second; third?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSameSignal: a signal that comes twice at once, as from timeout(1), is one, and
// does not keep a command from settling what it owes; a later one ends it.
func TestSameSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		var stops, ends int
		go func() { // ends with the second signal
			await(signals, func() { stops++ })
			ends++
		}()
		for _, step := range []struct {
			wait        time.Duration
			stops, ends int
		}{{0, 1, 0}, {0, 1, 0}, {sameSignal / 2, 1, 0}, {sameSignal, 1, 1}} {
			time.Sleep(step.wait)
			signals <- os.Interrupt
			synctest.Wait()
			if stops != step.stops || ends != step.ends {
				t.Fatalf("after %v: stopped %d times, ended %d times", step, stops, ends)
			}
		}
	})
}
