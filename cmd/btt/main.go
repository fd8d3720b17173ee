// Command btt is a BitTorrent client and daemon in which peers can pay each
// other in BTT for upload slots: the client, the ledger server, the tracker
// and a demonstration of the whole economy in one process.
//
// One file per command; what the commands do is in the packages they call.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/bttnet/btt/internal/terminal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	cmd := newRoot()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	if asJSON(cmd) || slices.Contains(args, "--json") { // the latter of a line that was not understood

		terminal.New(terminal.JSON, os.Stderr).Event("error", "", terminal.Fields{"code": code, "error": err.Error()})
	} else {
		fmt.Fprintln(os.Stderr, "btt:", err)
		if hint := hintFor(err); hint != "" {
			fmt.Fprintln(os.Stderr, "    ", hint)
		}
	}
	return code
}
