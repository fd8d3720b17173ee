package metainfo

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSafeName(t *testing.T) {
	a300 := strings.Repeat("a", 300)
	for in, want := range map[string]string{
		"plain.txt":                          "plain.txt",
		"日本語.mkv":                            "日本語.mkv",
		".hidden":                            ".hidden",
		"a b":                                "a b",
		"":                                   "_",
		".":                                  "_",
		"..":                                 "_",
		"...":                                "_",
		" ":                                  "_",
		"/":                                  "_",
		"/etc/passwd":                        "_etc_passwd",
		"..\\..\\x":                          ".._.._x",
		"C:":                                 "C_",
		"a\x00b":                             "a_b",
		"a\nb\x1b\x7f\u0085":                 "a_b___",
		"a\xffb":                             "a\uFFFDb",
		"what?*<>|\".mkv":                    "what______.mkv",
		"trail. . ":                          "trail",
		"exe\u202Egpj.exe":                   "exe_gpj.exe",
		"CON":                                "CON_",
		"con.txt":                            "con_.txt",
		"nul .tar.gz":                        "nul_ .tar.gz",
		"Aux.":                               "Aux_",
		"COM1":                               "COM1_",
		"com¹.x":                             "com¹_.x",
		"LPT9.":                              "LPT9_",
		"CONOUT$":                            "CONOUT$_",
		"COM10":                              "COM10",
		"console":                            "console",
		"prn1":                               "prn1",
		a300:                                 a300[:255],
		a300 + ".mkv":                        a300[:251] + ".mkv",
		a300 + ". . .":                       a300[:255],
		strings.Repeat("é", 200) + ".ext":    strings.Repeat("é", 125) + ".ext",
		strings.Repeat("é", 200):             strings.Repeat("é", 127),
		"a." + a300:                          "a." + a300[:253],
		strings.Repeat(" ", 300) + ".x":      "_.x",
		"x" + strings.Repeat(".", 300) + "y": "x" + strings.Repeat(".", 252) + ".y",
	} {
		if got := SafeName(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestSafePaths(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, c := range []struct {
		name     string
		in, want string // paths separated by "|", components by "/"
	}{
		{"nothing", "a/b|a/c|d", "a/b|a/c|d"},
		{"duplicates", "a.txt|a.txt|a.txt", "a.txt|a (1).txt|a (2).txt"},
		{"no extension", "d/a|d/a", "d/a|d/a (1)"},
		{"case", "README|readme|ReadMe", "README|readme (1)|ReadMe (2)"},
		{"case of folders", "A/x|a/x|a/y", "A/x|a/x (1)|a/y"},
		{"composition", "caf\u00e9|cafe\u0301", "caf\u00e9|cafe\u0301 (1)"},
		{"composition and case", "\u00c9|e\u0301", "\u00c9|e\u0301 (1)"},
		{"sigma", "ΣΑΣ|σας", "ΣΑΣ|σας (1)"},
		{"long s, kelvin", "s|ſ|k|\u212a", "s|ſ (1)|k|\u212a (1)"},
		{"file and folder", "a|a/b", "a (1)|a/b"},
		{"folder and file", "a/b|a", "a/b|a (1)"},
		{"file and deep folder", "a/b|A/B/c", "a/b (1)|A/B/c"},
		{"made equal", "a?|a*|a_", "a_|a_ (1)|a_ (2)"},
		{"number is taken", "a|a (1)|a", "a|a (1)|a (2)"},
		{"number is taken later", "a|a|a (1)", "a|a (2)|a (1)"},
		{"number is a folder", "a|a|a (1)/x", "a|a (2)|a (1)/x"},
		{"neighbours are no folders", "a|a.b|a b|a-b/c", "a|a.b|a b|a-b/c"},
		{"long", long + "|" + long, long + "|" + long[:243] + " (1)"},
		{"climbing", "../../x|./x", "_/_/x|_/x"},
		{"hidden by dots", "../x|./x", "_/x|_/x (1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var in [][]string
			for _, path := range strings.Split(c.in, "|") {
				in = append(in, strings.Split(path, "/"))
			}
			if got := strings.Join(SafePaths(in), "|"); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	if got := SafePaths([][]string{nil, {}, {""}}); !reflect.DeepEqual(got, []string{"_", "_ (1)", "_ (2)"}) {
		t.Errorf("empty paths: %q", got)
	}
}

// Names that collide only after cutting must not cost a search for each.
func TestSafePathsHostile(t *testing.T) {
	var paths [][]string
	for i := range 20_000 {
		name := strings.Repeat("x", 245) + fmt.Sprintf("%010d", i)
		paths = append(paths, []string{name}, []string{name})
	}
	checkSafe(t, paths, SafePaths(paths))
}

func TestDiskFilesFolder(t *testing.T) {
	in := Info{Name: "../CON", Files: []File{{Path: []string{"..", "a"}, Length: 1}}}
	if got := in.DiskFiles(); got[0].Path != ".._CON/_/a" {
		t.Errorf("folder: %q", got[0].Path)
	}
	in.SingleFile, in.Files[0].Path = true, []string{"/"}
	if got := in.DiskFiles(); got[0].Path != "_" {
		t.Errorf("single: %q", got[0].Path)
	}
}

// checkSafe fails unless the paths keep every promise of SafePaths.
func checkSafe(t interface{ Fatalf(string, ...any) }, in [][]string, out []string) {
	if len(out) != len(in) {
		t.Fatalf("%d paths of %d", len(out), len(in))
	}
	used := map[string]bool{}
	for _, path := range out {
		key := collisionKey(path)
		if used[key] {
			t.Fatalf("%q is there twice", path)
		}
		used[key] = true
	}
	for i, path := range out {
		parts := strings.Split(path, "/")
		if len(parts) != max(len(in[i]), 1) {
			t.Fatalf("%q became %q", in[i], path)
		}
		for n, part := range parts {
			if part == "" || part == "." || part == ".." || len(part) > 255 || !utf8.ValidString(part) ||
				strings.ContainsAny(part, "\\:*?\"<>|\x00\n\x7f") || strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") {
				t.Fatalf("unsafe component %q of %q", part, in[i])
			}
			if again := SafeName(part); again != part {
				t.Fatalf("%q is not stable: %q", part, again)
			}
			if n < len(parts)-1 && used[collisionKey(strings.Join(parts[:n+1], "/"))] {
				t.Fatalf("folder of %q is a file", path)
			}
		}
	}
}

func TestSafePathsProperty(t *testing.T) {
	part := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "A", "b", "é", "e\u0301", "a (1)", "a (2)", "con", "a.b", "..", "", "a.", "ß", "ss", "İ", "i\u0307", "ΐ", "\u1fd3"}),
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.StringN(250, 300, -1), func(s string) string { return s }),
	)
	rapid.Check(t, func(t *rapid.T) {
		paths := rapid.SliceOf(rapid.SliceOfN(part, 0, 3)).Draw(t, "paths")
		out := SafePaths(paths)
		checkSafe(t, paths, out)
		if !reflect.DeepEqual(SafePaths(paths), out) {
			t.Fatal("two runs differ")
		}
	})
}

// FuzzSafePaths reads paths separated by line ends.
func FuzzSafePaths(f *testing.F) {
	for _, seed := range []string{
		"a/b\na/b\nA", "../../etc/passwd", "con.txt\nCON", "a\na (1)\na", "é\ne\u0301", "\xff\xfe", "a/b\na", "x. . .\nx",
		strings.Repeat("y", 300) + ".mkv\n" + strings.Repeat("y", 301) + ".mkv", "\u202Egpj.exe", "C:\\x", ". .\n..", "a\u0345\u0301\nA\u0301\u0345",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var paths [][]string
		for line := range strings.SplitSeq(in, "\n") {
			paths = append(paths, strings.Split(line, "/"))
		}
		checkSafe(t, paths, SafePaths(paths))
	})
}
