// Package foreign finds the programs of others that tests compare with or talk
// to. A test whose program is missing is skipped, or fails where BTT_INTEROP=1
// promises all of them; scripts/install-peers installs them.
//
// Only tests use it.
package foreign

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Required says whether what is missing is a failure.
func Required() bool { return os.Getenv("BTT_INTEROP") == "1" }

// Missing skips a test for what is missing, or fails it; "" = nothing is.
func Missing(t testing.TB, what string) {
	t.Helper()
	switch {
	case what == "":
	case Required():
		t.Fatalf("missing: %s (scripts/install-peers installs the peers)", what)
	default:
		t.Skipf("missing: %s (scripts/install-peers installs the peers)", what)
	}
}

// Programs finds programs by their names and returns the path of the first.
func Programs(t testing.TB, names ...string) string {
	t.Helper()
	first := ""
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			Missing(t, name)
		}
		first = cmp.Or(first, path)
	}
	return first
}

// Python finds a Python that has a module: BTT_PYTHON, else the system's.
func Python(t testing.TB, module string) string {
	t.Helper()
	path := cmp.Or(os.Getenv("BTT_PYTHON"), "/usr/bin/python3")
	if err := exec.Command(path, "-c", "import "+module).Run(); err != nil {
		Missing(t, fmt.Sprintf("%s of %s", module, path))
	}
	return path
}
