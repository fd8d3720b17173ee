package announce

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/foreign"
	"github.com/bttnet/btt/tracker"
)

// opentracker runs Debian's opentracker on a free port, serving one torrent.
func opentracker(t *testing.T, hash tracker.InfoHash) (port int) {
	t.Helper()
	bin := foreign.Programs(t, "opentracker")
	dir, err := os.MkdirTemp("", "opentracker") // not t.TempDir: user nobody must get in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	config := fmt.Sprintf("listen.tcp_udp 127.0.0.1:%d\naccess.whitelist list\ntracker.rootdir %s\ntracker.user nobody\n", port, dir)
	for name, text := range map[string]string{"conf": config, "list": fmt.Sprintf("%x\n", hash)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-f", "conf")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 3600 {
		if c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return port
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("opentracker does not start")
	return 0
}

// TestOpentracker announces and scrapes at a tracker of another make, with bid
// parameters and options it does not know.
func TestOpentracker(t *testing.T) {
	r := request()
	port := opentracker(t, r.InfoHash)
	a := announcer(t, Config{UDPBase: 2 * time.Second})
	for _, scheme := range []string{"http", "udp"} {
		url := fmt.Sprintf("%s://127.0.0.1:%d/announce", scheme, port)
		for i := range uint16(3) {
			r.Port = 7000 + i
			got, err := a.Announce(t.Context(), url, r)
			if err != nil {
				t.Fatal(err)
			}
			if i == 2 && (len(got.Peers) < 2 || got.Interval < time.Minute || got.SpeaksBids) {
				t.Errorf("%s: third peer got %+v", scheme, got)
			}
		}
		swarms, err := a.Scrape(t.Context(), url, []tracker.InfoHash{r.InfoHash})
		if err != nil || len(swarms) != 1 || swarms[0].Incomplete != 3 {
			t.Errorf("%s: scrape gives %+v, %v", scheme, swarms, err)
		}
		r.Event = tracker.EventStopped
		if _, err := a.Announce(t.Context(), url, r); err != nil {
			t.Errorf("%s: goodbye: %v", scheme, err)
		}
		r.Event = tracker.EventNone
	}
}
