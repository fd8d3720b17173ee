package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// qbittorrent is qbittorrent-nox with its Web API.
type qbittorrent struct {
	*process
	addr netip.AddrPort
	api  string
}

// qbittorrentSettings is formatted with the host's address twice, the peer
// port, PEX, encryption (1 = required, 2 = off), the upload limit in KiB/s
// and DHT. Debian's version cannot be told a node: a .torrent has to name one.
const qbittorrentSettings = `[LegalNotice]
Accepted=true
[Network]
PortForwardingEnabled=false
[Preferences]
WebUI\Address=%[1]s
WebUI\Port=8080
WebUI\AuthSubnetWhitelistEnabled=true
WebUI\AuthSubnetWhitelist=10.77.0.0/16
WebUI\UseUPnP=false
WebUI\CSRFProtection=false
WebUI\HostHeaderValidation=false
Connection\ResolvePeerCountries=false
[BitTorrent]
Session\InterfaceAddress=%[1]s
Session\Port=%[2]d
Session\DHTEnabled=%[6]t
Session\LSDEnabled=false
Session\PeXEnabled=%[3]t
Session\Encryption=%[4]d
Session\BTProtocol=TCP
Session\QueueingSystemEnabled=false
Session\SSRFMitigation=false
Session\UseUPnP=false
Session\GlobalUPSpeedLimit=%[5]d
Session\Preallocation=false
Session\AddTrackersEnabled=false
Session\TorrentContentLayout=Original
Session\FileLogger\Enabled=false
`

func startQBittorrent(ctx context.Context, c Config) (Peer, error) {
	encryption := 2
	if c.Encrypt {
		encryption = 1
	}
	settings := fmt.Sprintf(qbittorrentSettings, c.Host.Addr, peerPort, c.PEX, encryption, c.LimitUp/1024, c.DHT.IsValid())
	folder := filepath.Join(c.Dir, "qBittorrent", "config")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of qbittorrent: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "qBittorrent.conf"), []byte(settings), 0o644); err != nil {
		return nil, fmt.Errorf("write settings of qbittorrent: %w", err)
	}
	p, err := startProcess(c.Host, "qbittorrent", c.Dir, "qbittorrent-nox", "--profile="+c.Dir)
	if err != nil {
		return nil, err
	}
	q := &qbittorrent{process: p, addr: netip.AddrPortFrom(c.Host.Addr, peerPort),
		api: fmt.Sprintf("http://%s:8080/api/v2/", c.Host.Addr)}
	err = p.ready(ctx, func(ctx context.Context) error {
		_, err := q.call(ctx, http.MethodGet, "app/version", nil, nil)
		return err
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return q, nil
}

func (q *qbittorrent) Name() string         { return "qbittorrent" }
func (q *qbittorrent) Addr() netip.AddrPort { return q.addr }
func (q *qbittorrent) Stop() error          { return q.stop() }

func (q *qbittorrent) Seed(ctx context.Context, torrent *Torrent, dir string) error {
	if err := q.Fetch(ctx, torrent.File, dir); err != nil {
		return err
	}
	return WaitDone(ctx, q)
}

func (q *qbittorrent) Fetch(ctx context.Context, source, dir string) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	form.WriteField("savepath", dir) // a bytes.Buffer takes every write
	form.WriteField("autoTMM", "false")
	if strings.HasPrefix(source, "magnet:") {
		form.WriteField("urls", source)
	} else {
		file, err := os.ReadFile(source)
		if err != nil {
			return fmt.Errorf("read torrent: %w", err)
		}
		part, err := form.CreateFormFile("torrents", filepath.Base(source))
		if err != nil {
			return fmt.Errorf("make form: %w", err)
		}
		part.Write(file)
	}
	form.Close()
	header := http.Header{"Content-Type": {form.FormDataContentType()}}
	answer, err := q.call(ctx, http.MethodPost, "torrents/add", header, body.Bytes())
	if err == nil && string(answer) == "Fails." {
		err = fmt.Errorf("qbittorrent refused %s", source)
	}
	return err
}

// AddPeer waits until the torrent is listed: adding is asynchronous.
func (q *qbittorrent) AddPeer(ctx context.Context, addr netip.AddrPort) error {
	return q.ready(ctx, func(ctx context.Context) error {
		torrents, err := q.list(ctx)
		if err != nil {
			return err
		}
		if len(torrents) == 0 {
			return fmt.Errorf("no torrent listed")
		}
		form := url.Values{"hashes": {torrents[0].Hash}, "peers": {addr.String()}}
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		_, err = q.call(ctx, http.MethodPost, "torrents/addPeers", header, []byte(form.Encode()))
		return err
	})
}

func (q *qbittorrent) Done(ctx context.Context) (bool, error) {
	torrents, err := q.list(ctx)
	for _, t := range torrents {
		switch t.State {
		case "uploading", "stalledUP", "forcedUP":
			return t.Progress == 1, nil
		}
		err = fmt.Errorf("%s, %.0f %% done", t.State, 100*t.Progress)
	}
	return false, err
}

type qbittorrentTorrent struct {
	Hash     string
	State    string
	Progress float64
}

func (q *qbittorrent) list(ctx context.Context) ([]qbittorrentTorrent, error) {
	answer, err := q.call(ctx, http.MethodGet, "torrents/info", nil, nil)
	if err != nil {
		return nil, err
	}
	var torrents []qbittorrentTorrent
	if err := json.Unmarshal(answer, &torrents); err != nil {
		return nil, fmt.Errorf("decode answer of qbittorrent: %w", err)
	}
	return torrents, nil
}

func (q *qbittorrent) call(ctx context.Context, method, path string, header http.Header, body []byte) ([]byte, error) {
	resp, answer, err := httpDo(ctx, method, q.api+path, header, body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("qbittorrent %s: %s: %.200s", path, resp.Status, answer)
	}
	return answer, err
}
