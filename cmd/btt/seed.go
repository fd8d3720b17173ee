package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

func newSeed(g *global) *cobra.Command {
	var t transfer
	var file string
	cmd := &cobra.Command{
		Use:   "seed PATH",
		Short: "Share a file or folder",
		Long: `Shares PATH until Ctrl-C. The torrent is the one named by --torrent, or
PATH.torrent; if neither exists PATH.torrent is made. With --speed, peers that
bid BTT compete for the upload slots and pay for what they get; what was earned
is settled on the ledger at the end.`,
		Example: `  btt seed film.mkv
  btt seed --speed --ledger http://127.0.0.1:7700 --reserve "2 BTT/GiB" film.mkv`,
		Args: exactArgs(1, "one file or folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			return seed(cmd.Context(), g, &t, r, args[0], file)
		},
	}
	t.register(cmd.Flags())
	cmd.Flags().StringVar(&file, "torrent", "", "torrent file (default PATH.torrent, made if it does not exist)")
	return cmd
}

func seed(ctx context.Context, g *global, t *transfer, r *terminal.Reporter, path, file string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("find %s: %w", path, err)
	}
	torrent, err := seedTorrent(ctx, t, path, file)
	if err != nil {
		return err
	}
	peers, err := parsePeers(t.peers)
	if err != nil {
		return err
	}
	cfg, err := t.config(ctx, g)
	if err != nil {
		return err
	}
	events := make(chan btt.Event, 1024)
	cfg.Notify = forward(events)
	node, err := btt.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer closeNode(node, r)
	sw, err := node.Add(btt.Add{Torrent: torrent, Trackers: t.tiers(), Dir: filepath.Dir(path), InPlace: true, Peers: peers, WhenPaid: t.whenPaid})
	if err != nil {
		return err
	}
	return serve(ctx, node, sw, r, events)
}

// seedTorrent reads the torrent of a path or makes it.
func seedTorrent(ctx context.Context, t *transfer, path, file string) (*metainfo.Torrent, error) {
	named := file != ""
	if !named {
		file = path + ".torrent"
	}
	torrent, err := readTorrent(file)
	if err == nil || named || !errors.Is(err, os.ErrNotExist) {
		return torrent, err
	}
	return create.File(ctx, path, file, create.Options{Trackers: t.tiers()})
}

// serve shows a seed until it is stopped.
func serve(ctx context.Context, node *btt.Node, sw *btt.Torrent, r *terminal.Reporter, events <-chan btt.Event) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	resting := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if now := sw.Status().Resting; now != resting {
				resting = now
				reportRest(r, sw, now)
			}
		case e := <-events:
			switch e.Kind {
			case btt.Checked:
				if err := reportSeeding(r, node, sw.Status()); err != nil {
					return err
				}
			case btt.Broken:
				return e.Err
			case btt.PeerPayment:
				reportPayment(r, &e)
			}
		}
	}
}

// reportRest shows that a torrent seeded with --when-paid rests, or returned.
func reportRest(r *terminal.Reporter, sw *btt.Torrent, resting bool) {
	hash := sw.InfoHash()
	name, text := "returned", "somebody bids the reserve price: sharing again"
	if resting {
		name, text = "resting", "nobody bids the reserve price: the torrent rests until a tracker tells of a bid"
	}
	r.Event(name, text, terminal.Fields{"infohash": hex.EncodeToString(hash[:])})
}

func reportSeeding(r *terminal.Reporter, node *btt.Node, st btt.Status) error {
	if st.Left > 0 {
		return fmt.Errorf("the files of %s are not those of its torrent: %s of %s do not match (name the right torrent with --torrent)",
			st.Name, terminal.Bytes(st.Left), terminal.Bytes(st.Size))
	}
	r.Event("seeding", fmt.Sprintf("sharing %s (%s) on %s", st.Name, terminal.Bytes(st.Size), node.Addr()), terminal.Fields{
		"infohash": hex.EncodeToString(st.InfoHash[:]), "name": st.Name, "bytes": st.Size, "listen": node.Addr().String()})
	return nil
}

// reportPayment shows what happened to a peer's channel.
func reportPayment(r *terminal.Reporter, e *btt.Event) {
	p := &e.Payment
	f := terminal.Fields{"peer": e.Peer.String(), "kind": p.Kind.String(), "amount": p.Amount, "sum": p.Sum, "bytes": p.Bytes, "reason": p.Reason}
	switch p.Kind {
	case payments.EventPaid, payments.EventEarned:
		r.Event("payment", "", f)
	default:
		text := fmt.Sprintf("channel with %s: %s", e.Peer, p.Kind)
		if p.Amount > 0 {
			text += " " + p.Amount.String()
		}
		if p.Reason != "" {
			text += " (" + p.Reason + ")"
		}
		r.Event("channel", text, f)
	}
}
