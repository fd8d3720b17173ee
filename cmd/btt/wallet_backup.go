package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/wallet"
)

// shownFile notes that the phrase was shown.
const shownFile = "wallet.shown"

const phraseWarning = `Whoever reads these words can take all the money. Write them on paper, in this order,
and show them to nobody. No program or person of this project will ever ask for them.
They bring back the keys and the money at your address. Money in open channels comes
back only with a backup file: btt wallet backup FILE
`

func walletBackup(w *purseFlags) *cobra.Command {
	var show, again bool
	var file string
	cmd := &cobra.Command{
		Use: "backup [FILE]", Short: "Write an encrypted backup, or show the recovery phrase",
		Long: `Writes all that a new machine needs into FILE, encrypted with a password of its own:
the recovery phrase, the limits, the history, and every open channel with the
provider's signature that takes the deposit back. It works while a node runs. Make a
new one when channels have opened since; an old one still restores the rest.

The backup's password is asked for, or taken from --backup-password-file or
$BTT_BACKUP_PASSWORD. Without FILE and with --show-phrase, the recovery phrase is
shown, once: the second time it takes --again.`,
		Example: `  btt wallet backup /media/stick/wallet.bttbackup
  btt wallet backup --show-phrase`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := w.dir()
			if err != nil {
				return err
			}
			switch {
			case show == (len(args) == 1):
				return usage("btt wallet backup needs either a file to write or --show-phrase")
			case !purse.Exists(filepath.Join(home, "wallet")):
				return fmt.Errorf("no wallet in %s (make one with: btt wallet init): %w", filepath.Join(home, "wallet"), os.ErrNotExist)
			case show:
				return w.showPhrase(cmd, home, again)
			}
			return w.writeBackup(cmd, home, args[0], file)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&show, "show-phrase", false, "show the recovery phrase instead of writing a file")
	f.BoolVar(&again, "again", false, "show the phrase although it was shown before")
	f.StringVar(&file, "backup-password-file", "", "file that holds the backup's password")
	return cmd
}

func (w *purseFlags) showPhrase(cmd *cobra.Command, home string, again bool) error {
	dir := filepath.Join(home, "wallet")
	if info, err := os.Stat(filepath.Join(dir, shownFile)); err == nil && !again {
		return fmt.Errorf("the phrase was shown on %s; to see it once more: btt wallet backup --show-phrase --again", info.ModTime().Format(time.DateTime))
	}
	password, err := w.ownPassword(home)
	if err != nil {
		return err
	}
	phrase, err := purse.Phrase(dir, password)
	if err != nil {
		return err
	}
	if err := durable.Write(dir, shownFile, []byte("the recovery phrase was shown\n")); err != nil {
		return err
	}
	if !w.json {
		fmt.Fprint(os.Stderr, phraseWarning)
	}
	r := w.reporter(cmd.OutOrStdout())
	defer r.Close()
	r.Event("phrase", phrase, terminal.Fields{"phrase": phrase})
	return nil
}

