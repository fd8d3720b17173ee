package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

// offer is a torrent to share and where its files lie.
type offer struct {
	torrent *metainfo.Torrent
	dir     string
	path    string       // as the user named it, made absolute
	plain   bool         // out of the market
	reserve *btt.Reserve // of its own; nil = as --reserve says
}

func newSeed(g *global) *cobra.Command {
	var t transfer
	var file, data string
	var plain []string
	var asks ownPrices
	var join joinFlags
	cmd := &cobra.Command{
		Use:   "seed PATH...",
		Short: "Share files, folders or torrents",
		Long: `Shares every PATH until Ctrl-C, all on one port. A PATH is a file or folder: its
torrent is the one named by --torrent, or PATH.torrent; if neither exists
PATH.torrent is made. Or PATH is a torrent file: then what it describes lies in
the folder --data, or beside the torrent file. With --speed, peers that bid BTT
compete for the upload slots and pay for what they get; what was earned is
settled on the ledger at the end.

With --join-paid the node looks for more to seed: it asks the trackers that you
name which torrents peers bid for, joins the best of them, fetches them and sells
them. It is off by default. No tracker is believed: money goes by steps, and only as
far as connected peers that can pay bid themselves; a torrent for which none of them
does is removed again, its data too, and its tracker is asked less. Name only trackers
whose torrents you are willing and allowed to share.`,
		Example: `  btt seed film.mkv
  btt seed *.torrent --data /srv/files
  btt seed --speed --ledger http://127.0.0.1:7700 --reserve "2 BTT/GiB" film.mkv
  btt seed --speed --ledger http://127.0.0.1:7700 --reserve 0 --reserve-for "film.mkv=2 BTT/GiB" film.mkv talk.mkv
  btt seed --speed --ledger http://127.0.0.1:7700 --reserve-growth-for "film.mkv=1 BTT/GiB/day,10 BTT/GiB" film.mkv
  btt seed --speed --ledger http://127.0.0.1:7700 --join-paid http://tracker.example/announce \
      --join-max 10GiB --join-price "1 BTT/GiB" --join-spend 0.5`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !join.on() {
				return usage("%s needs a file, folder or torrent", cmd.CommandPath())
			}
			if file != "" && len(args) > 1 {
				return usage("--torrent names the torrent of one PATH, not of %d", len(args))
			}
			if data != "" && (file != "" || !slices.ContainsFunc(args, func(p string) bool { return filepath.Ext(p) == ".torrent" })) {
				return usage("--data is for torrent files given as PATH: files and folders lie where they are")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			if err := checkPlain(plain, args, "shared"); err != nil {
				return err
			}
			err := t.choose(g, r)
			if err != nil {
				return err
			}
			if t.join, err = join.config(g, &t); err != nil {
				return err
			}
			offers, err := offersOf(cmd.Context(), &t, args, file, data, plain, &asks)
			if err != nil {
				return err
			}
			return seed(cmd.Context(), g, &t, r, offers)
		},
	}
	t.register(cmd.Flags())
	join.register(cmd.Flags())
	cmd.Flags().StringVar(&file, "torrent", "", "torrent file of the one PATH (default PATH.torrent, made if it does not exist)")
	cmd.Flags().StringArrayVar(&plain, "plain", nil, "with --speed: a PATH that neither bids nor sells (may be repeated)")
	cmd.Flags().StringArrayVar(&asks.fixed, "reserve-for", nil, "with --speed: PATH=PRICE, the least price of paid slots of one PATH, in the place of --reserve, such as \"film.mkv=2 BTT/GiB\"; 0 = none (may be repeated)")
	cmd.Flags().StringArrayVar(&asks.grow, "reserve-growth-for", nil, "with --speed: PATH=GROWTH or PATH=GROWTH,CAP, the same as --reserve-growth and --reserve-cap for one PATH, such as \"film.mkv=1 BTT/GiB/day,10 BTT/GiB\" (may be repeated)")
	cmd.Flags().StringVar(&data, "data", "", "folder in which the files of torrents given as PATH lie (default that of the torrent file)")
	return cmd
}

// checkPlain sees that what is to stay out of the market is one of the arguments.
func checkPlain(plain, args []string, what string) error {
	for _, p := range plain {
		if !slices.Contains(args, p) {
			return usage("--plain %s is none of those that are %s", p, what)
		}
	}
	return nil
}

// ownPrices are the flags for reserve prices of single arguments.
type ownPrices struct{ fixed, grow []string }

