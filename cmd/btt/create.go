package main

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

func newCreate(g *global) *cobra.Command {
	var o create.Options
	var out, pieceSize, format string
	var trackers []string
	cmd := &cobra.Command{
		Use:   "create PATH",
		Short: "Make a torrent of a file or folder",
		Example: `  btt create film.mkv --tracker http://tracker.example/announce
  btt create season --format hybrid --web-seed https://files.example/ --piece-size 1MiB`,
		Args: exactArgs(1, "one file or folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			size, err := rate("--piece-size", pieceSize)
			if err != nil {
				return err
			}
			o.PieceLength = size
			if o.Version, err = metainfo.ParseVersion(format); err != nil {
				return usage("--format: %v", err)
			}
			for _, tier := range trackers {
				o.Trackers = append(o.Trackers, strings.Split(tier, ","))
			}
			if out == "" {
				out = args[0] + ".torrent"
			}
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			if r.Mode() == terminal.Bars { // elsewhere the result stands alone
				o.Progress = hashing(r, args[0])
			}
			t, err := create.File(cmd.Context(), args[0], out, o)
			if err != nil {
				return err
			}
			r.Finish(t.Info.TotalLength)
			magnet := t.Magnet().String()
			fields := terminal.Fields{"path": out, "magnet": magnet, "format": o.Version.String(),
				"infohash": hex.EncodeToString(t.InfoHash[:]), "bytes": t.Info.ContentLength(), "pieces": t.Info.NumPieces()}
			if t.Info.HasV2() {
				fields["infohash_v2"] = t.InfoHashV2.String()
			}
			r.Event("created", fmt.Sprintf("%s\n%s", out, magnet), fields)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "torrent file to write (default PATH.torrent)")
	f.StringArrayVar(&trackers, "tracker", nil, "tracker's announce URL; several in one flag, with commas, take turns (may be repeated: one group after the other, BEP 12)")
	f.StringArrayVar(&o.WebSeeds, "web-seed", nil, "URL of a web server that has the file or folder too (BEP 19; may be repeated)")
	f.BoolVar(&o.Align, "align", false, "begin every file with a piece of its own, by pad files (BEP 47); v2 and hybrid always do")
	f.StringVar(&o.Source, "source", "", "mark that makes the info hash a private tracker's own")
	f.StringVar(&pieceSize, "piece-size", "", "piece size, a power of two such as 256KiB (default by total size)")
	f.StringVar(&format, "format", metainfo.V1.String(), "v1 (every client reads it), v2 (BEP 52) or hybrid (both)")
	f.BoolVar(&o.Private, "private", false, "peers only from the trackers (BEP 27)")
	f.StringVar(&o.Comment, "comment", "", "comment to put into the torrent")
	return cmd
}

// hashing shows how far a torrent to be is hashed.
func hashing(r *terminal.Reporter, path string) func(done, total int64) {
	name := printable(filepath.Base(path))
	var mu sync.Mutex // it is told by several goroutines
	last := time.Now()
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		r.Progress(name, done, total, "hashing", nil)
	}
}
