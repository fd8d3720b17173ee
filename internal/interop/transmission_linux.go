package interop

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// transmission is transmission-daemon, driven by its RPC. It can not be told a
// peer and has slow timers of its own: half a minute for a small file is usual.
type transmission struct {
	*process
	addr    netip.AddrPort
	rpc     string
	session string
}

func startTransmission(ctx context.Context, c Config) (Peer, error) {
	settings := map[string]any{
		"bind-address-ipv4": c.Host.Addr.String(), "peer-port": peerPort, "dht-enabled": c.DHT.IsValid(), "lpd-enabled": false,
		"pex-enabled": c.PEX, "utp-enabled": false, "encryption": 0, "port-forwarding-enabled": false,
		"rpc-enabled": true, "rpc-bind-address": c.Host.Addr.String(), "rpc-port": 9091,
		"rpc-authentication-required": false, "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false,
		"speed-limit-up-enabled": c.LimitUp > 0, "speed-limit-up": c.LimitUp / 1000,
		"download-queue-enabled": false, "queue-stalled-enabled": false,
		"ratio-limit-enabled": false, "idle-seeding-limit-enabled": false, "blocklist-enabled": false,
	}
	if c.Encrypt {
		settings["encryption"] = 2
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of transmission: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "settings.json"), mustJSON(settings), 0o644); err != nil {
		return nil, fmt.Errorf("write settings of transmission: %w", err)
	}
	if c.DHT.IsValid() {
		entry := fmt.Sprintf("%s %d\n", c.DHT.Addr(), c.DHT.Port())
		if err := os.WriteFile(filepath.Join(c.Dir, "dht.bootstrap"), []byte(entry), 0o644); err != nil {
			return nil, fmt.Errorf("write DHT entry of transmission: %w", err)
		}
	}
	p, err := startProcess(c.Host, "transmission", c.Dir, "transmission-daemon", "-f", "-g", c.Dir, "--log-error")
	if err != nil {
		return nil, err
	}
	t := &transmission{process: p, addr: netip.AddrPortFrom(c.Host.Addr, peerPort),
		rpc: fmt.Sprintf("http://%s:9091/transmission/rpc", c.Host.Addr)}
	err = p.ready(ctx, func(ctx context.Context) error { return t.call(ctx, "session-stats", nil, nil) })
	if err != nil {
		p.stop()
		return nil, err
	}
	return t, nil
}

func (t *transmission) Name() string         { return "transmission" }
func (t *transmission) Addr() netip.AddrPort { return t.addr }
func (t *transmission) Stop() error          { return t.stop() }

func (t *transmission) AddPeer(context.Context, netip.AddrPort) error { return ErrNoAddPeer }

func (t *transmission) Seed(ctx context.Context, torrent *Torrent, dir string) error {
	if err := t.Fetch(ctx, torrent.File, dir); err != nil {
		return err
	}
	return WaitDone(ctx, t)
}

func (t *transmission) Fetch(ctx context.Context, source, dir string) error {
	args := map[string]any{"download-dir": dir, "paused": false}
	if strings.HasPrefix(source, "magnet:") {
		args["filename"] = source
	} else {
		file, err := os.ReadFile(source)
		if err != nil {
			return fmt.Errorf("read torrent: %w", err)
		}
		args["metainfo"] = base64.StdEncoding.EncodeToString(file)
	}
	return t.call(ctx, "torrent-add", args, nil)
}

func (t *transmission) Done(ctx context.Context) (bool, error) {
	var answer struct {
		Torrents []struct {
			PercentDone             float64
			MetadataPercentComplete float64
			Status                  int
			ErrorString             string
		}
	}
	fields := map[string]any{"fields": []string{"percentDone", "metadataPercentComplete", "status", "errorString"}}
	if err := t.call(ctx, "torrent-get", fields, &answer); err != nil {
		return false, err
	}
	const statusSeeding = 6
	for _, s := range answer.Torrents {
		return s.Status == statusSeeding && s.PercentDone == 1 && s.MetadataPercentComplete == 1,
			fmt.Errorf("status %d, %.0f %% done, %q", s.Status, 100*s.PercentDone, s.ErrorString)
	}
	return false, fmt.Errorf("no torrent listed")
}

// call does one RPC; the first answer is a 409 that carries the session id.
func (t *transmission) call(ctx context.Context, method string, args, result any) error {
	body := mustJSON(map[string]any{"method": method, "arguments": args})
	for range 2 {
		header := http.Header{"X-Transmission-Session-Id": {t.session}}
		resp, answer, err := httpDo(ctx, http.MethodPost, t.rpc, header, body)
		if err != nil {
			return err
		}
		if resp.StatusCode == http.StatusConflict {
			t.session = resp.Header.Get("X-Transmission-Session-Id")
			continue
		}
		var envelope struct {
			Result    string
			Arguments json.RawMessage
		}
		if err := json.Unmarshal(answer, &envelope); err != nil {
			return fmt.Errorf("decode answer of transmission: %w", err)
		}
		if envelope.Result != "success" {
			return fmt.Errorf("transmission %s: %s", method, envelope.Result)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(envelope.Arguments, result)
	}
	return fmt.Errorf("transmission %s: no session", method)
}
