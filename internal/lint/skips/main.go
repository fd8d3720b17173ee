// Command skips runs go test with its arguments, prints what failed and the
// usual line for each package, and then counts. A skipped test is listed; with
// CI=true in the environment it fails the run, because a test that did not run
// proves nothing. `.ci/run` and the Makefile call it; it has no goroutines.
//
//	go run ./internal/lint/skips -race ./...
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, fmt.Errorf("open output of go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start go test: %w", err)
	}
	r := newReport(os.Stdout)
	readErr := r.read(out)
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	if readErr != nil {
		return 1, readErr
	}
	good := r.summary(os.Getenv("CI") == "true")
	if code := cmd.ProcessState.ExitCode(); code != 0 || good {
		return code, nil
	}
	return 1, nil
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
}

// lineMax bounds one line of go test -json.
const lineMax = 16 << 20

// report gathers the events of a run.
type report struct {
	to              io.Writer
	output          map[string][]string // of running tests, by package and test
	passed          int
	failed, skipped []string
}

func newReport(to io.Writer) *report {
	return &report{to: to, output: make(map[string][]string)}
}

func (r *report) read(from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(r.to, lines.Text()) // a build error of an old go command
			continue
		}
		r.add(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read output of go test: %w", err)
	}
	return nil
}

func (r *report) add(e event) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		switch {
		case e.Test != "":
			r.output[name] = append(r.output[name], e.Output)
		case !strings.HasPrefix(e.Output, "=== ") && e.Output != "PASS\n":
			io.WriteString(r.to, e.Output)
		}
	case "build-output":
		io.WriteString(r.to, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			return // a package; its line was printed
		}
		r.end(e.Action, name)
	}
}

func (r *report) end(action, name string) {
	lines := r.output[name]
	delete(r.output, name)
	switch action {
	case "pass":
		r.passed++
		return
	case "fail":
		r.failed = append(r.failed, name)
	case "skip":
		r.skipped = append(r.skipped, name)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "=== ") {
			io.WriteString(r.to, line)
		}
	}
}

// summary prints the counts and reports whether the run may pass.
func (r *report) summary(forbidSkips bool) bool {
	for name, lines := range r.output { // ended by a crash or a timeout
		fmt.Fprintf(r.to, "unfinished: %s\n%s", name, strings.Join(lines, ""))
	}
	for title, names := range map[string][]string{"FAILED": r.failed, "SKIPPED": r.skipped} {
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(r.to, "%-7s %s\n", title, name)
		}
	}
	fmt.Fprintf(r.to, "%d passed, %d failed, %d skipped\n", r.passed, len(r.failed), len(r.skipped))
	if forbidSkips && len(r.skipped) > 0 {
		fmt.Fprintln(r.to, "skipped tests fail the run (CI=true)")
		return false
	}
	return len(r.failed) == 0 && len(r.output) == 0
}
