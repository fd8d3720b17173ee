package interop

import (
	"path/filepath"
	"time"
)

// transferMax is how long a small transfer may take on a busy machine;
// Transmission alone needs half a minute for its timers.
const transferMax = 4 * time.Minute

var singleFile = Content{"single file.bin": 700_001}

// multiFile has the shapes that break clients: files smaller than a block,
// empty ones, one that ends on a piece boundary, and names that are not ASCII.
// Transmission 3.00 renames files with any of "*:<>?|\ in their names: not here.
var multiFile = Content{
	"album/01 - один.flac":              300_000,
	"album/02 - zwölf & 'drei'.flac":    98_304,
	"album/.hidden":                     1,
	"album/empty":                       0,
	"album/deep/er/still/空.txt":         17,
	"album/deep/er/100% [x] (y) #z.nfo": 16_385,
	"album/😀/empty too":                 0,
	"album/zz last":                     32_768,
}

// shared is a torrent with its data, ready to be seeded.
type shared struct {
	*Torrent
	dir      string
	bytes    int64
	trackers []string
}

// smallPieces are of 32 KiB, so that small content has many.
const smallPieces = 15

// share writes content and makes its torrent with mktorrent.
func (b *bench) share(content Content, trackers ...string) shared {
	b.Helper()
	return b.sharePieces(smallPieces, content, trackers...)
}

func (b *bench) sharePieces(pieceBits int, content Content, trackers ...string) shared {
	b.Helper()
	name := "single file.bin"
	if len(content) > 1 {
		name = "album"
	}
	dir := b.folder("source-" + name)
	b.check(WriteContent(dir, content, b.T.Name()))
	t, err := MakeTorrent(filepath.Join(dir, name), filepath.Join(b.dir, name+".torrent"), pieceBits, trackers...)
	b.check(err)
	s := shared{Torrent: t, dir: dir, trackers: trackers}
	for _, size := range content {
		s.bytes += size
	}
	return s
}

// shareAs does so in a folder of its own, so that one test may share the same
// names more than once with other bytes.
func (b *bench) shareAs(label string, content Content) shared {
	b.Helper()
	dir := b.folder("source-" + label)
	b.check(WriteContent(dir, content, b.T.Name()+label))
	t, err := MakeTorrent(filepath.Join(dir, "album"), filepath.Join(b.dir, label+".torrent"), smallPieces)
	b.check(err)
	return shared{Torrent: t, dir: dir}
}

// shareTracked does the same over an own opentracker. announce picks its URL.
func (b *bench) shareTracked(content Content, announce func(*Tracker) string) shared {
	b.Helper()
	return b.shareTrackedPieces(smallPieces, content, announce)
}

func (b *bench) shareTrackedPieces(pieceBits int, content Content, announce func(*Tracker) string) shared {
	b.Helper()
	c := b.config("opentracker")
	addr := c.Host.Addr.String() + ":6969"
	urls := &Tracker{HTTP: "http://" + addr + "/announce", UDP: "udp://" + addr + "/announce"}
	s := b.sharePieces(pieceBits, content, announce(urls))
	b.openTracker(b.within(readyWait), c, s.InfoHash)
	return s
}

func overHTTP(t *Tracker) string { return t.HTTP }
func overUDP(t *Tracker) string  { return t.UDP }
