//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/internal/trackerd"
)

// TestTrackerReload: SIGHUP reads the deny list anew, a list that cannot be read
// leaves the old one, and metrics are served on a listener of their own.
func TestTrackerReload(t *testing.T) {
	deny := filepath.Join(t.TempDir(), "deny")
	write := func(text string) {
		if err := os.WriteFile(deny, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# none\n")
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends with stop
		ended <- runTracker(ctx, trackerd.Config{Listen: "127.0.0.1:0", DenyFile: deny, Interval: time.Minute}, "127.0.0.1:0", terminal.New(terminal.JSON, in))
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	var told struct{ Event, Announce, Metrics string }
	next := func(event string) {
		t.Helper()
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &told) != nil || told.Event != event {
			t.Fatalf("got %q, want event %s", lines.Text(), event)
		}
	}
	get := func(url string) string {
		t.Helper()
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	next("listening")
	announce := told.Announce + "?info_hash=" + strings.Repeat("a", 20) + "&peer_id=" + strings.Repeat("b", 20) + "&port=6881&left=0&compact=1"
	if got := get(announce); !strings.Contains(got, "8:intervali60e") {
		t.Fatalf("answer %q", got)
	}
	if got := get(told.Metrics); !strings.Contains(got, `btt_tracker_requests_total{kind="announce"} 1`) {
		t.Errorf("metrics %q", got)
	}
	hup := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Repeat("61", 20) + "\n")
	hup()
	next("reloaded")
	refused := func() bool { return strings.Contains(get(announce), "14:failure reason") }
	if !refused() {
		t.Error("the deny list is not obeyed")
	}
	write("nonsense\n")
	hup()
	next("warning")
	if !refused() {
		t.Error("a list that cannot be read takes the old one away")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
