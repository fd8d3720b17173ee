package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
)

func newVerify(g *global) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "verify TORRENT [DIR]",
		Short: "Check files against their torrent",
		Long: `Reads the files of a torrent in the folder DIR (default: here) and compares them
with its hashes, file by file. It changes nothing. The exit code is 0 when all is
there and right, and 3 when something is missing or wrong: "btt get" into the
same folder fetches it.`,
		Example: `  btt verify debian.torrent Downloads
  btt verify season.torrent --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("%s needs a torrent, and the folder of its files if that is not this one", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 2 {
				dir = args[1]
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			return verify(cmd.Context(), r, args[0], dir, quiet)
		},
	}
	cmd.Flags().BoolVar(&quiet, "quiet", false, "tell files that are not complete only")
	return cmd
}

func verify(ctx context.Context, r *terminal.Reporter, src, dir string, quiet bool) error {
	torrent, magnet, err := source(ctx, src)
	if err != nil {
		return err
	}
	if magnet != nil {
		return usage("a magnet link has no hashes of the files: verify needs the torrent")
	}
	var mu sync.Mutex // the progress comes from several goroutines
	last := time.Now()
	list, err := btt.Verify(ctx, torrent, dir, true, func(pieces int) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		size := torrent.Info.TotalLength
		done := min(int64(pieces)*torrent.Info.PieceLength, size)
		r.Progress(torrent.Info.Name, done, size, "checking", terminal.Fields{"state": btt.Checking.String(), "name": torrent.Info.Name, "bytes": done, "size": size})
	})
	if err != nil {
		return err
	}
	var good, size int64
	bad := 0
	for _, f := range list {
		good, size = good+f.Good, size+f.Length
		if !f.Complete() {
			bad++
		} else if quiet {
			continue
		}
		r.Event("file", verdict(&f), terminal.Fields{"path": f.Path, "bytes": f.Length, "good": f.Good, "missing": f.Missing, "complete": f.Complete()})
	}
	r.Event("verified", fmt.Sprintf("%s: %s of %s in %s are right", printable(torrent.Info.Name), terminal.Bytes(good), terminal.Bytes(size), terminal.Count(len(list), "file")),
		terminal.Fields{"infohash": torrent.InfoHash.String(), "name": torrent.Info.Name, "bytes": size, "good": good, "files": len(list), "incomplete": bad, "complete": bad == 0})
	if bad > 0 {
		return fmt.Errorf("%s is %w in %d of %s (fetch it: btt get into the same folder)", printable(torrent.Info.Name), errIncomplete, bad, terminal.Count(len(list), "file"))
	}
	return nil
}

// verdict is the line about a file.
func verdict(f *btt.FileCheck) string {
	path := printable(f.Path)
	switch {
	case f.Complete() && f.Size > f.Length:
		return fmt.Sprintf("complete    %s (and %s too many at its end)", path, terminal.Bytes(f.Size-f.Length))
	case f.Complete():
		return "complete    " + path
	case f.Missing:
		return "missing     " + path
	}
	return fmt.Sprintf("%5.1f %%     %s: %s of %s are right", 100*float64(f.Good)/float64(max(f.Length, 1)), path, terminal.Bytes(f.Good), terminal.Bytes(f.Length))
}
