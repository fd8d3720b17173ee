package interop

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// systemPython is Debian's interpreter, the one python3-libtorrent is for.
const systemPython = "/usr/bin/python3"

//go:embed libtorrent_peer.py
var libtorrentScript []byte

// libtorrent is libtorrent-rasterbar under a small script of ours.
type libtorrent struct {
	*process
	addr    netip.AddrPort
	control string
}

var libtorrentMissing = sync.OnceValue(func() string {
	if exec.Command(systemPython, "-c", "import libtorrent").Run() != nil {
		return "python3-libtorrent"
	}
	return ""
})

func startLibtorrent(ctx context.Context, c Config) (Peer, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of libtorrent: %w", err)
	}
	script := filepath.Join(c.Dir, "peer.py")
	if err := os.WriteFile(script, libtorrentScript, 0o644); err != nil {
		return nil, fmt.Errorf("write script of libtorrent: %w", err)
	}
	crypto, pex := "plain", "nopex"
	if c.Encrypt {
		crypto = "encrypted"
	}
	if c.PEX {
		pex = "pex"
	}
	entry := "nodht"
	if c.DHT.IsValid() {
		entry = c.DHT.String()
	}
	p, err := startProcess(c.Host, "libtorrent", c.Dir, systemPython, script, c.Host.Addr.String(),
		strconv.Itoa(peerPort), "9000", crypto, pex, strconv.Itoa(c.LimitUp), entry)
	if err != nil {
		return nil, err
	}
	l := &libtorrent{process: p, addr: netip.AddrPortFrom(c.Host.Addr, peerPort), control: c.Host.Addr.String() + ":9000"}
	err = p.ready(ctx, func(ctx context.Context) error { return l.order(ctx, "ping") })
	if err != nil {
		p.stop()
		return nil, err
	}
	return l, nil
}

func (l *libtorrent) Name() string         { return "libtorrent" }
func (l *libtorrent) Addr() netip.AddrPort { return l.addr }
func (l *libtorrent) Stop() error          { return l.stop() }

func (l *libtorrent) Seed(ctx context.Context, torrent *Torrent, dir string) error {
	if err := l.Fetch(ctx, torrent.File, dir); err != nil {
		return err
	}
	return WaitDone(ctx, l)
}

func (l *libtorrent) Fetch(ctx context.Context, source, dir string) error {
	return l.order(ctx, "add", source, dir)
}

func (l *libtorrent) AddPeer(ctx context.Context, addr netip.AddrPort) error {
	return l.order(ctx, "peer", addr.Addr().String(), strconv.Itoa(int(addr.Port())))
}

func (l *libtorrent) Done(ctx context.Context) (bool, error) {
	reply, err := l.ask(ctx, "done")
	if err == nil && reply != "yes" {
		err = fmt.Errorf("%s", reply)
	}
	return reply == "yes", err
}

// order sends a command whose only good answer is "ok".
func (l *libtorrent) order(ctx context.Context, words ...string) error {
	reply, err := l.ask(ctx, words...)
	if err == nil && reply != "ok" {
		err = fmt.Errorf("libtorrent %s: %s", words[0], reply)
	}
	return err
}

func (l *libtorrent) ask(ctx context.Context, words ...string) (string, error) {
	dialer := net.Dialer{Timeout: time.Minute}
	conn, err := dialer.DialContext(ctx, "tcp", l.control)
	if err != nil {
		return "", fmt.Errorf("ask libtorrent: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute)) // as long as other clients have, and to connect
	if _, err := fmt.Fprintln(conn, strings.Join(words, "\t")); err != nil {
		return "", fmt.Errorf("ask libtorrent: %w", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read answer of libtorrent: %w", err)
	}
	return strings.TrimSuffix(line, "\n"), nil
}
