package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/heads"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// asked is a ledger that a command asks, with the head that it signed.
type asked struct {
	ledger.Client
	status ledger.Status
	source books.Source     // nil when it proves nothing
	head   *books.Extension // nil when it signs none
}

// askFlags name the ledger of a question.
type askFlags struct{ url string }

func (f *askFlags) add(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&f.url, "ledger", os.Getenv(ledgerEnv), "URL of the ledger, http://HOST:PORT, https://HOST:PORT or unix:/PATH (default $BTT_LEDGER)")
	return cmd
}

func (f *askFlags) ask(cmd *cobra.Command) (*asked, error) {
	c, err := dialLedger(cmd.Context(), f.url)
	if err != nil {
		return nil, err
	}
	a := &asked{Client: c}
	if a.status, err = c.Status(cmd.Context()); err != nil {
		return nil, err
	}
	followed, ok := c.(*heads.Client)
	if !ok || followed.Source() == nil {
		return a, nil
	}
	a.source = followed.Source()
	x, err := a.source.Head(cmd.Context(), 0)
	if err != nil {
		return nil, err
	}
	a.head = &x
	return a, nil
}

func ledgerStatus(g *global) *cobra.Command {
	var f askFlags
	return f.add(&cobra.Command{
		Use: "status", Short: "Print the state of a running ledger", Args: exactArgs(0, "no arguments"),
		Example: `  btt ledger status --ledger http://127.0.0.1:7700`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := f.ask(cmd)
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			st := &a.status
			text := fmt.Sprintf("network  %s\nheight   %d\ntime     %s\nminted   %s\nburned   %s\nunspent  %s", st.Network, st.Height,
				ledgerTime(st.LedgerTime), st.Totals.Minted, st.Totals.Burned, st.Totals.Unspent)
			fields := terminal.Fields{"network": st.Network, "height": st.Height, "ledger_time": st.LedgerTime, "totals": st.Totals,
				"params": st.Params, "cursor": st.Cursor}
			if a.head != nil {
				text += fmt.Sprintf("\noperator %s", a.head.Operator)
				fields["operator"] = a.head.Operator
			}
			r.Event("status", text, fields)
			return nil
		},
	})
}

func ledgerTime(seconds uint64) string {
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

func ledgerHead(g *global) *cobra.Command {
	var f askFlags
	return f.add(&cobra.Command{
		Use: "head", Short: "Print the signed head of a ledger's history", Args: exactArgs(0, "no arguments"),
		Long: `Prints the newest signed head: a few lines that commit the operator to every block
so far. Keep it or publish it: nobody who holds it can be shown another history
unnoticed ("btt ledger audit --head").`,
		Example: `  btt ledger head --ledger http://127.0.0.1:7700 > today.head`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := f.ask(cmd)
			if err != nil {
				return err
			}
			if a.head == nil {
				return books.ErrNoProofs
			}
			head, err := books.OpenHead(a.head.Head, a.status.Network, a.head.Operator)
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("head", strings.TrimSuffix(a.head.Head, "\n"), terminal.Fields{"network": a.status.Network, "operator": a.head.Operator,
				"size": head.Size, "root": head.Root, "note": a.head.Head})
			return nil
		},
	})
}

func ledgerTx(g *global) *cobra.Command {
	var f askFlags
	var file string
	cmd := f.add(&cobra.Command{
		Use: "tx ID", Short: "Print a transaction and prove that the ledger holds it", Args: exactArgs(1, "the identifier of a transaction"),
		Long: `Prints what a transaction moves and what became of it, and checks the ledger's proof
that it is in a block. --proof keeps the proof: a receipt that "btt ledger check" and
anybody else can check without the ledger.`,
		Example: `  btt ledger tx --ledger http://127.0.0.1:7700 --proof receipt.json 5f3c…`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := ledger.ParseTxID(args[0])
			if err != nil {
				return usage("%v", err)
			}
			a, err := f.ask(cmd)
			if err != nil {
				return err
			}
			rec, err := a.Transaction(cmd.Context(), id)
			if err != nil {
				return fmt.Errorf("transaction %s: %w", id, err)
			}
			tx, err := ledger.DecodeTx(rec.Raw)
			if err != nil {
				return err
			}
			if tx.ID(a.status.Network) != id {
				return fmt.Errorf("transaction %s: the ledger answered with another one; do not trust it", id)
			}
			block, err := a.prove(cmd, id, file)
			if err != nil {
				return err
			}
			reportTx(g, cmd, tx, &rec, block)
			return nil
		},
	})
	cmd.Flags().StringVar(&file, "proof", "", "file to write the proof into")
	return cmd
}

