package lint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ConformancePath is the table of what is built.
const ConformancePath = "docs/conformance.md"

var (
	idForm = regexp.MustCompile(`^R[0-9]+\.[0-9]+$`)
	quoted = regexp.MustCompile("`([^`]+)`")
)

// Conformance checks docs/conformance.md: a Markdown table (or several) whose
// header names the columns ID and State, with exactly one row for each of ids,
// a known state, and in backticks only paths and tests that exist. A path may
// carry a test: `speed/auction/auction_test.go:TestTies`. A row that claims
// anything names the code, and one that says "works" a test.
func Conformance(t *Tree, ids []string) []Finding {
	b, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(ConformancePath)))
	if err != nil {
		return []Finding{{ConformancePath, "is missing: one row for each requirement, columns ID and State"}}
	}
	c := conformance{tree: t, ids: ids, seen: make(map[string]int), tests: allTests(t)}
	for i, line := range strings.Split(string(b), "\n") {
		c.line(i+1, strings.TrimSpace(line))
	}
	for _, id := range ids {
		if c.seen[id] != 1 {
			c.found = append(c.found, Finding{ConformancePath, fmt.Sprintf("%s has %d rows, want 1", id, c.seen[id])})
		}
	}
	return c.found
}

type conformance struct {
	tree      *Tree
	ids       []string
	seen      map[string]int
	tests     map[string][]string // test name to the files that have it
	id, state int                 // columns, from the last header
	found     []Finding
}

func (c *conformance) line(n int, line string) {
	if !strings.HasPrefix(line, "|") {
		c.id, c.state = -1, -1
		return
	}
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	if slices.Contains(cells, "ID") {
		c.id, c.state = slices.Index(cells, "ID"), slices.Index(cells, "State")
		if c.state < 0 {
			c.report(n, "the header has no column State")
		}
		return
	}
	if c.id < 0 || c.state < 0 || max(c.id, c.state) >= len(cells) || !idForm.MatchString(cells[c.id]) {
		if c.id >= 0 && !strings.HasPrefix(cells[0], "-") && !strings.HasPrefix(cells[0], ":") {
			c.report(n, "is no row of a requirement: %.40s", line)
		}
		return
	}
	c.row(n, cells[c.id], cells[c.state], line)
}

func (c *conformance) row(n int, id, state, line string) {
	c.seen[id]++
	if !slices.Contains(c.ids, id) {
		c.report(n, "%s is no requirement", id)
	}
	if !slices.Contains(states, state) {
		c.report(n, "%s has state %q, want one of %q", id, state, states)
	}
	var code, tests int
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		kind, problem := c.reference(m[1])
		if problem != "" {
			c.report(n, "%s: %s", id, problem)
		}
		switch kind {
		case "code":
			code++
		case "test":
			tests++
		}
	}
	if state != "not yet" && code+tests == 0 {
		c.report(n, "%s says %q and names no code", id, state)
	}
	if state == "works" && tests == 0 {
		c.report(n, "%s says it works and names no test", id)
	}
}

// reference tells what a text in backticks names and what is wrong with it.
// Texts that are neither path nor test, such as a command line, are let be.
func (c *conformance) reference(text string) (kind, problem string) {
	p, test, withTest := strings.Cut(text, ":")
	switch {
	case isTestName(text) && !strings.ContainsAny(text, " /."):
		if c.tests[text] == nil {
			return "test", "test " + text + " does not exist"
		}
		return "test", ""
	case !isPath(p):
		return "", ""
	}
	if _, err := os.Stat(filepath.Join(c.tree.Root, filepath.FromSlash(p))); err != nil {
		return "code", p + " does not exist"
	}
	if withTest {
		in := func(file string) bool { return file == p || path.Dir(file) == strings.TrimSuffix(p, "/") }
		if !slices.ContainsFunc(c.tests[test], in) {
			return "test", p + " has no test " + test
		}
		return "test", ""
	}
	if strings.HasSuffix(p, "_test.go") {
		return "test", ""
	}
	return "code", ""
}

func isPath(p string) bool {
	if strings.ContainsAny(p, " *{}<>$") || strings.Contains(p, "//") || strings.HasPrefix(p, "/") {
		return false
	}
	first, _, nested := strings.Cut(p, "/")
	known := []string{".go", ".md", ".rst", ".json", ".txt", ".sh", ".py", ".yaml", ".html"}
	return slices.Contains(known, path.Ext(p)) || nested && first != "" || slices.Contains(topFolders(), p)
}

// topFolders are the public packages of one word, which a table may name.
func topFolders() []string {
	var names []string
	for p := range Levels {
		if p != "." {
			names = append(names, p)
		}
	}
	return names
}

func (c *conformance) report(line int, text string, args ...any) {
	c.found = append(c.found, Finding{fmt.Sprintf("%s:%d", ConformancePath, line), fmt.Sprintf(text, args...)})
}

func allTests(t *Tree) map[string][]string {
	tests := make(map[string][]string)
	for _, p := range t.sorted() {
		for _, f := range p.Files {
			for name := range testNames(f) {
				tests[name] = append(tests[name], f.Path)
			}
		}
	}
	return tests
}
