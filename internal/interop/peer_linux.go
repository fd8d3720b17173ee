package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"time"
)

// peerPort is the port on which every client listens; each has an own address.
const peerPort = 6881

// ErrNoAddPeer is returned by AddPeer of a client that can not be told a peer.
var ErrNoAddPeer = errors.New("client has no way to be told a peer")

// Peer is a client that trades one torrent. Not for concurrent use.
type Peer interface {
	// Name is the client's name, for messages.
	Name() string
	// Addr is where it listens for peers.
	Addr() netip.AddrPort
	// Seed hands over a torrent whose data is complete in dir and returns once
	// the client has verified it.
	Seed(ctx context.Context, t *Torrent, dir string) error
	// Fetch hands over a .torrent file or a magnet link, data goes into dir.
	Fetch(ctx context.Context, source, dir string) error
	// AddPeer tells the client of another one; ErrNoAddPeer if it can not be told.
	AddPeer(ctx context.Context, addr netip.AddrPort) error
	// Done reports whether all data is there and verified.
	Done(ctx context.Context) (bool, error)
	// Stop ends the client and waits for it.
	Stop() error
}

// Config says how a client is started.
type Config struct {
	Host    *Host
	Dir     string // its own state, empty at the start
	Encrypt bool   // require message stream encryption (MSE); else plain TCP
	PEX     bool   // exchange peers (BEP 11)
	LimitUp int    // bytes a second, 0 = no limit
	// DHT is the node to join the DHT by; invalid = no DHT.
	DHT netip.AddrPort
}

// Driver starts one kind of client.
type Driver struct {
	Name string
	// Missing says what is not installed, "" if nothing.
	Missing func() string
	Start   func(context.Context, Config) (Peer, error)
	NoUDP   bool // does not announce to UDP trackers as we run it
}

// Drivers are the third-party clients, by the order in which reports list them.
var Drivers = []Driver{
	{"libtorrent", libtorrentMissing, startLibtorrent, false},
	{"transmission", needs("transmission-daemon"), startTransmission, false},
	{"aria2", needs("aria2c"), startAria2, true}, // only together with its DHT
	{"qbittorrent", needs("qbittorrent-nox"), startQBittorrent, false},
}

// WaitDone polls peer until it is done.
func WaitDone(ctx context.Context, peer Peer) error { return waitDone(ctx, peer, pollInterval) }

func waitDone(ctx context.Context, peer Peer, every time.Duration) error {
	var last error
	for {
		done, err := peer.Done(ctx)
		if done {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not done: %w (last answer: %v)", peer.Name(), ctx.Err(), last)
		case <-time.After(every):
		}
	}
}

// needs returns a Missing function that looks for programs in the path.
func needs(programs ...string) func() string {
	return func() string {
		for _, p := range programs {
			if _, err := exec.LookPath(p); err != nil {
				return p
			}
		}
		return ""
	}
}

// answerMax bounds what a client's control interface may answer.
const answerMax = 1 << 20

// httpDo sends one request to a client's control interface.
func httpDo(ctx context.Context, method, url string, header http.Header, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("make request: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := controlClient.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("ask client: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return nil, nil, fmt.Errorf("read answer of client: %w", err)
	}
	return resp, answer, nil
}

// controlClient never uses a proxy and opens a connection for each request, so
// that a stopped client is noticed.
var controlClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// mustJSON encodes values that are known to be encodable.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return b
}
