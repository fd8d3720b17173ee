package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bttnet/btt/internal/foreign"
	"github.com/bttnet/btt/metainfo"
)

// makeScript has libtorrent make a torrent: SOURCE OUT v2|hybrid PIECE.
const makeScript = `
import os, sys
import libtorrent as lt
path, out, version, piece = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
fs = lt.file_storage()
lt.add_files(fs, path)
flags = lt.create_torrent.v2_only if version == "v2" else 0
t = lt.create_torrent(fs, piece, flags)
lt.set_piece_hashes(t, os.path.dirname(path))
open(out, "wb").write(lt.bencode(t.generate()))
`

// v2Content has the shapes that version 2 lays out in its own way: a file of
// many pieces (more than one hash request), ones that end inside a block, with a
// block and with a piece, tiny ones, empty ones, and odd names.
var v2Content = Content{
	"album/01 many pieces.bin":          513*16<<10 + 77,
	"album/02 - zwölf & 'drei'.flac":    98_304,
	"album/03 один.flac":                300_000,
	"album/.hidden":                     1,
	"album/empty":                       0,
	"album/deep/er/still/空.txt":         17,
	"album/deep/er/100% [x] (y) #z.nfo": 16_385,
	"album/zz a block":                  16_384,
}

// shareV2 writes content and has maker make its torrent, with pieces of a size in bytes.
func (b *bench) shareV2(ctx context.Context, content Content, maker, version string, piece int) (shared, *metainfo.Torrent) {
	b.Helper()
	name := "single file.bin"
	if len(content) > 1 {
		name = "album"
	}
	dir := b.folder("source-" + name)
	b.check(WriteContent(dir, content, b.T.Name()))
	file := filepath.Join(b.dir, name+".torrent")
	if maker == "libtorrent" {
		foreign.Missing(b.T, libtorrentMissing())
		out, err := exec.CommandContext(ctx, systemPython, "-c", makeScript, filepath.Join(dir, name), file, version, strconv.Itoa(piece)).CombinedOutput()
		if err != nil {
			b.Fatalf("make torrent: %v: %s", err, out)
		}
	} else {
		_, err := RunBTT(ctx, b.config("create"), "create", filepath.Join(dir, name), "-o", file, "--format", version, "--piece-size", fmt.Sprintf("%dKiB", piece>>10))
		b.check(err)
	}
	raw, err := os.ReadFile(file)
	b.check(err)
	t, err := metainfo.Parse(raw)
	b.check(err)
	if t.Info.HasV1() != (version == "hybrid") || !t.Info.HasV2() {
		b.Fatalf("%s made no torrent of version %s", maker, version)
	}
	s := shared{Torrent: &Torrent{File: file, InfoHash: t.InfoHash.String(), Name: name, Magnet: t.Magnet().String()}, dir: dir}
	for _, size := range content {
		s.bytes += size
	}
	return s, t
}

// sources are the ways to name a torrent.
func sources(s shared, t *metainfo.Torrent) map[string]string {
	all := map[string]string{"torrent": s.File, "magnet": s.Magnet}
	if t.Info.HasV1() {
		all["magnet-v1"] = "magnet:?xt=urn:btih:" + t.InfoHash.String()
		all["magnet-v2"] = "magnet:?xt=urn:btmh:1220" + t.InfoHashV2.String()
	}
	return all
}

// eachV2 runs a test for torrents of version 2 alone and hybrids, of one file and
// many, made by us and by libtorrent.
func eachV2(t *testing.T, f func(b *bench, ctx context.Context, s shared, m *metainfo.Torrent)) {
	t.Parallel()
	for _, version := range []string{"v2", "hybrid"} {
		for _, maker := range []string{"btt", "libtorrent"} {
			for name, content := range map[string]Content{"single": singleFile, "multi": v2Content} {
				t.Run(fmt.Sprintf("%s/%s/%s", version, maker, name), func(t *testing.T) {
					b := needBTT(t)
					foreign.Missing(t, libtorrentMissing())
					ctx := b.within(transferMax)
					s, m := b.shareV2(ctx, content, maker, version, 16<<10)
					f(b, ctx, s, m)
				})
			}
		}
	}
}

// TestV2GetFrom: btt fetches torrents of version 2 and hybrids from libtorrent, by
// the .torrent file and by magnet links, whose piece layers it asks for.
func TestV2GetFrom(t *testing.T) {
	eachV2(t, func(b *bench, ctx context.Context, s shared, m *metainfo.Torrent) {
		seed := b.start(ctx, Drivers[0])
		b.check(seed.Seed(ctx, s.Torrent, s.dir))
		gets, dirs := map[string]*BTT{}, map[string]string{}
		for name, source := range sources(s, m) {
			get, dir := b.btt(), b.folder("got-"+name)
			b.check(get.AddPeer(ctx, seed.Addr()))
			b.check(get.Fetch(ctx, source, dir))
			gets[name], dirs[name] = get, dir
		}
		for name, get := range gets {
			if err := get.Wait(ctx); err != nil {
				b.Errorf("%s: %v %s", name, err, get.tail())
				continue
			}
			b.same(s.dir, dirs[name], s.Name, get)
		}
	})
}

// TestV2SeedTo: btt serves them to libtorrent, and the hashes it asks for.
func TestV2SeedTo(t *testing.T) {
	eachV2(t, func(b *bench, ctx context.Context, s shared, m *metainfo.Torrent) {
		seed := b.btt("--slots", "8", "--choke-interval", "2s")
		b.check(seed.Seed(ctx, s.Torrent, s.dir))
		gets, dirs := map[string]Peer{}, map[string]string{}
		for name, source := range sources(s, m) {
			if name == "magnet-v1" || name == "magnet-v2" {
				continue // libtorrent's own affair: see TestV2GetFrom for ours
			}
			get, dir := b.start(ctx, Drivers[0]), b.folder("got-"+name)
			b.check(get.Fetch(ctx, source, dir))
			b.check(get.AddPeer(ctx, seed.Addr()))
			gets[name], dirs[name] = get, dir
		}
		for name, get := range gets {
			if err := WaitDone(ctx, get); err != nil {
				b.Errorf("%s: %v", name, err)
				continue
			}
			b.same(s.dir, dirs[name], s.Name, get)
		}
	})
}

// TestV2Between: btt serves btt by every way to name a torrent.
func TestV2Between(t *testing.T) {
	eachV2(t, func(b *bench, ctx context.Context, s shared, m *metainfo.Torrent) {
		seed := b.btt("--slots", "8", "--choke-interval", "2s")
		b.check(seed.Seed(ctx, s.Torrent, s.dir))
		for name, source := range sources(s, m) {
			get, dir := b.btt(), b.folder("got-"+name)
			b.check(get.AddPeer(ctx, seed.Addr()))
			b.check(get.Fetch(ctx, source, dir))
			if err := get.Wait(ctx); err != nil {
				b.Errorf("%s: %v %s", name, err, strings.TrimSpace(get.tail()))
				continue
			}
			b.same(s.dir, dir, s.Name, get)
		}
	})
}
