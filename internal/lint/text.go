package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Sizes finds functions, files and packages over their limits. A test may
// hold a long table, so the limit of functions is not for tests.
func Sizes(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		if n, most := len(p.Source()), max(PackageFileMax, manyFiles[p.Path]); n > most {
			found = append(found, Finding{p.Path, fmt.Sprintf("%d files, at most %d", n, most)})
		}
		for _, f := range p.Files {
			if n, most := f.Lines(), fileMax(f); n > most {
				found = append(found, Finding{f.Path, fmt.Sprintf("%d lines, at most %d: give its second concern a file of its own", n, most)})
			}
			for _, d := range f.Syntax.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || f.Test {
					continue
				}
				if n := t.Set.Position(fn.End()).Line - t.Set.Position(fn.Pos()).Line + 1; n > FunctionMax {
					found = append(found, t.at(fn.Pos(), "%s has %d lines, at most %d", fn.Name.Name, n, FunctionMax))
				}
			}
		}
	}
	return found
}

// fileMax is how many lines a file may have.
func fileMax(f *File) int {
	if f.Test {
		return max(TestFileMax, longFiles[f.Path])
	}
	return max(FileMax, longFiles[f.Path])
}

// StaleLengths finds leave to be long that a file does not need any more.
func StaleLengths(t *Tree) []Finding {
	var found []Finding
	for path, most := range longFiles {
		lines := 0
		for _, p := range t.Packages {
			for _, f := range p.Files {
				if f.Path == path {
					lines = f.Lines()
				}
			}
		}
		if lines <= FileMax {
			found = append(found, Finding{path, fmt.Sprintf("may have %d lines and has %d: take it out of longFiles", most, lines)})
		}
	}
	return found
}

// Names finds packages, folders and files whose name says nothing.
func Names(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		for _, f := range p.Files {
			stem := strings.TrimSuffix(path.Base(f.Path), ".go")
			for _, word := range append(strings.FieldsFunc(stem, notLetter), f.Syntax.Name.Name) {
				if slices.Contains(forbiddenNames, word) {
					found = append(found, Finding{f.Path, fmt.Sprintf("is named %q, which says nothing", word)})
				}
			}
		}
	}
	return found
}

func notLetter(r rune) bool { return r == '_' || r == '-' || r == '.' }

// Formatted finds files that gofmt would change.
func Formatted(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		for _, f := range p.Files {
			want, err := format.Source(f.Source)
			if err != nil || !bytes.Equal(want, f.Source) {
				found = append(found, Finding{f.Path, "is not formatted: run gofmt -w"})
			}
		}
	}
	return found
}

// textMax is the size up to which a file is read as text.
const textMax = 4 << 20

// Marks finds what was left for later in code and scripts.
func Marks(t *Tree) []Finding {
	code := func(p string) bool {
		switch path.Ext(p) {
		case ".go", ".py", ".sh", ".ts", ".js", ".css", ".html", ".yaml", ".yml", ".toml", "":
			return !strings.Contains(p, "/dist/")
		}
		return false
	}
	return grep(t, marks, "was left for later", code)
}

// Strangers finds words and paths of the place where the code was written.
func Strangers(t *Tree) []Finding {
	return grep(t, strangers, "means nothing elsewhere", func(string) bool { return true })
}

// grep searches the tracked text files; the package's own cases are exempt.
func grep(t *Tree, patterns []string, why string, in func(path string) bool) []Finding {
	expr := regexp.MustCompile("(?m)" + strings.Join(patterns, "|"))
	var found []Finding
	for _, p := range t.Paths {
		if !in(p) || strings.HasPrefix(p, "internal/lint/testdata/") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(p)))
		if err != nil || len(b) > textMax || bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0 {
			continue // a folder of a submodule, or not text
		}
		for _, m := range expr.FindAllIndex(b, -1) {
			line := 1 + bytes.Count(b[:m[0]], []byte("\n"))
			found = append(found, Finding{fmt.Sprintf("%s:%d", p, line), fmt.Sprintf("%q %s", strings.TrimSpace(string(b[m[0]:m[1]])), why)})
		}
	}
	return found
}
