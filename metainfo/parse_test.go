package metainfo

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/bttnet/btt/bencode"
)

// edit is a torrent as Go values, changed by one test case.
type edit = map[string]any

const twoFiles = 5 + 16384 // bytes, in two pieces

func goodV1() edit {
	return edit{"announce": "http://a.example/", "info": edit{
		"name": "n", "piece length": 16384, "pieces": strings.Repeat("h", 40),
		"files": []any{
			edit{"length": 5, "path": []any{"a"}},
			edit{"length": 16384, "path": []any{"d", "b"}, "attr": "x"},
		},
	}}
}

func goodSingle() edit {
	return edit{"info": edit{"name": "n", "piece length": 16384, "pieces": strings.Repeat("h", 40), "length": 20000}}
}

// goodV2 has one file of two pieces and one of one byte.
func goodV2() edit {
	layer, root := layerOf(2)
	return edit{
		"info": edit{"name": "n", "piece length": 16384, "meta version": 2, "file tree": edit{
			"a": edit{"": edit{"length": 16385, "pieces root": root}},
			"d": edit{"b": edit{"": edit{"length": 1, "pieces root": strings.Repeat("r", 32)}}},
		}},
		"piece layers": edit{root: layer},
	}
}

func goodHybrid() edit {
	e := goodV2()
	in := e["info"].(edit)
	in["pieces"] = strings.Repeat("h", 60)
	in["files"] = []any{
		edit{"length": 16385, "path": []any{"a"}},
		edit{"length": 16383, "path": []any{".pad", "16383"}, "attr": "p"},
		edit{"length": 1, "path": []any{"d", "b"}},
	}
	return e
}

func layerOf(n int) (layer, root string) {
	for i := range n {
		layer += strings.Repeat(string(rune('a'+i)), 32)
	}
	sum := LayerRoot([]byte(layer), 16384)
	return layer, string(sum[:])
}

func info(e edit) edit { return e["info"].(edit) }

func file(e edit, i int) edit { return info(e)["files"].([]any)[i].(edit) }

func tree(e edit, path ...string) edit {
	node := info(e)["file tree"].(edit)
	for _, name := range path {
		node = node[name].(edit)
	}
	return node
}

func parseEdit(t *testing.T, e edit) *Torrent {
	t.Helper()
	data, err := bencode.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	torrent, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return torrent
}

func TestParseV1(t *testing.T) {
	e := goodV1()
	in := info(e)
	in["private"], in["source"] = 1, "S"
	in["name.utf-8"] = "ñ"
	file(e, 1)["path.utf-8"] = []any{"d", "β"}
	in["files"] = append(in["files"].([]any),
		edit{"length": 7, "attr": "l", "path": []any{"link"}, "symlink path": []any{"d", "b"}},
		edit{"length": 11, "path": []any{"_____padding_file_0_if you see this"}},
		edit{"length": 0, "path": []any{"p"}, "attr": "hx"})
	e["url-list"] = "http://seed.example/"
	e["httpseeds"] = []any{"https://h.example/", "ftp://no.example/"}
	e["nodes"] = []any{[]any{"1.2.3.4", 6881}, []any{"::1", 1}, []any{"bad host", 1}}
	torrent := parseEdit(t, e)
	got := torrent.Info
	want := []File{
		{Path: []string{"a"}, Length: 5},
		{Path: []string{"d", "β"}, Length: 16384, Attr: AttrExecutable},
		{Path: []string{"link"}, Attr: AttrSymlink, Symlink: []string{"d", "b"}},
		{Path: []string{"_____padding_file_0_if you see this"}, Length: 11, Pad: true, Attr: AttrPad},
		{Path: []string{"p"}, Attr: AttrExecutable | AttrHidden},
	}
	if !reflect.DeepEqual(got.Files, want) {
		t.Errorf("files\n%+v, want\n%+v", got.Files, want)
	}
	if got.Name != "ñ" || !got.Private || got.Source != "S" || got.TotalLength != twoFiles+11 || got.ContentLength() != twoFiles ||
		got.NumPieces() != 2 || got.PieceSize(0) != 16384 || got.PieceSize(1) != 16 || got.PieceSize(2) != 0 || got.PieceSize(-1) != 0 ||
		got.SingleFile || !got.HasV1() || got.HasV2() {
		t.Errorf("%+v", got)
	}
	if h, ok := got.PieceHash(1); !ok || string(h[:]) != strings.Repeat("h", 20) {
		t.Errorf("hash of piece 1: %x", h)
	}
	if _, ok := got.PieceHash(2); ok {
		t.Error("there is no piece 2")
	}
	if !reflect.DeepEqual(torrent.WebSeeds, []string{"http://seed.example/"}) || !reflect.DeepEqual(torrent.HTTPSeeds, []string{"https://h.example/"}) ||
		!reflect.DeepEqual(torrent.Nodes, []HostPort{{"1.2.3.4", 6881}, {"::1", 1}}) {
		t.Errorf("%+v", torrent)
	}
	if torrent.PiecesV2() != nil || torrent.MissingLayers() != nil {
		t.Error("version 1 has version 2 pieces")
	}
	wantDisk := []DiskFile{
		{"ñ/a", 5, false}, {"ñ/d/β", 16384, false}, {"ñ/.pad/2", 0, true}, {"ñ/.pad/3", 11, true}, {"ñ/p", 0, false},
	}
	if disk := got.DiskFiles(); !reflect.DeepEqual(disk, wantDisk) {
		t.Errorf("disk files %v, want %v", disk, wantDisk)
	}
}

