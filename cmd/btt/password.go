package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/bttnet/btt/internal/purse"
)

// Where passwords come from besides a terminal; never the command line, which
// every user of the machine can read.
const (
	walletPasswordEnv = "BTT_WALLET_PASSWORD" // and with _FILE: a file that holds it
	backupPasswordEnv = "BTT_BACKUP_PASSWORD"
)

// maxPassword bounds a password and what is read of a file that holds one.
const maxPassword = 4096

var errMismatch = errors.New("the two passwords differ; nothing was changed")

// secretFrom reads a password from the environment or a file; ok is false when
// neither names one.
func secretFrom(env, file string) (text string, ok bool, err error) {
	if text, ok = os.LookupEnv(env); ok && file == "" {
		return text, text != "", nil
	}
	if file == "" {
		file = os.Getenv(env + "_FILE")
	}
	if file == "" {
		return "", false, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", false, fmt.Errorf("read password: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", false, fmt.Errorf("read password from %s: %w", file, bare(err))
	}
	if len(b) > maxPassword {
		return "", false, fmt.Errorf("read password from %s: longer than %d bytes", file, maxPassword)
	}
	return strings.TrimRight(string(b), "\r\n"), true, nil
}

// interactive reports whether there is somebody to ask.
func interactive() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// prompt asks for a secret without showing it. It asks on stderr, so that
// stdout stays data.
func prompt(question string) (string, error) {
	fmt.Fprint(os.Stderr, question+": ")
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	if len(b) > maxPassword {
		return "", fmt.Errorf("read password: at most %d bytes", maxPassword)
	}
	return string(b), nil
}

// promptNew asks for a new secret twice.
func promptNew(question string) (string, error) {
	first, err := prompt(question)
	if err != nil {
		return "", err
	}
	second, err := prompt(question + " again")
	if err == nil && first != second {
		err = errMismatch
	}
	return first, err
}

// walletPassword returns the password of the wallet in home: from the
// environment, a file, or the terminal. It is empty for a wallet without one and
// while "btt wallet unlock" holds.
func walletPassword(home, file string) (string, error) {
	text, ok, err := secretFrom(walletPasswordEnv, file)
	if ok || err != nil {
		return text, err
	}
	dir := filepath.Join(home, "wallet")
	if protected, err := purse.HasPassword(dir); err != nil || !protected || purse.InSession(dir) || !interactive() {
		return "", nil // opening the wallet says what is wrong
	}
	return prompt("Password of the wallet")
}
