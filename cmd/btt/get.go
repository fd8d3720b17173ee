package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
)

const (
	progressEvery = 500 * time.Millisecond
	settleTime    = 20 * time.Second
)

func newGet(g *global) *cobra.Command {
	var t transfer
	var dir string
	var seedAfter bool
	cmd := &cobra.Command{
		Use:   "get FILE.torrent|MAGNET|URL",
		Short: "Download a torrent",
		Long: `Downloads a torrent into a folder and ends when everything is verified and on
disk. Ctrl-C stops it; the same command goes on where it stopped.`,
		Example: `  btt get debian.torrent -o Downloads
  btt get "magnet:?xt=urn:btih:..." --peer 127.0.0.1:6881
  btt get film.torrent --speed --ledger http://127.0.0.1:7700`,
		Args: exactArgs(1, "one torrent file, magnet link or URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			return get(cmd.Context(), g, &t, r, args[0], dir, seedAfter)
		},
	}
	t.register(cmd.Flags())
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "folder to download into")
	cmd.Flags().BoolVar(&seedAfter, "seed-after", false, "go on sharing when the download is complete, until Ctrl-C")
	return cmd
}

func get(ctx context.Context, g *global, t *transfer, r *terminal.Reporter, src, dir string, seedAfter bool) error {
	torrent, magnet, err := source(ctx, src)
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
	var sw *btt.Torrent
	defer func() {
		closeNode(node, r)
		if t.speed && sw != nil {
			reportSpent(r, cfg.Home, sw.InfoHash())
		}
	}()
	if torrent != nil {
		sw, err = node.Add(btt.Add{Torrent: torrent, Trackers: t.tiers(), Dir: dir, Peers: peers, WhenPaid: t.whenPaid})
	} else {
		magnet.Trackers = append(magnet.Trackers, t.trackers...)
		sw, err = node.AddMagnet(magnet, dir, peers)
	}
	if err != nil {
		return err
	}
	return watch(ctx, sw, r, events, seedAfter)
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

// closeNode stops the node and settles its channels.
func closeNode(n *btt.Node, r *terminal.Reporter) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		r.Event("warning", "btt: "+err.Error(), terminal.Fields{"error": err.Error()})
	}
}

// watch shows a download until it is complete.
func watch(ctx context.Context, sw *btt.Torrent, r *terminal.Reporter, events <-chan btt.Event, seedAfter bool) error {
	began := time.Now()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	completed := false
	for {
		check := false
		select {
		case <-ctx.Done():
			if completed {
				return nil
			}
			return fmt.Errorf("%w: the same command goes on from here", errInterrupted)
		case <-tick.C:
			check = true
		case e := <-events:
			check = e.Kind == btt.Completed || e.Kind == btt.Broken
			report(r, sw, &e)
		}
		if !check || completed {
			continue
		}
		switch st := sw.Status(); st.State {
		case btt.Failed:
			return st.Err
		case btt.Seeding:
			completed = true
			reportComplete(r, st, time.Since(began))
			if !seedAfter {
				return nil
			}
		default:
			progress(r, st)
		}
	}
}

// report shows an event of a download.
func report(r *terminal.Reporter, sw *btt.Torrent, e *btt.Event) {
	switch e.Kind {
	case btt.GotMetadata:
		name, _, _ := sw.Info()
		r.Event("metadata", "got the metadata of "+name, terminal.Fields{"name": name})
	case btt.PeerPayment:
		reportPayment(r, e)
	}
}

func progress(r *terminal.Reporter, st btt.Status) {
	done := st.Size - st.Left
	note := fmt.Sprintf("%s, %d peers", terminal.Rate(st.Down), len(st.Peers))
	if st.Paid > 0 {
		note += ", paid " + st.Paid.String()
	}
	name := st.Name
	if name == "" {
		name = st.State.String()
	}
	r.Progress(name, done, st.Size, note, terminal.Fields{"state": st.State.String(), "name": st.Name, "bytes": done,
		"size": st.Size, "down": st.Down, "up": st.Up, "peers": len(st.Peers), "paid": st.Paid, "bid": int64(st.Bid),
		"availability": st.Availability})
}

func reportComplete(r *terminal.Reporter, st btt.Status, took time.Duration) {
	secs := took.Seconds()
	text := fmt.Sprintf("%s is complete: %s in %.1f s", st.Name, terminal.Bytes(st.Size), secs)
	if st.Paid > 0 {
		text += ", paid " + st.Paid.String()
	}
	r.Event("complete", text, terminal.Fields{"infohash": hex.EncodeToString(st.InfoHash[:]), "name": st.Name,
		"bytes": st.Size, "seconds": secs, "paid": st.Paid})
}
