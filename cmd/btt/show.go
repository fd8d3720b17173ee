package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

func newShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE.torrent|MAGNET|URL",
		Short: "Tell what is in a torrent or magnet link",
		Long: `Tells the files with their numbers (for --files of btt get) and sizes, the
hashes, trackers and web seeds of a torrent, and its magnet link; of a magnet
link what it says. It asks nobody but the URL.`,
		Example: `  btt show debian.torrent
  btt show debian.torrent --json`,
		Args: exactArgs(1, "one torrent file, magnet link or URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			return show(cmd.Context(), r, args[0])
		},
	}
}

func show(ctx context.Context, r *terminal.Reporter, src string) error {
	torrent, magnet, err := source(ctx, src)
	if err != nil {
		return err
	}
	if magnet != nil {
		showMagnet(r, magnet)
		return nil
	}
	showTorrent(r, torrent)
	return nil
}

// sheet is a list of named values for people.
type sheet struct{ b strings.Builder }

// add writes a line of each value; empty ones are left out.
func (s *sheet) add(name string, values ...string) {
	for _, v := range values {
		if v != "" {
			fmt.Fprintf(&s.b, "%-12s %s\n", name, printable(v))
		}
		name = ""
	}
}

func (s *sheet) String() string { return strings.TrimSuffix(s.b.String(), "\n") }

func showTorrent(r *terminal.Reporter, t *metainfo.Torrent) {
	in := t.Info
	var s sheet
	s.add("name", in.Name)
	f := terminal.Fields{"name": in.Name, "bytes": in.ContentLength(), "pieces": in.NumPieces(), "piece_length": in.PieceLength,
		"private": in.Private, "v1": in.HasV1(), "v2": in.HasV2(), "magnet": t.Magnet().String(), "infohash": t.InfoHash.String()}
	format := "v1"
	if in.HasV2() {
		f["infohash_v2"] = t.InfoHashV2.String()
		format = "v2"
	}
	if in.HasV1() {
		s.add("info hash", t.InfoHash.String())
		if in.HasV2() {
			format = "hybrid (v1 and v2)"
		}
	}
	if in.HasV2() {
		s.add("v2 hash", t.InfoHashV2.String())
	}
	files := countedFiles(in)
	s.add("size", fmt.Sprintf("%s in %s", terminal.Bytes(in.ContentLength()), terminal.Count(len(files), "file")))
	s.add("pieces", fmt.Sprintf("%d of %s, %s", in.NumPieces(), terminal.Bytes(in.PieceLength), format))
	if in.Private {
		s.add("private", "peers only from its trackers (BEP 27)")
	}
	for _, tier := range t.AnnounceList {
		s.add("tracker", strings.Join(tier, ", "))
	}
	s.add("web seed", append(append([]string{}, t.WebSeeds...), t.HTTPSeeds...)...)
	s.add("comment", t.Comment)
	s.add("source", in.Source)
	s.add("made by", t.CreatedBy)
	if !t.CreationDate.IsZero() {
		s.add("made at", t.CreationDate.UTC().Format(time.DateTime)+" UTC")
		f["created"] = t.CreationDate.UTC().Format(time.RFC3339)
	}
	s.add("magnet", t.Magnet().String())
	list := make([]map[string]any, len(files))
	for n, file := range files {
		fmt.Fprintf(&s.b, "%6d  %10s  %s\n", n+1, terminal.Bytes(file.length), printable(file.name))
		list[n] = map[string]any{"number": n + 1, "path": file.name, "bytes": file.length}
	}
	f["files"], f["trackers"], f["web_seeds"] = list, orEmpty(t.AnnounceList), orEmpty(append(append([]string{}, t.WebSeeds...), t.HTTPSeeds...))
	f["comment"], f["source"], f["created_by"] = t.Comment, in.Source, t.CreatedBy
	r.Event("torrent", s.String(), f)
}

func showMagnet(r *terminal.Reporter, m *metainfo.Magnet) {
	var s sheet
	s.add("name", m.Name)
	f := terminal.Fields{"name": m.Name, "magnet": m.String(), "infohash": m.Hash().String(), "trackers": orEmpty(m.Trackers),
		"web_seeds": orEmpty(m.WebSeeds), "bytes": m.Length}
	if !m.InfoHash.IsZero() {
		s.add("info hash", m.InfoHash.String())
	}
	if !m.InfoHashV2.IsZero() {
		s.add("v2 hash", m.InfoHashV2.String())
		f["infohash_v2"] = m.InfoHashV2.String()
	}
	if m.Length > 0 {
		s.add("size", terminal.Bytes(m.Length))
	}
	s.add("tracker", m.Trackers...)
	s.add("web seed", m.WebSeeds...)
	peers := make([]string, len(m.Peers))
	for i, p := range m.Peers {
		peers[i] = p.String()
	}
	s.add("peer", peers...)
	var ranges []string
	for _, x := range m.Select {
		ranges = append(ranges, fmt.Sprintf("%d-%d", x.First+1, x.Last+1))
	}
	s.add("selects", strings.Join(ranges, ","))
	s.add("magnet", m.String())
	s.b.WriteString("The files are not known before the metadata is fetched: btt get.")
	f["peers"], f["selects"] = peers, orEmpty(ranges)
	r.Event("magnet", s.String(), f)
}

// orEmpty makes JSON write an empty list for none.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
