package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

func walletSend(w *purseFlags) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: "send ADDRESS AMOUNT", Short: "Pay BTT to an address", Args: exactArgs(2, "an address and an amount"),
		Example: `  btt wallet send TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC "2.5 BTT" --ledger http://127.0.0.1:7700
  btt wallet send TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC 2.5 --id rent-march    # repeat it safely`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := ledger.ParseAddress(args[0])
			if err != nil {
				return usage("%v", err)
			}
			sum, err := amount.Parse(args[1])
			if err != nil {
				return usage("%v", err)
			}
			if sum == 0 {
				return usage("a payment of nothing")
			}
			if err := w.needLedger("payments go to the ledger"); err != nil {
				return err
			}
			if id == "" {
				id = fmt.Sprintf("cli-%d", time.Now().UnixNano())
			}
			return w.with(cmd, accessSpend, func(p *btt.Wallet, r *terminal.Reporter) error {
				tx, err := p.Purse().Send(cmd.Context(), to, sum, id)
				if err != nil {
					return err
				}
				r.Event("sent", fmt.Sprintf("sent %s to %s in transaction %s", sum, to, tx), terminal.Fields{"to": to, "amount": sum, "transaction": tx, "id": id})
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "your name for this payment: a repeat with the same id pays nothing again")
	return cmd
}

func walletReceive(w *purseFlags) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "receive", Short: "Print the address to pay to, and wait for a payment if asked", Args: exactArgs(0, "no arguments"),
		Long: `Prints the wallet's address: the same on the ledger and on TRON. With --wait it
stays until somebody paid, and says how much came from whom.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait > 0 {
				if err := w.needLedger("payments come over the ledger"); err != nil {
					return err
				}
			}
			return w.with(cmd, accessLook, func(p *btt.Wallet, r *terminal.Reporter) error {
				a := p.Purse().Address()
				r.Event("address", a.String(), terminal.Fields{"address": a})
				if wait == 0 {
					return nil
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), wait)
				defer cancel()
				in, err := p.Purse().Await(ctx)
				if errors.Is(err, context.DeadlineExceeded) {
					return fmt.Errorf("nothing came within %v; the address stays good", wait)
				}
				if err != nil {
					return err
				}
				r.Event("received", fmt.Sprintf("received %s from %s in transaction %s", in.Amount, in.Counterparty, in.Transaction),
					terminal.Fields{"amount": in.Amount, "from": in.Counterparty, "transaction": in.Transaction})
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for a payment, such as 10m")
	return cmd
}

func walletHistory(w *purseFlags) *cobra.Command {
	var last int
	cmd := &cobra.Command{
		Use: "history", Short: "Print every movement of money and why it happened, oldest first", Args: exactArgs(0, "no arguments"),
		Long: `Prints the wallet's journal. "lock" and "unlock" move money between the address and
a payment channel, "pay" and "earn" are what was really paid in channels, "send" and
"receive" go to and come from addresses, "tidy" joins or splits own coins.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return usage("--last %d: give a number of movements", last)
			}
			return w.with(cmd, accessLook, func(p *btt.Wallet, r *terminal.Reporter) error {
				var list []purse.Entry
				for e, err := range p.Purse().History() {
					if err != nil {
						return err
					}
					if list = append(list, e); last > 0 && len(list) > last {
						list = list[1:]
					}
				}
				for i := range list {
					printEntry(r, &list[i])
				}
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&last, "last", 0, "only the newest so many")
	return cmd
}

func printEntry(r *terminal.Reporter, e *purse.Entry) {
	text := fmt.Sprintf("%s  %-8s %20s  %s", e.Time.Local().Format(time.DateTime), e.Kind, e.Amount, sentence(e))
	f := terminal.Fields{"time": e.Time, "kind": e.Kind, "amount": e.Amount, "counterparty": e.Counterparty,
		"reason": e.Reason, "channel": e.Channel, "transaction": e.Transaction, "torrent": e.Torrent}
	if len(e.Shares) > 0 {
		f["shares"] = e.Shares
	}
	r.Event("movement", text, f)
}

// sentence says in plain words why money moved.
func sentence(e *purse.Entry) string {
	text := e.Reason
	switch {
	case e.Kind == purse.Send && e.Counterparty != "":
		text += " to " + e.Counterparty
	case e.Kind == purse.Cancel:
		text = "the payment " + e.Reason + " to " + e.Counterparty + " was refused for good; its money is free again"
	}
	var parts []string
	for _, s := range e.Shares {
		parts = append(parts, fmt.Sprintf("%s for torrent %.8s…", s.Amount, s.Torrent))
	}
	if e.Torrent != "" {
		parts = append(parts, fmt.Sprintf("for torrent %.8s…", e.Torrent))
	}
	if e.Channel != "" {
		parts = append(parts, fmt.Sprintf("channel %.8s…", e.Channel))
	}
	if len(parts) > 0 {
		text += " (" + strings.Join(parts, ", ") + ")"
	}
	return text
}

func walletConsolidate(w *purseFlags) *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use: "consolidate", Short: "Join many small coins into one", Args: exactArgs(0, "no arguments"),
		Long: `A wallet that earns holds many small coins, and a payment can use 200 of them at
most. This joins the smallest until no more than --keep are left. Nothing is paid for
it and the balance stays. A running node does the same by itself when the ledger is
idle.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if most < 1 {
				return usage("--keep %d: keep one coin at least", most)
			}
			if err := w.needLedger("coins are on the ledger"); err != nil {
				return err
			}
			return w.with(cmd, accessSpend, func(p *btt.Wallet, r *terminal.Reporter) error {
				joined := 0
				for {
					n, err := p.Purse().Consolidate(cmd.Context(), most)
					if err != nil {
						return err
					}
					if joined += n; n == 0 {
						break
					}
				}
				b, err := p.Purse().Balance(cmd.Context())
				if err != nil {
					return err
				}
				r.Event("consolidated", fmt.Sprintf("joined %s; %s hold %s now", count(joined, "coin"), count(b.Coins, "coin"), b.Free),
					terminal.Fields{"joined": joined, "coins": b.Coins, "free": b.Free})
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&most, "keep", 8, "how many coins may stay")
	return cmd
}
