package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/terminal"
)

func ledgerSnapshot(g *global, dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "snapshot FILE",
		Short: "Write the state of the ledger to a file",
		Long: `Audits the ledger's log and writes what it comes to: head, parked transactions,
coins, used deposits and a SHA-256 of it all. Equal histories give equal bytes. The
ledger may run meanwhile. A file that exists is not touched.`,
		Example: `  btt ledger snapshot --dir ledger state.snapshot`,
		Args:    exactArgs(1, "a file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("write snapshot: %w", err)
			}
			rep, err := ledgerd.Snapshot(*dir, f)
			if err == nil {
				err = f.Sync()
			}
			if err = errors.Join(err, f.Close()); err != nil {
				return errors.Join(err, os.Remove(args[0]))
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("snapshot", fmt.Sprintf("%s: block %d, %d coins", args[0], rep.Blocks, rep.Coins),
				terminal.Fields{"file": args[0], "blocks": rep.Blocks, "coins": rep.Coins, "network": rep.Network})
			return nil
		},
	}
}
