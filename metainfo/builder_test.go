package metainfo

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/bencode"
	"pgregory.net/rapid"
)

func TestAutoPieceLength(t *testing.T) {
	for total, want := range map[int64]int64{
		0: 16 << 10, 1: 16 << 10, 32<<20 - 1: 16 << 10, 32 << 20: 32 << 10, 1 << 30: 1 << 20, 4 << 30: 4 << 20,
		16 << 30: 16 << 20, 1 << 40: 16 << 20,
	} {
		if got := AutoPieceLength(total); got != want {
			t.Errorf("%d bytes: %d, want %d", total, got, want)
		}
	}
}

func TestBuilderErrors(t *testing.T) {
	good := func() Builder {
		return Builder{Name: "n", Files: []BuildFile{{Path: []string{"a"}, Length: 1}, {Path: []string{"d", "b"}, Length: 2}}}
	}
	for _, c := range []struct {
		name string
		edit func(*Builder)
		want error
	}{
		{"good", func(*Builder) {}, nil},
		{"no name", func(b *Builder) { b.Name = "" }, ErrName},
		{"name climbs", func(b *Builder) { b.Name = ".." }, ErrName},
		{"name has a separator", func(b *Builder) { b.Name = "a/b" }, ErrName},
		{"name is long", func(b *Builder) { b.Name = strings.Repeat("n", 256) }, ErrName},
		{"name is no UTF-8", func(b *Builder) { b.Name = "\xff" }, ErrName},
		{"no files", func(b *Builder) { b.Files = nil }, ErrFiles},
		{"two single files", func(b *Builder) { b.SingleFile = true }, ErrFiles},
		{"empty", func(b *Builder) { b.Files = []BuildFile{{Path: []string{"a"}}} }, ErrEmpty},
		{"negative length", func(b *Builder) { b.Files[0].Length = -1 }, ErrFileLength},
		{"huge", func(b *Builder) { b.Files[0].Length = MaxTotalLength }, ErrFileLength},
		{"too many pieces", func(b *Builder) { b.Files[0].Length, b.PieceLength = MaxTotalLength/2, 16<<10 }, ErrTooMany},
		{"no path", func(b *Builder) { b.Files[0].Path = nil }, ErrPath},
		{"path climbs", func(b *Builder) { b.Files[0].Path = []string{"..", "x"} }, ErrPath},
		{"path twice", func(b *Builder) { b.Files[1].Path = []string{"a"} }, ErrPath},
		{"file and folder", func(b *Builder) { b.Files[1].Path = []string{"a", "b"} }, ErrPath},
		{"deep path", func(b *Builder) { b.Files[0].Path = make([]string, MaxPathDepth+1) }, ErrPath},
		{"attributes", func(b *Builder) { b.Files[0].Attr = AttrPad }, ErrBuild},
		{"piece length is no power of two", func(b *Builder) { b.PieceLength = 20000 }, ErrPieceLength},
		{"piece length is small", func(b *Builder) { b.PieceLength = 8192 }, ErrPieceLength},
		{"piece length is large", func(b *Builder) { b.PieceLength = MaxPieceLength * 2 }, ErrPieceLength},
		{"tracker", func(b *Builder) { b.AnnounceList = [][]string{{"ftp://x"}} }, ErrURL},
		{"trackers", func(b *Builder) {
			b.AnnounceList = [][]string{slices.Repeat([]string{"http://x.example/"}, MaxTrackers+1)}
		}, ErrTooMany},
		{"web seed", func(b *Builder) { b.WebSeeds = []string{"x"} }, ErrURL},
		{"web seeds", func(b *Builder) { b.HTTPSeeds = slices.Repeat([]string{"http://x.example/"}, MaxWebSeeds+1) }, ErrTooMany},
		{"node", func(b *Builder) { b.Nodes = []HostPort{{"bad host", 1}} }, ErrURL},
		{"nodes", func(b *Builder) { b.Nodes = make([]HostPort, MaxNodes+1) }, ErrTooMany},
		{"comment", func(b *Builder) { b.Comment = strings.Repeat("c", MaxTextLength+1) }, ErrBuild},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := good()
			c.edit(&b)
			if _, err := b.Layout(); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, err := b.Build(Hashes{Pieces: make([]byte, 20)}); !errors.Is(err, c.want) {
				t.Errorf("build: %v, want %v", err, c.want)
			}
		})
	}
	for name, h := range map[string]Hashes{"none": {}, "short": {Pieces: make([]byte, 19)}, "long": {Pieces: make([]byte, 40)}} {
		b := good()
		if _, err := b.Build(h); !errors.Is(err, ErrPieces) {
			t.Errorf("%s: %v", name, err)
		}
		b.Version = V2
		if _, err := b.Build(h); !errors.Is(err, ErrPieceLayers) {
			t.Errorf("%s, version 2: %v", name, err)
		}
		h.Layers = make([][]byte, 3)
		if _, err := b.Build(h); !errors.Is(err, ErrPieceLayers) {
			t.Errorf("%s, version 2 without hashes: %v", name, err)
		}
	}
}

