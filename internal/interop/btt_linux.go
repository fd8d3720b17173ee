package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// bttBinaryEnv names the program under test for the namespaced run.
const bttBinaryEnv = "BTT_INTEROP_BINARY"

// BTTMissing says why there is no btt to test, "" if there is one.
func BTTMissing() string {
	if os.Getenv(bttBinaryEnv) == "" {
		return "cmd/btt"
	}
	return ""
}

// BTT is one run of the btt program on a host: a seed, a get, a tracker or a
// ledger. As a Peer it runs `btt seed` or `btt get` once told which torrent.
type BTT struct {
	config Config
	args   []string // added to the command of Seed and Fetch
	peers  []string
	home   string // "" = a folder of its own
	*process
}

// NewBTT returns a peer whose seed or get is run with args added.
func NewBTT(c Config, args ...string) *BTT { return &BTT{config: c, args: args} }

// StartBTT runs `btt args... --json` on c.Host with c.Dir as its home.
func StartBTT(c Config, args ...string) (*BTT, error) {
	b := NewBTT(c)
	return b, b.run(args...)
}

// RunBTT runs `btt args... --json` to its end and returns the lines it printed.
func RunBTT(ctx context.Context, c Config, args ...string) ([]string, error) {
	b, err := StartBTT(c, args...)
	if err != nil {
		return nil, err
	}
	err = b.wait(ctx)
	if ctx.Err() != nil {
		err = errors.Join(err, b.stop())
	}
	return b.lines, err
}

func (b *BTT) run(args ...string) error {
	p, err := startProcess(b.config.Host, "btt "+args[0], b.config.Dir,
		append(append([]string{os.Getenv(bttBinaryEnv)}, args...), "--json")...)
	b.process = p
	return err
}

// Name, Addr, Seed, Fetch, AddPeer, Done and Stop make a Peer.

// Name is the command that runs.
func (b *BTT) Name() string { return "btt" }

// Addr is the listening address of seed and get.
func (b *BTT) Addr() netip.AddrPort { return netip.AddrPortFrom(b.config.Host.Addr, peerPort) }

func (b *BTT) common() []string {
	home := b.home
	if home == "" {
		home = filepath.Join(b.config.Dir, "home")
	}
	args := append([]string{"--listen", b.Addr().String(), "--home", home}, b.args...)
	if b.config.DHT.IsValid() {
		args = append(args, "--dht-bootstrap", b.config.DHT.String())
	} else if !slices.Contains(b.args, "--dht-bootstrap") {
		args = append(args, "--no-dht")
	}
	if b.config.LimitUp > 0 {
		args = append(args, "--limit-up", fmt.Sprintf("%dKiB", b.config.LimitUp/1024))
	}
	return args
}

// Seed runs `btt seed` and waits for its event "seeding".
func (b *BTT) Seed(ctx context.Context, t *Torrent, dir string) error {
	args := append([]string{"seed", filepath.Join(dir, t.Name), "--torrent", t.File}, b.common()...)
	if err := b.run(args...); err != nil {
		return err
	}
	_, err := b.waitLine(ctx, isEvent("seeding"))
	return err
}

// Fetch runs `btt get` and returns at once.
func (b *BTT) Fetch(_ context.Context, source, dir string) error {
	args := append([]string{"get", source, "-o", dir}, b.common()...)
	for _, p := range b.peers {
		args = append(args, "--peer", p)
	}
	return b.run(args...)
}

// AddPeer is for the time before Fetch: a running btt get can not be told.
func (b *BTT) AddPeer(_ context.Context, addr netip.AddrPort) error {
	if b.process != nil {
		return ErrNoAddPeer
	}
	b.peers = append(b.peers, addr.String())
	return nil
}

// Done reports whether the event "complete" was printed. An end without it is
// an error at once, so that a failed download does not use up the test's time.
func (b *BTT) Done(ctx context.Context) (bool, error) {
	done, cancel := context.WithTimeout(ctx, pollInterval)
	defer cancel()
	_, err := b.waitLine(done, isEvent("complete"))
	return err == nil, err
}

// Wait waits for the end of the program and returns its exit status.
func (b *BTT) Wait(ctx context.Context) error { return b.wait(ctx) }

// Stop interrupts the program as a user does; an exit status other than 0 is an error.
func (b *BTT) Stop() error {
	if b.process == nil {
		return nil
	}
	b.cmd.Process.Signal(syscall.SIGINT) // an error means that it has ended
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if err := b.wait(ctx); err != nil {
		return errors.Join(err, b.stop())
	}
	return nil
}

// Event returns the fields of the first printed event of that name.
func (b *BTT) Event(ctx context.Context, name string) (map[string]any, error) {
	line, err := b.waitLine(ctx, isEvent(name))
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	return fields, json.Unmarshal([]byte(line), &fields)
}

func isEvent(name string) func(string) bool {
	return func(line string) bool {
		var e struct{ Event string }
		return strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &e) == nil && e.Event == name
	}
}

// Last returns the fields of the newest printed event of that name, nil if
// there is none yet.
func (b *BTT) Last(name string) map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	is := isEvent(name)
	for i := len(b.lines) - 1; i >= 0; i-- {
		var fields map[string]any
		if is(b.lines[i]) && json.Unmarshal([]byte(b.lines[i]), &fields) == nil {
			return fields
		}
	}
	return nil
}
