package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/wallet"
)

func walletLock(w *purseFlags) *cobra.Command {
	var change bool
	var file string
	cmd := &cobra.Command{
		Use: "lock", Short: "Ask for a password from now on", Args: exactArgs(0, "no arguments"),
		Long: `Ends what "btt wallet unlock" began. A wallet without a password gets one: it is
asked for twice, or read from --new-password-file. With --change a wallet that has one
gets another. Balance, address and history need no password.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := w.dir()
			if err != nil {
				return err
			}
			dir := filepath.Join(home, "wallet")
			protected, err := purse.HasPassword(dir)
			if err != nil {
				return fmt.Errorf("no wallet to lock (make one with: btt wallet init): %w", err)
			}
			if protected && !change {
				if err := purse.EndSession(dir); err != nil {
					return err
				}
				return w.say(cmd, "locked", "the wallet is locked")
			}
			return w.setPassword(cmd, file, "the wallet is locked with its new password")
		},
	}
	cmd.Flags().BoolVar(&change, "change", false, "give a new password to a wallet that has one")
	cmd.Flags().StringVar(&file, "new-password-file", "", "file that holds the new password")
	return cmd
}

func walletUnlock(w *purseFlags) *cobra.Command {
	var d time.Duration
	var remove bool
	cmd := &cobra.Command{
		Use: "unlock", Short: "Let this user's programs open the wallet for a while", Args: exactArgs(0, "no arguments"),
		Long: `Asks for the password once; for --for the commands of this user, and a node that is
started, need none. A key in memory ($XDG_RUNTIME_DIR) opens the wallet meanwhile;
without such a folder it lies beside the wallet. "btt wallet lock" ends it at once.
With --remove-password the wallet asks for none any more.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := w.dir()
			if err != nil {
				return err
			}
			if remove {
				return w.with(cmd, accessSpend, func(p *btt.Wallet, r *terminal.Reporter) error {
					old, err := w.ownPassword(home)
					if err != nil {
						return err
					}
					if err := p.Purse().SetPassword(old, ""); err != nil {
						return err
					}
					r.Event("unlocked", "the wallet has no password any more", terminal.Fields{"password": false})
					return nil
				})
			}
			if d <= 0 || d > purse.MaxUnlock {
				return usage("--for %v: give a time of at most %v", d, purse.MaxUnlock)
			}
			password, err := w.ownPassword(home)
			if err != nil {
				return err
			}
			until, err := purse.StartSession(filepath.Join(home, "wallet"), password, d, time.Now(), rand.Reader)
			if err != nil {
				return err
			}
			r := w.reporter(cmd.OutOrStdout())
			defer r.Close()
			r.Event("unlocked", "the wallet is open until "+until.Format(time.DateTime), terminal.Fields{"until": until.UTC()})
			return nil
		},
	}
	cmd.Flags().DurationVar(&d, "for", 15*time.Minute, "how long")
	cmd.Flags().BoolVar(&remove, "remove-password", false, "seal the wallet without a password again")
	return cmd
}

// ownPassword is walletPassword, but a session does not answer for it.
func (w *purseFlags) ownPassword(home string) (string, error) {
	text, ok, err := secretFrom(walletPasswordEnv, w.passwordFile)
	if ok || err != nil || !interactive() {
		return text, err
	}
	return prompt("Password of the wallet")
}

// newPassword reads a password that is to be set.
func newPassword(file string) (string, error) {
	if file != "" {
		text, _, err := secretFrom("", file)
		if err == nil && text == "" {
			err = usage("the new password is empty")
		}
		return text, err
	}
	if !interactive() {
		return "", usage("there is no terminal to ask for the new password: give --new-password-file")
	}
	text, err := promptNew("New password of the wallet")
	if err == nil && text == "" {
		err = usage("the new password is empty")
	}
	return text, err
}

func (w *purseFlags) setPassword(cmd *cobra.Command, file, done string) error {
	home, err := w.dir()
	if err != nil {
		return err
	}
	old := ""
	if protected, err := purse.HasPassword(filepath.Join(home, "wallet")); err != nil {
		return err
	} else if protected {
		if old, err = w.ownPassword(home); err != nil {
			return err
		}
	}
	password, err := newPassword(file)
	if err != nil {
		return err
	}
	return w.with(cmd, accessSpend, func(p *btt.Wallet, r *terminal.Reporter) error {
		if err := p.Purse().SetPassword(old, password); err != nil {
			return err
		}
		r.Event("locked", done, terminal.Fields{"password": true})
		return nil
	})
}

