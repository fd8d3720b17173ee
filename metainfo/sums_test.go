package metainfo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/internal/lanes"
)

// The layers kept are those the files need, each once, whatever else stands there.
func TestParseKeepsNeededLayersAlone(t *testing.T) {
	otherLayer, other := layerOf(3)
	for name, extra := range map[string]edit{
		"valid":        {other: otherLayer},
		"bad":          {strings.Repeat("q", 32): otherLayer},
		"of one piece": {strings.Repeat("r", 32): strings.Repeat("r", 32)},
		"a list":       {strings.Repeat("q", 32): []any{}},
	} {
		for _, shared := range []bool{false, true} {
			for _, good := range []func() edit{goodV2, goodHybrid} {
				e := good()
				_, hybrid := info(e)["pieces"]
				layers := e["piece layers"].(edit)
				for root, layer := range extra {
					layers[root] = layer
				}
				if shared && !hybrid { // then there are as many files in need as layers
					tree(e)["z"] = edit{"": tree(e, "a", "")}
				}
				layer, root := layerOf(2)
				want := map[[32]byte][]byte{[32]byte([]byte(root)): []byte(layer)}
				parsed := parseEdit(t, e).PieceLayers
				if got := maps.Collect(parsed.All()); !reflect.DeepEqual(got, want) {
					t.Errorf("%s, shared %v, hybrid %v: %d layers: %x", name, shared, hybrid, len(got), got)
				}
			}
		}
	}
}

func TestParseRefusesPieceLengthsBesideLayers(t *testing.T) {
	for _, n := range []int64{math.MinInt64, -1, 0, 1023, MaxPieceLength + 1, 1 << 62, math.MaxInt64} {
		e := goodV2()
		info(e)["piece length"] = n
		data, err := bencode.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(data); !errors.Is(err, ErrPieceLength) {
			t.Errorf("piece length %d: %v", n, err)
		}
	}
}

// A large torrent, which is hashed beside parsing, comes out as a small one.
func TestParseLargeHashesAll(t *testing.T) {
	for _, version := range []Version{V1, V2, Hybrid} {
		data := bigTorrent(t, version)
		torrent, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		again := NewTorrent(torrent.Info, nil)
		if torrent.InfoHash != again.InfoHash || torrent.InfoHashV2 != again.InfoHashV2 || torrent.InfoHash.IsZero() {
			t.Errorf("version %v: hashes %v and %v, want %v and %v", version, torrent.InfoHash, torrent.InfoHashV2, again.InfoHash, again.InfoHashV2)
		}
		if version == V1 {
			continue
		}
		if n := len(torrent.MissingLayers()); n != 0 || torrent.PieceLayers.Len() != 20_000 {
			t.Fatalf("version %v: %d layers, %d missing", version, torrent.PieceLayers.Len(), n)
		}
		for root, layer := range torrent.PieceLayers.All() {
			if LayerRoot(layer, torrent.Info.PieceLength) != root {
				t.Fatalf("version %v: layer of %x", version, root)
			}
		}
		at := bytes.LastIndex(data, []byte("12:piece layersd")) + len("12:piece layersd32:") + 32 + len("64:")
		data[at] ^= 1
		if got, err := Parse(data); !errors.Is(err, ErrPieceLayers) || got != nil {
			t.Errorf("version %v: a wrong layer gives %v", version, err)
		}
	}
}

func TestParseBoundsLayers(t *testing.T) {
	data, err := bencode.Marshal(goodV2()["info"])
	if err != nil {
		t.Fatal(err)
	}
	data = append(append([]byte("d4:info"), data...), "12:piece layersd"...)
	var key [32]byte
	for i := range MaxFiles + 1 {
		binary.BigEndian.PutUint64(key[:], uint64(i))
		data = append(append(append(data, "32:"...), key[:]...), "0:"...)
	}
	if _, err := Parse(append(data, "ee"...)); !errors.Is(err, ErrTooMany) {
		t.Errorf("got %v", err)
	}
}

