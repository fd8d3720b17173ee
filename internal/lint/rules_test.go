package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// rules by the name of their archive in testdata.
var rules = map[string]func(*testing.T, *Tree) []Finding{
	"layers":     func(_ *testing.T, t *Tree) []Finding { return Layers(t) },
	"pure":       func(_ *testing.T, t *Tree) []Finding { return Pure(t) },
	"floatless":  func(_ *testing.T, t *Tree) []Finding { return Floatless(t) },
	"sizes":      func(_ *testing.T, t *Tree) []Finding { return Sizes(t) },
	"names":      func(_ *testing.T, t *Tree) []Finding { return Names(t) },
	"format":     func(_ *testing.T, t *Tree) []Finding { return Formatted(t) },
	"marks":      func(_ *testing.T, t *Tree) []Finding { return Marks(t) },
	"strangers":  func(_ *testing.T, t *Tree) []Finding { return Strangers(t) },
	"comments":   func(_ *testing.T, t *Tree) []Finding { return PackageComments(t) },
	"documented": func(_ *testing.T, t *Tree) []Finding { return Documented(t) },
	"fuzzed":     func(_ *testing.T, t *Tree) []Finding { return Fuzzed(t) },
	"conformance": func(_ *testing.T, t *Tree) []Finding {
		return Conformance(t, []string{"R1.1", "R1.2", "R1.3", "R1.4", "R1.5"})
	},
	"vet": func(test *testing.T, t *Tree) []Finding {
		found, err := Vet(t.Root)
		if err != nil {
			test.Fatal(err)
		}
		return found
	},
	"staticcheck": func(test *testing.T, t *Tree) []Finding {
		found, err := Staticcheck(root, t.Root)
		if err != nil {
			test.Fatal(err)
		}
		return found
	},
}

// TestRulesFail runs each rule on its broken tree and compares every finding
// with the file "want" of the archive.
func TestRulesFail(t *testing.T) {
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			tree, want := unpack(t, filepath.Join("testdata", name+".txtar"))
			var got []string
			for _, f := range rule(t, tree) {
				got = append(got, f.String())
			}
			slices.Sort(got)
			if text := strings.Join(got, "\n") + "\n"; text != want {
				t.Errorf("got\n%s\nwant\n%s", text, want)
			}
			if len(got) == 0 {
				t.Error("the rule found nothing: it can not fail")
			}
		})
	}
}

// TestLong looks at the limits that no small archive shows, and at leave to pass
// them.
func TestLong(t *testing.T) {
	dir := t.TempDir()
	for name, lines := range map[string]int{"short.go": FileMax, "long.go": FileMax + 1, "leave.go": FileMax + 1,
		"short_test.go": TestFileMax, "long_test.go": TestFileMax + 1} {
		text := "package amount\n" + strings.Repeat("\n", lines-1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func(old map[string]int) { longFiles = old }(longFiles)
	longFiles = map[string]int{"leave.go": FileMax + 1}
	if found := Sizes(tree); len(found) != 2 || found[0].Path != "long.go" || found[1].Path != "long_test.go" {
		t.Errorf("sizes: %v", found)
	}
	if found := StaleLengths(tree); len(found) != 0 {
		t.Errorf("leave that is needed: %v", found)
	}
	longFiles = map[string]int{"short.go": FileMax + 1, "gone.go": FileMax + 1}
	if found := StaleLengths(tree); len(found) != 2 {
		t.Errorf("leave that is not: %v", found)
	}
}

// TestManyFiles finds a package with one file too many.
func TestManyFiles(t *testing.T) {
	p := &Package{Path: "amount"}
	for range PackageFileMax + 1 {
		p.Files = append(p.Files, &File{Syntax: emptySyntax(t)})
	}
	if found := Sizes(&Tree{Packages: map[string]*Package{"amount": p}}); len(found) != 1 {
		t.Errorf("sizes: %v", found)
	}
}

// TestStaleLevelsFail: an empty repository lacks every package of the table.
func TestStaleLevelsFail(t *testing.T) {
	if found := StaleLevels(&Tree{}); len(found) != len(Levels) {
		t.Errorf("%d stale levels, want %d", len(found), len(Levels))
	}
}

// TestConformanceMissing: no table is a finding, not a pass.
func TestConformanceMissing(t *testing.T) {
	if found := Conformance(&Tree{Root: t.TempDir()}, []string{"R1.1"}); len(found) != 1 {
		t.Errorf("found %v", found)
	}
}

func unpack(t *testing.T, file string) (*Tree, string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir, want := t.TempDir(), ""
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		full := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree, want
}

func emptySyntax(t *testing.T) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x", 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
