package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

func newWallet(g *global) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "wallet",
		Short: "Look after the BTT of this node",
		Long: `The wallet lies in the folder of --home. Its password, if it has one, is taken
from the environment variable BTT_WALLET_PASSWORD.`,
	})
	var url string
	cmd.PersistentFlags().StringVar(&url, "ledger", "", "URL of the ledger, http://HOST:PORT or unix:/PATH")
	cmd.AddCommand(walletInit(g), walletAddress(g), walletBalance(g, &url), walletSend(g, &url), walletHistory(g))
	return cmd
}

// openWallet opens the wallet of --home. Without a URL it works offline.
func openWallet(ctx context.Context, g *global, url string, make bool) (*purse.Purse, error) {
	dir, err := g.dir()
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, "wallet")
	if _, err := os.Stat(dir); err != nil && !make {
		return nil, fmt.Errorf("no wallet in %s (make one with: btt wallet init): %w", dir, os.ErrNotExist)
	}
	cfg := purse.Config{Dir: dir, Password: os.Getenv("BTT_WALLET_PASSWORD"), Ledger: purse.Offline{}}
	if url != "" {
		if cfg.Ledger, err = dialLedger(ctx, url); err != nil {
			return nil, err
		}
	}
	return purse.Open(cfg)
}

func walletInit(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Make a wallet", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := openWallet(cmd.Context(), g, "", true)
			if err != nil {
				return err
			}
			defer p.Close()
			return printAddress(cmd, g, p)
		},
	}
}

func walletAddress(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "address", Short: "Print the address that receives BTT", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := openWallet(cmd.Context(), g, "", false)
			if err != nil {
				return err
			}
			defer p.Close()
			return printAddress(cmd, g, p)
		},
	}
}

func printAddress(cmd *cobra.Command, g *global, p *purse.Purse) error {
	r := g.reporter(cmd.OutOrStdout())
	defer r.Close()
	r.Event("address", p.Address().String(), terminal.Fields{"address": p.Address()})
	return nil
}

func walletBalance(g *global, url *string) *cobra.Command {
	return &cobra.Command{
		Use: "balance", Short: "Print what the wallet holds", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if *url == "" {
				return usage("the balance is on the ledger: name it with --ledger")
			}
			p, err := openWallet(cmd.Context(), g, *url, false)
			if err != nil {
				return err
			}
			defer p.Close()
			b, err := p.Balance(cmd.Context())
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			text := b.Free.String()
			if b.Reserved > 0 {
				text += fmt.Sprintf("\n%s being put into channels", b.Reserved)
			}
			r.Event("balance", text, terminal.Fields{"address": p.Address(), "free": b.Free, "reserved": b.Reserved, "locked": b.Locked})
			return nil
		},
	}
}

func walletSend(g *global, url *string) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: "send ADDRESS AMOUNT", Short: "Pay BTT to an address", Args: exactArgs(2, "an address and an amount"),
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
			if *url == "" {
				return usage("payments go to the ledger: name it with --ledger")
			}
			p, err := openWallet(cmd.Context(), g, *url, false)
			if err != nil {
				return err
			}
			defer p.Close()
			if id == "" {
				id = fmt.Sprintf("cli-%d", time.Now().UnixNano())
			}
			tx, err := p.Send(cmd.Context(), to, sum, id)
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("sent", fmt.Sprintf("sent %s to %s in transaction %s", sum, to, tx), terminal.Fields{"to": to, "amount": sum, "transaction": tx, "id": id})
			return nil
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "your name for this payment: a repeat with the same id pays nothing again")
	return cmd
}

func walletHistory(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "Print every movement of money, oldest first", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := openWallet(cmd.Context(), g, "", false)
			if err != nil {
				return err
			}
			defer p.Close()
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			for e, err := range p.History() {
				if err != nil {
					return err
				}
				text := fmt.Sprintf("%s  %-8s %20s  %s", e.Time.Format(time.DateTime), e.Kind, e.Amount, e.Reason)
				r.Event("movement", text, terminal.Fields{"time": e.Time, "kind": e.Kind, "amount": e.Amount, "counterparty": e.Counterparty,
					"reason": e.Reason, "channel": e.Channel, "transaction": e.Transaction, "torrent": e.Torrent})
			}
			return nil
		},
	}
}
