package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exitCodes are those of the program, with their meaning; README.md has the
// same table. Codes are only ever added.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done"},
	{exitFailed, "failed"},
	{exitUsage, "the command line is wrong"},
	{exitPartly, "partly done: files are not complete, a torrent was not shared, or deposits are locked still; the message says which"},
	{exitNoDaemon, "daemon not reachable (reserved)"},
	{exitNotFound, "a file, wallet, ledger or transaction was not found"},
	{exitLocked, "the wallet is locked, or the password is wrong"},
	{exitNoFunds, "not enough BTT"},
	{exitLimit, "a spending limit refused it"},
	{exitRefused, "the peer refused the payment (reserved)"},
	{exitInUse, "another program, such as a running node, uses the wallet, or downloads the same into the same folder"},
	{exitInterrupted, "interrupted (Ctrl-C) before it was done"},
}

// newExitCodes is a help topic: btt help exit-codes.
func newExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("Every command ends with one of these codes. They are only ever added to; take one\nthat you do not know for a failure.\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	b.WriteString("\nAn error is one line on stderr that begins with \"btt:\", with a hint below where\nthere is one; with --json it is one object with the code and the error.")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}
