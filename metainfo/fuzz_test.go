package metainfo

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bttnet/btt/bencode"
)

// FuzzTorrent holds for any input: no panic, and what parses keeps its promises and
// parses to the same after Encode.
func FuzzTorrent(f *testing.F) {
	for _, e := range []edit{goodV1(), goodSingle(), goodV2(), goodHybrid()} {
		data, err := bencode.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	link := goodV1()
	file(link, 0)["attr"], file(link, 0)["symlink path"] = "l", []any{"b"}
	info(link)["pieces"] = strings.Repeat("h", 20)
	link["announce-list"], link["url-list"] = []any{[]any{"udp://a.example:1"}}, []any{"http://w.example/"}
	link["nodes"], link["creation date"] = []any{[]any{"::1", 5}}, 1_700_000_000
	data, err := bencode.Marshal(link)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, in []byte) {
		torrent, err := Parse(in)
		if err != nil {
			if torrent != nil {
				t.Fatal("an error left a torrent")
			}
			return
		}
		checkInfo(t, torrent.Info)
		again, err := Parse(torrent.Encode())
		if err != nil {
			t.Fatalf("encoded anew: %v", err)
		}
		sameLayers(t, torrent, again)
		if !reflect.DeepEqual(torrent, again) {
			t.Fatalf("encoded anew it differs:\n%+v %+v\n%+v %+v", torrent, torrent.Info, again, again.Info)
		}
		missing := torrent.MissingLayers()
		if len(missing) > 0 && !torrent.Info.HasV1() {
			t.Fatalf("a checked torrent of version 2 alone misses the layers of %v", missing)
		}
		for _, p := range torrent.PiecesV2() {
			if p.File >= 0 && p.Known == slices.Contains(missing, p.File) {
				t.Fatalf("piece of file %d: known %v, layers missing of %v", p.File, p.Known, missing)
			}
		}
		if _, err := ParseMagnet(torrent.Magnet().String()); err != nil {
			t.Fatalf("its magnet link: %v", err)
		}
	})
}

// sameLayers compares the layers of two torrents and gives b those of a, as they may stand
// at different places.
func sameLayers(t interface {
	Helper()
	Fatalf(string, ...any)
}, a, b *Torrent) {
	t.Helper()
	if x, y := maps.Collect(a.PieceLayers.All()), maps.Collect(b.PieceLayers.All()); !reflect.DeepEqual(x, y) || len(x) != a.PieceLayers.Len() {
		t.Fatalf("layers %x and %x", x, y)
	}
	b.PieceLayers = a.PieceLayers
}

func checkInfo(t *testing.T, in *Info) {
	var sum int64
	for _, f := range in.Files {
		if len(f.Path) == 0 || f.Length < 0 {
			t.Fatalf("file %+v", f)
		}
		sum += f.Length
	}
	pieces := in.NumPieces()
	if sum != in.TotalLength || sum == 0 || in.PieceSize(pieces-1) <= 0 || in.PieceSize(pieces) != 0 ||
		int64(pieces-1)*in.PieceLength+in.PieceSize(pieces-1) != sum || !in.HasV1() && !in.HasV2() ||
		in.HasV1() && len(in.Pieces) != 20*pieces {
		t.Fatalf("inconsistent: %+v", in)
	}
	disk := in.DiskFiles()
	for i, f := range disk {
		if f.Length != in.Files[i].Length || f.Path == "" || f.Path[0] == '/' || strings.Contains("/"+f.Path+"/", "/../") {
			t.Fatalf("disk file %+v of %+v", f, in.Files[i])
		}
	}
}

// FuzzMagnet holds for any input: no panic, and what parses survives String.
func FuzzMagnet(f *testing.F) {
	for _, seed := range []string{
		"magnet:?xt=urn:btih:" + hex20 + "&dn=a+b&tr=udp%3A%2F%2Fa.example%3A1&tr.1=http://b.example/&ws=https://w.example/&x.pe=[::1]:5&so=0,2-4&xl=7",
		"magnet:?xt=urn:btmh:1220" + hex32, "magnet:?xt=urn:btih:yex6dqdlxisuvhoj6umzwnnkpqjwpkek", "magnet:?xt=urn:btih:%", "magnet:?&&=&",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := ParseMagnet(in)
		if err != nil {
			return
		}
		link := m.String()
		if len(link) > MaxMagnetLength {
			return // escaping may make it longer than what is read again
		}
		again, err := ParseMagnet(link)
		if err != nil {
			t.Fatalf("%q: %v", link, err)
		}
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("%q\ngot  %+v\nwant %+v", link, again, m)
		}
	})
}