// read returns the reserve prices that arguments have of their own, by argument.
func (o *ownPrices) read(args, plain []string, t *transfer) (map[string]*btt.Reserve, error) {
	own := make(map[string]*btt.Reserve, len(o.fixed)+len(o.grow))
	take := func(flag, s, like string, parse func(text string) (*btt.Reserve, error)) error {
		at := strings.LastIndexByte(s, '=')
		if at < 0 || s[at+1:] == "" {
			return usage("%s %.80q is no %s", flag, s, like)
		}
		path := s[:at]
		switch {
		case !t.mayTrade():
			return usage("%s needs --speed: without it nothing is sold", flag)
		case !slices.Contains(args, path):
			return usage("%s %.80q: %q is none of those that are shared", flag, s, path)
		case slices.Contains(plain, path):
			return usage("%s %.80q: --plain keeps %q out of BitTorrent Speed, so it is not sold: give one of them", flag, s, path)
		case own[path] != nil:
			return usage("%s gives %q two prices", flag, path)
		}
		r, err := parse(s[at+1:])
		own[path] = r
		return err
	}
	for _, s := range o.fixed {
		if err := take("--reserve-for", s, "PATH=PRICE, such as \"film.mkv=2 BTT/GiB\"", func(text string) (*btt.Reserve, error) {
			ask, err := price("--reserve-for", text)
			return &btt.Reserve{Fixed: ask}, err
		}); err != nil {
			return nil, err
		}
	}
	for _, s := range o.grow {
		if err := take("--reserve-growth-for", s, "PATH=GROWTH[,CAP], such as \"film.mkv=1 BTT/GiB/day,10 BTT/GiB\"", growing); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// growing reads a price that grows, and its cap if there is one.
func growing(text string) (*btt.Reserve, error) {
	const flag = "--reserve-growth-for"
	slope, most, capped := strings.Cut(text, ",")
	r := &btt.Reserve{}
	var err error
	if r.Growth.Slope, err = growth(flag, slope); err != nil {
		return nil, err
	}
	if r.Growth.Cap, err = price(flag, most); err != nil {
		return nil, err
	}
	if slope == "" || capped && r.Growth.Cap == 0 {
		return nil, usage("%s %.80q: give a growth above 0, and a cap above 0 or none", flag, text)
	}
	return r, nil
}

// offersOf finds the torrents of the paths, or makes them. Those in plain stay out of the
// market, asks are reserve prices by path.
func offersOf(ctx context.Context, t *transfer, paths []string, file, data string, plain []string, asks *ownPrices) (list []offer, err error) {
	own, err := asks.read(paths, plain, t)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		o, err := offerOf(ctx, t, path, file, data)
		if err != nil {
			return nil, err
		}
		o.plain, o.reserve = slices.Contains(plain, path), own[path]
		list = append(list, o)
	}
	return list, nil
}

func seed(ctx context.Context, g *global, t *transfer, r *terminal.Reporter, offers []offer) error {
	x, err := t.open(ctx, g, r)
	if err != nil {
		return err
	}
	defer x.close(r)
	for _, o := range offers {
		_, err := x.add(t, btt.Add{Torrent: o.torrent, Dir: o.dir, InPlace: true, Plain: o.plain, Reserve: o.reserve})
		if errors.Is(err, btt.ErrExists) {
			return fmt.Errorf("share %s: another PATH has the same content: %w", o.path, err)
		}
		if err != nil {
			return fmt.Errorf("share %s: %w", o.path, err)
		}
	}
	j := joins{now: map[*btt.Torrent]string{}}
	if t.join != nil {
		j.dir = t.join.Dir
		text := "asking for torrents that pay"
		if !t.speed {
			text = "will ask for torrents that pay once this command takes part in BitTorrent Speed"
		}
		r.Event("looking", text, terminal.Fields{"trackers": t.join.Trackers, "listen": x.node.Addr().String()})
	}
	return serve(ctx, x, r, len(offers), t.whenPaid || t.join != nil, &j)
}

// offerOf finds the torrent of a path, or makes it.
func offerOf(ctx context.Context, t *transfer, path, file, data string) (offer, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return offer{}, fmt.Errorf("find %s: %w", path, err)
	}
	o := offer{dir: filepath.Dir(path), path: path}
	if file == "" && filepath.Ext(path) == ".torrent" {
		if data != "" {
			o.dir = data
		}
		o.torrent, err = readTorrent(path)
		return o, err
	}
	o.torrent, err = seedTorrent(ctx, t, path, file)
	return o, err
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
	torrent, err = create.File(ctx, path, file, create.Options{Trackers: t.tiers()})
	if err != nil && writable(filepath.Dir(file)) != nil {
		err = fmt.Errorf("%w (make it elsewhere with btt create -o, and name it with --torrent)", err)
	}
	return torrent, err
}

// seedEvery is the time between two lines about what is shared, for programs.
const seedEvery = 10 * time.Second