func TestLayoutHybrid(t *testing.T) {
	b := Builder{
		Name: "n", Version: Hybrid, PieceLength: 16 << 10,
		Files: []BuildFile{
			{Path: []string{"z"}, Length: 3}, {Path: []string{"a", "b"}, Length: 16 << 10}, {Path: []string{"a.b"}, Length: 5, Attr: AttrHidden},
			{Path: []string{"m"}},
		},
	}
	l, err := b.Layout()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, f := range l.Files {
		got = append(got, fmt.Sprintf("%s:%d:%d", strings.Join(f.Path, "/"), f.Length, l.Source[i]))
	}
	want := []string{"a/b:16384:1", "a.b:5:2", "m:0:3", ".pad/16379:16379:-1", "z:3:0"}
	if !reflect.DeepEqual(got, want) || l.NumPieces != 3 || l.TotalLength != 32771 {
		t.Errorf("layout %v, %d pieces of %d bytes, want %v", got, l.NumPieces, l.TotalLength, want)
	}
}

// Whatever is built parses back to the same, in all versions, and is canonical.
func TestBuildParseProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Builder{
			Name: "name", Version: rapid.SampledFrom([]Version{V1, V2, Hybrid}).Draw(t, "version"),
			SingleFile: rapid.Bool().Draw(t, "single"), Private: rapid.Bool().Draw(t, "private"), PieceLength: 16 << 10,
			CreationDate: time.Unix(rapid.Int64Range(1, maxUnixTime-1).Draw(t, "date"), 0).UTC(),
		}
		n := 1
		if !b.SingleFile {
			n = rapid.IntRange(1, 6).Draw(t, "files")
		}
		for i := range n {
			path := rapid.SampledFrom([]string{"a/%d", "b%d", "ü/x/%d.txt", "a.%d"}).Draw(t, "path")
			b.Files = append(b.Files, BuildFile{
				Path:   strings.Split(fmt.Sprintf(path, i), "/"),
				Length: int64(rapid.SampledFrom([]int{0, 1, 16383, 16384, 16385, 50000}).Draw(t, "length")),
				Attr:   rapid.SampledFrom([]Attr{0, AttrExecutable, AttrHidden | AttrExecutable}).Draw(t, "attr"),
			})
		}
		b.Files[0].Length++ // not all empty
		l, err := b.Layout()
		if err != nil {
			t.Fatal(err)
		}
		space := bytes.Repeat([]byte{7}, int(l.TotalLength))
		torrent, err := b.Build(hashLayout(l, space))
		if err != nil {
			t.Fatal(err)
		}
		encoded := torrent.Encode()
		if _, err := bencode.Parse(encoded, bencode.Options{}); err != nil {
			t.Fatalf("not canonical: %v", err)
		}
		again, err := Parse(encoded)
		if err != nil {
			t.Fatal(err)
		}
		sameLayers(t, torrent, again)
		if !reflect.DeepEqual(torrent, again) {
			t.Fatalf("got  %+v %+v\nwant %+v %+v", again, again.Info, torrent, torrent.Info)
		}
		if len(again.Info.Files) != len(l.Files) || again.Info.TotalLength != l.TotalLength || again.Info.SingleFile != b.SingleFile {
			t.Fatalf("layout %+v, parsed %+v", l, again.Info)
		}
		for _, p := range again.PiecesV2() {
			if !p.Known {
				t.Fatal("a piece has no hash")
			}
		}
	})
}