func (w *purseFlags) writeBackup(cmd *cobra.Command, home, path, passwordFile string) error {
	if exists(path) {
		return fmt.Errorf("%s is there already; name a new file", path)
	}
	own, err := w.ownPassword(home)
	if err != nil {
		return err
	}
	b, err := btt.ExportWallet(home, own, time.Now())
	if err != nil {
		return err
	}
	password, err := backupPassword(passwordFile, true)
	if err != nil {
		return err
	}
	sealed, err := wallet.SealBackup(b, []byte(password), wallet.PasswordKDF, rand.Reader)
	if err != nil {
		return err
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if err := durable.Write(dir, name, sealed); err != nil {
		return err
	}
	// What was written is read again: a backup that does not open is none.
	again, err := readBackup(path, password)
	if err == nil && again.Phrase != b.Phrase {
		err = wallet.ErrBackup
	}
	if err != nil {
		return fmt.Errorf("check the backup just written: %w", err)
	}
	r := w.reporter(cmd.OutOrStdout())
	defer r.Close()
	r.Event("backup", fmt.Sprintf("backup with %s in %s; rehearse it with: btt wallet restore --rehearse %s", count(len(b.Channels), "open channel"), path, path),
		terminal.Fields{"file": path, "channels": len(b.Channels), "bytes": len(sealed), "created": b.Created})
	return nil
}

// backupPassword returns the password of a backup; a new one is asked for twice.
func backupPassword(file string, fresh bool) (string, error) {
	text, ok, err := secretFrom(backupPasswordEnv, file)
	if ok || err != nil {
		return text, err
	}
	if !interactive() {
		return "", usage("there is no terminal to ask for the backup's password: give --backup-password-file or $%s", backupPasswordEnv)
	}
	if fresh {
		text, err = promptNew("Password of the backup")
	} else {
		text, err = prompt("Password of the backup")
	}
	if err == nil && text == "" {
		err = usage("the backup's password is empty")
	}
	return text, err
}

func readBackup(path, password string) (*wallet.Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 2*wallet.MaxBackupBytes))
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	b, err := wallet.OpenBackup(data, []byte(password))
	if errors.Is(err, wallet.ErrPassword) {
		err = fmt.Errorf("%w (%w)", err, errBackupPassword)
	}
	return b, err
}

// restoreFlags are those of btt wallet restore.
type restoreFlags struct {
	phraseFile, backupFile string
	rehearse               bool
}

