package interop

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReadTorrent takes the span of info from files whose other keys hold what
// looks like it.
func TestReadTorrent(t *testing.T) {
	cases := map[string]string{
		"d8:announce3:url4:infod6:lengthi3e4:name1:aee":               "55ee333990e491f0e44b57b7f2f22fca5c865e81",
		"d1:al4:infodei3ee4:infod6:lengthi3e4:name1:ae3:urll1:x1:yee": "55ee333990e491f0e44b57b7f2f22fca5c865e81",
		"d3:foo3:bare":        "",
		"d4:infod6:lengthi3e": "",
		"d4:info99999:x":      "",
		"d-1:e":               "",
		"dl":                  "",
		"":                    "",
	}
	for text, want := range cases {
		file := filepath.Join(t.TempDir(), "a.torrent")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := ReadTorrent(file, "a")
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was read as %s", text, got.InfoHash)
		case want != "" && (err != nil || got.InfoHash != want):
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}

// TestDifferences: the comparison of what arrived sees every kind of damage.
func TestDifferences(t *testing.T) {
	b := newBench(t)
	want := b.folder("want")
	content := Content{"album/a": 10, "album/b": 20, "album/c": 0}
	b.check(WriteContent(want, content, "x"))
	cases := map[string]struct {
		damage func(dir string) error
		want   int
	}{
		"none":  {func(string) error { return nil }, 0},
		"bytes": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), make([]byte, 10), 0o644) }, 1},
		"short": {func(dir string) error { return os.Truncate(filepath.Join(dir, "b"), 19) }, 1},
		"lost":  {func(dir string) error { return os.Remove(filepath.Join(dir, "c")) }, 1},
		"extra": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "d"), nil, 0o644) }, 1},
		"moved": {func(dir string) error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "d")) }, 2},
	}
	for name, c := range cases {
		got := b.folder("got " + name)
		b.check(WriteContent(got, content, "x"))
		b.check(c.damage(filepath.Join(got, "album")))
		if diff := b.differences(want, got, "album", NewBTT(Config{})); len(diff) != c.want {
			t.Errorf("%s: %q", name, diff)
		}
	}
}