func (w *purseFlags) say(cmd *cobra.Command, event, text string) error {
	r := w.reporter(cmd.OutOrStdout())
	defer r.Close()
	r.Event(event, text, terminal.Fields{"password": true})
	return nil
}

// limitFlags are the texts of btt wallet limits.
type limitFlags struct {
	day, torrent, channel, keep string
}

func walletLimits(w *purseFlags) *cobra.Command {
	var l limitFlags
	cmd := &cobra.Command{
		Use: "limits", Short: "Show or set what the node may spend by itself", Args: exactArgs(0, "no arguments"),
		Long: `Without flags, prints the limits. They bound what a node spends by itself; what you
send is your own act and bounded by the balance alone. A node reads them when it
starts. To raise a limit of a wallet with a password takes the password.`,
		Example: `  btt wallet limits --per-day "20 BTT" --keep-back 25%
  btt wallet limits --per-torrent none`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if l == (limitFlags{}) {
				return w.with(cmd, accessLook, func(p *btt.Wallet, r *terminal.Reporter) error {
					printLimits(r, p.Purse().Budget())
					return nil
				})
			}
			return w.setLimits(cmd, &l)
		},
	}
	f := cmd.Flags()
	f.StringVar(&l.day, "per-day", "", "most spent in any 24 hours, such as \"50 BTT\", or none")
	f.StringVar(&l.torrent, "per-torrent", "", "most spent on one torrent over its life, or none")
	f.StringVar(&l.channel, "per-channel", "", "most locked in one channel, or none")
	f.StringVar(&l.keep, "keep-back", "", "share of the balance that is never spent, such as 10%")
	return cmd
}

func (w *purseFlags) setLimits(cmd *cobra.Command, l *limitFlags) error {
	return w.with(cmd, accessSpend, func(p *btt.Wallet, r *terminal.Reporter) error {
		b := p.Purse().Budget()
		old := b
		for _, f := range []struct {
			flag, text string
			to         *amount.Amount
		}{{"--per-day", l.day, &b.PerDay}, {"--per-torrent", l.torrent, &b.PerTorrent}, {"--per-channel", l.channel, &b.PerChannel}} {
			var err error
			switch f.text {
			case "":
			case "none":
				*f.to = wallet.Unlimited
			default:
				if *f.to, err = amount.Parse(f.text); err != nil {
					return usage("%s: %v", f.flag, err)
				}
			}
		}
		if l.keep != "" {
			share, err := parseShare(l.keep)
			if err != nil {
				return err
			}
			b.KeepBack = share
		}
		if old.Raises(b) {
			if err := w.confirm(); err != nil {
				return err
			}
		}
		if err := p.Purse().SetBudget(b); err != nil {
			return err
		}
		printLimits(r, b)
		return nil
	})
}

// confirm asks a wallet with a password for it, session or not.
func (w *purseFlags) confirm() error {
	home, err := w.dir()
	if err != nil {
		return err
	}
	dir := filepath.Join(home, "wallet")
	protected, err := purse.HasPassword(dir)
	if err != nil || !protected {
		return err
	}
	password, err := w.ownPassword(home)
	if err == nil {
		_, err = purse.Phrase(dir, password)
	}
	return err
}

// parseShare reads "10%" or "12.5%" as parts of wallet.WholeShare.
func parseShare(s string) (int, error) {
	number, ok := strings.CutSuffix(s, "%")
	whole, part, _ := strings.Cut(number, ".")
	if part == "" {
		part = "0"
	}
	n, err := strconv.ParseUint(whole+part, 10, 16)
	if !ok || err != nil || len(part) != 1 || n > wallet.WholeShare {
		return 0, usage("--keep-back %q: give a share such as 10%% or 12.5%%", s)
	}
	return int(n), nil
}

// limitText is a limit as people read it.
func limitText(a amount.Amount) string {
	if a >= wallet.Unlimited {
		return "none"
	}
	return a.String()
}

func printLimits(r *terminal.Reporter, b wallet.Budget) {
	text := fmt.Sprintf("per day      %s\nper torrent  %s\nper channel  %s\nkept back    %d.%d %% of the balance",
		limitText(b.PerDay), limitText(b.PerTorrent), limitText(b.PerChannel), b.KeepBack/10, b.KeepBack%10)
	r.Event("limits", text, terminal.Fields{"per_day": b.PerDay, "per_torrent": b.PerTorrent, "per_channel": b.PerChannel, "keep_back": b.KeepBack})
}
