package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
)

// ledgerEnv names the ledger where --ledger does not.
const ledgerEnv = "BTT_LEDGER"

// purseFlags are the flags of all wallet and channel commands.
type purseFlags struct {
	*global
	url          string
	passwordFile string
}

func (w *purseFlags) register(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&w.url, "ledger", "", "URL of the ledger, http://HOST:PORT or unix:/PATH (default $"+ledgerEnv+")")
	f.StringVar(&w.passwordFile, "password-file", "", "file that holds the wallet's password (default: $"+walletPasswordEnv+", or a question)")
}

func newWallet(g *global) *cobra.Command {
	w := &purseFlags{global: g}
	cmd := group(&cobra.Command{
		Use:   "wallet",
		Short: "Look after the BTT of this node",
		Long: `The wallet holds the BTT that a node earns and spends. It is made by itself the
first time it is needed; nothing has to be set up.

  What is in it?        btt wallet balance     every figure explained
                        btt wallet history     every movement and why it happened
  Get BTT, pay BTT      btt wallet receive     the address others pay to
                        btt wallet send ADDRESS AMOUNT
  Keep it safe          btt wallet backup FILE encrypted: phrase, limits, open channels
                        btt wallet restore FILE  on a new machine; proves what it found
                        btt wallet lock        ask for a password from now on
  Bound what it spends  btt wallet limits      per day, torrent, channel; a share kept back

The wallet lies in the folder of --home; only its owner can read it. Its password,
if it has one, is asked for on the terminal, or taken from --password-file or the
environment variable BTT_WALLET_PASSWORD; never from the command line.

While a node uses the wallet all commands that only look work beside it. Those that
spend say so and change nothing (exit code 16): stop the node first.`,
	})
	w.register(cmd)
	cmd.AddCommand(walletInit(w), walletAddress(w), walletBalance(w), walletSend(w), walletReceive(w), walletHistory(w),
		walletLimits(w), walletBackup(w), walletRestore(w), walletLock(w), walletUnlock(w), walletConsolidate(w))
	return cmd
}

// how a command opens the wallet.
type access uint8

const (
	accessLook  access = iota // beside a node, no password
	accessSpend               // alone
	accessMake                // alone; makes it if there is none
)

