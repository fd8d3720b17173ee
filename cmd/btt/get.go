package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
)

const settleTime = 20 * time.Second

// download are the flags of get alone.
type download struct {
	dir       string
	seedAfter bool
	leave     bool
	choice    choice
	plain     []string // of the sources, those that stay out of the market
}

func newGet(g *global) *cobra.Command {
	var t transfer
	var d download
	cmd := &cobra.Command{
		Use:   "get FILE.torrent|MAGNET|URL...",
		Short: "Download torrents",
		Long: `Downloads torrents into a folder and ends when everything is verified and on
disk. Ctrl-C stops it; the same command goes on where it stopped. A second
Ctrl-C ends at once: then a part may be fetched again. Of several torrents
--max-downloads run at once, in the order given; one that fails takes no place.

A download that paid was complete before others who wait for the same. It goes
on sharing for as long as it took while one of them is connected and lacks
something: an hour at most on a terminal, and a minute where the output goes
elsewhere or is --json, so that a script waits no longer. It says so. Ctrl-C
ends that (the exit code is 0), and with --leave it does not begin.`,
		Example: `  btt get debian.torrent -o Downloads
  btt get "magnet:?xt=urn:btih:..." --peer 127.0.0.1:6881
  btt get season.torrent --files 1,3-5 --sequential
  btt get *.torrent --max-downloads 2 --limit-down-torrent 1MiB
  btt get film.torrent --speed --ledger http://127.0.0.1:7700`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usage("%s needs a torrent file, magnet link or URL", cmd.CommandPath())
			case len(args) > 1 && len(d.choice.files) > 0:
				return usage("--files chooses of one torrent, not of %d", len(args))
			}
			return checkPlain(d.plain, args, "downloaded")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			if err := t.choose(g, r); err != nil {
				return err
			}
			return get(cmd.Context(), g, &t, &d, r, args)
		},
	}
	t.register(cmd.Flags())
	d.choice.register(cmd.Flags())
	cmd.Flags().StringVarP(&d.dir, "output", "o", ".", "folder to download into")
	cmd.Flags().StringVar(&t.allocate, "allocate", "sparse", "sparse: files take space as they fill; full: each file's space is reserved at its first byte")
	cmd.Flags().IntVar(&t.each.downloads, "max-downloads", 0, "how many torrents are downloaded at once (0 = all)")
	cmd.Flags().StringArrayVar(&d.plain, "plain", nil, "with --speed: a torrent, named as above, that neither bids nor sells (may be repeated)")
	cmd.Flags().BoolVar(&d.seedAfter, "seed-after", false, "go on sharing when the download is complete, until Ctrl-C")
	cmd.Flags().BoolVar(&d.leave, "leave", false, "with --speed: end as soon as it is complete; otherwise a download that paid is shared on while peers that may have waited for it lack something, for as long as it took: an hour at most on a terminal, else a minute")
	return cmd
}

// addition is what the node is asked for.
func (d *download) addition(ctx context.Context, r *terminal.Reporter, src string) (btt.Add, error) {
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
		a.Peers = append(a.Peers, magnetPeers(ctx, r, magnet)...)
	}
	if choose != nil {
		a.Choose = choose
	}
	if torrent != nil && choose != nil { // wrong use is told before anything starts
		if _, err := choose(torrent.Info); err != nil {
			return btt.Add{}, err
		}
	}
	a.Dir, a.Sequential, a.Plain = d.dir, d.choice.sequential, slices.Contains(d.plain, src)
	return a, nil
}

func get(ctx context.Context, g *global, t *transfer, d *download, r *terminal.Reporter, sources []string) error {
	var list []btt.Add
	for _, src := range sources {
		a, err := d.addition(ctx, r, src)
		if err != nil {
			return err
		}
		list = append(list, a)
	}
	if err := checkFolder(d.dir); err != nil {
		return err
	}
	x, err := t.open(ctx, g, r)
	if err != nil {
		return err
	}
	x.tellEmpty(ctx, r)
	before, _ := btt.ReadReceipts(x.home) // those that can be read: a command that trades has told of the others
	w := newWatch(r, d.seedAfter, newBills(before))
	w.queued, w.bills.now = x.queued.Load, x.node.Receipt
	if !d.leave {
		w.back = newGiveBack(r, w.bills)
	}
	defer func() {
		x.close(r)
		if x.trades.Load() {
			for _, sw := range w.list {
				w.bills.reportSpent(r, x.home, sw.InfoHash())
			}
		}
	}()
	for i := range list { // before the first of them writes
		if err := x.claim(&list[i]); err != nil {
			return err
		}
	}
	for i, a := range list {
		sw, err := x.add(t, a)
		if errors.Is(err, btt.ErrExists) {
			err = fmt.Errorf("%.80s: another one given is the same torrent: %w", sources[i], err)
		}
		if err != nil {
			return err
		}
		w.list = append(w.list, sw)
	}
	return w.run(ctx, x.events)
}