func walletRestore(w *purseFlags) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use: "restore [FILE]", Short: "Make the wallet again from its backup or phrase, and prove it",
		Long: `Makes a wallet in an empty --home from a backup file, or without FILE from the
recovery phrase (asked for, or read from --phrase-file). It derives the keys again,
compares them with the ledger, and reports the coins it found, the open channels, and
when their deposits come back; what is due comes back at once, the rest with

  btt channel refund --all

With --rehearse nothing is written: it only proves that the backup works. The new
wallet's password, if it shall have one, is taken from $BTT_WALLET_PASSWORD or
--password-file, or set afterwards with btt wallet lock.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.needLedger("a restore is compared with the ledger"); err != nil {
				return err
			}
			return w.restore(cmd, &f, args)
		},
	}
	cmd.Flags().StringVar(&f.phraseFile, "phrase-file", "", "file that holds the recovery phrase")
	cmd.Flags().StringVar(&f.backupFile, "backup-password-file", "", "file that holds the backup's password")
	cmd.Flags().BoolVar(&f.rehearse, "rehearse", false, "prove that it works, write nothing")
	return cmd
}

func (w *purseFlags) restore(cmd *cobra.Command, f *restoreFlags, args []string) error {
	home, err := w.dir()
	if err != nil {
		return err
	}
	if !f.rehearse && purse.Exists(filepath.Join(home, "wallet")) {
		return purse.ErrExists
	}
	cfg := btt.RestoreConfig{Home: home, Rehearse: f.rehearse, Entropy: rand.Reader}
	if len(args) == 1 {
		password, err := backupPassword(f.backupFile, false)
		if err != nil {
			return err
		}
		if cfg.Backup, err = readBackup(args[0], password); err != nil {
			return err
		}
	} else if cfg.Phrase, err = readPhrase(f.phraseFile); err != nil {
		return err
	}
	if cfg.Password, _, err = secretFrom(walletPasswordEnv, w.passwordFile); err != nil {
		return err
	}
	dial := dialLedger
	if f.rehearse {
		dial = dialReached // nothing is written
	}
	if cfg.Ledger, err = dial(cmd.Context(), w.ledgerURL()); err != nil {
		return err
	}
	found, err := btt.RestoreWallet(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	r := w.reporter(cmd.OutOrStdout())
	defer r.Close()
	reportRestored(r, &cfg, &found)
	return nil
}

func readPhrase(file string) (string, error) {
	if file != "" {
		text, _, err := secretFrom("", file)
		return text, err
	}
	if !interactive() {
		return "", usage("name a backup file, or give the recovery phrase with --phrase-file")
	}
	return prompt("Recovery phrase, all words")
}

// reportRestored says what a restore proved, line by line.
func reportRestored(r *terminal.Reporter, cfg *btt.RestoreConfig, found *btt.Restored) {
	what := "restored"
	if cfg.Rehearse {
		what = "would restore"
	}
	lines := []string{fmt.Sprintf("%s the wallet %s with %s in %s", what, found.Address, found.Ledger.Sum, count(found.Ledger.Coins, "coin"))}
	var channels []map[string]any
	for i := range found.Channels {
		c := &found.Channels[i]
		lines = append(lines, "  "+channelText(c))
		channels = append(channels, channelFields(c))
	}
	for _, c := range found.Lost {
		lines = append(lines, fmt.Sprintf("  channel %v: deposit of %s is locked and this backup knows nothing of it: it comes back only when the provider settles", c.ID, c.Deposit))
	}
	for _, e := range found.Ledger.Elsewhere {
		lines = append(lines, fmt.Sprintf("  %s more lies at %s, address number %d of this phrase, which another wallet program uses", e.Sum, e.Address, e.Index))
	}
	if found.Ledger.Incomplete {
		lines = append(lines, "  the ledger no longer keeps all of its past: deposits of long ago may be missing from this list")
	}
	if cfg.Backup == nil && !cfg.Rehearse {
		lines = append(lines, "  a phrase knows no open channels: restore from a backup file if there is one")
	}
	r.Event("restored", strings.Join(lines, "\n"), terminal.Fields{"address": found.Address, "coins": found.Ledger.Coins, "free": found.Ledger.Sum,
		"channels": channels, "unknown_deposits": len(found.Lost), "elsewhere": len(found.Ledger.Elsewhere), "complete": !found.Ledger.Incomplete,
		"rehearsal": cfg.Rehearse})
}

// channelText is one channel in a sentence.
func channelText(c *btt.Channel) string {
	name := fmt.Sprintf("channel %v: ", c.ID)
	switch {
	case c.Role == channel.RolePayee && c.Stage.Final():
		return name + fmt.Sprintf("%s, earned %s", c.Stage, c.Paid)
	case c.Role == channel.RolePayee:
		return name + fmt.Sprintf("earned %s so far, not settled; btt channel close hands it in", c.Paid)
	case c.Stage == channel.Refunded:
		return name + fmt.Sprintf("the deposit of %s came back", c.Deposit)
	case c.Stage == channel.Abandoned:
		return name + fmt.Sprintf("never opened; %s stayed in the wallet", c.Deposit)
	case c.Stage.Final():
		return name + fmt.Sprintf("settled: paid %s, %s came back", c.Paid, c.Deposit-c.Paid)
	case !c.Refundable:
		return name + fmt.Sprintf("being opened with %s", c.Deposit)
	}
	paid := "paid " + c.Paid.String()
	if c.AtMost > c.Paid {
		paid = "paid at most " + c.AtMost.String()
	}
	when := ""
	if !c.Returns.IsZero() {
		when = "; the rest comes back when the provider settles, at the latest " + c.Returns.Local().Format(time.DateTime)
	}
	return name + fmt.Sprintf("%s of a deposit of %s%s", paid, c.Deposit, when)
}

func channelFields(c *btt.Channel) map[string]any {
	f := map[string]any{"channel": c.ID.String(), "role": c.Role.String(), "account": c.Account, "stage": c.Stage.String(), "deposit": c.Deposit,
		"paid": c.Paid, "paid_at_most": c.AtMost, "lock_time": c.LockTime, "funding": c.Funding.String(), "refundable": c.Refundable}
	if !c.Returns.IsZero() {
		f["returns"] = c.Returns.UTC()
	}
	return f
}
