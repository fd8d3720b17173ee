package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

func ledgerAudit(g *global, dir *string) *cobra.Command {
	var held []string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Prove that the ledger neither created nor lost a µBTT",
		Long: `Replays the ledger's log from its genesis with a reader of its own, checks every
signature, sum and hash, and prints what the accounts hold together. The ledger may
run meanwhile; a copy of its folder will do.

With --head it also checks that the log contains the history of a signed head that
you got earlier ("btt ledger head", or a line of the file in your folder of heads):
a log that was rewritten since, however right in itself, is found.`,
		Example: `  btt ledger audit --dir ledger
  btt ledger audit --dir copy --head yesterday.head`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var heads []string
			for _, file := range held {
				text, err := readSmall(file, books.MaxNoteBytes)
				if err != nil {
					return err
				}
				heads = append(heads, string(text))
			}
			if _, err := os.Stat(*dir); err != nil {
				return fmt.Errorf("no ledger in %s (name its folder with --dir, or make one with: btt ledger init): %w", *dir, bare(err))
			}
			rep, err := ledgerd.Audit(*dir, heads...)
			if err != nil {
				return err
			}
			reportAudit(g, cmd, &rep)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&held, "head", nil, "file of a signed head that the log must contain (may be repeated)")
	return cmd
}

func reportAudit(g *global, cmd *cobra.Command, rep *ledgerd.Report) {
	r := g.reporter(cmd.OutOrStdout())
	defer r.Close()
	text := fmt.Sprintf("the books are right: %d blocks, %d transactions, %d coins\nsupply   %s\nminted   %s\nburned   %s\nbalances %s\nhead     %x\ntree     %s\noperator %s",
		rep.Blocks, rep.Transactions, rep.Coins, amount.Supply, rep.Minted, rep.Burned, rep.Unspent, rep.Head, rep.Tree.Root, rep.Operator)
	if rep.Held > 0 {
		text += fmt.Sprintf("\nthe log contains the history of %d signed heads", rep.Held)
	}
	r.Event("audit", text, terminal.Fields{"blocks": rep.Blocks, "transactions": rep.Transactions, "coins": rep.Coins, "parked": rep.Parked,
		"supply": amount.Supply, "minted": rep.Minted, "burned": rep.Burned, "balances": rep.Unspent, "head": fmt.Sprintf("%x", rep.Head),
		"tree": rep.Tree.Root, "operator": rep.Operator, "held": rep.Held, "reconciled": rep.Unspent == rep.Minted-rep.Burned})
}

func ledgerCheck(g *global) *cobra.Command {
	var operator string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check evidence against an operator, or a proof of a transaction",
		Long: `Checks a document without asking anybody: evidence that an operator signed two
histories (written when it happens), or the proof of a transaction ("btt ledger tx
--proof"). It says what the document proves and against whose key; compare the key
with the one the operator publishes, or have that done with --operator.`,
		Example: `  btt ledger check fork-1a2b3c4d.json`,
		Args:    exactArgs(1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readSmall(args[0], books.MaxDocumentBytes)
			if err != nil {
				return err
			}
			d, err := books.ParseDocument(text)
			if err != nil {
				return fmt.Errorf("check %s: %w", args[0], err)
			}
			finding, err := d.Check()
			if err != nil {
				return fmt.Errorf("check %s: %w", args[0], err)
			}
			if operator != "" {
				key, err := ledger.ParsePublicKey(operator)
				if err != nil {
					return usage("--operator: %v", err)
				}
				if key != d.Operator {
					return fmt.Errorf("check %s: it is of operator %s, not of the one you named", args[0], d.Operator)
				}
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("checked", fmt.Sprintf("proved: %s\nnetwork  %s\noperator %s", finding, d.Network, d.Operator),
				terminal.Fields{"kind": d.Kind, "finding": finding, "network": d.Network, "operator": d.Operator})
			return nil
		},
	}
	cmd.Flags().StringVar(&operator, "operator", "", "the operator's public key: refuse documents of another")
	return cmd
}

// readSmall reads a file that may not be longer than most.
func readSmall(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if info.Size() > most {
		return nil, fmt.Errorf("read %s: %d bytes, at most %d", path, info.Size(), most)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}
