package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

// running is the node of one command.
type running struct {
	node   *btt.Node
	events chan btt.Event
	peers  []netip.AddrPort // of --peer
	home   string           // "" = none is used
	state  string           // where the choice about Speed is
	loose  bool             // nothing is claimed in home
	claims *durable.Claims  // nil = none are made
	trades atomic.Bool      // it has a wallet; it may have got one since the start
	apart  atomic.Bool      // it left Speed, as "btt speed" said
	queued atomic.Bool      // it would take part in Speed, but another program uses the wallet
	// unfollow ends what follows that choice; nil = nothing does.
	unfollow func()
}

// start starts the node that the flags describe. The caller closes it.
func (t *transfer) start(ctx context.Context, g *global) (*running, error) {
	peers, err := parsePeers(ctx, t.peers)
	if err != nil {
		return nil, err
	}
	cfg, err := t.config(ctx, g)
	if err != nil {
		return nil, err
	}
	x := &running{events: make(chan btt.Event, 1024), peers: peers, home: cfg.Home, loose: t.stateless && !t.speed}
	x.trades.Store(cfg.Speed != nil)
	cfg.Notify = forward(x.events)
	if t.chosen != nil {
		if x.state, err = g.dir(); err != nil {
			return nil, err
		}
	}
	if x.node, err = btt.Open(ctx, cfg); err != nil {
		return nil, err
	}
	return x, nil
}

// loadFilter reads --ip-filter until ctx ends: it may be a pipe into which
// nobody writes.
func loadFilter(ctx context.Context, path string) (*btt.IPFilter, error) {
	var list *btt.IPFilter
	read := make(chan error, 1)
	go func() { // ends with the file, of a silent pipe with the process
		var err error
		list, err = btt.LoadIPFilter(path)
		read <- err
	}()
	select {
	case err := <-read:
		return list, err
	case <-ctx.Done():
		return nil, fmt.Errorf("read filter %s: %w", path, ctx.Err())
	}
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
	if x.unfollow != nil {
		x.unfollow()
	}
	if err := x.node.Close(ctx); err != nil {
		r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
	}
	if x.claims != nil {
		_ = x.claims.Close() // the process's end does it too
	}
}

// tellEmpty says that a node which is to bid has nothing to bid with.
func (x *running) tellEmpty(ctx context.Context, r *terminal.Reporter) {
	p := x.node.Purse()
	if set, err := x.node.Spending(); err != nil || set.Rate == 0 || p == nil {
		return
	}
	if b, err := p.Balance(ctx); err == nil && b.Free+b.Locked == 0 {
		r.Warn("warning", "the wallet is empty: nothing is bid, and what is free is downloaded all the same (btt wallet receive tells where BTT can be sent)",
			terminal.Fields{"address": p.Address(), "balance": b.Free})
	}
}

// errGetting says that another process does the same.
var errGetting = errors.New("another btt downloads it into the same folder")

// claim sees to it that no other process with this home downloads the torrent
// into the same folder: neither would know what the other writes.
func (x *running) claim(a *btt.Add) (err error) {
	if x.home == "" || x.loose {
		return nil
	}
	if x.claims == nil {
		if x.claims, err = durable.OpenClaims(x.home); err != nil {
			return err
		}
	}
	hash := metainfo.InfoHash(a.InfoHash)
	if a.Torrent != nil {
		hash = a.Torrent.InfoHash
	}
	dir, err := filepath.Abs(a.Dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", a.Dir, err)
	}
	names := []string{dir}
	if target, err := filepath.EvalSymlinks(dir); err == nil && target != dir {
		names = append(names, target)
	}
	for _, name := range names {
		err := x.claims.Take(hash.String() + name)
		if errors.Is(err, durable.ErrLocked) {
			err = errGetting
		}
		if err != nil {
			return fmt.Errorf("download %s into %s: %w", hash, a.Dir, err)
		}
	}
	return nil
}

// checkFolder says early whether files can be put into a folder that may not
// exist yet; it leaves nothing behind.
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
		return takesFiles(dir, at)
	}
}

// takesFiles tries whether something can be made in the folder at, where dir is
// or is to be: the system's own file systems permit it and do not do it. What it
// makes is gone again.
func takesFiles(dir, at string) error {
	probe, err := os.MkdirTemp(at, ".btt-*")
	switch {
	case err == nil:
		return os.Remove(probe)
	case at == dir && !errors.Is(err, os.ErrNotExist):
		return nil // such as a full disk: perhaps all files are there
	}
	return fmt.Errorf("use folder %s: nothing can be made in %s: %v (choose another one with -o)", dir, at, bare(err)) // no %w: "not found" would mislead
}

// bare takes the path out of an error that is told beside it.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