// open opens the wallet of --home. Without a ledger's URL it works offline.
func (w *purseFlags) open(ctx context.Context, a access) (*btt.Wallet, error) {
	home, err := w.dir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(home, "wallet")
	if !purse.Exists(dir) && a != accessMake {
		return nil, fmt.Errorf("no wallet in %s (make one with: btt wallet init): %w", dir, os.ErrNotExist)
	}
	cfg := btt.WalletConfig{Home: home, ReadOnly: a == accessLook}
	if a != accessLook || !exists(filepath.Join(dir, "wallet.account")) {
		if cfg.Password, err = walletPassword(home, w.passwordFile); err != nil {
			return nil, err
		}
	}
	if w.ledgerURL() != "" {
		if cfg.Ledger, err = dialLedger(ctx, w.ledgerURL()); err != nil {
			return nil, err
		}
	}
	return btt.OpenWallet(cfg)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (w *purseFlags) ledgerURL() string {
	if w.url != "" {
		return w.url
	}
	return os.Getenv(ledgerEnv)
}

// needLedger refuses a command that is about the ledger without one; the one that
// "btt speed" keeps will do.
func (w *purseFlags) needLedger(what string) error {
	if w.ledgerURL() != "" {
		return nil
	}
	if home, err := w.dir(); err == nil {
		if c, err := consent.Load(home); err == nil && c.Ledger != "" {
			w.url = c.Ledger
			return nil
		}
	}
	return usage("%s: name the ledger with --ledger or in $%s", what, ledgerEnv)
}

// with opens the wallet, runs f and closes it.
func (w *purseFlags) with(cmd *cobra.Command, a access, f func(*btt.Wallet, *terminal.Reporter) error) error {
	wallet, err := w.open(cmd.Context(), a)
	if err != nil {
		return err
	}
	r := w.reporter(cmd.OutOrStdout())
	defer r.Close()
	return errors.Join(f(wallet, r), wallet.Close())
}

func walletInit(w *purseFlags) *cobra.Command {
	var ask bool
	cmd := &cobra.Command{
		Use: "init", Short: "Make a wallet", Args: exactArgs(0, "no arguments"),
		Long: `Makes a wallet and prints its address; a wallet that is there stays as it is. With
a password in $BTT_WALLET_PASSWORD or --password-file, or with --ask-password, the
wallet asks for it from then on.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := w.dir()
			if err != nil {
				return err
			}
			fresh := !purse.Exists(filepath.Join(home, "wallet"))
			if ask && fresh {
				if !interactive() {
					return usage("--ask-password needs a terminal; give the password in $%s", walletPasswordEnv)
				}
				password, err := promptNew("New password of the wallet")
				if err != nil {
					return err
				}
				p, err := btt.OpenWallet(btt.WalletConfig{Home: home, Password: password})
				if err != nil {
					return err
				}
				defer p.Close()
				return printAddress(cmd, w.global, p.Purse())
			}
			return w.with(cmd, accessMake, func(p *btt.Wallet, _ *terminal.Reporter) error {
				if fresh && !w.json {
					fmt.Fprintln(os.Stderr, "a new wallet; keep it safe with: btt wallet backup FILE")
				}
				return printAddress(cmd, w.global, p.Purse())
			})
		},
	}
	cmd.Flags().BoolVar(&ask, "ask-password", false, "ask for a password that locks the new wallet")
	return cmd
}

func walletAddress(w *purseFlags) *cobra.Command {
	return &cobra.Command{
		Use: "address", Short: "Print the address that receives BTT", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.with(cmd, accessLook, func(p *btt.Wallet, _ *terminal.Reporter) error { return printAddress(cmd, w.global, p.Purse()) })
		},
	}
}

func printAddress(cmd *cobra.Command, g *global, p *purse.Purse) error {
	r := g.reporter(cmd.OutOrStdout())
	defer r.Close()
	r.Event("address", p.Address().String(), terminal.Fields{"address": p.Address()})
	return nil
}

func walletBalance(w *purseFlags) *cobra.Command {
	return &cobra.Command{
		Use: "balance", Short: "Print what the wallet holds, and where it is", Args: exactArgs(0, "no arguments"),
		Long: `Prints the total, and under it where the money is and what each figure means:

  free         at the address: send it, or let the node spend it within the limits
  kept back    the share of the total that the node never spends by itself
  in channels  deposits of open channels: still yours, back when the provider
               settles, and at the latest at the time that is shown
  owed         paid to providers in open channels; leaves when they settle
  earned       paid to you in open channels; comes when this node settles`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := w.needLedger("the balance is on the ledger"); err != nil {
				return err
			}
			return w.with(cmd, accessLook, func(p *btt.Wallet, r *terminal.Reporter) error {
				st, err := p.Statement(cmd.Context())
				if err != nil {
					return err
				}
				f := terminal.Fields{"address": st.Address, "total": st.Total, "free": st.Free, "reserved": st.Reserved, "locked": st.Locked,
					"owed": st.Owed, "owed_at_most": st.OwedMost, "earned": st.Earned, "kept_back": st.KeptBack, "node_may_spend": st.Left,
					"limit": st.Limit, "coins": st.Coins, "paying_channels": st.Paying, "earning_channels": st.Earning}
				if !st.Returns.IsZero() {
					f["locked_until"] = st.Returns.UTC()
				}
				r.Event("balance", balanceText(&st), f)
				return nil
			})
		},
	}
}

// balanceText explains a statement line by line; what is zero is left out.
func balanceText(st *btt.Statement) string {
	lines := []string{st.Total.String()}
	add := func(name string, sum fmt.Stringer, why string, a ...any) {
		lines = append(lines, fmt.Sprintf("  %-12s %16s   %s", name, sum, fmt.Sprintf(why, a...)))
	}
	if st.Free != st.Total {
		add("free", st.Free, "at the address: send it, or let the node spend it")
	}
	if st.Reserved > 0 {
		add("on the way", st.Reserved, "going into a channel right now")
	}
	if st.Paying > 0 {
		add("in channels", st.Locked, "deposits of %s; back at the latest %s", count(st.Paying, "channel"), st.Returns.Format(time.DateTime))
	}
	if st.Owed > 0 {
		add("owed", st.Owed, "paid to providers who have not settled yet; not in the total")
	}
	if more := st.OwedMost - st.Owed; more > 0 {
		add("in use", more, "of the deposits: at most this much more may be paid already")
	}
	if st.Earning > 0 {
		add("earned", st.Earned, "in %s that is not settled yet; not in the total", count(st.Earning, "channel"))
	}
	if st.KeptBack > 0 {
		add("kept back", st.KeptBack, "of the total: the node never spends it (btt wallet limits)")
		add("node may use", st.Left, "now, by itself; bounded by: %s", st.Limit)
	}
	return strings.Join(lines, "\n")
}

// count is "1 channel", "2 channels".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
