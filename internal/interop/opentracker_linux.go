package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Tracker is a running tracker.
type Tracker struct {
	HTTP, UDP string // announce URLs; UDP "" if it has none
	proc      *process
}

// Stop ends the tracker and waits for it.
func (t *Tracker) Stop() error { return t.proc.stop() }

// openTrackerProgram is where Debian installs it, which is not in every path.
func openTrackerProgram() string {
	if p, err := exec.LookPath("opentracker"); err == nil {
		return p
	}
	return "/usr/bin/opentracker"
}

func openTrackerMissing() string { return needs(openTrackerProgram())() }

// StartOpenTracker runs opentracker on c.Host. Debian's build serves only
// listed torrents, so the infohashes (hex) must be known at the start.
func StartOpenTracker(ctx context.Context, c Config, infoHashes ...string) (*Tracker, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of opentracker: %w", err)
	}
	settings := fmt.Sprintf("listen.tcp_udp %s:6969\naccess.whitelist list.txt\n", c.Host.Addr)
	for name, text := range map[string]string{"list.txt": strings.Join(infoHashes, "\n") + "\n", "opentracker.conf": settings} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("write settings of opentracker: %w", err)
		}
	}
	// It refuses to run as root: show it an ordinary user that is ours outside.
	const nobody = 65534
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getegid(), Size: 1}},
	}
	p, err := startProcessWith(attr, c.Host, "opentracker", c.Dir, openTrackerProgram(), "-f", "opentracker.conf")
	if err != nil {
		return nil, err
	}
	addr := c.Host.Addr.String() + ":6969"
	t := &Tracker{HTTP: "http://" + addr + "/announce", UDP: "udp://" + addr + "/announce", proc: p}
	if err := p.ready(ctx, func(context.Context) error { return dialOnce(addr) }); err != nil {
		p.stop()
		return nil, err
	}
	return t, nil
}

func dialOnce(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, pollInterval*20)
	if err != nil {
		return err
	}
	return conn.Close()
}
