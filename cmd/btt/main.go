// Command btt is a BitTorrent client and daemon in which peers can pay each
// other in BTT for upload slots: the client, the ledger server, the tracker
// and a demonstration of the whole economy in one process.
//
// One file per command; what the commands do is in the packages they call.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bttnet/btt/internal/terminal"
)

// sameSignal is how long after the first signal another one is taken for the same:
// timeout(1) and others signal the program and its group, which holds it too.
const sameSignal = 100 * time.Millisecond

func main() {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		await(signals, func() { stop(context.Canceled) })
		fmt.Fprintln(os.Stderr, "btt: ended at once")
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:]))
}

// await calls stop at the first signal and returns at the next one: who is in a hurry
// does not wait for the trackers' goodbye.
func await(signals <-chan os.Signal, stop func()) {
	<-signals
	first := time.Now()
	stop()
	for <-signals; time.Since(first) < sameSignal; <-signals {
	}
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	var g global
	cmd := newRoot(&g)
	cmd.SetArgs(args)
	lines := &ledgers{g: &g}
	of, err := cmd.ExecuteContextC(context.WithValue(ctx, ledgersKey{}, lines))
	if e := lines.close(os.Stderr); err == nil {
		err = e
	}
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) && !errors.Is(err, errInterrupted) && ctx.Err() != nil {
		err = fmt.Errorf("%w before it was done", errInterrupted)
	}
	code := exitCode(err)
	if asJSON(cmd) || slices.Contains(args, "--json") { // the latter of a line that was not understood

		terminal.New(terminal.JSON, os.Stderr).Event("error", "", terminal.Fields{"code": code, "error": plain(err)})
	} else {
		fmt.Fprintln(os.Stderr, "btt:", plain(err))
		if hint := hintFor(err, of.CommandPath()); hint != "" {
			fmt.Fprintln(os.Stderr, "    ", hint)
		}
	}
	return code
}

// plain is an error in one line that a terminal can show, without the names of
// the packages it came through first.
func plain(err error) string {
	text := printable(strings.ReplaceAll(err.Error(), "\n", "; "))
	for cut := true; cut; {
		cut = false
		for _, prefix := range []string{"purse: ", "wallet: ", "amount: "} {
			if rest, ok := strings.CutPrefix(text, prefix); ok {
				text, cut = rest, true
			}
			text = strings.ReplaceAll(text, "open wallet: "+prefix, "open wallet: ")
		}
	}
	return text
}