// The padding that version 2 implies is what a builder puts between files.
func TestPadsOfTreeAsBuilt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const length = 16 << 10
	for range 200 {
		folder, files := edit{}, []File{}
		for i := range 1 + random.IntN(12) {
			f := File{Path: []string{fmt.Sprintf("%02d", i)}, Length: []int64{0, 1, length - 1, length, 2}[random.IntN(5)]}
			props := edit{"length": f.Length}
			if f.Length > 0 {
				f.PiecesRoot = (*[32]byte)([]byte(strings.Repeat("r", 32)))
				props["pieces root"] = strings.Repeat("r", 32)
			}
			files, folder[f.Path[0]] = append(files, f), edit{"": props}
		}
		raw, err := bencode.Marshal(edit{"name": "n", "piece length": length, "meta version": 2, "file tree": folder})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseInfo(raw)
		if errors.Is(err, ErrEmpty) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want, _ := padFiles(files, length)
		if over := got.TotalLength; over%length != 0 || len(got.Files) > len(want)+1 {
			t.Fatalf("%d bytes in %d files", got.TotalLength, len(got.Files))
		}
		if !reflect.DeepEqual(got.Files[:len(want)], want) { // what follows is the tail
			t.Fatalf("got %+v\nwant %+v", got.Files, want)
		}
	}
}

// Hashing that begins before the end is known comes to the right end, wherever it has got to.
func TestEarlyHash(t *testing.T) {
	for _, mode := range []string{"v1", "v2", "hybrid"} {
		for _, start := range []int{0, 5} {
			data := make([]byte, 3*earlyChunk+77)
			for i := range data {
				data[i] = byte(i * i >> 3)
			}
			if mode != "v1" {
				copy(data[start:], "d9:file tree")
			}
			if mode == "hybrid" {
				copy(data[len(data)-20:], "5:filesl")
			}
			for _, end := range []int{start + 1, start + earlyChunk - 1, start + earlyChunk, start + 2*earlyChunk + 9, len(data) - 1, len(data)} {
				for _, late := range []bool{false, true} {
					e := &earlyHash{data: data, start: start, chosen: make(chan struct{}), known: make(chan struct{})}
					done := make(chan struct{})
					go func() {
						defer close(done)
						e.run()
					}()
					if late {
						time.Sleep(10 * time.Millisecond) // mostly it is at the end of data then
					}
					v1, v2 := e.finish(end)
					e.finish(-1) // comes too late
					<-done
					if v1 == (mode == "v2" || mode == "hybrid" && !lanes.FastBoth()) || v2 == (mode == "v1") {
						t.Fatalf("%s: version 1 %v, version 2 %v", mode, v1, v2)
					}
					if v1 && e.v1 != HashInfo(data[start:end]) || v2 && e.v2 != HashInfoV2(data[start:end]) {
						t.Errorf("%s from %d to %d, late %v: %v, %v", mode, start, end, late, e.v1, e.v2)
					}
				}
			}
		}
	}
}

// A guess that was wrong about the info dictionary's place or version changes nothing.
func TestEarlyHashGuessesWrong(t *testing.T) {
	for _, version := range []Version{V1, V2, Hybrid} {
		data := bigTorrent(t, version)
		want, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		comment := "d9:file treexx4:infod9:file treed5:filesl"
		for _, before := range []string{"d7:comment7:4:infod", fmt.Sprintf("d7:comment%d:%s", len(comment), comment),
			fmt.Sprintf("d7:comment%d:%s", earlyWindow, strings.Repeat("x", earlyWindow))} {
			got, err := Parse(append([]byte(before), data[bytes.Index(data, []byte("4:infod")):]...))
			if err != nil || got.InfoHash != want.InfoHash || got.InfoHashV2 != want.InfoHashV2 {
				t.Errorf("version %v after %.40q: %v", version, before, err)
			}
		}
		for _, cut := range []int{len(data) / 2, len(data) - 1} {
			if got, err := Parse(data[:cut]); err == nil || got != nil {
				t.Errorf("version %v: %d of %d bytes are a torrent", version, cut, len(data))
			}
		}
	}
}
