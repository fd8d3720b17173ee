package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is one breach of a rule.
type Finding struct {
	Path string // relative to the root, with ":line" where there is one
	Text string
}

func (f Finding) String() string { return f.Path + ": " + f.Text }

// File is one parsed Go file.
type File struct {
	Path   string // relative, slash-separated
	Source []byte
	Syntax *ast.File
	Test   bool
}

// Lines counts the lines of the file.
func (f *File) Lines() int { return bytes.Count(f.Source, []byte("\n")) }

// Package is a folder with Go files. Files of all platforms are in it.
type Package struct {
	Path  string // relative, "." for the root
	Files []*File
}

// Source returns the files that are not tests.
func (p *Package) Source() []*File {
	return slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
}

// Tree is a repository as the rules see it.
type Tree struct {
	Root     string
	Set      *token.FileSet
	Packages map[string]*Package
	Paths    []string // all files that git tracks or would track
}

// Load reads the repository at root. Folders that the go command ignores hold
// no packages: testdata, names that begin with a dot or underscore, and other
// modules.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root, Set: token.NewFileSet(), Packages: make(map[string]*Package)}
	var err error
	if t.Paths, err = listFiles(root); err != nil {
		return nil, err
	}
	modules := nestedModules(t.Paths)
	for _, p := range t.Paths {
		if strings.HasSuffix(p, ".go") && !ignored(p, modules) {
			if err := t.parse(p); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (t *Tree) parse(p string) error {
	source, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(p)))
	if err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	syntax, err := parser.ParseFile(t.Set, p, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse source: %w", err)
	}
	if buildTagTools(syntax) {
		return nil
	}
	dir := path.Dir(p)
	if t.Packages[dir] == nil {
		t.Packages[dir] = &Package{Path: dir}
	}
	f := &File{Path: p, Source: source, Syntax: syntax, Test: strings.HasSuffix(p, "_test.go")}
	t.Packages[dir].Files = append(t.Packages[dir].Files, f)
	return nil
}

// buildTagTools reports a file that only pins dependencies.
func buildTagTools(f *ast.File) bool {
	for _, group := range f.Comments {
		if group.Pos() < f.Package && group.List[0].Text == "//go:build tools" {
			return true
		}
	}
	return false
}

// listFiles asks git, which knows what is ignored; without git it walks.
func listFiles(root string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil {
		paths := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		slices.Sort(paths)
		return slices.DeleteFunc(slices.Compact(paths), func(p string) bool {
			_, err := os.Stat(filepath.Join(root, p))
			return err != nil // removed, not yet committed
		}), nil
	}
	var paths []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, p)
		paths = append(paths, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return paths, nil
}

func nestedModules(paths []string) []string {
	var dirs []string
	for _, p := range paths {
		if path.Base(p) == "go.mod" && p != "go.mod" {
			dirs = append(dirs, path.Dir(p)+"/")
		}
	}
	return dirs
}

func ignored(p string, modules []string) bool {
	for _, part := range strings.Split(path.Dir(p), "/") {
		if part == "testdata" || (part != "." && strings.HasPrefix(part, ".")) || strings.HasPrefix(part, "_") {
			return true
		}
	}
	return slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(p, m) })
}

// sorted returns the packages in the order of their paths.
func (t *Tree) sorted() []*Package {
	var list []*Package
	for _, p := range t.Packages {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// at makes a finding at a position.
func (t *Tree) at(pos token.Pos, format string, args ...any) Finding {
	p := t.Set.Position(pos)
	return Finding{fmt.Sprintf("%s:%d", p.Filename, p.Line), fmt.Sprintf(format, args...)}
}
