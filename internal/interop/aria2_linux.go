package interop

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// aria2 is aria2c with its JSON-RPC. It can not be told a peer.
type aria2 struct {
	*process
	addr netip.AddrPort
	rpc  string
}

func startAria2(ctx context.Context, c Config) (Peer, error) {
	args := []string{"aria2c", "--no-conf", "--enable-rpc", "--rpc-listen-port=6800", "--rpc-listen-all=true",
		"--listen-port=" + strconv.Itoa(peerPort), "--enable-dht=" + strconv.FormatBool(c.DHT.IsValid()), "--enable-dht6=false", "--bt-enable-lpd=false",
		"--disable-ipv6", "--file-allocation=none", "--seed-ratio=0.0", "--check-integrity=true",
		"--bt-request-peer-speed-limit=100M", "--quiet=true", "--bt-detach-seed-only=true", "--follow-torrent=mem",
		"--enable-peer-exchange=" + strconv.FormatBool(c.PEX), "--max-overall-upload-limit=" + strconv.Itoa(c.LimitUp)}
	if c.DHT.IsValid() {
		args = append(args, "--dht-listen-port="+strconv.Itoa(peerPort), "--dht-entry-point="+c.DHT.String(),
			"--dht-file-path="+filepath.Join(c.Dir, "dht.dat"))
	}
	if c.Encrypt {
		args = append(args, "--bt-require-crypto=true", "--bt-min-crypto-level=arc4")
	}
	p, err := startProcess(c.Host, "aria2", c.Dir, args...)
	if err != nil {
		return nil, err
	}
	a := &aria2{process: p, addr: netip.AddrPortFrom(c.Host.Addr, peerPort),
		rpc: fmt.Sprintf("http://%s:6800/jsonrpc", c.Host.Addr)}
	err = p.ready(ctx, func(ctx context.Context) error { return a.call(ctx, nil, "aria2.getVersion") })
	if err != nil {
		p.stop()
		return nil, err
	}
	return a, nil
}

func (a *aria2) Name() string         { return "aria2" }
func (a *aria2) Addr() netip.AddrPort { return a.addr }

// Stop takes exit status 7, unfinished downloads, for a good end.
func (a *aria2) Stop() error {
	var exit *exec.ExitError
	if err := a.stop(); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 7) {
		return err
	}
	return nil
}

func (a *aria2) AddPeer(context.Context, netip.AddrPort) error { return ErrNoAddPeer }

func (a *aria2) Seed(ctx context.Context, torrent *Torrent, dir string) error {
	if err := a.Fetch(ctx, torrent.File, dir); err != nil {
		return err
	}
	return WaitDone(ctx, a)
}

func (a *aria2) Fetch(ctx context.Context, source, dir string) error {
	options := map[string]string{"dir": dir}
	if strings.HasPrefix(source, "magnet:") {
		return a.call(ctx, nil, "aria2.addUri", []string{source}, options)
	}
	file, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("read torrent: %w", err)
	}
	return a.call(ctx, nil, "aria2.addTorrent", base64.StdEncoding.EncodeToString(file), []string{}, options)
}

func (a *aria2) Done(ctx context.Context) (bool, error) {
	var active []struct{ Seeder, CompletedLength, TotalLength, ErrorMessage string }
	err := a.call(ctx, &active, "aria2.tellActive", []string{"seeder", "completedLength", "totalLength", "errorMessage"})
	if err != nil {
		return false, err
	}
	for _, s := range active {
		if s.Seeder == "true" && s.CompletedLength == s.TotalLength {
			return true, nil
		}
		err = fmt.Errorf("%s of %s bytes %s", s.CompletedLength, s.TotalLength, s.ErrorMessage)
	}
	return false, err
}

func (a *aria2) call(ctx context.Context, result any, method string, params ...any) error {
	body := mustJSON(map[string]any{"jsonrpc": "2.0", "id": "1", "method": method, "params": append([]any{}, params...)})
	_, answer, err := httpDo(ctx, http.MethodPost, a.rpc, nil, body)
	if err != nil {
		return err
	}
	var envelope struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.Unmarshal(answer, &envelope); err != nil {
		return fmt.Errorf("decode answer of aria2: %w", err)
	}
	if envelope.Error != nil {
		return fmt.Errorf("aria2 %s: %s", method, envelope.Error.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(envelope.Result, result)
}