// prove checks the proof of a transaction and keeps it in a file if one is named.
// It returns the block that holds it, 0 when the ledger proves nothing.
func (a *asked) prove(cmd *cobra.Command, id ledger.TxID, file string) (uint64, error) {
	if a.source == nil {
		if file != "" {
			return 0, books.ErrNoProofs
		}
		return 0, nil
	}
	p, err := a.source.Proof(cmd.Context(), id, 0)
	if err != nil {
		return 0, fmt.Errorf("prove transaction %s: %w", id, err)
	}
	header, err := p.Check(a.status.Network, a.head.Operator)
	if err == nil && p.TxID != id {
		err = books.ErrProof
	}
	if err != nil {
		return 0, fmt.Errorf("prove transaction %s: do not trust this ledger: %w", id, err)
	}
	if file == "" {
		return header.Height, nil
	}
	p.Prefix, p.From = nil, 0
	d := books.Document{Kind: books.KindInclusion, Network: a.status.Network, Operator: a.head.Operator, Proof: &p}
	text, err := d.Encode()
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		return 0, fmt.Errorf("write proof: %w", err)
	}
	return header.Height, nil
}

func reportTx(g *global, cmd *cobra.Command, tx *ledger.Tx, rec *ledger.Record, block uint64) {
	r := g.reporter(cmd.OutOrStdout())
	defer r.Close()
	text := fmt.Sprintf("%s %s, block %d, ledger time %s", tx.Kind, rec.State, rec.Height, ledgerTime(rec.LedgerTime))
	if tx.LockTime > 0 {
		text += fmt.Sprintf("\nlocked until %s, sequence %d", ledgerTime(tx.LockTime), tx.Sequence)
	}
	for _, in := range tx.Inputs {
		text += fmt.Sprintf("\nspends %s", in)
	}
	if tx.Kind == ledger.Redeem {
		text += fmt.Sprintf("\nredeems %s to %s", tx.Reference.Amount, tx.Reference.Payee)
	}
	for i, out := range tx.Outputs {
		text += fmt.Sprintf("\npays   %s to %s (output %d)", out.Amount, lockText(out.Lock), i)
	}
	fields := terminal.Fields{"txid": rec.TxID, "kind": tx.Kind.String(), "state": rec.State.String(), "height": rec.Height, "index": rec.Index,
		"ledger_time": rec.LedgerTime, "sequence": tx.Sequence, "lock_time": tx.LockTime, "inputs": tx.Inputs, "outputs": tx.Outputs, "raw": rec.Raw}
	if block > 0 {
		text += fmt.Sprintf("\nproved in block %d", block)
		fields["proved"] = block
	}
	r.Event("transaction", text, fields)
}

func lockText(l ledger.Lock) string {
	if l.Kind == ledger.JointLock {
		return fmt.Sprintf("the channel of %s and %s", l.K1.Address(), l.K2.Address())
	}
	return l.Address.String()
}

func ledgerOutpoint(g *global) *cobra.Command {
	var f askFlags
	return f.add(&cobra.Command{
		Use: "outpoint TXID:INDEX", Short: "Print what became of an output", Args: exactArgs(1, "an output, TXID:INDEX"),
		Long: `Prints whether an output of a transaction is unspent, parked (a close of its channel
waits for a time) or spent, and by which transaction.`,
		Example: `  btt ledger outpoint --ledger http://127.0.0.1:7700 5f3c…:0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := ledger.ParseOutPoint(args[0])
			if err != nil {
				return usage("%v", err)
			}
			a, err := f.ask(cmd)
			if err != nil {
				return err
			}
			st, err := a.Outpoint(cmd.Context(), o)
			if err != nil {
				return err
			}
			if st.Status == ledger.OutpointUnknown {
				return fmt.Errorf("the ledger knows no output %s: %w", o, ledger.ErrNotFound)
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			text := st.Status.String()
			if st.Status != ledger.OutpointSpent {
				text += fmt.Sprintf(": %s of %s, since block %d", st.Coin.Amount, lockText(st.Coin.Lock), st.Coin.Height)
			}
			if !st.By.IsZero() {
				text += fmt.Sprintf(", by %s", st.By)
			}
			if st.Status == ledger.OutpointParked {
				text += fmt.Sprintf(" (sequence %d, due at %s)", st.Sequence, ledgerTime(st.LockTime))
			}
			fields := terminal.Fields{"outpoint": o, "status": st.Status.String()}
			if st.Status == ledger.OutpointSpent {
				fields["by"] = st.By
			} else {
				fields["amount"], fields["lock"], fields["height"] = st.Coin.Amount, st.Coin.Lock, st.Coin.Height
			}
			if st.Status == ledger.OutpointParked {
				fields["by"], fields["sequence"], fields["lock_time"] = st.By, st.Sequence, st.LockTime
			}
			r.Event("outpoint", text, fields)
			return nil
		},
	})
}
