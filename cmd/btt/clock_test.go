package main

import (
	"context"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/ledgerhttp"
)

// clockLedger is the real ledger server over HTTP; only its clock is the
// script's.
type clockLedger struct {
	server *ledgerd.Server
	mu     sync.Mutex
	now    time.Time
}

func (c *clockLedger) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// cmdClock serves the ledger in DIR at a URL that goes into VAR.
func cmdClock(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 3, "clock NAME DIR VAR")
	c := &clockLedger{now: time.Now()}
	s, err := ledgerd.Open(ledgerd.Config{Dir: ts.MkAbs(args[1]), Now: c.Now})
	ts.Check(err)
	c.server = s
	web := httptest.NewServer(ledgerhttp.Handler(s.Client()))
	ts.Defer(func() {
		web.CloseClientConnections()
		_ = s.Close() // what it committed is on the disk
		web.Close()
	})
	f := fleetOf(ts)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clocks == nil {
		f.clocks = map[string]*clockLedger{}
	}
	f.clocks[args[0]] = c
	ts.Setenv(args[2], web.URL)
}

// cmdElapse lets time pass at a ledger, in the steps that a block may carry.
func cmdElapse(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "elapse NAME DURATION")
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	f := fleetOf(ts)
	f.mu.Lock()
	c := f.clocks[args[0]]
	f.mu.Unlock()
	if c == nil {
		ts.Fatalf("no ledger %q with a clock", args[0])
	}
	ts.Check(c.elapse(d))
}

// elapse lets time pass, in the steps that a block may carry.
func (c *clockLedger) elapse(d time.Duration) error {
	const step = 30 * time.Second
	for ; d > 0; d -= step {
		c.mu.Lock()
		c.now = c.now.Add(min(step, d))
		c.mu.Unlock()
		if err := c.server.Beat(context.Background()); err != nil {
			return err
		}
	}
	return nil
}
