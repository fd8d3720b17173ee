package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
)

// running is the node of one command.
type running struct {
	node   *btt.Node
	events chan btt.Event
	peers  []netip.AddrPort // of --peer
	home   string
}

// open starts the node that the flags describe. The caller closes it with
// closeNode.
func (t *transfer) open(ctx context.Context, g *global) (*running, error) {
	peers, err := parsePeers(ctx, t.peers)
	if err != nil {
		return nil, err
	}
	cfg, err := t.config(ctx, g)
	if err != nil {
		return nil, err
	}
	x := &running{events: make(chan btt.Event, 1024), peers: peers, home: cfg.Home}
	cfg.Notify = forward(x.events)
	x.node, err = btt.Open(ctx, cfg)
	return x, err
}

// forward returns a Notify that never blocks the node: what does not fit is
// dropped, for the status tells the same.
func forward(events chan<- btt.Event) func(btt.Event) {
	return func(e btt.Event) {
		select {
		case events <- e:
		default:
		}
	}
}

// close stops the node and settles its channels.
func (x *running) close(r *terminal.Reporter) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if err := x.node.Close(ctx); err != nil {
		r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
	}
}

// checkFolder says early whether files can be put into a folder that may not
// exist yet; it makes nothing.
func checkFolder(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		switch {
		case errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return fmt.Errorf("use folder %s (choose another one with -o): %w", dir, bare(err))
		case !st.IsDir():
			return fmt.Errorf("use folder %s: %s is a file (choose another one with -o)", dir, at)
		}
		if err := writable(at); err != nil {
			return fmt.Errorf("use folder %s: %s cannot be written: %w (allow writing, or choose another one with -o)", dir, at, err)
		}
		return nil
	}
}

// bare takes the path out of an error that is told beside it.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
