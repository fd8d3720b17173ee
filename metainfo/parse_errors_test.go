package metainfo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bttnet/btt/bencode"
)

func TestParseErrors(t *testing.T) {
	long := make([]any, MaxPathDepth+1)
	for i := range long {
		long[i] = "x"
	}
	manyTiers := make([]any, MaxTrackers+1)
	for i := range manyTiers {
		manyTiers[i] = []any{fmt.Sprintf("http://t%d.example/", i)}
	}
	for _, c := range []struct {
		name string
		good func() edit
		edit func(edit)
		want error
	}{
		{"version 1", goodV1, func(edit) {}, nil},
		{"single", goodSingle, func(edit) {}, nil},
		{"version 2", goodV2, func(edit) {}, nil},
		{"hybrid", goodHybrid, func(edit) {}, nil},
		{"no info", goodV1, func(e edit) { delete(e, "info") }, ErrInfo},
		{"info is a list", goodV1, func(e edit) { e["info"] = []any{} }, ErrInfo},
		{"no name", goodV1, func(e edit) { delete(info(e), "name") }, ErrName},
		{"empty name", goodV1, func(e edit) { info(e)["name"] = "" }, ErrName},
		{"name is a number", goodV1, func(e edit) { info(e)["name"] = 1 }, ErrName},
		{"long name", goodV1, func(e edit) { info(e)["name"] = strings.Repeat("n", MaxNameLength+1) }, ErrName},
		{"no piece length", goodV1, func(e edit) { delete(info(e), "piece length") }, ErrPieceLength},
		{"zero piece length", goodV1, func(e edit) { info(e)["piece length"] = 0 }, ErrPieceLength},
		{"negative piece length", goodV1, func(e edit) { info(e)["piece length"] = -16384 }, ErrPieceLength},
		{"small piece length", goodV1, func(e edit) { info(e)["piece length"] = 1023 }, ErrPieceLength},
		{"large piece length", goodV1, func(e edit) { info(e)["piece length"] = MaxPieceLength + 1 }, ErrPieceLength},
		{"odd piece length of version 1", goodV1, func(e edit) { info(e)["piece length"] = 16389 }, ErrPieces},
		{"odd piece length fits", goodV1, func(e edit) { info(e)["piece length"] = 10001 }, nil},
		{"odd piece length of version 2", goodV2, func(e edit) { info(e)["piece length"] = 16385 }, ErrPieceLength},
		{"small piece length of version 2", goodV2, func(e edit) { info(e)["piece length"] = 8192 }, ErrPieceLength},
		{"no pieces", goodV1, func(e edit) { delete(info(e), "pieces") }, ErrPieces},
		{"piece missing", goodV1, func(e edit) { info(e)["pieces"] = strings.Repeat("h", 20) }, ErrPieces},
		{"piece too many", goodV1, func(e edit) { info(e)["pieces"] = strings.Repeat("h", 60) }, ErrPieces},
		{"half a piece", goodV1, func(e edit) { info(e)["pieces"] = strings.Repeat("h", 39) }, ErrPieces},
		{"pieces are a list", goodV1, func(e edit) { info(e)["pieces"] = []any{} }, ErrPieces},
		{"no files", goodV1, func(e edit) { delete(info(e), "files") }, ErrFiles},
		{"empty files", goodV1, func(e edit) { info(e)["files"] = []any{} }, ErrFiles},
		{"files and length", goodV1, func(e edit) { info(e)["length"] = 1 }, ErrFiles},
		{"file is a string", goodV1, func(e edit) { info(e)["files"].([]any)[0] = "f" }, ErrPath},
		{"no length", goodV1, func(e edit) { delete(file(e, 0), "length") }, ErrFileLength},
		{"negative length", goodV1, func(e edit) { file(e, 0)["length"] = -1 }, ErrFileLength},
		{"huge length", goodV1, func(e edit) { file(e, 0)["length"] = MaxTotalLength + 1 }, ErrFileLength},
		{"huge sum", goodV1, func(e edit) { file(e, 0)["length"] = MaxTotalLength }, ErrFileLength},
		{"too many pieces", goodV1, func(e edit) { file(e, 0)["length"] = MaxTotalLength / 2 }, ErrTooMany},
		{"negative single length", goodSingle, func(e edit) { info(e)["length"] = -1 }, ErrFileLength},
		{"single length is a string", goodSingle, func(e edit) { info(e)["length"] = "1" }, ErrFileLength},
		{"nothing in it", goodSingle, func(e edit) { info(e)["length"] = 0; info(e)["pieces"] = "" }, ErrEmpty},
		{"no path", goodV1, func(e edit) { delete(file(e, 0), "path") }, ErrPath},
		{"empty path", goodV1, func(e edit) { file(e, 0)["path"] = []any{} }, ErrPath},
		{"path is a string", goodV1, func(e edit) { file(e, 0)["path"] = "a" }, ErrPath},
		{"path of numbers", goodV1, func(e edit) { file(e, 0)["path"] = []any{1} }, ErrPath},
		{"deep path", goodV1, func(e edit) { file(e, 0)["path"] = long }, ErrPath},
		{"long component", goodV1, func(e edit) { file(e, 0)["path"] = []any{strings.Repeat("x", MaxNameLength+1)} }, ErrPath},
		{"link without target", goodV1, func(e edit) { file(e, 0)["attr"] = "l" }, ErrPath},
		{"too many trackers", goodV1, func(e edit) { e["announce-list"] = manyTiers }, ErrTooMany},
		{"too many bad trackers", goodV1, func(e edit) { e["announce-list"] = []any{make([]any, 0), slices.Repeat([]any{1}, maxListed)} }, ErrTooMany},
		{"too many bad nodes", goodV1, func(e edit) { e["nodes"] = slices.Repeat([]any{1}, maxListed) }, ErrTooMany},
		{"too many web seeds", goodV1, func(e edit) { e["url-list"] = slices.Repeat([]any{"http://w.example/"}, MaxWebSeeds+1) }, ErrTooMany},
		{"too many nodes", goodV1, func(e edit) { e["nodes"] = slices.Repeat([]any{[]any{"h", 1}}, MaxNodes+1) }, ErrTooMany},
		{"trackers are passed over", goodV1, func(e edit) { e["announce-list"] = []any{1, []any{2, "nonsense"}, edit{}} }, nil},
		{"odd outer values are passed over", goodV1, func(e edit) {
			e["announce"], e["nodes"], e["url-list"], e["comment"], e["creation date"] = 1, []any{"x", []any{"h", 0}}, edit{}, []any{}, "now"
		}, nil},
		{"unknown version", goodV2, func(e edit) { info(e)["meta version"] = 3 }, ErrVersion},
		{"version is a string", goodV2, func(e edit) { info(e)["meta version"] = "2" }, ErrVersion},
		{"no tree", goodV2, func(e edit) { delete(info(e), "file tree") }, ErrFileTree},
		{"empty tree", goodV2, func(e edit) { info(e)["file tree"] = edit{} }, ErrFileTree},
		{"empty folder", goodV2, func(e edit) { tree(e)["z"] = edit{} }, ErrFileTree},
		{"entry is a number", goodV2, func(e edit) { tree(e)["z"] = 1 }, ErrFileTree},
		{"file and folder", goodV2, func(e edit) { tree(e, "d")[""] = edit{"length": 0} }, ErrFileTree},
		{"root is a file", goodV2, func(e edit) { tree(e)[""] = edit{"length": 0} }, ErrFileTree},
		{"properties are a string", goodV2, func(e edit) { tree(e, "a")[""] = "x" }, ErrFileTree},
		{"no length in the tree", goodV2, func(e edit) { delete(tree(e, "a", ""), "length") }, ErrFileLength},
		{"no root", goodV2, func(e edit) { delete(tree(e, "a", ""), "pieces root") }, ErrFileTree},
		{"short root", goodV2, func(e edit) { tree(e, "a", "")["pieces root"] = "x" }, ErrFileTree},
		{"empty file", goodV2, func(e edit) { tree(e)["z"] = edit{"": edit{"length": 0}} }, nil},
		{"empty files alone", goodV2, func(e edit) { info(e)["file tree"] = edit{"z": edit{"": edit{"length": 0}}} }, ErrEmpty},
		{"link", goodV2, func(e edit) { tree(e)["z"] = edit{"": edit{"attr": "l", "symlink path": []any{"a"}}} }, nil},
		{"link without target in the tree", goodV2, func(e edit) { tree(e)["z"] = edit{"": edit{"attr": "l"}} }, ErrPath},
		{"no layers", goodV2, func(e edit) { delete(e, "piece layers") }, ErrPieceLayers},
		{"layer missing", goodV2, func(e edit) { e["piece layers"] = edit{} }, ErrPieceLayers},
		{"layers of others", goodV2, func(e edit) { e["piece layers"].(edit)[strings.Repeat("q", 32)] = "" }, nil},
		{"layer of a short key", goodV2, func(e edit) { e["piece layers"].(edit)["q"] = "" }, ErrPieceLayers},
		{"wrong layer", goodV2, func(e edit) {
			layer, root := layerOf(2)
			e["piece layers"] = edit{root: "x" + layer[1:]}
		}, ErrPieceLayers},
		{"short layer", goodV2, func(e edit) {
			layer, root := layerOf(2)
			e["piece layers"] = edit{root: layer[:32]}
		}, ErrPieceLayers},
		{"one root, two lengths", goodV2, func(e edit) {
			_, root := layerOf(2)
			tree(e)["z"] = edit{"": edit{"length": 40000, "pieces root": root}}
		}, ErrPieceLayers},
		{"one root, two files", goodV2, func(e edit) {
			_, root := layerOf(2)
			tree(e)["z"] = edit{"": edit{"length": 16385, "pieces root": root}}
		}, nil},
		{"hybrid: other length", goodHybrid, func(e edit) { tree(e, "d", "b", "")["length"] = 2 }, ErrHybrid},
		{"hybrid: other name", goodHybrid, func(e edit) { file(e, 2)["path"] = []any{"d", "c"} }, ErrHybrid},
		{"hybrid: no padding", goodHybrid, func(e edit) { delete(file(e, 1), "attr") }, ErrHybrid},
		{"hybrid: misaligned", goodHybrid, func(e edit) {
			file(e, 1)["length"] = 16382
			info(e)["pieces"] = strings.Repeat("h", 40)
		}, ErrHybrid},
		{"hybrid: file only in version 1", goodHybrid, func(e edit) { delete(tree(e), "d") }, ErrHybrid},
		{"hybrid: file only in version 2", goodHybrid, func(e edit) { tree(e)["z"] = edit{"": edit{"length": 0}} }, ErrHybrid},
		{"hybrid: single and tree", goodHybrid, func(e edit) {
			delete(info(e), "files")
			info(e)["length"] = 40000
		}, ErrHybrid},
		{"hybrid: wrong pieces", goodHybrid, func(e edit) { info(e)["pieces"] = strings.Repeat("h", 20) }, ErrPieces},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := c.good()
			c.edit(e)
			data, err := bencode.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			torrent, err := Parse(data)
			if !errors.Is(err, c.want) || (torrent == nil) != (err != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestParseRawErrors(t *testing.T) {
	for in, want := range map[string]error{
		"":           bencode.ErrTruncated,
		"i1e":        ErrInfo,
		"de":         ErrInfo,
		"not at all": bencode.ErrSyntax,
		// File trees whose names are not sorted have no order of files.
		"d4:infod9:file treed1:bd0:d6:lengthi0eee1:ad0:d6:lengthi0eeee12:meta versioni2e4:name1:n12:piece lengthi16384eee": ErrFileTree,
		"d4:infod9:file treed1:ad0:d6:lengthi0eee1:ad0:d6:lengthi0eeee12:meta versioni2e4:name1:n12:piece lengthi16384eee": ErrFileTree,
	} {
		if _, err := Parse([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
	if _, err := Parse(make([]byte, MaxTorrentSize+1)); !errors.Is(err, ErrSize) {
		t.Errorf("too large: %v", err)
	}
	if _, err := ParseInfo(make([]byte, MaxTorrentSize+1)); !errors.Is(err, ErrSize) {
		t.Errorf("too large: %v", err)
	}
}
