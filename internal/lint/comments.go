package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// PackageComments finds packages that do not say what they are, in one file
// and in the usual form.
func PackageComments(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		source := p.Source()
		if len(source) == 0 {
			continue
		}
		var with []string
		for _, f := range source {
			if f.Syntax.Doc == nil {
				continue
			}
			with = append(with, f.Path)
			want := "Package " + f.Syntax.Name.Name + " "
			if f.Syntax.Name.Name == "main" {
				want = "Command "
			}
			if text := f.Syntax.Doc.Text(); !strings.HasPrefix(text, want) {
				found = append(found, Finding{f.Path, fmt.Sprintf("package comment does not begin with %q", want)})
			}
		}
		if len(with) != 1 {
			found = append(found, Finding{p.Path, fmt.Sprintf("has %d package comments %v, want 1", len(with), with)})
		}
	}
	return found
}

// Documented finds exported names of public packages without a comment. A
// method promised by an interface of its package or known from the standard
// library needs none.
func Documented(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		if strings.HasPrefix(p.Path, "internal/") || strings.HasPrefix(p.Path, "cmd/") {
			continue
		}
		promised := promisedMethods(p)
		for _, f := range p.Source() {
			for _, d := range f.Syntax.Decls {
				found = append(found, undocumented(t, d, promised)...)
			}
		}
	}
	return found
}

// promisedMethods are those of the package's own interfaces, which say once
// what every implementation does.
func promisedMethods(p *Package) []string {
	names := []string{"Error", "Unwrap", "String", "Len", "Less", "Swap", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText"}
	for _, f := range p.Source() {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok {
				for _, m := range i.Methods.List {
					for _, name := range m.Names {
						names = append(names, name.Name)
					}
				}
			}
			return true
		})
	}
	return names
}

func undocumented(t *Tree, d ast.Decl, promised []string) []Finding {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !(d.Recv != nil && slices.Contains(promised, d.Name.Name)) {
			return []Finding{t.at(d.Pos(), "%s has no comment", d.Name.Name)}
		}
	case *ast.GenDecl:
		var found []Finding
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					found = append(found, t.at(s.Pos(), "%s has no comment", s.Name.Name))
				}
			case *ast.ValueSpec:
				// The comment of a group covers its members.
				if d.Doc == nil && s.Doc == nil && s.Comment == nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
					found = append(found, t.at(s.Pos(), "%s has no comment", s.Names[0].Name))
				}
			}
		}
		return found
	}
	return nil
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// Fuzzed finds packages that decode and have no fuzz target: those listed, and
// any with an exported function or method that is named as a decoder and takes
// bytes or a string first.
func Fuzzed(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		why := "is listed as one that reads what strangers send"
		if !slices.Contains(fuzzed, p.Path) {
			if why = decoder(p); why == "" {
				continue
			}
		}
		if !hasFuzz(p) {
			found = append(found, Finding{p.Path, why + " and has no fuzz target"})
		}
	}
	return found
}

func decoder(p *Package) string {
	for _, f := range p.Source() {
		for _, d := range f.Syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || len(fn.Type.Params.List) == 0 {
				continue
			}
			name := fn.Name.Name
			if (strings.HasPrefix(name, "Decode") || strings.HasPrefix(name, "Parse") || strings.HasPrefix(name, "Unmarshal")) &&
				bytesOrString(fn.Type.Params.List[0].Type) {
				return "decodes (" + name + ")"
			}
		}
	}
	return ""
}

func bytesOrString(e ast.Expr) bool {
	if a, ok := e.(*ast.ArrayType); ok && a.Len == nil {
		e = a.Elt
	}
	id, ok := e.(*ast.Ident)
	return ok && (id.Name == "byte" || id.Name == "string")
}

func hasFuzz(p *Package) bool {
	for _, f := range p.Files {
		for name := range testNames(f) {
			if strings.HasPrefix(name, "Fuzz") {
				return true
			}
		}
	}
	return false
}

// testNames returns the tests, benchmarks, examples and fuzz targets of a file.
func testNames(f *File) map[string]token.Pos {
	names := make(map[string]token.Pos)
	if !f.Test {
		return names
	}
	for _, d := range f.Syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && isTestName(fn.Name.Name) {
			names[fn.Name.Name] = fn.Pos()
		}
	}
	return names
}

func isTestName(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest != "" && (rest[0] < 'a' || rest[0] > 'z')
		}
	}
	return false
}
