package lint

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the repository, seen from this package.
var root = filepath.Join("..", "..")

var repository = sync.OnceValues(func() (*Tree, error) { return Load(root) })

func loaded(t *testing.T) *Tree {
	t.Helper()
	tree, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func requirements(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(b))
	if len(ids) != 200 || ids[0] != "R1.1" || ids[199] != "R17.6" {
		t.Fatalf("the list of requirements has %d entries, %s to %s", len(ids), ids[0], ids[len(ids)-1])
	}
	return ids
}

// none reports each finding as a failure.
func none(t *testing.T, found []Finding) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func TestLayers(t *testing.T)          { none(t, Layers(loaded(t))) }
func TestStaleLevels(t *testing.T)     { none(t, StaleLevels(loaded(t))) }
func TestPure(t *testing.T)            { none(t, Pure(loaded(t))) }
func TestFloatless(t *testing.T)       { none(t, Floatless(loaded(t))) }
func TestNames(t *testing.T)           { none(t, Names(loaded(t))) }
func TestFormatted(t *testing.T)       { none(t, Formatted(loaded(t))) }
func TestMarks(t *testing.T)           { none(t, Marks(loaded(t))) }
func TestStrangers(t *testing.T)       { none(t, Strangers(loaded(t))) }
func TestPackageComments(t *testing.T) { none(t, PackageComments(loaded(t))) }
func TestDocumented(t *testing.T)      { none(t, Documented(loaded(t))) }
func TestFuzzed(t *testing.T)          { none(t, Fuzzed(loaded(t))) }

func TestConformance(t *testing.T) { none(t, Conformance(loaded(t), requirements(t))) }

func TestSizes(t *testing.T)        { none(t, Sizes(loaded(t))) }
func TestStaleLengths(t *testing.T) { none(t, StaleLengths(loaded(t))) }

func TestVet(t *testing.T) {
	found, err := Vet(root)
	if err != nil {
		t.Fatal(err)
	}
	none(t, found)
}

func TestStaticcheck(t *testing.T) {
	found, err := Staticcheck(root, root)
	if err != nil {
		t.Fatal(err)
	}
	none(t, found)
}