// serve shows what is shared until it is stopped.
func serve(ctx context.Context, x *running, r *terminal.Reporter, count int, paid bool, joined *joins) error {
	view := time.NewTicker(progressEvery)
	defer view.Stop()
	var told time.Time
	bad, resting := 0, map[*btt.Torrent]bool{}
	for {
		select {
		case <-ctx.Done():
			if bad > 0 {
				return someFailed(errPartlyShared, bad, count, "were not shared")
			}
			return nil
		case now := <-view.C:
			joined.tell(r, x.node.Torrents())
			if paid {
				tellRests(r, x.node.Torrents(), resting, x.apart.Load())
			}
			if r.Mode() == terminal.Bars || r.Mode() == terminal.JSON && now.Sub(told) >= seedEvery {
				told = now
				showSeeds(r, x.node.Torrents(), x.queued.Load())
			}
		case e := <-x.events:
			if joined.has(e.Torrent) && (e.Kind == btt.Checked || e.Kind == btt.Broken) {
				continue // the node judges it
			}
			err := onSeed(ctx, x.node, r, &e)
			if err == nil {
				continue
			}
			if bad++; bad == count {
				return err
			}
			r.Warn("failed", plain(err), terminal.Fields{"error": plain(err), "infohash": e.Torrent.String()})
		}
	}
}

// onSeed tells an event; the error is that of a torrent that is not shared.
func onSeed(ctx context.Context, node *btt.Node, r *terminal.Reporter, e *btt.Event) error {
	switch e.Kind {
	case btt.Checked:
		if err := reportSeeding(r, node, e.Torrent.Status()); err != nil {
			return errors.Join(err, e.Torrent.Remove(ctx, false))
		}
	case btt.Broken:
		return e.Err
	case btt.PeerPayment:
		reportPayment(r, e)
	}
	return nil
}

// tellRests shows which torrents seeded with --when-paid rest, or returned.
func tellRests(r *terminal.Reporter, list []*btt.Torrent, resting map[*btt.Torrent]bool, apart bool) {
	for _, t := range list {
		st := t.Status()
		now := st.Resting
		if now == resting[t] {
			continue
		}
		resting[t] = now
		name, text := "returned", "somebody bids the reserve price: sharing again"
		switch {
		case now:
			name, text = "resting", "nobody bids the reserve price: the torrent rests until a tracker tells of a bid"
		case apart || st.Plain:
			text = "out of BitTorrent Speed: sharing again, as any client does"
		}
		if len(list) > 1 {
			text = printable(st.Name) + ": " + text
		}
		r.Event(name, text, terminal.Fields{"infohash": t.String()})
	}
}

// showSeeds draws a line for each torrent.
func showSeeds(r *terminal.Reporter, list []*btt.Torrent, queued bool) {
	var rows []string
	for _, t := range list {
		st := t.Status()
		row := fmt.Sprintf("%-30.30s %s up, %s, %s, sent %s", printable(st.Name), terminal.Rate(st.Up), terminal.Count(len(st.Peers), "peer"), copies(&st)+" among peers",
			terminal.Bytes(st.Totals.Uploaded))
		if st.State != btt.Seeding && st.State != btt.Finished {
			row = fmt.Sprintf("%-30.30s %s", printable(st.Name), st.State)
		}
		if st.Earned > 0 {
			row += ", earned " + st.Earned.String()
		}
		rows = append(rows, row)
		if r.Mode() == terminal.JSON {
			r.Event("status", "", of(&st, terminal.Fields{"state": st.State.String(), "up": st.Up,
				"peers": len(st.Peers), "uploaded": st.Totals.Uploaded, "availability": st.Availability, "earned": st.Earned, "waits_for_wallet": queued}))
		}
	}
	if rows = few(rows); queued {
		rows = append(rows, queuedText)
	}
	r.Table(rows)
}

func reportSeeding(r *terminal.Reporter, node *btt.Node, st btt.Status) error {
	if st.Left > 0 {
		return fmt.Errorf("the files of %s are not those of its torrent: %s of %s do not match (look: btt verify; or name the right torrent with --torrent)",
			printable(st.Name), terminal.Bytes(st.Left), terminal.Bytes(st.Size))
	}
	r.Event("seeding", fmt.Sprintf("sharing %s (%s) on %s", printable(st.Name), terminal.Bytes(st.Size), node.Addr()), of(&st, terminal.Fields{
		"bytes": st.Size, "listen": node.Addr().String()}))
	return nil
}

// reportPayment shows what happened to a peer's channel.
func reportPayment(r *terminal.Reporter, e *btt.Event) {
	p := &e.Payment
	f := terminal.Fields{"peer": e.Peer.String(), "kind": p.Kind.String(), "amount": p.Amount, "sum": p.Sum, "bytes": p.Bytes, "reason": p.Reason}
	switch p.Kind {
	case payments.EventPaid, payments.EventEarned:
		r.Event("payment", "", f)
	case payments.EventProven: // moves nothing, and is followed by what does
		r.Event("channel", "", f)
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
