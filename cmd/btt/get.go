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

// download are the flags of get alone.
type download struct {
	dir       string
	seedAfter bool
	choice    choice
}

func newGet(g *global) *cobra.Command {
	var t transfer
	var d download
	cmd := &cobra.Command{
		Use:   "get FILE.torrent|MAGNET|URL",
		Short: "Download a torrent",
		Long: `Downloads a torrent into a folder and ends when everything is verified and on
disk. Ctrl-C stops it; the same command goes on where it stopped. A second
Ctrl-C ends at once: then a part may be fetched again.`,
		Example: `  btt get debian.torrent -o Downloads
  btt get "magnet:?xt=urn:btih:..." --peer 127.0.0.1:6881
  btt get season.torrent --files 1,3-5 --sequential
  btt get film.torrent --speed --ledger http://127.0.0.1:7700`,
		Args: exactArgs(1, "one torrent file, magnet link or URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			return get(cmd.Context(), g, &t, &d, r, args[0])
		},
	}
	t.register(cmd.Flags())
	d.choice.register(cmd.Flags())
	cmd.Flags().StringVarP(&d.dir, "output", "o", ".", "folder to download into")
	cmd.Flags().StringVar(&t.allocate, "allocate", "sparse", "sparse: files take space as they fill; full: each file's space is reserved at its first byte")
	cmd.Flags().BoolVar(&d.seedAfter, "seed-after", false, "go on sharing when the download is complete, until Ctrl-C")
	return cmd
}

// addition is what the node is asked for.
func (d *download) addition(ctx context.Context, t *transfer, src string) (btt.Add, error) {
	choose, err := d.choice.chooser()
	if err != nil {
		return btt.Add{}, err
	}
	torrent, magnet, err := source(ctx, src)
	if err != nil {
		return btt.Add{}, err
	}
	a := btt.Add{Torrent: torrent}
	if torrent == nil {
		a = btt.FromMagnet(magnet)
		a.Peers = append(a.Peers, magnetPeers(ctx, magnet)...)
	}
	if choose != nil {
		a.Choose = choose
	}
	if torrent != nil && choose != nil { // wrong use is told before anything starts
		if _, err := choose(torrent.Info); err != nil {
			return btt.Add{}, err
		}
	}
	a.Trackers = append(a.Trackers, t.tiers()...)
	a.Dir, a.Sequential, a.WhenPaid = d.dir, d.choice.sequential, t.whenPaid
	return a, nil
}

func get(ctx context.Context, g *global, t *transfer, d *download, r *terminal.Reporter, src string) error {
	a, err := d.addition(ctx, t, src)
	if err != nil {
		return err
	}
	if err := checkFolder(d.dir); err != nil {
		return err
	}
	x, err := t.open(ctx, g)
	if err != nil {
		return err
	}
	var sw *btt.Torrent
	defer func() {
		x.close(r)
		if t.speed && sw != nil {
			reportSpent(r, x.home, sw.InfoHash())
		}
	}()
	a.Peers = append(a.Peers, x.peers...)
	if sw, err = x.node.Add(a); err != nil {
		return err
	}
	return watch(ctx, sw, r, x.events, d.seedAfter)
}

// watch shows a download until it is complete.
func watch(ctx context.Context, sw *btt.Torrent, r *terminal.Reporter, events <-chan btt.Event, seedAfter bool) error {
	began := time.Now()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	completed := false
	warned := map[string]string{}
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
			r.Finish(st.Size)
			reportComplete(r, st, time.Since(began))
			if !seedAfter {
				return nil
			}
		default:
			warn(r, &st, warned)
			progress(r, st)
		}
	}
}

// report shows an event of a download.
func report(r *terminal.Reporter, sw *btt.Torrent, e *btt.Event) {
	switch e.Kind {
	case btt.GotMetadata:
		name, _, _ := sw.Info()
		r.Event("metadata", "got the metadata of "+printable(name), terminal.Fields{"name": name})
	case btt.PeerPayment:
		reportPayment(r, e)
	}
}

// warn tells what keeps a download from finding peers: each tracker's error
// once. While there are peers, a tracker that is down is nobody's trouble.
func warn(r *terminal.Reporter, st *btt.Status, warned map[string]string) {
	if len(st.Peers) > 0 {
		return
	}
	for _, t := range st.Trackers {
		if t.Err == nil || warned[t.Name] == t.Err.Error() {
			continue
		}
		warned[t.Name] = t.Err.Error()
		r.Event("warning", "no peers: "+printable(t.Err.Error())+" (tried again by itself)", terminal.Fields{"tracker": t.Name, "error": t.Err.Error()})
	}
}

// copies tells the availability: how often the torrent's pieces are there among
// the connected peers (R1.12).
func copies(st *btt.Status) string { return fmt.Sprintf("available: %.2f copies", st.Availability) }

func progress(r *terminal.Reporter, st btt.Status) {
	done := st.Size - st.Left
	note := fmt.Sprintf("%s, %s, %s", terminal.Rate(st.Down), terminal.Count(len(st.Peers), "peer"), copies(&st))
	if st.Down > 0 && st.Left > 0 {
		note += ", " + terminal.Span(time.Duration(st.Left/st.Down)*time.Second) + " left"
	}
	if st.Paid > 0 {
		note += ", paid " + st.Paid.String()
	}
	name := printable(st.Name)
	if name == "" {
		name = st.State.String()
	}
	r.Progress(name, done, st.Size, note, terminal.Fields{"state": st.State.String(), "name": st.Name, "bytes": done,
		"size": st.Size, "down": st.Down, "up": st.Up, "peers": len(st.Peers), "paid": st.Paid, "bid": int64(st.Bid),
		"availability": st.Availability})
}

func reportComplete(r *terminal.Reporter, st btt.Status, took time.Duration) {
	secs := took.Seconds()
	text := fmt.Sprintf("%s is complete: %s in %.1f s", printable(st.Name), terminal.Bytes(st.Size), secs)
	if st.Paid > 0 {
		text += ", paid " + st.Paid.String()
	}
	r.Event("complete", text, terminal.Fields{"infohash": hex.EncodeToString(st.InfoHash[:]), "name": st.Name,
		"bytes": st.Size, "seconds": secs, "paid": st.Paid})
}
