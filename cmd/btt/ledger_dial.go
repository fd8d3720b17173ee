package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/heads"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

// ledgerAuthorities names a file of certificates (PEM) to trust for https in place
// of the system's: for ledgers with a certificate of their own making.
const ledgerAuthorities = "BTT_LEDGER_CA"

// ledgerOperator is the public key that the operator of the ledger publishes; without
// it whoever signs at the first contact is taken for the operator.
const ledgerOperator = "BTT_LEDGER_OPERATOR"

// dialTimeout is how long a command waits for a ledger at its start.
const dialTimeout = 10 * time.Second

// errAway says that a ledger does not answer; it may again.
var errAway = errors.New("no answer")

// away is an error of reaching a ledger; its text is the cause's.
type away struct{ error }

func (a away) Unwrap() error   { return a.error }
func (away) Is(err error) bool { return err == errAway }

// ledgers are the connections of one command. When it ends they are closed, and
// what the ledgers could not prove is said.
type ledgers struct {
	g    *global
	mu   sync.Mutex
	open []*heads.Client
}

// ledgersKey finds the ledgers in the context of a command.
type ledgersKey struct{}

// close ends the connections. A history that does not hold is an error.
func (l *ledgers) close(warn io.Writer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all error
	for _, c := range l.open {
		err := c.Close()
		if errors.Is(err, heads.ErrUnproved) {
			l.say(warn, err)
			err = nil
		}
		all = errors.Join(all, err)
	}
	l.open = nil
	return all
}

// hangUp ends a connection of dialLedger before the command ends.
func hangUp(ctx context.Context, c ledger.Client) {
	l, ok := ctx.Value(ledgersKey{}).(*ledgers)
	followed, of := c.(*heads.Client)
	if !ok || !of {
		return
	}
	l.mu.Lock()
	at := slices.Index(l.open, followed)
	if at >= 0 {
		l.open = slices.Delete(l.open, at, at+1)
	}
	l.mu.Unlock()
	if err := followed.Close(); err != nil {
		l.say(os.Stderr, err)
	}
}

func (l *ledgers) say(out io.Writer, err error) {
	mode := terminal.Lines
	if l.g.json {
		mode = terminal.JSON
	}
	terminal.New(mode, out).Event("warning", "btt: "+plain(err), terminal.Fields{"warning": plain(err)})
}

// dialLedger connects to a ledger, checks that it answers, and follows its heads
// in the folder of --home.
func dialLedger(ctx context.Context, url string) (ledger.Client, error) {
	c, err := dialReached(ctx, url)
	if err != nil {
		return nil, err
	}
	l, ok := ctx.Value(ledgersKey{}).(*ledgers)
	if !ok {
		return c, nil // a test's own context
	}
	home, err := l.g.dir()
	if err != nil {
		return nil, err
	}
	operator, err := wantedOperator()
	if err != nil {
		return nil, err
	}
	since := time.Now()
	warn := func(err error) {
		if time.Since(since) > dialTimeout { // a command that is over soon says it once, at its end
			l.say(os.Stderr, err)
		}
	}
	start, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	followed, err := btt.FollowLedger(start, btt.FollowConfig{Home: home, Ledger: c, Operator: operator, Report: warn})
	if err != nil && start.Err() != nil {
		return nil, away{fmt.Errorf("follow ledger %s: %w", url, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("follow ledger %s: %w", url, err)
	}
	l.mu.Lock()
	l.open = append(l.open, followed)
	l.mu.Unlock()
	return followed, nil
}

// dialReached connects to a ledger and checks that it answers; it writes nothing.
func dialReached(ctx context.Context, url string) (ledger.Client, error) {
	c, err := dialPlain(url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := c.Status(ctx); err != nil {
		return nil, away{fmt.Errorf("reach ledger %s (is \"btt ledger serve\" running there?): %w", url, err)}
	}
	return c, nil
}

// wantedOperator reads BTT_LEDGER_OPERATOR; zero means any.
func wantedOperator() (ledger.PublicKey, error) {
	text := os.Getenv(ledgerOperator)
	if text == "" {
		return ledger.PublicKey{}, nil
	}
	key, err := ledger.ParsePublicKey(text)
	if err != nil {
		return key, usage("%s: %v", ledgerOperator, err)
	}
	return key, nil
}

// dialPlain connects without following; it does not reach out yet.
func dialPlain(url string) (ledger.Client, error) {
	if url == "" {
		return nil, usage("--ledger is needed: the URL of the ledger, http://HOST:PORT, https://HOST:PORT or unix:/PATH")
	}
	roots, err := ledgerRoots()
	if err != nil {
		return nil, err
	}
	c, err := btt.DialLedger(url, roots)
	if err != nil {
		return nil, fmt.Errorf("use ledger %s: %w", url, err)
	}
	return c, nil
}

// ledgerRoots reads the certificates of BTT_LEDGER_CA; nil means the system's.
func ledgerRoots() (*x509.CertPool, error) {
	path := os.Getenv(ledgerAuthorities)
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ledgerAuthorities, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %s holds no certificate (PEM)", ledgerAuthorities, path)
	}
	return roots, nil
}
