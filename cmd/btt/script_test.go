package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run this test binary again as btt: what they test is the
// program, signals and exit codes included.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"btt": main})
}

// TestScript runs testdata/script. Besides testscript's own commands there are
// those of the table in commands_test.go. Servers listen on port 0 and tell
// their address on stdout.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			f := &fleet{programs: map[string]*program{}}
			env.Values[fleetKey{}] = f
			env.Defer(f.killAll)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv(dhtEnv, "off") // no test calls the internet, or finds another's nodes
			env.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
			return os.MkdirAll(env.Getenv("TMPDIR"), 0o755)
		},
	})
}

// patience is how long anything may take before a test gives up on it; nothing
// is measured by it.
const patience = 4 * time.Minute

const pollEvery = 10 * time.Millisecond

// program is a btt in the background whose output goes into files.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr string
	ended          chan struct{} // closed when cmd was waited for
}

// startProgram runs btt in dir and writes into dir/name.out and dir/name.err,
// behind what an earlier run of that name wrote.
func startProgram(dir, name string, env, args []string) (*program, error) {
	p := &program{cmd: exec.Command("btt", args...), stdout: filepath.Join(dir, name+".out"),
		stderr: filepath.Join(dir, name+".err"), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	for file, w := range map[string]*io.Writer{p.stdout: &p.cmd.Stdout, p.stderr: &p.cmd.Stderr} {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		defer f.Close() // the child has its own
		*w = f
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		_ = p.cmd.Wait() // the state says it all
		close(p.ended)
	}()
	return p, nil
}

// wait returns the exit code, -1 for a process that a signal killed.
func (p *program) wait() (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its stacks go to stderr
		<-p.ended
		return 0, fmt.Errorf("still running after %v", patience)
	}
}

// stop sends a signal and waits for the end.
func (p *program) stop(s os.Signal) (int, error) {
	_ = p.cmd.Process.Signal(s) // fails if it has ended
	return p.wait()
}

func (p *program) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// complaint is what a failed program said.
func (p *program) complaint() string {
	b, _ := os.ReadFile(p.stderr)
	return tail(b)
}

// tail cuts long output in messages.
func tail(b []byte) string {
	const most = 3000
	if len(b) > most {
		b = append([]byte("…"), b[len(b)-most:]...)
	}
	return string(bytes.TrimSpace(b))
}

// fleet are the background programs of one script.
type fleet struct {
	mu       sync.Mutex
	programs map[string]*program
	clocks   map[string]*clockLedger
}

type fleetKey struct{}

func (f *fleet) killAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.programs {
		_ = p.cmd.Process.Kill() // fails if it has ended
		<-p.ended
	}
}

func (f *fleet) get(ts *testscript.TestScript, name string) *program {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.programs[name]
	if p == nil {
		ts.Fatalf("no program %q was started", name)
	}
	return p
}

func fleetOf(ts *testscript.TestScript) *fleet { return ts.Value(fleetKey{}).(*fleet) }

// passed are the variables that btt gets from a script.
var passed = []string{"PATH", dhtEnv, "HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "BTT_LEDGER", "BTT_LEDGER_CA", "BTT_LEDGER_OPERATOR", "BTT_WALLET_PASSWORD", "BTT_BACKUP_PASSWORD", "GOCOVERDIR", "GORACE"}

func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, k := range passed {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}
