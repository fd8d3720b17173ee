package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// Exit codes: documented in README.md, only ever added to.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartly      = 3
	exitNoDaemon    = 10
	exitNotFound    = 11
	exitLocked      = 12
	exitNoFunds     = 13
	exitLimit       = 14
	exitRefused     = 15
	exitInUse       = 16
	exitInterrupted = 130
)

var (
	errUsage       = errors.New("usage")
	errInterrupted = errors.New("interrupted")
	// errPartlyShared and errIncomplete say what is left to do.
	errPartlyShared = errors.New("partly done")
	// errBackupPassword is beside an error of a password that is not the wallet's.
	errBackupPassword = errors.New("the backup's password, not the wallet's")
	errIncomplete     = errors.New("not complete")
)

// usage marks an error of the command line itself.
func usage(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, a...))
}

func exitCode(err error) int {
	var limit *wallet.LimitError
	switch {
	case errors.Is(err, errUsage), strings.HasPrefix(err.Error(), "unknown "), strings.HasPrefix(err.Error(), "required flag"),
		strings.HasPrefix(err.Error(), "invalid argument"), strings.HasPrefix(err.Error(), "if any flags in the group"):
		return exitUsage
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, wallet.ErrPassword), errors.Is(err, purse.ErrPasswordNeeded), errors.Is(err, purse.ErrLocked):
		return exitLocked
	case errors.Is(err, purse.ErrInUse), errors.Is(err, errGetting):
		return exitInUse
	case errors.Is(err, errPartly), errors.Is(err, errPartlyShared), errors.Is(err, errIncomplete):
		return exitPartly
	case errors.Is(err, purse.ErrFunds):
		return exitNoFunds
	case errors.As(err, &limit):
		return exitLimit
	case errors.Is(err, ledger.ErrNotFound), errors.Is(err, errNoReceipt), errors.Is(err, os.ErrNotExist),
		errors.Is(err, payments.ErrNoChannel):
		return exitNotFound
	}
	return exitFailed
}

// hintFor names the next step where there is an obvious one.
// path is the command that it is of, such as "btt wallet send".
func hintFor(err error, path string) string {
	switch {
	case exitCode(err) == exitUsage:
		if _, rest, ok := strings.Cut(path, " "); ok {
			return "see: btt help " + rest
		}
		return "see: btt help"
	case errors.Is(err, errBackupPassword):
		return "give the backup's password on a terminal, with --backup-password-file or in the environment variable " + backupPasswordEnv
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there: stop it, or choose another port with " + listenFlags(path)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && listening(err): // to dial can fail so as well
		return "this machine has no such address: choose another with " + listenFlags(path)
	case exitCode(err) == exitLocked:
		return "give the wallet's password on a terminal, with --password-file or in the environment variable BTT_WALLET_PASSWORD"
	case errors.Is(err, purse.ErrInUse):
		return "stop the node that uses it (Ctrl-C in its window), or use another wallet with --home; looking works meanwhile: btt wallet balance"
	case errors.Is(err, errGetting):
		return "let it end, or stop it with Ctrl-C in its window: then this command goes on from there"
	case errors.Is(err, errPartly):
		return "see what is open: btt channel list"
	case exitCode(err) == exitLimit:
		return "see and raise the limits: btt wallet limits"
	case errors.Is(err, purse.ErrFunds):
		return "see what the wallet holds: btt wallet balance"
	}
	return ""
}

// listening says whether an error is of an address to listen on.
func listening(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "listen"
}

// listenFlags names the flags that say where a command listens.
func listenFlags(path string) string {
	if path == "btt tracker" {
		return "--listen or --metrics-listen"
	}
	return "--listen"
}

// global are the flags every command has.
type global struct {
	home    string
	json    bool
	verbose bool
}

func newRoot(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "btt",
		Short: "A BitTorrent client in which peers can pay for upload slots",
		Long: `btt downloads and shares torrents like any BitTorrent client, and with --speed, or
after "btt speed on", takes part in BitTorrent Speed: peers bid BTT for upload slots
and pay for what they received and verified. Nothing is ever spent without either.

Start with:   btt demo     a whole economy on this machine, in under a minute
              btt get      download a torrent or magnet link
              btt seed     share a file or folder
              btt speed    choose how far to take part in BitTorrent Speed`,
		SilenceErrors: true,
		SilenceUsage:  true,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	f := cmd.PersistentFlags()
	f.StringVar(&g.home, "home", "", "folder of wallet, channels and resume data (default $XDG_STATE_HOME/btt, else ~/.local/state/btt)")
	f.BoolVar(&g.json, "json", false, "write JSON lines")
	f.BoolVar(&g.verbose, "verbose", false, "log what happens to stderr")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, args []string) error { return refuseEmpty(cmd, args) }
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	cmd.AddCommand(newDemo(g), newGet(g), newSeed(g), newCreate(g), newTracker(g), newLedger(g),
		newWallet(g), newChannel(g), newReceipts(g), newSpeed(g), newShow(g), newVerify(g), newVersion(g), newExitCodes())
	return cmd
}

// mayBeEmpty are the flags whose empty text means something.
var mayBeEmpty = []string{"comment", "source"}

// refuseEmpty refuses arguments and flags without a text: most often a variable
// of a script that was not set, which must neither mean this folder nor no limit.
func refuseEmpty(cmd *cobra.Command, args []string) (err error) {
	if slices.Contains(args, "") {
		return usage("an argument of %s is empty", cmd.CommandPath())
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		empty := f.Value.String() == "" && f.Value.Type() == "string" || f.Value.Type() == "stringArray" && slices.Contains(f.Value.(pflag.SliceValue).GetSlice(), "")
		if empty && !slices.Contains(mayBeEmpty, f.Name) {
			err = usage("--%s is empty", f.Name)
		}
	})
	return err
}

func asJSON(cmd *cobra.Command) bool {
	v, err := cmd.PersistentFlags().GetBool("json")
	return err == nil && v
}

// exactArgs is cobra's, with an error that says what is wanted.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("%s needs %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

// group makes a command that only holds others refuse what is none of them;
// cobra would print the help and call that a success.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("%s has no command %q", cmd.CommandPath(), args[0])
		}
		return cmd.Help()
	}
	return cmd
}

// dir is the folder of the program's state.
func (g *global) dir() (string, error) {
	if g.home != "" {
		return filepath.Abs(g.home)
	}
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "btt"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find home folder (or name one with --home): %w", err)
	}
	return filepath.Join(home, ".local", "state", "btt"), nil
}

func (g *global) reporter(out io.Writer) *terminal.Reporter {
	f, ok := out.(*os.File)
	if !ok {
		f = os.Stdout
	}
	return terminal.New(terminal.ModeFor(f, g.json), out)
}

func (g *global) log() *slog.Logger {
	if !g.verbose {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
