package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	stopWait     = 20 * time.Second      // from SIGTERM to SIGKILL
	pollInterval = 50 * time.Millisecond // between two looks at a client
	readyWait    = 30 * time.Second      // for a client to take commands
	logTail      = 9000                  // bytes of a client's output shown in an error
)

// process is a client that runs on a host. Its standard output is kept line by
// line, standard error goes into a file beside it.
type process struct {
	name string
	cmd  *exec.Cmd
	dir  string
	end  chan struct{} // closed by the reading goroutine after the process ended

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed and renewed with each line
	err   error         // exit status, valid after end
}

// startProcess runs args on h with dir as its home and working folder. The
// environment is a bare one: no proxy or locale of the caller reaches a client.
func startProcess(h *Host, name, dir string, args ...string) (*process, error) {
	return startProcessWith(nil, h, name, dir, args...)
}

func startProcessWith(attr *syscall.SysProcAttr, h *Host, name, dir string, args ...string) (*process, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of %s: %w", name, err)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr.log"))
	if err != nil {
		return nil, fmt.Errorf("make log of %s: %w", name, err)
	}
	defer stderr.Close()
	p := &process{name: name, dir: dir, end: make(chan struct{}), news: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Stderr, p.cmd.SysProcAttr = dir, stderr, attr
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir,
		"XDG_STATE_HOME=" + dir, "TMPDIR=" + os.TempDir(), "LANG=C.UTF-8", "GORACE=halt_on_error=1"}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("open output of %s: %w", name, err)
	}
	if err := h.start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.read(out)
	return p, nil
}

// read owns the end of the process: it ends when the output is closed.
func (p *process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		close(p.news)
		p.news = make(chan struct{})
		p.mu.Unlock()
	}
	io.Copy(io.Discard, out) // after a line that is too long: keep the pipe empty
	p.err = p.cmd.Wait()
	close(p.end)
}

// waitLine returns the first line of output that match accepts.
func (p *process) waitLine(ctx context.Context, match func(string) bool) (string, error) {
	seen := 0
	for {
		p.mu.Lock()
		lines, news := p.lines[seen:], p.news
		p.mu.Unlock()
		for _, line := range lines {
			if match(line) {
				return line, nil
			}
		}
		seen += len(lines)
		select {
		case <-news:
		case <-p.end:
			p.mu.Lock()
			more := len(p.lines) > seen
			p.mu.Unlock()
			if !more {
				return "", fmt.Errorf("%s ended (%v) before the awaited output: %s", p.name, p.err, p.tail())
			}
		case <-ctx.Done():
			return "", fmt.Errorf("wait for output of %s: %w: %s", p.name, ctx.Err(), p.tail())
		}
	}
}

// wait returns the exit status.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.end:
		if p.err != nil {
			return fmt.Errorf("%s: %w: %s", p.name, p.err, p.tail())
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for end of %s: %w: %s", p.name, ctx.Err(), p.tail())
	}
}

// stop asks the process to end, waits, and returns its exit status: nil also
// for an end by the SIGTERM that asked for it.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.end:
	case <-time.After(stopWait):
		p.cmd.Process.Kill()
		<-p.end
		return fmt.Errorf("%s did not end within %s of SIGTERM: %s", p.name, stopWait, p.tail())
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", p.name, p.err, p.tail())
	}
	return nil
}

// ready polls until f succeeds, the process ends or time is over.
func (p *process) ready(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.end:
			return fmt.Errorf("%s ended (%v) at its start: %s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w: %s", p.name, err, p.tail())
		case <-time.After(pollInterval):
		}
	}
}

// tail is the end of what the process said, for errors.
func (p *process) tail() string {
	p.mu.Lock()
	out := strings.Join(p.lines, "\n")
	p.mu.Unlock()
	stderr, _ := os.ReadFile(filepath.Join(p.dir, "stderr.log"))
	return fmt.Sprintf("\n-- stdout:\n%s\n-- stderr:\n%s", lastBytes(out, logTail), lastBytes(string(stderr), logTail))
}

func lastBytes(s string, n int) string { return s[max(0, len(s)-n):] }
