package lint

import (
	"fmt"
	"os/exec"
	"strings"
)

// Vet runs go vet over the module in root and returns what it says.
func Vet(root string) ([]Finding, error) {
	return run(root, "go", "vet", "./...")
}

// Staticcheck runs the staticcheck that go.mod of home pins over the module in root.
func Staticcheck(home, root string) ([]Finding, error) {
	cmd := exec.Command("go", "tool", "-n", "staticcheck")
	cmd.Dir = home
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("build staticcheck: %w", err)
	}
	return run(root, strings.TrimSpace(string(out)), "./...")
}

// run returns the output of a linter that failed, one finding for each line.
func run(root, name string, args ...string) ([]Finding, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil, nil
	}
	if _, ok := err.(*exec.ExitError); !ok {
		return nil, fmt.Errorf("run %s: %w", name, err)
	}
	var found []Finding
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			p, text, _ := strings.Cut(line, ": ")
			found = append(found, Finding{p, text})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("run %s: %w without a word", name, err)
	}
	return found, nil
}
