package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Layers finds packages without a level, levels without a package, and
// imports that go up or sideways without leave. Tests of a package may import
// what they like, except that the pure core's may not import above it either.
func Layers(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		level, ok := Levels[p.Path]
		if !ok {
			found = append(found, Finding{p.Path, "has no level: add it to Levels in internal/lint/tables.go"})
			continue
		}
		for _, f := range p.Source() {
			for _, spec := range f.Syntax.Imports {
				if why := badImport(p.Path, level, importPath(spec)); why != "" {
					found = append(found, t.at(spec.Pos(), "%s", why))
				}
			}
		}
	}
	return found
}

// StaleLevels finds levels of packages that do not exist.
func StaleLevels(t *Tree) []Finding {
	var found []Finding
	for p := range Levels {
		if t.Packages[p] == nil {
			found = append(found, Finding{p, "has a level and no Go file"})
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return found
}

func badImport(from string, level int, imported string) string {
	rel, ours := strings.CutPrefix(imported+"/", Module+"/")
	if !ours {
		return ""
	}
	to := path.Clean(rel)
	other, ok := Levels[to]
	switch {
	case !ok:
		return fmt.Sprintf("imports %s, which has no level", to)
	case other > level:
		return fmt.Sprintf("level %d imports %s of level %d", level, to, other)
	case other == level && !slices.Contains(sideways[from], to):
		return fmt.Sprintf("imports %s of its own level %d without leave", to, level)
	}
	return ""
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser accepted it
	return p
}

// Pure finds clocks, randomness and I/O in the pure core.
func Pure(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		if level, ok := Levels[p.Path]; !ok || level > PureMax {
			continue
		}
		for _, f := range p.Source() {
			found = append(found, impure(t, f)...)
		}
	}
	return found
}

func impure(t *Tree, f *File) []Finding {
	var found []Finding
	local := make(map[string][]string) // name in this file to forbidden identifiers
	for _, spec := range f.Syntax.Imports {
		p := importPath(spec)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if slices.ContainsFunc(impureImports, func(pattern string) bool { return matches(pattern, p) }) {
			found = append(found, t.at(spec.Pos(), "the pure core imports %s", p))
		}
		if names := impureNames[p]; names != nil {
			if name == "." {
				found = append(found, t.at(spec.Pos(), "dot import of %s hides its clock", p))
			}
			local[name] = names
		}
	}
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(local[x.Name], s.Sel.Name) {
				found = append(found, t.at(s.Pos(), "the pure core uses %s.%s", x.Name, s.Sel.Name))
			}
		}
		return true
	})
	return found
}

func matches(pattern, p string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(p, prefix)
	}
	return pattern == p
}

// Floatless finds floating point in packages that count money.
func Floatless(t *Tree) []Finding {
	var found []Finding
	for _, p := range t.sorted() {
		if !slices.Contains(money, p.Path) {
			continue
		}
		for _, f := range p.Source() {
			ast.Inspect(f.Syntax, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident: // also strconv.ParseFloat, big.Float, (*big.Rat).Float64
					if strings.Contains(strings.ToLower(n.Name), "float") {
						found = append(found, t.at(n.Pos(), "%s where money is counted", n.Name))
					}
				case *ast.BasicLit:
					if n.Kind == token.FLOAT || n.Kind == token.IMAG {
						found = append(found, t.at(n.Pos(), "%s where money is counted", n.Value))
					}
				}
				return true
			})
		}
	}
	return found
}
