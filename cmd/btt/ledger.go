package main

import (
	"path/filepath"

	"github.com/spf13/cobra"
)

func newLedger(g *global) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "ledger",
		Short: "Run, ask and check the ledger that holds the BTT",
		Long: `A ledger holds all BTT: who owns what, and which channels are open. Its operator
runs it (init, serve, snapshot), anybody may ask it (status, tx, outpoint, head), and nobody
has to believe it (audit, check): each block is a leaf of a tree whose head the
operator signs, so that a history shown to one user and another history shown to
another prove the fraud. The operator's key is remembered at the first contact;
who knows it from elsewhere sets BTT_LEDGER_OPERATOR.`,
	})
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "ledger", "folder of the ledger")
	cmd.AddCommand(ledgerInit(g, &dir), ledgerServe(g, &dir), ledgerStatus(g), ledgerHead(g), ledgerTx(g), ledgerOutpoint(g),
		ledgerAudit(g, &dir), ledgerSnapshot(g, &dir), ledgerCheck(g))
	return cmd
}

// genesisPath is the file by which a folder is known to hold a ledger.
func genesisPath(dir string) string { return filepath.Join(dir, "genesis.json") }
