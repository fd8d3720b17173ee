package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bttnet/btt/internal/terminal"
)

// cmdWeb serves a folder over HTTP; the server's URL goes into VAR. A path
// /status/N answers with that status, /endless without an end, and queries are
// passed over, so that a file can be a tracker's answer.
func cmdWeb(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "web DIR VAR")
	dir := ts.MkAbs(args[0])
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := strings.CutPrefix(r.URL.Path, "/status/"); ok {
			code, _ := strconv.Atoi(n)
			http.Error(w, "no", code)
			return
		}
		if r.URL.Path == "/endless" {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
			return
		}
		b, err := os.ReadFile(filepath.Join(dir, filepath.Base(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	ts.Defer(func() {
		s.CloseClientConnections()
		s.Close()
	})
	ts.Setenv(args[1], s.URL)
}

// cmdSmall makes a folder on a file system of its own that holds SIZE bytes.
// Only the root of a Linux system may do that.
func cmdSmall(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "small DIR SIZE")
	size, err := terminal.ParseBytes(args[1])
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(mountSmall(dir, size))
	ts.Defer(func() { _ = unmountSmall(dir) })
}

// condition adds to testscript's own: [root], and [mounts] where file systems
// can be made.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "mounts":
		if runtime.GOOS != "linux" || os.Geteuid() != 0 {
			return false, nil
		}
		dir, err := os.MkdirTemp("", "mount")
		if err != nil {
			return false, err
		}
		defer os.Remove(dir)
		if mountSmall(dir, 1<<20) != nil {
			return false, nil // a container that may not
		}
		return true, unmountSmall(dir)
	}
	return false, fmt.Errorf("there is no condition %q", name)
}

// cmdListen takes connections and never answers; its address goes into VAR.
func cmdListen(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 1, "listen VAR")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// cmdSignal sends a signal to a background program and does not wait.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2 && args[1] == "INT", "signal NAME INT")
	p := fleetOf(ts).get(ts, args[0])
	if err := p.cmd.Process.Signal(syscall.SIGINT); !errors.Is(err, os.ErrProcessDone) { // which a script asks for by ended
		ts.Check(err)
	}
	time.Sleep(50 * time.Millisecond) // two of them at once may arrive as one
}
