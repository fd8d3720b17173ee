package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/bttnet/btt"
)

// each are the flags about every single torrent of a command, and about how
// many of them run at once.
type each struct {
	labels           []string
	up, down         string
	downloads, seeds int
	// Of register's flags, as read by check.
	upLimit, downLimit int64
}

func (e *each) register(f *pflag.FlagSet) {
	f.StringArrayVar(&e.labels, "label", nil, "label of the torrents, told with everything about them in --json (may be repeated)")
	f.StringVar(&e.up, "limit-up-torrent", "", "upload limit per second of each torrent, such as 500KiB")
	f.StringVar(&e.down, "limit-down-torrent", "", "download limit per second of each torrent")
	f.IntVar(&e.seeds, "max-seeds", 0, "how many complete torrents are shared at once, in the order given; the others wait (0 = all)")
}

// check reads what was given.
func (e *each) check() (err error) {
	if e.upLimit, err = rate("--limit-up-torrent", e.up); err != nil {
		return err
	}
	if e.downLimit, err = rate("--limit-down-torrent", e.down); err != nil {
		return err
	}
	if e.downloads < 0 || e.seeds < 0 {
		return usage("--max-downloads and --max-seeds are 0 (all) or more")
	}
	if err := btt.CheckLabels(e.labels); err != nil {
		return usage("--label: %v", err)
	}
	return nil
}

// add puts a torrent into the node, with what the flags say of every torrent.
func (x *running) add(t *transfer, a btt.Add) (*btt.Torrent, error) {
	a.Trackers = append(a.Trackers, t.tiers()...)
	a.Peers = append(a.Peers, x.peers...)
	a.Labels, a.UpLimit, a.DownLimit = t.each.labels, t.each.upLimit, t.each.downLimit
	if t.chosen != nil {
		a.Plain = a.Plain || t.chosen.IsPlain(namesOf(&a)...)
	}
	a.WhenPaid = t.whenPaid // one that stays out runs as others do
	return x.node.Add(a)
}

// someFailed says how many torrents of several are not what was wanted.
func someFailed(sentinel error, bad, count int, what string) error {
	return fmt.Errorf("%w: %d of %d torrents %s", sentinel, bad, count, what)
}
