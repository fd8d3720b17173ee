package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/ledgerhttp"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

func newLedger(g *global) *cobra.Command {
	cmd := group(&cobra.Command{Use: "ledger", Short: "Run and check the ledger that holds the BTT"})
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "ledger", "folder of the ledger")
	cmd.AddCommand(ledgerInit(g, &dir), ledgerServe(g, &dir), ledgerStatus(g), ledgerAudit(g, &dir))
	return cmd
}

func ledgerInit(g *global, dir *string) *cobra.Command {
	var file string
	var grants []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new ledger",
		Long: `Makes a ledger of exactly 990,000,000,000 BTT, from a genesis file (TOML) or from
grants. What the grants leave of the supply belongs to the wallet in DIR/treasury.`,
		Example: `  btt ledger init --dir ledger --grant TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC=1000`,
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(genesisPath(*dir)); err == nil {
				return fmt.Errorf("there is a ledger in %s already (run it with: btt ledger serve --dir %s)", *dir, *dir)
			}
			genesis, err := readGenesis(*dir, file, grants)
			if err != nil {
				return err
			}
			s, err := ledgerd.Open(ledgerd.Config{Dir: *dir, Genesis: genesis})
			if err != nil {
				return err
			}
			net := s.Network()
			if err := s.Close(); err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("created", fmt.Sprintf("ledger %s in %s", net, *dir), terminal.Fields{"network": net, "dir": *dir, "supply": amount.Supply})
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "genesis", "", "genesis file (TOML)")
	cmd.Flags().StringArrayVar(&grants, "grant", nil, "ADDRESS=AMOUNT to give out at the start (may be repeated)")
	return cmd
}

func readGenesis(dir, file string, grants []string) (ledger.Genesis, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return ledger.Genesis{}, fmt.Errorf("read genesis: %w", err)
		}
		return ledgerd.ParseGenesis(text)
	}
	list, rest, err := parseGrants(grants)
	if err != nil {
		return ledger.Genesis{}, err
	}
	treasury, err := purse.Open(purse.Config{Dir: filepath.Join(dir, "treasury", "wallet"), Ledger: purse.Offline{}, Password: os.Getenv("BTT_WALLET_PASSWORD")})
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("make treasury: %w", err)
	}
	defer treasury.Close()
	gen := ledger.Genesis{Name: "btt", Time: uint64(time.Now().Unix()), Params: ledger.DefaultParams()}
	if len(list) > 0 {
		gen.Shares = append(gen.Shares, ledger.Share{Name: "grants", Grants: list})
	}
	if rest > 0 {
		gen.Shares = append(gen.Shares, ledger.Share{Name: "treasury", Grants: []ledger.Grant{{Address: treasury.Address(), Amount: rest}}})
	}
	return gen, gen.Validate()
}

// genesisPath is the file by which a folder is known to hold a ledger.
func genesisPath(dir string) string { return filepath.Join(dir, "genesis.json") }

// parseGrants reads ADDRESS=AMOUNT texts and returns what they leave of the
// supply.
func parseGrants(grants []string) (list []ledger.Grant, rest amount.Amount, err error) {
	rest = amount.Supply
	for _, s := range grants {
		addr, sum, ok := strings.Cut(s, "=")
		if !ok {
			return nil, 0, usage("--grant %q is not ADDRESS=AMOUNT", s)
		}
		a, err := ledger.ParseAddress(addr)
		if err != nil {
			return nil, 0, usage("--grant: %v", err)
		}
		v, err := amount.Parse(sum)
		if err != nil {
			return nil, 0, usage("--grant: %v", err)
		}
		if rest, err = rest.Sub(v); err != nil {
			return nil, 0, usage("--grant: the grants are more than the supply")
		}
		list = append(list, ledger.Grant{Address: a, Amount: v})
	}
	return list, rest, nil
}

func ledgerServe(g *global, dir *string) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run the ledger",
		Example: `  btt ledger serve --dir ledger --listen 127.0.0.1:7700`,
		Args:    exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveLedger(cmd.Context(), g.reporter(cmd.OutOrStdout()), *dir, listen)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7700", "HOST:PORT or unix:/PATH to serve on")
	return cmd
}

func serveLedger(ctx context.Context, r *terminal.Reporter, dir, listen string) error {
	fatal := make(chan error, 1)
	if _, err := os.Stat(genesisPath(dir)); err != nil {
		return fmt.Errorf("no ledger in %s (make one with: btt ledger init --dir %s): %w", dir, dir, os.ErrNotExist)
	}
	s, err := ledgerd.Open(ledgerd.Config{Dir: dir, Fatal: func(err error) { fatal <- err }})
	if err != nil {
		return err
	}
	network, addr := "tcp", listen
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		network, addr = "unix", path
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		s.Close()
		return fmt.Errorf("listen on %s: %w", listen, err)
	}
	url := "http://" + l.Addr().String()
	if network == "unix" {
		url = listen
	}
	r.Event("listening", "ledger "+s.Network().String()+" on "+url, terminal.Fields{"network": s.Network(), "url": url})
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- ledgerhttp.Serve(serving, l, ledgerhttp.Handler(s.Client()), nil) }() // ends with serving
	select {
	case err = <-fatal:
		err = fmt.Errorf("ledger stopped: %w", err)
		stop()
		<-served
	case err = <-served:
		stop()
	}
	return errors.Join(err, s.Close())
}

func ledgerStatus(g *global) *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use: "status", Short: "Print the state of a running ledger", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dialLedger(cmd.Context(), url)
			if err != nil {
				return err
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			text := fmt.Sprintf("network  %s\nheight   %d\ntime     %s\nunspent  %s", st.Network, st.Height,
				time.Unix(int64(st.LedgerTime), 0).UTC().Format(time.RFC3339), st.Totals.Unspent)
			r.Event("status", text, terminal.Fields{"network": st.Network, "height": st.Height, "ledger_time": st.LedgerTime, "totals": st.Totals})
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "ledger", "", "URL of the ledger")
	return cmd
}

func ledgerAudit(g *global, dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "audit",
		Short: "Prove that the ledger neither created nor lost a µBTT",
		Long: `Replays the ledger's log from its genesis with a reader of its own, checks every
signature, sum and hash, and prints what the accounts hold together.`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rep, err := ledgerd.Audit(*dir)
			if err != nil {
				return err
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			text := fmt.Sprintf("the books are right: %d blocks, %d transactions, %d coins\nsupply   %s\nminted   %s\nburned   %s\nbalances %s\nhead     %x",
				rep.Blocks, rep.Transactions, rep.Coins, amount.Supply, rep.Minted, rep.Burned, rep.Unspent, rep.Head)
			r.Event("audit", text, terminal.Fields{"blocks": rep.Blocks, "transactions": rep.Transactions, "coins": rep.Coins, "supply": amount.Supply,
				"minted": rep.Minted, "burned": rep.Burned, "balances": rep.Unspent, "head": fmt.Sprintf("%x", rep.Head),
				"operator": rep.Operator, "reconciled": rep.Unspent == rep.Minted-rep.Burned})
			return nil
		},
	}
}