func TestParseV2(t *testing.T) {
	for name, e := range map[string]edit{"version 2": goodV2(), "hybrid": goodHybrid()} {
		torrent := parseEdit(t, e)
		in := torrent.Info
		files, total := 3, int64(32769)
		if name == "version 2" { // what is implied after the last file too
			files, total = 4, 49152
		}
		if len(in.Files) != files || !in.Files[1].Pad || in.Files[1].Length != 16383 || in.Files[0].PiecesRoot == nil ||
			in.Files[2].PiecesRoot == nil || in.TotalLength != total || in.NumPieces() != 3 || !in.HasV2() {
			t.Errorf("%s: %+v", name, in)
		}
		if len(torrent.Swarms()) != map[string]int{"version 2": 1, "hybrid": 2}[name] || torrent.Swarms()[0] != torrent.InfoHash {
			t.Errorf("%s: swarms %v", name, torrent.Swarms())
		}
		if in.HasV1() != (name == "hybrid") || torrent.InfoHash == torrent.InfoHashV2.Truncated() != (name == "version 2") {
			t.Errorf("%s: hashes %v %v", name, torrent.InfoHash, torrent.InfoHashV2)
		}
		layer, _ := layerOf(2)
		pieces := torrent.PiecesV2()
		for i, want := range []PieceV2{
			{[32]byte([]byte(layer[:32])), 0, 16384, true}, {[32]byte([]byte(layer[32:])), 0, 1, true},
			{[32]byte(bytes.Repeat([]byte("r"), 32)), 2, 1, true},
		} {
			if pieces[i] != want {
				t.Errorf("%s: piece %d is %+v, want %+v", name, i, pieces[i], want)
			}
		}
	}
}

// A torrent from a magnet link has no piece layers until peers send them.
func TestSetPieceLayer(t *testing.T) {
	in, err := ParseInfo(parseEdit(t, goodV2()).Info.Raw)
	if err != nil {
		t.Fatal(err)
	}
	torrent := NewTorrent(in, &Magnet{Trackers: []string{"http://a.example/", "http://b.example/"}, WebSeeds: []string{"http://w.example/"}})
	if len(torrent.AnnounceList) != 2 || len(torrent.WebSeeds) != 1 {
		t.Errorf("%+v", torrent)
	}
	if missing := torrent.MissingLayers(); !reflect.DeepEqual(missing, []int{0}) {
		t.Errorf("missing %v", missing)
	}
	if p := torrent.PiecesV2(); p[0].Known || p[1].Known || !p[2].Known || p[1].Bytes != 1 {
		t.Errorf("%+v", p)
	}
	layer, _ := layerOf(2)
	for _, bad := range []struct {
		file  int
		layer string
	}{{0, layer[:32]}, {0, "x" + layer[1:]}, {0, ""}, {1, layer}, {2, layer}, {-1, layer}, {3, layer}} {
		if err := torrent.SetPieceLayer(bad.file, []byte(bad.layer)); !errors.Is(err, ErrPieceLayers) {
			t.Errorf("file %d takes layer %q: %v", bad.file, bad.layer, err)
		}
	}
	if err := torrent.SetPieceLayer(0, []byte(layer)); err != nil {
		t.Fatal(err)
	}
	if torrent.MissingLayers() != nil || !torrent.PiecesV2()[1].Known {
		t.Error("the layer is not kept")
	}
	again, err := Parse(torrent.Encode())
	if err != nil || again.InfoHash != torrent.InfoHash {
		t.Errorf("encoded anew: %v", err)
	}
}

func TestAnnounceList(t *testing.T) {
	for _, c := range []struct {
		name           string
		announce, list any
		want           [][]string
	}{
		{"nothing", nil, nil, nil},
		{"announce", "http://a.example/x", nil, [][]string{{"http://a.example/x"}}},
		{"list wins", "http://a.example/", []any{[]any{"udp://b.example:1/", " wss://c.example "}, []any{}, []any{"https://d.example/"}},
			[][]string{{"udp://b.example:1/", "wss://c.example"}, {"https://d.example/"}}},
		{"empty list", "http://a.example/", []any{[]any{}}, [][]string{{"http://a.example/"}}},
		{"flat list", nil, []any{"http://a.example/", "http://b.example/"}, [][]string{{"http://a.example/"}, {"http://b.example/"}}},
		{"bad URLs", "file:///etc/passwd", []any{[]any{"http://", "x", "", "javascript:1", "http://" + strings.Repeat("a", MaxURLLength)}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := goodV1()
			delete(e, "announce")
			if c.announce != nil {
				e["announce"] = c.announce
			}
			if c.list != nil {
				e["announce-list"] = c.list
			}
			if got := parseEdit(t, e).AnnounceList; !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseAllocatesLittle(t *testing.T) {
	data := bigTorrent(t, V1)
	if _, err := Parse(data); err != nil { // warms the pool
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(5, func() { _, _ = Parse(data) }); n > 60 {
		t.Errorf("%v allocations for 20,000 files", n)
	}
}
